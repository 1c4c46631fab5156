//! DNS over TCP (RFC 7766): one task on the runtime for each connection, which answers by the same
//! engine as the workers.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Mutex, Notify, Semaphore},
    time::{sleep, timeout},
};

use crate::{
    engine::{Engine, Prefetch, Step},
    listener::{
        client::Client,
        connections::{Connection, Connections},
    },
    message::types::{Rcode, Transport},
    telemetry::counters::Count,
};

/// Highest number of connections at a time; each has a task and a buffer.
const CONNECTIONS_MAX: usize = 1_024;
/// Highest number of misses of one connection at a time. They are answered out of order (RFC 7766
/// section 6.2.1.1).
const PIPELINE_MAX: usize = 64;
/// How long a connection is not read after REFUSED: the queries of a client over its rate cost the
/// others that much less.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// The longest time to write one message.
const WRITE_MAX: Duration = Duration::from_secs(10);

/// Answers the connections of a listener, for as long as the process lives.
pub async fn serve(engine: Arc<Engine>, listener: TcpListener) {
    let connections = Connections::new(CONNECTIONS_MAX).noted_in(engine.limited_connections());
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // A household with many lines has one share.
                let client = engine.client_key(&Client::new(peer.ip(), Transport::Tcp));
                let open = |connections: &Connections| connections.open_of(&client);
                let Some(connection) = connections.open_after(open).await else {
                    engine.runtime_state().metrics.count(Count::TcpRefused);
                    continue;
                };
                let engine = Arc::clone(&engine);
                tokio::spawn(async move {
                    // A broken connection needs no handling here.
                    let _ = serve_connection(&engine, stream, peer, &Arc::new(connection)).await;
                });
            }
            // No descriptors left, or the client has closed the connection. The listener goes on;
            // the pause keeps it from spinning without descriptors.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve_connection(
    engine: &Arc<Engine>,
    stream: TcpStream,
    peer: SocketAddr,
    connection: &Arc<Connection>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    tokio::select! {
        served = serve_stream(engine, reader, writer, peer.ip(), connection) => served,
        () = connection.closing() => {
            engine.runtime_state().metrics.count(Count::TcpClosed);
            Ok(())
        }
    }
}

/// Answers the queries of one connection until one side closes it.
async fn serve_stream(
    engine: &Arc<Engine>,
    mut reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin + Send + 'static,
    peer: IpAddr,
    connection: &Arc<Connection>,
) -> io::Result<()> {
    let writer = Arc::new(Writer::new(writer));
    let pipeline = Arc::new(Semaphore::new(PIPELINE_MAX));
    let mut reply = Vec::new();
    loop {
        let packet = tokio::select! {
            packet = timeout(connection.idle_max(), read_message(&mut reader, connection)) => match packet {
                Ok(packet) => packet?,
                Err(_) => return Ok(()),
            },
            () = writer.broken() => return Ok(()),
        };
        connection.work();
        let (step, prefetches) = answer(engine, &packet, peer, &mut reply);
        for prefetch in prefetches {
            let engine = Arc::clone(engine);
            tokio::spawn(async move { engine.prefetch(prefetch).await });
        }
        match step {
            // RFC 7766 section 8: a malformed message ends the connection.
            Step::Ignored => return Ok(()),
            // The client may ask other questions on the connection.
            Step::Dropped => connection.wait(),
            Step::Reply => {
                // Before the write: the client may open its next connection as soon as it reads.
                connection.wait();
                writer.write(&reply).await?;
                if is_refusal(&reply) {
                    sleep(REFUSED_PAUSE).await;
                }
            }
            Step::Miss(miss) => {
                let permit = tokio::select! {
                    permit = Arc::clone(&pipeline).acquire_owned() => permit.expect("the semaphore is never closed"),
                    () = writer.broken() => return Ok(()),
                };
                let engine = Arc::clone(engine);
                let writer = Arc::clone(&writer);
                // A connection that the client closes leaves its place at once.
                let connection = Arc::downgrade(connection);
                tokio::spawn(async move {
                    let mut reply = Vec::new();
                    engine.finish(miss, &mut reply).await;
                    if let Some(connection) = connection.upgrade() {
                        connection.wait();
                    }
                    if !reply.is_empty() {
                        // A failed write has ended the connection.
                        let _ = writer.write(&reply).await;
                    }
                    drop(permit);
                });
            }
        }
    }
}

/// The writing half of a connection, shared by its answers. Only lengths delimit messages on a
/// stream (RFC 1035 section 4.2.2), so that after a partly written message nothing may follow.
struct Writer<W> {
    /// None after a failed write.
    half: Mutex<Option<W>>,
    has_failed: Notify,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    fn new(half: W) -> Self {
        Self {
            half: Mutex::new(Some(half)),
            has_failed: Notify::new(),
        }
    }

    /// Writes one message. A write that fails, or takes longer than [`WRITE_MAX`], ends the
    /// connection: a client that reads nothing cannot hold memory.
    async fn write(&self, reply: &[u8]) -> io::Result<()> {
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        let mut message = Vec::with_capacity(reply.len() + 2);
        message.extend(length.to_be_bytes());
        message.extend_from_slice(reply);
        let mut slot = self.half.lock().await;
        // Put back only after a complete write: in all other cases the connection closes.
        let mut half = slot.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let written = async {
            half.write_all(&message).await?;
            half.flush().await
        };
        match timeout(WRITE_MAX, written).await {
            Ok(Ok(())) => {
                *slot = Some(half);
                Ok(())
            }
            failed => {
                self.has_failed.notify_one();
                failed.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Waits until a write has failed. One task waits.
    async fn broken(&self) {
        self.has_failed.notified().await;
    }
}

/// Whether a reply has the response code REFUSED.
fn is_refusal(reply: &[u8]) -> bool {
    reply
        .get(3)
        .is_some_and(|flags| flags & 0x0f == Rcode::Refused as u8)
}

/// Answers one message with the state of this thread. A panic over a message ends its connection
/// only.
fn answer(
    engine: &Engine,
    packet: &[u8],
    source: IpAddr,
    reply: &mut Vec<u8>,
) -> (Step, Vec<Prefetch>) {
    let client = Client::new(source, Transport::Tcp);
    let batch = engine.snapshot();
    let mut state = engine.runtime_state();
    let step = catch_unwind(AssertUnwindSafe(|| {
        engine.answer(&batch, packet, client, &mut state, reply)
    }));
    let step = step.unwrap_or_else(|_| {
        state.metrics.count(Count::Panic);
        Step::Ignored
    });
    (step, std::mem::take(&mut state.prefetches))
}

/// Reads one message. It takes memory as its octets arrive, and not for the length that the client
/// says. The connection learns when nothing is there to be read.
async fn read_message(
    reader: &mut (impl AsyncRead + Unpin),
    connection: &Connection,
) -> io::Result<Vec<u8>> {
    let mut read = pin!(read_octets(reader));
    poll_fn(|context| {
        let polled = read.as_mut().poll(context);
        if polled.is_pending() {
            connection.find_nothing();
        }
        polled
    })
    .await
}

async fn read_octets(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = reader.read_u16().await?;
    let mut packet = Vec::new();
    let read = reader.take(length.into()).read_to_end(&mut packet).await?;
    if read < usize::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(packet)
}

#[cfg(test)]
mod tests;
