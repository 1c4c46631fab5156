//! The sockets of an authoritative server: UDP and TCP at one loopback address.
//!
//! hickory-server's own listeners are not used: they send only messages that hickory has built, and
//! require that a response has the id of its query; forged responses need control over every byte.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_server::net::xfer::Protocol;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    runtime::Handle,
    sync::OnceCell,
};

use super::{
    authority::Authority,
    spoofer::{Packet, Sender},
};

/// The source of packets with a foreign address.
const FOREIGN: Ipv4Addr = Ipv4Addr::new(127, 63, 0, 66);

/// Bound sockets that are not served yet.
pub(super) struct Sockets {
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
}

impl Sockets {
    /// Binds both transports, or neither.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let sockets = Self {
            udp: std::net::UdpSocket::bind(address)?,
            tcp: std::net::TcpListener::bind(address)?,
        };
        sockets.udp.set_nonblocking(true)?;
        sockets.tcp.set_nonblocking(true)?;
        Ok(sockets)
    }

    /// Serves until the runtime ends.
    pub(super) fn serve(self, runtime: &Handle, authority: &Arc<Authority>) {
        let _inside = runtime.enter();
        let udp = UdpSocket::from_std(self.udp).expect("the socket is non-blocking");
        let tcp = TcpListener::from_std(self.tcp).expect("the socket is non-blocking");
        let mouth = ServerSocket {
            own: udp,
            same_address: OnceCell::new(),
            foreign: OnceCell::new(),
        };
        runtime.spawn(serve_udp(Arc::new(mouth), Arc::clone(authority)));
        runtime.spawn(serve_tcp(tcp, Arc::clone(authority)));
    }
}

/// The socket of a server, and those that an attacker spoofs it with; these are bound at first use.
struct ServerSocket {
    own: UdpSocket,
    same_address: OnceCell<UdpSocket>,
    foreign: OnceCell<UdpSocket>,
}

impl ServerSocket {
    async fn send(&self, packet: &Packet, to: SocketAddr) -> io::Result<usize> {
        let socket = match packet.sender {
            Sender::Itself => &self.own,
            Sender::OtherPort => {
                let address = self.own.local_addr()?.ip();
                self.same_address
                    .get_or_try_init(|| UdpSocket::bind((address, 0)))
                    .await?
            }
            Sender::OtherAddress => {
                self.foreign
                    .get_or_try_init(|| UdpSocket::bind((FOREIGN, 0)))
                    .await?
            }
        };
        socket.send_to(&packet.bytes, to).await
    }
}

/// One task per query, so that a delayed answer does not delay the next.
async fn serve_udp(mouth: Arc<ServerSocket>, authority: Arc<Authority>) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        // An error here is the ICMP error of a client that has closed its socket; the next datagram
        // is unaffected.
        let Ok((length, from)) = mouth.own.recv_from(&mut buffer).await else {
            continue;
        };
        let packet = buffer[..length].to_vec();
        let mouth = Arc::clone(&mouth);
        let authority = Arc::clone(&authority);
        tokio::spawn(async move {
            for reply in authority.respond(packet, from, Protocol::Udp).await {
                let _client_may_be_gone = mouth.send(&reply, from).await;
            }
        });
    }
}

async fn serve_tcp(listener: TcpListener, authority: Arc<Authority>) {
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            continue;
        };
        let authority = Arc::clone(&authority);
        tokio::spawn(async move {
            let _client_may_be_gone = serve_connection(stream, from, &authority).await;
        });
    }
}

async fn serve_connection(
    mut stream: TcpStream,
    from: SocketAddr,
    authority: &Authority,
) -> io::Result<()> {
    loop {
        let mut packet = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut packet).await?;
        for reply in authority.respond(packet, from, Protocol::Tcp).await {
            let length = u16::try_from(reply.bytes.len()).expect("replies are cut to 65,535 bytes");
            let framed = [&length.to_be_bytes()[..], &reply.bytes].concat();
            match authority.pace() {
                None => stream.write_all(&framed).await?,
                Some(pace) => drip(&mut stream, &framed, pace).await?,
            }
        }
    }
}

/// Sends octet by octet.
async fn drip(stream: &mut TcpStream, bytes: &[u8], pace: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    for octet in bytes {
        tokio::time::sleep(pace).await;
        stream.write_all(&[*octet]).await?;
    }
    Ok(())
}
