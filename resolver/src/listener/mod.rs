//! Doors: addresses bound for UDP and TCP, and the workers and tasks behind them.

pub mod access;
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
    listener::worker::{Late, Worker, pin},
    telemetry::metrics::Count,
};

/// What a socket asks of the kernel, in octets: a few hundred thousand small packets, so that a
/// pause of a worker loses none. Without the privilege to force it, the kernel grants no more than
/// `net.core.rmem_max`.
const SOCKET_BUFFER_OCTETS: usize = 8 << 20;
/// Late queries that the runtime takes from the workers in one go.
const LATE_BATCH: usize = 64;
/// How often a free port is tried that serves both protocols.
const PORT_TRIES: usize = 16;

/// What is wrong with a listen address.
#[derive(Debug, thiserror::Error)]
#[error("listening on {address} ({protocol})")]
pub struct ListenError {
    address: SocketAddr,
    protocol: &'static str,
    #[source]
    source: io::Error,
}

/// One address, bound for both protocols and not yet answering.
pub struct Bound {
    /// The address, with the port the system chose where 0 was asked for.
    pub address: SocketAddr,
    /// One socket for each worker.
    udp: Vec<UdpSocket>,
    tcp: TcpListener,
}

/// How the workers are set up.
#[derive(Debug, Clone, Copy)]
pub struct Workers {
    /// How many; at least one.
    pub count: usize,
    /// Whether each is kept on a core of its own.
    pub pinned: bool,
    /// The most datagrams that one system call takes or sends.
    pub batch: usize,
}

/// Binds an address for UDP, by `workers` sockets, and for TCP.
///
/// # Errors
/// The address and the system's reason.
pub fn bind(address: SocketAddr, workers: usize) -> Result<Bound, ListenError> {
    let mut tries = if address.port() == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        match bind_once(address, workers) {
            Err(_) if tries > 0 => {}
            result => return result,
        }
    }
}

fn bind_once(address: SocketAddr, workers: usize) -> Result<Bound, ListenError> {
    let error = |protocol| {
        move |source| ListenError {
            address,
            protocol,
            source,
        }
    };
    // TCP first and without port sharing: a second daemon on the same address fails here and steals
    // no UDP packets.
    let tcp = bind_tcp(address).map_err(error("TCP"))?;
    let bound = tcp.local_addr().map_err(error("TCP"))?;
    let udp = (0..workers.max(1))
        .map(|_| bind_udp(bound))
        .collect::<io::Result<Vec<_>>>()
        .map_err(error("UDP"))?;
    Ok(Bound {
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
    socket.bind(&address.into())?;
    socket.listen(1_024)?;
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
    // Less is granted without complaint, and less is still a listener.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_OCTETS);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_OCTETS);
    let socket = UdpSocket::from(socket);
    let _ = udp::force_receive_buffer(&socket, SOCKET_BUFFER_OCTETS);
    udp::prepare(&socket, address)?;
    socket2::SockRef::from(&socket).bind(&address.into())?;
    Ok(socket)
}

/// Begins to answer on all addresses. Threads and tasks live as long as the process.
///
/// # Errors
/// The system's reason for giving no thread.
pub fn serve(bound: Vec<Bound>, engine: &Arc<Engine>, workers: Workers) -> io::Result<()> {
    let (misses, late) = unbounded_channel();
    tokio::spawn(resolve(Arc::clone(engine), late));
    let mut doors = Vec::new();
    for Bound { udp, tcp, .. } in bound {
        tokio::spawn(stream::serve(Arc::clone(engine), tcp));
        doors.push(udp.into_iter());
    }
    for number in 0..workers.count.max(1) {
        let sockets: Vec<UdpSocket> = doors.iter_mut().filter_map(Iterator::next).collect();
        let worker = Worker::new(Arc::clone(engine), misses.clone());
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

/// Resolves what the workers could not answer. The queue is bounded by the engine's permits: each
/// late query holds one.
async fn resolve(engine: Arc<Engine>, mut late: UnboundedReceiver<Late>) {
    let mut taken = Vec::with_capacity(LATE_BATCH);
    while late.recv_many(&mut taken, LATE_BATCH).await > 0 {
        for late in taken.drain(..) {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move {
                match late {
                    Late::Renewal(renewal) => engine.renew(renewal).await,
                    Late::Miss(miss, way_back) => {
                        let mut reply = Vec::new();
                        engine.finish(miss, &mut reply).await;
                        if !reply.is_empty() && way_back(&reply).refused > 0 {
                            engine.common_desk().pen.count(Count::ReplyRefused);
                        }
                    }
                }
            });
        }
    }
}
