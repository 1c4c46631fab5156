//! The load generator: batches over several sockets, from as many source addresses as there are
//! households.
//!
//! Closed loop: so many queries are outstanding, and each reply makes room for the next query; it
//! saturates the server. Open loop: queries leave at a fixed rate whatever comes back, and latency
//! counts from the moment a query was due, so that a server that stalls cannot hide it by slowing
//! its asker down.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use rand::{Rng, SeedableRng, rngs::StdRng};
use resolver::listener::udp::{UdpBatch, UdpPath};

use crate::mix::Mix;

/// The lines of households have addresses from here on, one each.
pub const FIRST_LINE: u32 = 0x7f80_0000;
const SOCKETS: usize = 16;
const BATCH: usize = 32;
/// Ids in use on each socket: enough that an id is free again long before its turn comes.
const IDS: usize = 4_096;
/// A reply that takes longer is lost.
const LOST_AFTER: Duration = Duration::from_secs(1);
const SOCKET_BUFFER_OCTETS: usize = 8 << 20;
/// Asking each question once has no end of its own: without a reply for so long, there is no server;
const SILENT_AFTER: Duration = Duration::from_secs(10);
/// and where it takes longer than this, so much is lost that the room, freed a second late, would
/// let it last for hours.
const ONCE_WITHIN: Duration = Duration::from_secs(300);
/// Longer than anything that is not lost.
const LATENCY_MAX_NS: u64 = 10_000_000_000;

/// How to ask.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Queries outstanding.
    pub outstanding: usize,
    /// Queries a second; none is as many as come back.
    pub rate: Option<f64>,
    /// How long; none asks each packet of the mix once.
    pub duration: Option<Duration>,
    /// How many lines ask.
    pub lines: u32,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Replies.
    pub replies: u64,
    /// Queries without a reply within a second.
    pub lost: u64,
    /// Replies by response code.
    pub rcodes: [u64; 16],
    /// From the first query to the last reply.
    pub took: Duration,
    /// Latency in nanoseconds.
    pub latency: Histogram<u64>,
}

impl Outcome {
    /// Replies a second.
    pub fn qps(&self) -> f64 {
        if self.replies == 0 {
            0.0
        } else {
            self.replies as f64 / self.took.as_secs_f64()
        }
    }

    /// A quantile of the latency, in microseconds.
    pub fn latency_us(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e3
    }

    /// The share of replies with a code.
    pub fn share(&self, rcode: usize) -> f64 {
        self.rcodes[rcode] as f64 / self.replies.max(1) as f64
    }
}

/// One socket and what is on its way there.
struct Door {
    socket: UdpSocket,
    /// When the query with this id was due, in nanoseconds since the start and one; 0: no query.
    due: Box<[u64; IDS]>,
    next_id: usize,
    outstanding: usize,
}

impl Door {
    fn new(room: usize) -> anyhow::Result<Self> {
        ensure!(
            room <= IDS / 2,
            "at most {} queries outstanding",
            SOCKETS * IDS / 2
        );
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("binding a socket")?;
        let options = socket2::SockRef::from(&socket);
        options
            .set_recv_buffer_size(SOCKET_BUFFER_OCTETS)
            .context("sizing a socket")?;
        let _without_privilege =
            resolver::listener::udp::force_receive_buffer(&socket, SOCKET_BUFFER_OCTETS);
        Ok(Self {
            socket,
            due: Box::new([0; IDS]),
            next_id: 0,
            outstanding: 0,
        })
    }

    /// An id that is free, for a query that is due now.
    fn take_id(&mut self, due: u64) -> [u8; 2] {
        while self.due[self.next_id] != 0 {
            self.next_id = (self.next_id + 1) % IDS;
        }
        let id = self.next_id;
        self.due[id] = due + 1;
        self.next_id = (id + 1) % IDS;
        self.outstanding += 1;
        (id as u16).to_be_bytes()
    }

    /// When a reply's query was due; none where no query was sent.
    fn settle(&mut self, id: [u8; 2]) -> Option<u64> {
        let due = std::mem::take(self.due.get_mut(usize::from(u16::from_be_bytes(id)))?);
        self.outstanding -= usize::from(due != 0);
        due.checked_sub(1)
    }

    /// Gives up on queries that were due before; returns how many.
    fn give_up(&mut self, before: u64) -> u64 {
        let mut lost = 0;
        for due in self
            .due
            .iter_mut()
            .filter(|due| **due != 0 && **due - 1 < before)
        {
            *due = 0;
            lost += 1;
        }
        self.outstanding -= lost as usize;
        lost
    }
}

/// Asks `server` and waits for what is still on its way at the end. It always ends: a second after
/// its time, because what is lost is given up; and where it has no time, because each question is
/// to be asked once, by an error when that does not get on.
pub fn blast(server: SocketAddr, mix: &Mix, load: Load) -> anyhow::Result<Outcome> {
    ensure!(
        load.outstanding > 0,
        "nobody asks anything with no query outstanding"
    );
    let room = load.outstanding.div_ceil(SOCKETS);
    // At a fixed rate the room is only a bound on what a silent server can pile up.
    let room = if load.rate.is_some() { IDS / 2 } else { room };
    let mut doors = (0..SOCKETS)
        .map(|_| Door::new(room))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut inbox = UdpBatch::new(64);
    let mut outbox = UdpBatch::new(BATCH);
    let mut chance = StdRng::seed_from_u64(7);
    let mut outcome = Outcome {
        replies: 0,
        lost: 0,
        rcodes: [0; 16],
        took: Duration::ZERO,
        latency: Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).context("a histogram")?,
    };
    let began = Instant::now();
    let mut sent = 0_u64;
    let mut looked = Duration::ZERO;
    let mut last_reply = Duration::ZERO;
    loop {
        let now = began.elapsed();
        let is_over = load
            .duration
            .map_or(sent as usize >= mix.packets.len(), |duration| {
                now >= duration
            });
        if load.duration.is_none() {
            expect_progress(now, last_reply, sent)?;
        }
        let allowed = match load.rate {
            _ if is_over => 0,
            Some(rate) => (now.as_secs_f64() * rate) as u64 - sent,
            None => u64::MAX,
        };
        let allowed = if load.duration.is_none() {
            allowed.min(mix.packets.len() as u64 - sent)
        } else {
            allowed
        };
        sent += send(
            server,
            mix,
            load,
            &mut doors,
            &mut outbox,
            &mut chance,
            (now, sent, allowed, room),
        )?;
        for door in &mut doors {
            let Ok(count) = inbox.receive(&door.socket, false) else {
                continue;
            };
            last_reply = began.elapsed();
            for slot in &inbox.slots()[..count] {
                let packet = slot.packet();
                if let Some(due) = packet.first_chunk().and_then(|id| door.settle(*id)) {
                    outcome.replies += 1;
                    outcome.rcodes[usize::from(packet[3] & 0x0f)] += 1;
                    outcome
                        .latency
                        .saturating_record((last_reply.as_nanos() as u64).saturating_sub(due));
                }
            }
        }
        if now - looked > LOST_AFTER / 10 {
            looked = now;
            let before = now.saturating_sub(LOST_AFTER).as_nanos() as u64;
            outcome.lost += doors
                .iter_mut()
                .map(|door| door.give_up(before))
                .sum::<u64>();
        }
        if is_over && doors.iter().all(|door| door.outstanding == 0) {
            break;
        }
    }
    outcome.took = last_reply;
    Ok(outcome)
}

/// Fails where asking each question once does not get on.
fn expect_progress(now: Duration, last_reply: Duration, sent: u64) -> anyhow::Result<()> {
    if now.saturating_sub(last_reply) > SILENT_AFTER {
        bail!("no reply for {SILENT_AFTER:?} after {sent} questions");
    }
    ensure!(
        now < ONCE_WITHIN,
        "only {sent} questions were asked within {ONCE_WITHIN:?}"
    );
    Ok(())
}

/// Fills the room of each door; returns how many queries left.
fn send(
    server: SocketAddr,
    mix: &Mix,
    load: Load,
    doors: &mut [Door],
    outbox: &mut UdpBatch,
    chance: &mut StdRng,
    (now, already, allowed, room): (Duration, u64, u64, usize),
) -> anyhow::Result<u64> {
    let mut sent = 0;
    // Another door begins each time, so that a low rate uses all of them.
    let first = already as usize % doors.len();
    for step in 0..doors.len() {
        let place = (first + step) % doors.len();
        let door = &mut doors[place];
        let mut burst = room
            .saturating_sub(door.outstanding)
            .min(BATCH)
            .min((allowed - sent) as usize);
        if load.rate.is_some() {
            burst = burst.min(BATCH / 4);
        }
        for slot in &mut outbox.slots_mut()[..burst] {
            let due = match load.rate {
                Some(rate) => ((already + sent) as f64 / rate * 1e9) as u64,
                None => now.as_nanos() as u64,
            };
            let local = (load.lines > 0).then(|| {
                IpAddr::from(Ipv4Addr::from(
                    FIRST_LINE + chance.random_range(0..load.lines),
                ))
            });
            slot.set_path(UdpPath::new(server, local));
            slot.reply.clear();
            slot.reply
                .extend_from_slice(&mix.packets[(already + sent) as usize % mix.packets.len()]);
            slot.reply[..2].copy_from_slice(&door.take_id(due));
            sent += 1;
        }
        if burst > 0 {
            let refused = outbox.send(&door.socket, burst).refused;
            ensure!(
                refused == 0,
                "the kernel refused {refused} queries to {server}"
            );
        }
    }
    Ok(sent)
}

/// Echoes datagrams as replies: the least that a server in batches can cost. Runs until it is
/// ended.
pub fn echo(address: SocketAddr) -> anyhow::Result<()> {
    let socket = UdpSocket::bind(address).with_context(|| format!("binding {address}"))?;
    socket2::SockRef::from(&socket)
        .set_recv_buffer_size(SOCKET_BUFFER_OCTETS)
        .context("sizing the socket")?;
    let _without_privilege =
        resolver::listener::udp::force_receive_buffer(&socket, SOCKET_BUFFER_OCTETS);
    let mut batch = UdpBatch::new(64);
    loop {
        let Ok(count) = batch.receive(&socket, true) else {
            continue;
        };
        for slot in &mut batch.slots_mut()[..count] {
            let (packet, _, reply) = slot.parts();
            reply.extend_from_slice(packet);
            if let Some(flags) = reply.get_mut(2) {
                *flags |= 0x80;
            }
        }
        batch.send(&socket, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_of_a_mix_is_asked_once_and_answered_by_an_echo() {
        let address = SocketAddr::from(([127, 0, 98, 1], 0));
        let socket = UdpSocket::bind(address).unwrap();
        let server = socket.local_addr().unwrap();
        drop(socket);
        std::thread::spawn(move || echo(server));
        let mix = Mix {
            packets: (0..5_000)
                .map(|number| crate::mix::packet(&format!("n{number}.tld0"), 1))
                .collect(),
            listed_share: 0.0,
        };
        std::thread::sleep(Duration::from_millis(100));
        let load = Load {
            outstanding: 64,
            rate: None,
            duration: None,
            lines: 1_000,
        };
        let outcome = blast(server, &mix, load).unwrap();
        assert_eq!(
            (outcome.replies, outcome.lost, outcome.rcodes[0]),
            (5_000, 0, 5_000)
        );
        assert!(
            (1.0..1e6).contains(&outcome.latency_us(0.5)),
            "{} us",
            outcome.latency_us(0.5)
        );
        let open = Load {
            rate: Some(5_000.0),
            duration: Some(Duration::from_millis(500)),
            ..load
        };
        let outcome = blast(server, &mix, open).unwrap();
        assert!(
            (2_300..2_600).contains(&outcome.replies) && outcome.lost == 0,
            "{} replies, {} lost",
            outcome.replies,
            outcome.lost
        );
    }

    #[test]
    fn a_run_ends_although_nobody_answers() {
        let silent = UdpSocket::bind("127.0.98.2:0").unwrap();
        let server = silent.local_addr().unwrap();
        let mix = Mix {
            packets: vec![crate::mix::packet("n.tld0", 1)],
            listed_share: 0.0,
        };
        let load = Load {
            outstanding: 64,
            rate: None,
            duration: Some(Duration::from_millis(100)),
            lines: 0,
        };
        for load in [
            load,
            Load {
                rate: Some(1_000.0),
                ..load
            },
        ] {
            let began = Instant::now();
            let outcome = blast(server, &mix, load).unwrap();
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "{:?}",
                began.elapsed()
            );
            assert!(
                outcome.replies == 0 && outcome.lost > 0 && outcome.qps() == 0.0,
                "{} lost",
                outcome.lost
            );
        }
        assert!(
            blast(
                server,
                &mix,
                Load {
                    outstanding: 0,
                    duration: None,
                    ..load
                }
            )
            .is_err()
        );
    }

    #[test]
    fn asking_each_once_goes_on_only_while_it_gets_on() {
        let seconds = Duration::from_secs;
        assert!(expect_progress(seconds(9), Duration::ZERO, 96).is_ok());
        assert!(
            expect_progress(seconds(11), Duration::ZERO, 96).is_err(),
            "nobody is there"
        );
        assert!(expect_progress(seconds(299), seconds(298), 1_000).is_ok());
        assert!(
            expect_progress(seconds(301), seconds(300), 1_000).is_err(),
            "it would last for hours"
        );
    }
}
