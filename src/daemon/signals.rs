//! Signals. The default action of most of them ends a process without a word; here each one that
//! another process may send has a meaning.
//!
//! | Signal | What it does |
//! |---|---|
//! | TERM, INT, QUIT, PWR, XCPU | ends the node in order; a second one ends it at once |
//! | HUP | checks the configuration file, says what a restart would change, and asks all feeds now |
//! | USR1, USR2, ALRM, VTALRM, PROF, IO, STKFLT, XFSZ, real-time | nothing, with a line in the log |
//!
//! Faults of the process itself (SEGV, BUS, FPE, ILL, ABRT, TRAP, SYS) keep their default action.
//! PIPE is ignored by Rust's runtime.

use std::io;

use rustix::process::Signal;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// Those that end the node.
const ENDING: [(Signal, &str); 5] = [
    (Signal::TERM, "SIGTERM"),
    (Signal::INT, "SIGINT"),
    (Signal::QUIT, "SIGQUIT"),
    (Signal::POWER, "SIGPWR"),
    (Signal::XCPU, "SIGXCPU"),
];
/// Those that do nothing. A write beyond a limit of file sizes (XFSZ) then fails, as on a full
/// disk.
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
/// Real-time signals, but for the last one, which the runtime cannot listen for; the C library
/// keeps 32 and 33 for itself.
const REAL_TIME: std::ops::Range<i32> = 34..64;
/// What a shell adds to a signal's number in the status of a process that it ended.
const STATUS_OF_SIGNAL: i32 = 128;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To end.
    End(&'static str),
    /// To look at the configuration.
    Reload,
    /// Nothing.
    Nothing(i32),
}

/// The signals that this process gets from now on.
pub struct Signals(mpsc::UnboundedReceiver<(i32, Asked)>);

impl Signals {
    /// Takes all of them. Until then each has its default action.
    pub fn listen() -> io::Result<Self> {
        let (sender, signals) = mpsc::unbounded_channel();
        let ends = ENDING
            .iter()
            .map(|(signal, name)| (signal.as_raw(), Asked::End(name)));
        let reloads = [(Signal::HUP.as_raw(), Asked::Reload)];
        let ignored = IGNORED
            .iter()
            .map(|signal| signal.as_raw())
            .chain(REAL_TIME)
            .map(|number| (number, Asked::Nothing(number)));
        for (number, asked) in ends.chain(reloads).chain(ignored) {
            let mut coming = signal(SignalKind::from_raw(number))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while coming.recv().await.is_some() && sender.send((number, asked)).is_ok() {}
            });
        }
        Ok(Self(signals))
    }

    /// The next signal.
    pub async fn next(&mut self) -> Asked {
        match self.0.recv().await {
            Some((_, asked)) => asked,
            // The tasks above end only with the runtime.
            None => std::future::pending().await,
        }
    }

    /// Waits for one that ends the node; says of others that they come too early.
    pub async fn end(&mut self) -> &'static str {
        loop {
            match self.next().await {
                Asked::End(name) => return name,
                Asked::Reload => tracing::info!(
                    "SIGHUP during the start: the configuration was read a moment ago"
                ),
                Asked::Nothing(number) => {
                    tracing::info!(number, "a signal that means nothing here")
                }
            }
        }
    }

    /// From now on the next one that ends a node ends the process at once.
    pub fn end_at_once(mut self) {
        tokio::spawn(async move {
            loop {
                if let Some((number, Asked::End(name))) = self.0.recv().await {
                    tracing::warn!(signal = name, "a second signal: the process ends at once");
                    std::process::exit(STATUS_OF_SIGNAL + number);
                }
            }
        });
    }
}
