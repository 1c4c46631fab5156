//! Signals. The default action of most signals ends a process without a log line; here each signal
//! that another process may send has a meaning.
//!
//! | Signal | What it does |
//! |---|---|
//! | TERM, INT, QUIT, PWR, XCPU | ends the node in order; a second one ends it at once |
//! | HUP | checks the configuration, asks all feeds now, looks at list files and the certificate |
//! | USR1, USR2, ALRM, VTALRM, PROF, IO, STKFLT, XFSZ, real-time | nothing, with a line in the log |
//!
//! Faults of the process itself (SEGV, BUS, FPE, ILL, ABRT, TRAP, SYS) keep their default action.
//! Rust's runtime ignores PIPE.

use std::io;

use rustix::process::Signal;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// Signals that end the node.
const ENDING: [(Signal, &str); 5] = [
    (Signal::TERM, "SIGTERM"),
    (Signal::INT, "SIGINT"),
    (Signal::QUIT, "SIGQUIT"),
    (Signal::POWER, "SIGPWR"),
    (Signal::XCPU, "SIGXCPU"),
];
/// Signals without effect. A write beyond a file size limit (XFSZ) then fails, as on a full disk.
const IGNORED: [Signal; 8] = [
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::VTALARM,
    Signal::PROF,
    Signal::IO,
    Signal::STKFLT,
    Signal::XFSZ,
];
/// Real-time signals but the last one, which tokio cannot listen for. The C library uses 32 and 33.
const REAL_TIME: std::ops::Range<i32> = 34..64;
/// What a shell adds to the number of the signal that ended a process, for its exit status.
const STATUS_OF_SIGNAL: i32 = 128;

/// The meaning of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalAction {
    /// Shut down.
    End(&'static str),
    /// Check the configuration, and fetch the feeds.
    Reload,
    /// Nothing, but a log line.
    Nothing(i32),
}

/// The signals of this process.
pub struct Signals(mpsc::UnboundedReceiver<(i32, SignalAction)>);

impl Signals {
    /// Listens for all signals. Until then, each has its default action.
    pub fn listen() -> io::Result<Self> {
        let (sender, signals) = mpsc::unbounded_channel();
        let ends = ENDING
            .iter()
            .map(|(signal, name)| (signal.as_raw(), SignalAction::End(name)));
        let reloads = [(Signal::HUP.as_raw(), SignalAction::Reload)];
        let ignored = IGNORED
            .iter()
            .map(|signal| signal.as_raw())
            .chain(REAL_TIME)
            .map(|number| (number, SignalAction::Nothing(number)));
        for (number, asked) in ends.chain(reloads).chain(ignored) {
            let mut coming = signal(SignalKind::from_raw(number))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while coming.recv().await.is_some() && sender.send((number, asked)).is_ok() {}
            });
        }
        Ok(Self(signals))
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> SignalAction {
        match self.0.recv().await {
            Some((_, asked)) => asked,
            // The tasks above end only with the runtime.
            None => std::future::pending().await,
        }
    }

    /// Waits for a signal that ends the node. Logs others, which come too early.
    pub async fn end(&mut self) -> &'static str {
        loop {
            match self.next().await {
                SignalAction::End(name) => return name,
                SignalAction::Reload => tracing::info!(
                    "SIGHUP during the start: the configuration was read a moment ago"
                ),
                SignalAction::Nothing(number) => {
                    tracing::info!(number, "a signal that means nothing here")
                }
            }
        }
    }

    /// From now on, the next signal that ends a node ends the process at once.
    pub fn end_at_once(mut self) {
        tokio::spawn(async move {
            loop {
                if let Some((number, SignalAction::End(name))) = self.0.recv().await {
                    tracing::warn!(signal = name, "a second signal: the process ends at once");
                    std::process::exit(STATUS_OF_SIGNAL + number);
                }
            }
        });
    }
}
