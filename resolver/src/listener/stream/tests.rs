//! Connections to an engine without a socket: what a client that pipelines and does not read gets.

use std::{collections::BTreeSet, sync::atomic::AtomicUsize, sync::atomic::Ordering};

use async_trait::async_trait;
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, Record, rdata::TXT},
};
use policy::{
    category::Taxonomy,
    identity::directory::Directory,
    lists::{blocklist::Blocklist, current::CurrentLists},
    name::Name,
    rules::operator::OperatorDefaults,
};
use tokio::io::{DuplexStream, duplex};

use super::*;
use crate::{
    admission::AdmissionSettings,
    engine::{EngineConfig, ServeStale},
    message::{blocked::BlockedAnswers, ede::BlockContact},
    rates::RateSettings,
    time::SystemClock,
    upstream::{Answer, Question, Recursion, RecursionError},
};

/// Octets on the way in one direction: more than all queries, less than two answers.
const ON_THE_WAY: usize = 64 << 10;
const ANSWER_OCTETS: usize = 50_000;

/// Every name has a text of 50 kB.
struct Long(AtomicUsize);

#[async_trait]
impl Recursion for Long {
    async fn resolve(&self, question: &Question) -> Result<Answer, RecursionError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        let text = vec!["x".repeat(249); ANSWER_OCTETS / 250];
        let record = Record::from_rdata(question.proto_name(), 60, RData::TXT(TXT::new(text)));
        Ok(Answer {
            answers: vec![record],
            ..Answer::empty(ResponseCode::NoError)
        })
    }
}

fn engine() -> Arc<Engine> {
    let taxonomy = Arc::new(Taxonomy::shipped());
    Arc::new(Engine::new(EngineConfig {
        directory: Arc::new(Directory::new(OperatorDefaults::default())),
        lists: Arc::new(CurrentLists::new(Arc::new(Blocklist::empty(&taxonomy)))),
        taxonomy,
        contact: BlockContact::default(),
        recursion: Arc::new(Long(AtomicUsize::new(0))),
        allow_from: vec!["192.0.2.0/24".parse().unwrap()],
        trusted_peers: Vec::new(),
        snoop_from: Vec::new(),
        blocked: BlockedAnswers::default(),
        url_proxy: Vec::new(),
        server_id: None,
        cache_octets: 1 << 20,
        local_cache_octets: 1 << 20,
        admission: AdmissionSettings {
            places_max: 1_000,
            per_client_max: 1_000,
        },
        rates: RateSettings::default(),
        cookie_secrets: Vec::new(),
        stale: ServeStale {
            stale_max: Duration::ZERO,
            client_timeout: Duration::ZERO,
        },
        prefetch: false,
        sample_every: 0,
        on_notify: None,
        clock: Arc::new(SystemClock::start()),
    }))
}

/// A query for TXT of a name of its own, by its id, with its length in front.
fn query(id: u16) -> Vec<u8> {
    let name = Name::parse(&format!("n{id}.example")).unwrap();
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    packet.extend_from_slice(name.borrow().wire());
    packet.extend([0, 16, 0, 1]);
    [
        &u16::try_from(packet.len()).unwrap().to_be_bytes()[..],
        &packet,
    ]
    .concat()
}

/// A connection: the client's side, and the task that serves it.
fn connected() -> (DuplexStream, tokio::task::JoinHandle<io::Result<()>>) {
    connected_from([192, 0, 2, 7].into())
}

/// The same for a client with this address.
fn connected_from(peer: IpAddr) -> (DuplexStream, tokio::task::JoinHandle<io::Result<()>>) {
    let (client, server) = duplex(ON_THE_WAY);
    let (reader, writer) = tokio::io::split(server);
    let engine = engine();
    (
        client,
        tokio::spawn(async move {
            let connection = Connections::new(2).open(peer).expect("room");
            serve_stream(&engine, reader, writer, peer, &Arc::new(connection)).await
        }),
    )
}

/// The ids of the complete answers in a stream, and the number of missing octets of a last, partial
/// one.
fn read_frames(mut stream: &[u8]) -> (BTreeSet<u16>, usize) {
    let mut ids = BTreeSet::new();
    while let Some((length, rest)) = stream.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        let Some(frame) = rest.get(..length) else {
            return (ids, length - rest.len());
        };
        let message = Message::from_vec(frame).expect("a frame is one message");
        let name = message.queries[0].name.to_ascii();
        assert_eq!(
            name,
            format!("n{}.example.", message.metadata.id),
            "the answer to its question"
        );
        assert!(
            frame.len() > ANSWER_OCTETS && ids.insert(message.metadata.id),
            "{name} once, and whole"
        );
        stream = &rest[length..];
    }
    (ids, 0)
}

#[tokio::test(start_paused = true)]
async fn after_a_refusal_a_connection_is_not_read_for_a_while() {
    let (mut client, _served) = connected_from([198, 51, 100, 7].into());
    let begun = tokio::time::Instant::now();
    for id in 0..5 {
        client.write_all(&query(id)).await.unwrap();
    }
    for _ in 0..5 {
        let length = client.read_u16().await.unwrap();
        let mut reply = vec![0; length.into()];
        client.read_exact(&mut reply).await.unwrap();
        assert!(is_refusal(&reply));
    }
    assert_eq!(begun.elapsed(), 4 * REFUSED_PAUSE);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_cut_off_after_whole_messages() {
    let (mut client, served) = connected();
    for id in 0..400 {
        client.write_all(&query(id)).await.unwrap();
    }
    sleep(Duration::from_secs(16)).await;
    assert!(
        served.is_finished(),
        "the connection is closed, and its permit is free"
    );
    let mut stream = Vec::new();
    client.read_to_end(&mut stream).await.unwrap();
    let (ids, missing) = read_frames(&stream);
    assert_eq!(
        (ids.len(), missing > 0),
        (1, true),
        "one whole answer, and a part of the next"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_in_time_gets_every_answer() {
    let (mut client, _served) = connected();
    for id in 0..400 {
        client.write_all(&query(id)).await.unwrap();
    }
    sleep(WRITE_MAX / 2).await;
    let mut stream = Vec::new();
    let mut buffer = vec![0; ON_THE_WAY];
    while read_frames(&stream).0.len() < 400 {
        let octets = client.read(&mut buffer).await.unwrap();
        assert!(octets > 0, "the connection goes on");
        stream.extend_from_slice(&buffer[..octets]);
        if stream.len() > 10 * ANSWER_OCTETS {
            // Only the octets of the rest are counted.
            break;
        }
    }
    let mut octets = stream.len();
    while octets < 400 * ANSWER_OCTETS {
        octets += client.read(&mut buffer).await.unwrap();
    }
}

#[tokio::test]
async fn after_a_cancelled_write_nothing_else_is_written() {
    let (mut client, server) = duplex(16);
    let writer = Arc::new(Writer::new(server));
    let slow = tokio::spawn({
        let writer = Arc::clone(&writer);
        async move { writer.write(&[7; 100]).await }
    });
    let mut stream = vec![0; 10];
    client.read_exact(&mut stream).await.unwrap();
    slow.abort();
    assert!(slow.await.unwrap_err().is_cancelled());
    assert_eq!(
        writer.write(&[8; 4]).await.unwrap_err().kind(),
        io::ErrorKind::BrokenPipe
    );
    client.read_to_end(&mut stream).await.unwrap();
    assert_eq!(&stream[..2], [0, 100]);
    assert!(
        stream.len() < 102 && stream[2..].iter().all(|octet| *octet == 7),
        "the end of the stream: {stream:?}"
    );
}

#[tokio::test]
async fn a_closed_connection_ends_all_waiting_writes() {
    let (client, server) = duplex(16);
    let writer = Writer::new(server);
    drop(client);
    assert!(writer.write(&[7; 100]).await.is_err());
    writer.broken().await;
    assert_eq!(
        writer.write(&[8; 4]).await.unwrap_err().kind(),
        io::ErrorKind::BrokenPipe
    );
}
