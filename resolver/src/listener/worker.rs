//! Workers: one plain thread for each core, with a socket of its own on each listen address. A
//! worker answers hits, hands misses and prefetches to the runtime, and waits for packets only.

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
    engine::{BatchSnapshot, Engine, Miss, Prefetch, Step, WorkerState},
    listener::{
        client::Client,
        udp::{self, Sent, UdpBatch, UdpPath},
    },
    message::types::Transport,
    telemetry::counters::Count,
};

/// Pause after a failed receive, so that a broken socket does not use a whole core.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// The smallest batch whose memory is loaded in advance: smaller ones have little to overlap.
const LOADED_MIN: usize = 4;

/// Receives and sends datagrams in batches. Implemented with sockets; AF_XDP or io_uring would be
/// other implementations.
pub trait PacketIo {
    /// Receives datagrams, up to a batch, and returns their number; with `waits`, at least one.
    ///
    /// # Errors
    /// The system call fails; [`io::ErrorKind::WouldBlock`] if no datagram is there and `waits` is
    /// false.
    fn receive(&mut self, waits: bool) -> io::Result<usize>;

    /// The source address of a datagram of the batch.
    fn source(&self, index: usize) -> IpAddr;

    fn packet(&self, index: usize) -> &[u8];

    /// A datagram of the batch, its source, and the buffer of its reply, which is empty.
    fn datagram(&mut self, index: usize) -> (&[u8], IpAddr, &mut Vec<u8>);

    /// Sends the reply to a datagram of the batch after the batch is gone.
    fn late_reply(&self, index: usize) -> LateReply;

    /// Sends the non-empty replies of the first `count` datagrams. Never waits.
    fn send(&mut self, count: usize) -> Sent;
}

/// Sends a reply after its batch is gone.
pub type LateReply = Box<dyn FnOnce(&[u8]) -> Sent + Send>;

/// Work that a worker hands to the runtime. Each holds a place, which bounds the queue.
pub enum DeferredWork {
    /// A miss, and the sender of its reply.
    Miss(Box<Miss>, LateReply),
    Prefetch(Prefetch),
}

/// A socket and its batch.
pub struct UdpIo {
    socket: Arc<UdpSocket>,
    batch: UdpBatch,
}

impl UdpIo {
    /// Batches of up to `size` datagrams on a socket.
    #[must_use]
    pub fn new(socket: UdpSocket, size: usize) -> Self {
        Self {
            socket: Arc::new(socket),
            batch: UdpBatch::new(size),
        }
    }
}

impl PacketIo for UdpIo {
    fn receive(&mut self, waits: bool) -> io::Result<usize> {
        self.batch.receive(&self.socket, waits)
    }

    fn source(&self, index: usize) -> IpAddr {
        self.batch.slots()[index].path().peer().ip()
    }

    fn packet(&self, index: usize) -> &[u8] {
        self.batch.slots()[index].packet()
    }

    fn datagram(&mut self, index: usize) -> (&[u8], IpAddr, &mut Vec<u8>) {
        let (packet, path, reply) = self.batch.slots_mut()[index].parts();
        (packet, path.peer().ip(), reply)
    }

    fn late_reply(&self, index: usize) -> LateReply {
        let socket = Arc::clone(&self.socket);
        let path: UdpPath = *self.batch.slots()[index].path();
        Box::new(move |reply| udp::send(&socket, &path, reply))
    }

    fn send(&mut self, count: usize) -> Sent {
        self.batch.send(&self.socket, count)
    }
}

/// One worker's part of the engine.
pub struct Worker {
    engine: Arc<Engine>,
    state: WorkerState,
    deferred: UnboundedSender<DeferredWork>,
}

impl Worker {
    /// A worker that sends what it cannot answer to `deferred`.
    #[must_use]
    pub fn new(engine: Arc<Engine>, deferred: UnboundedSender<DeferredWork>) -> Self {
        Self {
            state: engine.worker_state(),
            engine,
            deferred,
        }
    }

    /// Answers for as long as the process lives.
    pub fn run(mut self, sockets: Vec<UdpSocket>, batch: usize) {
        let mut listeners: Vec<UdpIo> = sockets
            .into_iter()
            .map(|socket| UdpIo::new(socket, batch))
            .collect();
        listeners
            .iter()
            .for_each(|io| self.engine.metrics.watch(Arc::clone(&io.socket)));
        if let [io] = &mut listeners[..] {
            // With one socket, the call that receives its packets also waits for them.
            loop {
                self.answer_batch(io, true);
            }
        }
        let sockets: Vec<Arc<UdpSocket>> =
            listeners.iter().map(|io| Arc::clone(&io.socket)).collect();
        let mut polled: Vec<PollFd<'_>> = sockets
            .iter()
            .map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN))
            .collect();
        loop {
            if poll(&mut polled, None).is_err() {
                continue;
            }
            for (io, polled) in listeners.iter_mut().zip(&polled) {
                if !polled.revents().is_empty() {
                    self.answer_batch(io, false);
                }
            }
        }
    }

    /// Receives, answers and sends one batch.
    fn answer_batch(&mut self, io: &mut impl PacketIo, waits: bool) {
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
            // An ICMP error about an earlier reply, or no memory: the worker goes on.
            Err(_) => return std::thread::sleep(PAUSE_AFTER_ERROR),
        };
        let Self {
            engine,
            state,
            deferred,
        } = self;
        let batch = engine.snapshot();
        if count >= LOADED_MIN {
            let sources = (0..count).map(|index| io.source(index));
            let packets = (0..count).map(|index| io.packet(index));
            batch.load_memory(state, sources, packets);
        }
        for index in 0..count {
            answer(engine, &batch, state, deferred, io, index);
        }
        let sent = io.send(count);
        for prefetch in state.prefetches.drain(..) {
            // The send fails only when the process ends.
            let _ = deferred.send(DeferredWork::Prefetch(prefetch));
        }
        if sent.refused > 0 {
            state
                .metrics
                .count_many(Count::ReplyRefused, sent.refused as u64);
        }
    }
}

/// Answers one packet of a batch. A panic over a packet is counted and costs only its answer.
fn answer(
    engine: &Engine,
    batch: &BatchSnapshot<'_>,
    state: &mut WorkerState,
    deferred: &UnboundedSender<DeferredWork>,
    io: &mut impl PacketIo,
    index: usize,
) {
    let (packet, source, reply) = io.datagram(index);
    let client = Client::new(source, Transport::Udp);
    let step = catch_unwind(AssertUnwindSafe(|| {
        engine.answer(batch, packet, client, state, reply)
    }));
    match step {
        Ok(Step::Reply) => {}
        Ok(Step::Ignored | Step::Dropped) => reply.clear(),
        Ok(Step::Miss(miss)) => {
            reply.clear();
            // The send fails only when the process ends.
            let _ = deferred.send(DeferredWork::Miss(miss, io.late_reply(index)));
        }
        Err(_) => {
            reply.clear();
            state.metrics.count(Count::Panic);
        }
    }
}

/// Pins this thread to one of the cores that the process may use, by its number modulo theirs. If
/// the system refuses, the scheduler places the thread.
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
