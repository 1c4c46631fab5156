//! A worker: one plain thread on one core, with a socket of its own on every listen address. It
//! answers what the cache knows and hands the rest to the runtime; it never waits for anything but
//! packets.

use std::{
    io,
    net::{IpAddr, UdpSocket},
    os::fd::AsFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    engine::{Desk, Engine, Miss, Renewal, Step, Turn},
    listener::udp::{self, Batch, Path, Sent},
    message::reply::Transport,
    telemetry::metrics::Count,
};

/// How long a worker whose socket fails rests before it tries again: long enough not to burn a core
/// on it.
const REST_AFTER_ERROR: Duration = Duration::from_millis(10);

/// Batches smaller than this are answered without touching their lines first: there is little to
/// overlap.
const TOUCHED_MIN: usize = 4;

/// Takes and sends datagrams in batches. Sockets are one way; AF_XDP or io_uring would be others,
/// and only this trait and what is behind it would know.
pub trait PacketIo {
    /// Takes datagrams, up to a batch, and returns how many; with `waits`, at least one.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::WouldBlock`] where nothing is there and nobody waits.
    fn receive(&mut self, waits: bool) -> io::Result<usize>;

    /// The sender of a datagram of the batch.
    fn peer(&self, place: usize) -> IpAddr;

    /// A datagram of the batch.
    fn packet(&self, place: usize) -> &[u8];

    /// A datagram of the batch, its sender, and the reply to write, which is empty.
    fn datagram(&mut self, place: usize) -> (&[u8], IpAddr, &mut Vec<u8>);

    /// How to reply to a datagram of the batch when the batch is gone.
    fn way_back(&self, place: usize) -> WayBack;

    /// Sends the replies of the first `count` datagrams that have one. Never waits.
    fn send(&mut self, count: usize) -> Sent;
}

/// The way of a late reply.
pub type WayBack = Box<dyn FnOnce(&[u8]) -> Sent + Send>;
/// What a worker leaves to the runtime. Its place in the queue is the permit inside.
pub enum Late {
    /// A query that must be resolved, and the way of its reply.
    Miss(Miss, WayBack),
    /// An answer that will soon be too old.
    Renewal(Renewal),
}

/// A socket and its batch.
pub struct SocketIo {
    socket: Arc<UdpSocket>,
    batch: Batch,
}

impl SocketIo {
    /// Batches of up to `size` datagrams on a socket.
    #[must_use]
    pub fn new(socket: UdpSocket, size: usize) -> Self {
        Self {
            socket: Arc::new(socket),
            batch: Batch::new(size),
        }
    }
}

impl PacketIo for SocketIo {
    fn receive(&mut self, waits: bool) -> io::Result<usize> {
        self.batch.receive(&self.socket, waits)
    }

    fn peer(&self, place: usize) -> IpAddr {
        self.batch.slots()[place].path().peer().ip()
    }

    fn packet(&self, place: usize) -> &[u8] {
        self.batch.slots()[place].packet()
    }

    fn datagram(&mut self, place: usize) -> (&[u8], IpAddr, &mut Vec<u8>) {
        let (packet, path, reply) = self.batch.slots_mut()[place].parts();
        (packet, path.peer().ip(), reply)
    }

    fn way_back(&self, place: usize) -> WayBack {
        let socket: _ = Arc::clone(&self.socket);
        let path: Path = *self.batch.slots()[place].path();
        Box::new(move |reply| udp::send(&socket, &path, reply))
    }

    fn send(&mut self, count: usize) -> Sent {
        self.batch.send(&self.socket, count)
    }
}

/// One worker's part of the engine.
pub struct Worker {
    engine: Arc<Engine>,
    desk: Desk,
    misses: UnboundedSender<Late>,
}

impl Worker {
    /// A worker that hands what it cannot answer to `misses`.
    #[must_use]
    pub fn new(engine: Arc<Engine>, misses: UnboundedSender<Late>) -> Self {
        Self {
            desk: engine.desk(),
            engine,
            misses,
        }
    }

    /// Answers for as long as the process lives.
    pub fn run(mut self, sockets: Vec<UdpSocket>, batch: usize) {
        let mut doors: Vec<SocketIo> = sockets
            .into_iter()
            .map(|socket| SocketIo::new(socket, batch))
            .collect();
        doors
            .iter()
            .for_each(|door| self.engine.recorder.watch(Arc::clone(&door.socket)));
        if let [door] = &mut doors[..] {
            // One door: waiting for it is the very call that takes its packets.
            loop {
                self.turn(door, true);
            }
        }
        let sockets: Vec<Arc<UdpSocket>> =
            doors.iter().map(|door| Arc::clone(&door.socket)).collect();
        let mut polled: Vec<PollFd<'_>> = sockets
            .iter()
            .map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN))
            .collect();
        loop {
            if poll(&mut polled, None).is_err() {
                continue;
            }
            for (door, polled) in doors.iter_mut().zip(&polled) {
                if !polled.revents().is_empty() {
                    self.turn(door, false);
                }
            }
        }
    }

    /// One batch: taken, answered, sent.
    fn turn(&mut self, io: &mut impl PacketIo, waits: bool) {
        let count = match io.receive(waits) {
            Ok(count) => count,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                return;
            }
            // About a datagram or an earlier reply (ICMP), or the machine is out of memory: never
            // the end of a worker.
            Err(_) => return std::thread::sleep(REST_AFTER_ERROR),
        };
        let Self {
            engine,
            desk,
            misses,
        } = self;
        let turn = engine.turn();
        if count >= TOUCHED_MIN {
            let lines = (0..count).map(|place| io.peer(place));
            let packets = (0..count).map(|place| io.packet(place));
            turn.touch(desk, lines, packets);
        }
        for place in 0..count {
            answer(engine, &turn, desk, misses, io, place);
        }
        let sent = io.send(count);
        for renewal in desk.due.drain(..) {
            // The runtime is gone only when the process ends.
            let _ = misses.send(Late::Renewal(renewal));
        }
        if sent.refused > 0 {
            desk.pen
                .count_many(Count::ReplyRefused, sent.refused as u64);
        }
    }
}

/// One hostile packet costs one step of one worker and is counted, whatever it hits.
fn answer(
    engine: &Engine,
    turn: &Turn<'_>,
    desk: &mut Desk,
    misses: &UnboundedSender<Late>,
    io: &mut impl PacketIo,
    place: usize,
) {
    let (packet, peer, reply) = io.datagram(place);
    let step = catch_unwind(AssertUnwindSafe(|| {
        engine.answer(turn, packet, peer, Transport::Udp, desk, reply)
    }));
    match step {
        Ok(Step::Reply) => {}
        Ok(Step::Silent | Step::Dropped) => reply.clear(),
        Ok(Step::Miss(miss)) => {
            reply.clear();
            // The runtime is gone only when the process ends.
            let _ = misses.send(Late::Miss(miss, io.way_back(place)));
        }
        Err(_) => {
            reply.clear();
            desk.pen.count(Count::Panic);
        }
    }
}

/// Keeps this thread on one of the cores that the process may use, counted round. A system that
/// refuses is obeyed: the thread then runs where the scheduler puts it.
pub fn pin(number: usize) {
    let Ok(allowed) = sched_getaffinity(None) else {
        return;
    };
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|&core| allowed.is_set(core))
        .collect();
    if let Some(&core) = cores.get(number % cores.len().max(1)) {
        let mut only = CpuSet::new();
        only.set(core);
        let _ = sched_setaffinity(None, &only);
    }
}
