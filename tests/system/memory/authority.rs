//! An authority for millions of names: one thread for each of two addresses, answers made from the
//! question alone. The simulated Internet keeps its zones in memory and cannot.
//!
//! ```text
//! N.fresh.example      an address            N.large.example      40 addresses
//! N.denied.example     NXDOMAIN              N-0.chain.example    CNAME to N-1, … to N-8, an address
//! x.N.cut.example      a delegation of N.cut.example to the second address, which has the address
//! ```

use std::{
    net::{Ipv4Addr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// Octets of a header.
const HEADER: usize = 12;
/// How many aliases a chain has.
const CHAIN: usize = 8;
/// The address of every name.
const ADDRESS: [u8; 4] = [192, 0, 2, 1];
/// TTL of every record, in seconds: longer than a run.
const TTL_S: u32 = 86_400;
const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;

/// The servers; they end when it is dropped.
pub struct Authority {
    /// The root server's address.
    pub root: Ipv4Addr,
    pub port: u16,
    ends: Arc<AtomicBool>,
}

impl Authority {
    pub fn start() -> Self {
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let root = Ipv4Addr::new(127, 130, high, low);
        let child = Ipv4Addr::new(127, 131, high, low);
        let first = UdpSocket::bind((root, 0)).expect("a loopback address");
        let port = first.local_addr().expect("it is bound").port();
        let second = UdpSocket::bind((child, port)).expect("a port of an unused address");
        let ends = Arc::new(AtomicBool::new(false));
        for (socket, referred) in [(first, Some(child)), (second, None)] {
            let ends = Arc::clone(&ends);
            let timeout = Some(Duration::from_millis(100));
            socket.set_read_timeout(timeout).expect("a valid time");
            thread::spawn(move || serve(&socket, referred, &ends));
        }
        Self { root, port, ends }
    }

    /// The configuration of a resolver that has these as its Internet.
    pub fn config(&self, folder: &std::path::Path) -> String {
        let hints = folder.join("memory.hints");
        let text = format!(". 1 NS a.root.\na.root. 1 A {}\n", self.root);
        std::fs::write(&hints, text).expect("the folder is ours");
        format!(
            "[recursion]\nroot_hints = {hints:?}\nauthority_port = {}\nprime = false\n",
            self.port
        )
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

fn serve(socket: &UdpSocket, referred: Option<Ipv4Addr>, ends: &AtomicBool) {
    let mut packet = [0; 1_500];
    while !ends.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut packet) else {
            continue;
        };
        if let Some(reply) = reply(&packet[..length], referred) {
            // As on any network, a reply may be lost.
            let _ = socket.send_to(&reply, from);
        }
    }
}

/// A reply under construction.
struct Reply {
    octets: Vec<u8>,
}

impl Reply {
    /// Adds a record whose owner stands at an offset of the message; counts it in the section of
    /// this offset in the header.
    fn add(&mut self, section: usize, owner: usize, rtype: u16, data: &[u8]) {
        self.octets.extend((0xc000 | owner as u16).to_be_bytes());
        self.octets.extend(rtype.to_be_bytes());
        self.octets.extend(1_u16.to_be_bytes());
        self.octets.extend(TTL_S.to_be_bytes());
        self.octets.extend((data.len() as u16).to_be_bytes());
        self.octets.extend(data);
        self.octets[section + 1] += 1;
    }
}

const ANSWER: usize = 6;
const AUTHORITY: usize = 8;
const ADDITIONAL: usize = 10;

/// The reply to a query; none to what is no query.
fn reply(query: &[u8], referred: Option<Ipv4Addr>) -> Option<Vec<u8>> {
    let (labels, end) = labels(query)?;
    let mut header = [0; HEADER];
    header[..2].copy_from_slice(&query[..2]);
    // QR and AA; one question.
    (header[2], header[5]) = (0x84, 1);
    let octets = [&header[..], query.get(HEADER..end + 4)?].concat();
    let rtype = u16::from_be_bytes([query[end], query[end + 1]]);
    let mut reply = Reply { octets };
    let text = |index: usize| labels[index].1.to_ascii_lowercase();
    let is_below = |kind: &[u8]| labels.len() >= 3 && text(labels.len() - 2) == kind;
    let zone = labels
        .len()
        .checked_sub(2)
        .map_or(HEADER, |index| labels[index].0);
    if let Some(child) = referred.filter(|_| is_below(b"cut") && labels.len() >= 4) {
        let cut = labels[labels.len() - 3].0;
        reply.octets[2] = 0x80;
        let server = [&[2][..], b"ns", &(0xc000 | cut as u16).to_be_bytes()].concat();
        reply.add(AUTHORITY, cut, NS, &server);
        let owner = reply.octets.len() - server.len();
        reply.add(ADDITIONAL, owner, A, &child.octets());
    } else if is_below(b"denied") {
        reply.octets[3] = 3;
        reply.add(AUTHORITY, zone, SOA, &soa());
    } else if rtype != A {
        reply.add(AUTHORITY, zone, SOA, &soa());
    } else if let Some(target) = is_below(b"chain").then(|| next(&text(0))).flatten() {
        let target = [
            &[target.len() as u8][..],
            &target,
            &(0xc000 | labels[1].0 as u16).to_be_bytes(),
        ]
        .concat();
        reply.add(ANSWER, HEADER, CNAME, &target);
    } else {
        let count = if is_below(b"large") { 40 } else { 1 };
        for number in 0..count {
            let [a, b, c, d] = ADDRESS;
            reply.add(ANSWER, HEADER, A, &[a, b, c, d + number]);
        }
    }
    Some(reply.octets)
}

/// A label, and its offset in the message.
type Label<'q> = (usize, &'q [u8]);

/// The labels of the question, and the offset behind the name.
fn labels(query: &[u8]) -> Option<(Vec<Label<'_>>, usize)> {
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*query.get(at)?);
        if length == 0 {
            return Some((labels, at + 1));
        }
        labels.push((at, query.get(at + 1..=at + length)?));
        at += 1 + length;
    }
}

/// The first label of the next name in a chain: `7-3` behind `7-2`.
fn next(label: &[u8]) -> Option<Vec<u8>> {
    let (number, place) = std::str::from_utf8(label).ok()?.split_once('-')?;
    let place: usize = place.parse().ok()?;
    (place < CHAIN).then(|| format!("{number}-{}", place + 1).into_bytes())
}

/// The data of an SOA record: both names are the root.
fn soa() -> Vec<u8> {
    let numbers = [1, 3_600, 600, 86_400, 3_600_u32];
    let numbers = numbers.iter().flat_map(|number| number.to_be_bytes());
    [0, 0].into_iter().chain(numbers).collect()
}
