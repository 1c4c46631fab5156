//! Sockets. UDP: a few plain threads for each address, each on a socket of its own; TCP: tasks on the runtime.
//!
//! A UDP thread answers hits itself and hands misses to the runtime. A panic over a packet ends that packet, not the thread.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::{Mutex, Semaphore},
};

use crate::{
    engine::{Engine, Step},
    respond::Transport,
};

/// What a socket asks of the kernel, in octets: a few hundred thousand small packets, so that a pause of a worker loses
/// none. The kernel grants less where `net.core.rmem_max` says so.
const SOCKET_BUFFER_OCTETS: usize = 8 << 20;
/// A reply that cannot be sent within this is dropped: UDP is allowed to lose, a worker is not allowed to hang.
const SEND_PATIENCE: Duration = Duration::from_millis(50);
/// TCP connections at a time; each costs a task and a buffer.
const TCP_CONNECTIONS_MAX: usize = 1_024;
/// Queries at work on one TCP connection at a time (RFC 7766 section 6.2.1.1 wants them answered out of order).
const TCP_PIPELINE_MAX: usize = 64;
/// How long a TCP connection may be silent, RFC 7766 section 6.2.3.
const TCP_IDLE: Duration = Duration::from_secs(10);

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
    udp: Vec<UdpSocket>,
    tcp: TcpListener,
}

/// How often a free port is tried that serves both protocols.
const PORT_TRIES: usize = 16;

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
    let error = |protocol| move |source| ListenError { address, protocol, source };
    // TCP first and without port sharing: a second daemon on the same address fails here and steals no UDP packets.
    let tcp = bind_tcp(address).map_err(error("TCP"))?;
    let bound = tcp.local_addr().map_err(error("TCP"))?;
    let udp = (0..workers.max(1)).map(|_| bind_udp(bound)).collect::<io::Result<Vec<_>>>().map_err(error("UDP"))?;
    Ok(Bound { address: bound, udp, tcp })
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
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
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Less is granted without complaint, and less is still a listener.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_OCTETS);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_OCTETS);
    socket.set_write_timeout(Some(SEND_PATIENCE))?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

impl Bound {
    /// Begins to answer. Threads and tasks live as long as the process.
    ///
    /// # Errors
    /// The system's reason for giving no thread.
    pub fn serve(self, engine: &Arc<Engine>) -> io::Result<()> {
        for (worker, socket) in self.udp.into_iter().enumerate() {
            let (engine, runtime) = (Arc::clone(engine), Handle::current());
            std::thread::Builder::new().name(format!("udp-{worker}")).spawn(move || serve_udp(&engine, &Arc::new(socket), &runtime))?;
        }
        tokio::spawn(serve_tcp(Arc::clone(engine), self.tcp));
        Ok(())
    }
}

fn serve_udp(engine: &Arc<Engine>, socket: &Arc<UdpSocket>, runtime: &Handle) {
    let mut packet = vec![0; usize::from(u16::MAX)];
    let mut reply = Vec::with_capacity(4_096);
    loop {
        // An error here is about a datagram or an earlier reply (ICMP), never about the socket's life.
        let Ok((octets, peer)) = socket.recv_from(&mut packet) else {
            continue;
        };
        let packet = &packet[..octets];
        match guarded(engine, || engine.answer(packet, peer.ip(), Transport::Udp, &mut reply)) {
            Step::Silent => {}
            Step::Reply => send(socket, &reply, peer),
            Step::Miss(miss) => {
                let (engine, socket) = (Arc::clone(engine), Arc::clone(socket));
                runtime.spawn(async move {
                    let mut reply = Vec::new();
                    engine.finish(miss, &mut reply).await;
                    send(&socket, &reply, peer);
                });
            }
        }
    }
}

/// A reply that cannot be sent is lost, as UDP may; the client asks again.
fn send(socket: &UdpSocket, reply: &[u8], peer: SocketAddr) {
    let _ = socket.send_to(reply, peer);
}

/// One hostile packet costs one turn of a worker and is counted, whatever it hits.
fn guarded(engine: &Engine, answer: impl FnOnce() -> Step) -> Step {
    catch_unwind(AssertUnwindSafe(answer)).unwrap_or_else(|_| {
        engine.recorder.panics.increment(1);
        Step::Silent
    })
}

async fn serve_tcp(engine: Arc<Engine>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(TCP_CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, peer)) => {
                let engine = Arc::clone(&engine);
                tokio::spawn(async move {
                    // A connection that breaks is the client's affair.
                    let _ = serve_connection(&engine, stream, peer).await;
                    drop(place);
                });
            }
            // Out of descriptors, or a client that left before it was greeted: neither ends the listener, and a pause
            // keeps the first from spinning.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve_connection(engine: &Arc<Engine>, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, writer) = stream.into_split();
    let writer = Arc::new(Mutex::new(writer));
    let pipeline = Arc::new(Semaphore::new(TCP_PIPELINE_MAX));
    let mut reply = Vec::new();
    loop {
        let packet = match tokio::time::timeout(TCP_IDLE, read_message(&mut reader)).await {
            Ok(packet) => packet?,
            Err(_) => return Ok(()),
        };
        match guarded(engine, || engine.answer(&packet, peer.ip(), Transport::Tcp, &mut reply)) {
            // RFC 7766 section 8: what is no query ends the connection.
            Step::Silent => return Ok(()),
            Step::Reply => write_message(&writer, &reply).await?,
            Step::Miss(miss) => {
                let place = Arc::clone(&pipeline).acquire_owned().await.expect("the semaphore is never closed");
                let (engine, writer) = (Arc::clone(engine), Arc::clone(&writer));
                tokio::spawn(async move {
                    let mut reply = Vec::new();
                    engine.finish(miss, &mut reply).await;
                    let _ = write_message(&writer, &reply).await;
                    drop(place);
                });
            }
        }
    }
}

async fn read_message(reader: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Vec<u8>> {
    let mut packet = vec![0; usize::from(reader.read_u16().await?)];
    reader.read_exact(&mut packet).await?;
    Ok(packet)
}

async fn write_message(writer: &Mutex<impl AsyncWriteExt + Unpin>, reply: &[u8]) -> io::Result<()> {
    let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
    let mut message = Vec::with_capacity(reply.len() + 2);
    message.extend(length.to_be_bytes());
    message.extend_from_slice(reply);
    // A client that reads nothing holds up its own connection, and only for as long as it may be silent.
    let write = async { writer.lock().await.write_all(&message).await };
    tokio::time::timeout(TCP_IDLE, write).await.map_err(io::Error::other)?
}
