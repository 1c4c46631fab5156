//! A client that asks for many names: a window of queries under way, or a steady rate.

use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

/// Queries under way at a time, without a rate.
const WINDOW: usize = 200;
/// After this time without a reply, what is under way is lost.
const LOST_AFTER: Duration = Duration::from_millis(500);
/// Pause between two bursts at a rate.
const PAUSE: Duration = Duration::from_millis(2);

/// How many names were asked for, and how many had an answer that is not SERVFAIL.
#[derive(Debug, Default, Clone, Copy)]
pub struct Asked {
    pub sent: usize,
    pub served: usize,
}

/// A client at one address.
pub struct Asker {
    socket: UdpSocket,
}

impl Asker {
    pub fn new(from: &str, to: SocketAddr) -> Self {
        let socket = UdpSocket::bind((from, 0)).expect("a loopback address");
        socket.connect(to).expect("a datagram needs no listener");
        Self { socket }
    }

    /// Asks for the addresses of these names, as fast as they are answered.
    pub fn ask(&self, names: impl Iterator<Item = String>) -> Asked {
        let timeout = Some(LOST_AFTER);
        self.socket.set_read_timeout(timeout).expect("a valid time");
        let mut asked = Asked::default();
        let mut under_way = 0;
        for name in names {
            self.send(&name, asked.sent);
            asked.sent += 1;
            under_way += 1;
            while under_way >= WINDOW {
                let is_received = self.receive(&mut asked);
                under_way = if is_received { under_way - 1 } else { 0 };
            }
        }
        while under_way > 0 && self.receive(&mut asked) {
            under_way -= 1;
        }
        asked
    }

    /// Asks at a rate, in queries a second, for this time. Calls `each_second` once a second.
    pub fn ask_at(
        &self,
        rate: u32,
        time: Duration,
        name: impl Fn(usize) -> String,
        mut each_second: impl FnMut(Asked),
    ) -> Asked {
        self.socket.set_nonblocking(true).expect("a socket can");
        let began = Instant::now();
        let mut asked = Asked::default();
        let mut seconds = 0;
        while began.elapsed() < time {
            let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as usize;
            while asked.sent < due {
                self.send(&name(asked.sent), asked.sent);
                asked.sent += 1;
            }
            while self.receive(&mut asked) {}
            if began.elapsed().as_secs() > seconds {
                seconds += 1;
                each_second(asked);
            }
            std::thread::sleep(PAUSE);
        }
        self.socket.set_nonblocking(false).expect("a socket can");
        asked
    }

    /// Sends one query.
    pub fn send(&self, name: &str, id: usize) {
        let mut query = Vec::with_capacity(64);
        query.extend((id as u16).to_be_bytes());
        // RD; one question.
        query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        for label in name.split('.') {
            query.push(label.len() as u8);
            query.extend(label.as_bytes());
        }
        query.extend([0, 0, 1, 0, 1]);
        // The kernel may have no room: the query is lost, as on any network.
        let _ = self.socket.send(&query);
    }

    /// Receives one reply. False if none is there in time.
    fn receive(&self, asked: &mut Asked) -> bool {
        let mut packet = [0; 4_096];
        let Ok(length) = self.socket.recv(&mut packet) else {
            return false;
        };
        asked.served += usize::from(length > 3 && packet[3] & 15 != 2);
        true
    }
}
