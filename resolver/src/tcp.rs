//! TCP: tasks on the runtime that end in the same answer function, and share the same cache, as the workers (RFC 7766).

use std::{
    io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Mutex, Semaphore},
};

use crate::{
    engine::{Engine, Step},
    record::Count,
    respond::Transport,
};

/// TCP connections at a time; each costs a task and a buffer.
const CONNECTIONS_MAX: usize = 1_024;
/// Queries at work on one connection at a time (RFC 7766 section 6.2.1.1 wants them answered out of order).
const PIPELINE_MAX: usize = 64;
/// How long a connection may be silent, RFC 7766 section 6.2.3.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Answers the connections of a listener, for as long as the process lives.
pub async fn serve(engine: Arc<Engine>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
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
    let pipeline = Arc::new(Semaphore::new(PIPELINE_MAX));
    let mut reply = Vec::new();
    loop {
        let packet = match tokio::time::timeout(IDLE_MAX, read_message(&mut reader)).await {
            Ok(packet) => packet?,
            Err(_) => return Ok(()),
        };
        match answer(engine, &packet, peer, &mut reply) {
            // RFC 7766 section 8: what is no query ends the connection.
            Step::Silent => return Ok(()),
            // The connection is the client's for its other questions.
            Step::Dropped => {}
            Step::Reply => {
                renew(engine);
                write_message(&writer, &reply).await?;
            }
            Step::Miss(miss) => {
                let place = Arc::clone(&pipeline).acquire_owned().await.expect("the semaphore is never closed");
                let (engine, writer) = (Arc::clone(engine), Arc::clone(&writer));
                tokio::spawn(async move {
                    let mut reply = Vec::new();
                    engine.finish(miss, &mut reply).await;
                    if !reply.is_empty() {
                        let _ = write_message(&writer, &reply).await;
                    }
                    drop(place);
                });
            }
        }
    }
}

/// A panic over a message ends that connection and nothing else. The desk is held for this one message.
fn answer(engine: &Engine, packet: &[u8], peer: SocketAddr, reply: &mut Vec<u8>) -> Step {
    let mut desk = engine.common_desk();
    let step = catch_unwind(AssertUnwindSafe(|| engine.answer(&engine.turn(), packet, peer.ip(), Transport::Tcp, &mut desk, reply)));
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
    tokio::time::timeout(IDLE_MAX, write).await.map_err(io::Error::other)?
}
