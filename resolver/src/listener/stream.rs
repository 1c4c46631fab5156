//! TCP: tasks on the runtime that end in the same answer function, and share the same cache, as the
//! workers (RFC 7766).

use std::{
    io,
    net::{IpAddr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Mutex, Notify, Semaphore},
    time::timeout,
};

use crate::{
    engine::{Engine, Step},
    message::reply::Transport,
    telemetry::metrics::Count,
};

/// TCP connections at a time; each costs a task and a buffer.
const CONNECTIONS_MAX: usize = 1_024;
/// Queries at work on one connection at a time (RFC 7766 section 6.2.1.1 wants them answered out of
/// order).
const PIPELINE_MAX: usize = 64;
/// How long a connection may be silent, RFC 7766 section 6.2.3, and how long one message may take
/// to be written.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Answers the connections of a listener, for as long as the process lives.
pub async fn serve(engine: Arc<Engine>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, peer)) => {
                let engine = Arc::clone(&engine);
                tokio::spawn(async move {
                    // A connection that breaks is the client's affair.
                    let _ = serve_connection(&engine, stream, peer).await;
                    drop(place);
                });
            }
            // Out of descriptors, or a client that left before it was greeted: neither ends the
            // listener, and a pause keeps the first from spinning.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve_connection(
    engine: &Arc<Engine>,
    stream: TcpStream,
    peer: SocketAddr,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    converse(engine, reader, writer, peer.ip()).await
}

/// Answers the queries of one connection until one side ends it.
async fn converse(
    engine: &Arc<Engine>,
    mut reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin + Send + 'static,
    peer: IpAddr,
) -> io::Result<()> {
    let writer = Arc::new(Writer::new(writer));
    let pipeline = Arc::new(Semaphore::new(PIPELINE_MAX));
    let mut reply = Vec::new();
    loop {
        let packet = tokio::select! {
            packet = timeout(IDLE_MAX, read_message(&mut reader)) => match packet {
                Ok(packet) => packet?,
                Err(_) => return Ok(()),
            },
            () = writer.broken() => return Ok(()),
        };
        match answer(engine, &packet, peer, &mut reply) {
            // RFC 7766 section 8: what is no query ends the connection.
            Step::Silent => return Ok(()),
            // The connection is the client's for its other questions.
            Step::Dropped => {}
            Step::Reply => {
                renew(engine);
                writer.write(&reply).await?;
            }
            Step::Miss(miss) => {
                let place = tokio::select! {
                    place = Arc::clone(&pipeline).acquire_owned() => place.expect("the semaphore is never closed"),
                    () = writer.broken() => return Ok(()),
                };
                let engine = Arc::clone(engine);
                let writer = Arc::clone(&writer);
                tokio::spawn(async move {
                    let mut reply = Vec::new();
                    engine.finish(miss, &mut reply).await;
                    if !reply.is_empty() {
                        // Where it cannot be written, the connection has ended for all that wait.
                        let _ = writer.write(&reply).await;
                    }
                    drop(place);
                });
            }
        }
    }
}

/// The writing half of a connection, which answers share in turn. Messages on a stream are told
/// apart by their lengths alone (RFC 1035 section 4.2.2), so behind a message that was not written
/// whole nothing else may be written.
struct Writer<W> {
    /// None from the first write that failed on.
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

    /// Writes one message. A write that fails, or takes longer than a client may be silent, ends
    /// the connection: a client that reads nothing holds up no other one.
    async fn write(&self, reply: &[u8]) -> io::Result<()> {
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        let mut message = Vec::with_capacity(reply.len() + 2);
        message.extend(length.to_be_bytes());
        message.extend_from_slice(reply);
        let mut place = self.half.lock().await;
        // It is put back when the message is written whole, so that it closes however this ends
        // otherwise.
        let mut half = place.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let written = async {
            half.write_all(&message).await?;
            half.flush().await
        };
        match timeout(IDLE_MAX, written).await {
            Ok(Ok(())) => {
                *place = Some(half);
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

/// A panic over a message ends that connection and nothing else. The desk is held for this one
/// message.
fn answer(engine: &Engine, packet: &[u8], peer: IpAddr, reply: &mut Vec<u8>) -> Step {
    let mut desk = engine.common_desk();
    let step = catch_unwind(AssertUnwindSafe(|| {
        engine.answer(
            &engine.turn(),
            packet,
            peer,
            Transport::Tcp,
            &mut desk,
            reply,
        )
    }));
    step.unwrap_or_else(|_| {
        desk.pen.count(Count::Panic);
        Step::Silent
    })
}

/// Has what was answered near its end resolved again.
fn renew(engine: &Arc<Engine>) {
    for renewal in std::mem::take(&mut engine.common_desk().due) {
        let engine = Arc::clone(engine);
        tokio::spawn(async move { engine.renew(renewal).await });
    }
}

async fn read_message(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut packet = vec![0; usize::from(reader.read_u16().await?)];
    reader.read_exact(&mut packet).await?;
    Ok(packet)
}

#[cfg(test)]
mod tests;
