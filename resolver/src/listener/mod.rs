//! Listeners: addresses bound for UDP and TCP, with the workers and tasks that answer them.
//!
//! ```text
//! udp: batches ──> worker: one thread a core ──> engine: hit
//! stream: one task a connection ─────────────────┘  │
//!                                     deferred work └──> runtime: miss, prefetch
//! ```

pub mod access;
pub mod client;
pub mod connections;
pub mod network_set;
pub mod notify;
pub mod stream;
pub mod udp;
pub mod worker;

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

use crate::{
    engine::Engine,
    listener::worker::{DeferredWork, Worker, pin},
    telemetry::counters::Count,
};

/// Size of a socket's buffers, in octets: some hundred thousand small packets, so that a pause of a
/// worker loses none. Without a privilege, the kernel grants at most `net.core.rmem_max`.
const SOCKET_BUFFER_OCTETS: usize = 8 << 20;
/// Connections that the kernel may hold until they are accepted. The kernel's own bound
/// (`net.core.somaxconn`) is 4,096. A client beyond it comes back after a second.
pub const ACCEPT_QUEUE: u16 = 4_096;
/// What the kernel holds for a connection whose client does not read, in octets; it counts twice as
/// much with its own overhead. Left to itself it takes 4 MiB for each. Two messages fit.
pub const STREAM_SEND_OCTETS: u32 = 128 << 10;
/// Deferred work that the runtime takes from the queue at a time.
const DEFERRED_BATCH: usize = 64;
/// Attempts to find a port that is free for both protocols.
const PORT_TRIES: usize = 16;

/// A listen address cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("listening on {address} ({protocol})")]
pub struct ListenError {
    address: SocketAddr,
    protocol: &'static str,
    #[source]
    source: io::Error,
}

/// A listen address, bound for both protocols and not answering yet.
pub struct BoundListener {
    /// The address, with the port that the system chose for port 0.
    pub address: SocketAddr,
    /// One socket for each worker.
    udp: Vec<UdpSocket>,
    tcp: TcpListener,
}

/// Settings of the workers.
#[derive(Debug, Clone, Copy)]
pub struct WorkerSettings {
    /// Number of workers, at least one.
    pub count: usize,
    /// Whether each is pinned to a core.
    pub pinned: bool,
    /// The largest number of datagrams that one system call receives or sends.
    pub batch: usize,
}

/// Binds an address for UDP, with one socket for each of `workers`, and for TCP.
///
/// # Errors
/// The system refuses the address.
pub fn bind(address: SocketAddr, workers: usize) -> Result<BoundListener, ListenError> {
    let mut tries = if address.port() == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        match bind_once(address, workers) {
            Err(_) if tries > 0 => {}
            result => return result,
        }
    }
}

fn bind_once(address: SocketAddr, workers: usize) -> Result<BoundListener, ListenError> {
    let error = |protocol| {
        move |source| ListenError {
            address,
            protocol,
            source,
        }
    };
    // TCP first and without port sharing: a second daemon on the same address fails here, before it
    // takes UDP packets of the first.
    let tcp = bind_tcp(address).map_err(error("TCP"))?;
    let bound = tcp.local_addr().map_err(error("TCP"))?;
    let udp = (0..workers.max(1))
        .map(|_| bind_udp(bound))
        .collect::<io::Result<Vec<_>>>()
        .map_err(error("UDP"))?;
    Ok(BoundListener {
        address: bound,
        udp,
        tcp,
    })
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Accepted connections inherit it.
    socket.set_send_buffer_size(STREAM_SEND_OCTETS as usize)?;
    socket.bind(&address.into())?;
    socket.listen(ACCEPT_QUEUE.into())?;
    TcpListener::from_std(socket.into())
}

fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The kernel may grant less, which still works.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_OCTETS);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_OCTETS);
    let socket = UdpSocket::from(socket);
    let _ = udp::force_receive_buffer(&socket, SOCKET_BUFFER_OCTETS);
    udp::prepare(&socket, address)?;
    socket2::SockRef::from(&socket).bind(&address.into())?;
    Ok(socket)
}

/// Starts to answer on all addresses. Threads and tasks live as long as the process.
///
/// # Errors
/// The system starts no thread.
pub fn serve(
    bound: Vec<BoundListener>,
    engine: &Arc<Engine>,
    workers: WorkerSettings,
) -> io::Result<()> {
    let (deferred, queue) = unbounded_channel();
    tokio::spawn(run_deferred(Arc::clone(engine), queue));
    let mut listeners = Vec::new();
    for BoundListener { udp, tcp, .. } in bound {
        tokio::spawn(stream::serve(Arc::clone(engine), tcp));
        listeners.push(udp.into_iter());
    }
    for number in 0..workers.count.max(1) {
        let sockets: Vec<UdpSocket> = listeners.iter_mut().filter_map(Iterator::next).collect();
        let worker = Worker::new(Arc::clone(engine), deferred.clone());
        std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || {
                if workers.pinned {
                    pin(number);
                }
                worker.run(sockets, workers.batch);
            })?;
    }
    Ok(())
}

/// Runs the deferred work of the workers. Places bound the queue: each item holds one.
async fn run_deferred(engine: Arc<Engine>, mut queue: UnboundedReceiver<DeferredWork>) {
    let mut taken = Vec::with_capacity(DEFERRED_BATCH);
    while queue.recv_many(&mut taken, DEFERRED_BATCH).await > 0 {
        for work in taken.drain(..) {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move {
                match work {
                    DeferredWork::Prefetch(prefetch) => engine.prefetch(prefetch).await,
                    DeferredWork::Miss(miss, late_reply) => {
                        let mut reply = Vec::new();
                        engine.finish(miss, &mut reply).await;
                        if !reply.is_empty() && late_reply(&reply).refused > 0 {
                            engine.runtime_state().metrics.count(Count::ReplyRefused);
                        }
                    }
                }
            });
        }
    }
}
