//! The work on whole lists that runs in another process, one job at a time; and when the next build
//! is due.

use blocklist_loader::BuildOutcome;
use tokio::{
    sync::oneshot,
    task::{JoinError, JoinHandle},
    time::Instant,
};

use super::{build_process::Failure, command::RowUpdate, model::ListError};

/// The job under way.
#[derive(Default)]
pub enum Job {
    #[default]
    Idle,
    Building {
        process: JoinHandle<Result<BuildOutcome, Failure>>,
        /// Who waits for this build. It knows nothing of what came after it began.
        waiters: Waiters,
        /// Rows that became live since the build began. They are applied to its result as well.
        pending: Vec<RowUpdate>,
    },
    Folding {
        process: JoinHandle<Result<(), Failure>>,
    },
}

/// How a job ended.
pub enum JobResult {
    Built {
        result: Result<BuildOutcome, Failure>,
        waiters: Waiters,
        pending: Vec<RowUpdate>,
    },
    Folded(Result<(), Failure>),
}

impl Job {
    pub fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }

    /// Waits for the end of the job, for ever if there is none. May be dropped and called again.
    pub async fn end(&mut self) -> JobResult {
        match self {
            Self::Idle => std::future::pending().await,
            Self::Building { process, .. } => {
                let result = flattened(process.await);
                let Self::Building {
                    waiters, pending, ..
                } = std::mem::take(self)
                else {
                    unreachable!("the job was a build a moment ago");
                };
                JobResult::Built {
                    result,
                    waiters,
                    pending,
                }
            }
            Self::Folding { process } => {
                let result = flattened(process.await);
                *self = Self::Idle;
                JobResult::Folded(result)
            }
        }
    }
}

fn flattened<T>(joined: Result<Result<T, Failure>, JoinError>) -> Result<T, Failure> {
    joined.unwrap_or_else(|error| Err(Failure::of_build(error)))
}

/// Who is told the outcome of a build.
#[derive(Default)]
pub struct Waiters {
    /// Operators who let a feed go on.
    pub approvals: Vec<(String, oneshot::Sender<Result<(), ListError>>)>,
    /// Fetchers whose content the build reads.
    pub fetched: Vec<oneshot::Sender<()>>,
}

/// When the next build starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NextBuild {
    /// Nothing has changed.
    #[default]
    NotWanted,
    /// As soon as no job is under way.
    Now,
    /// Not before this instant.
    At(Instant),
}

impl NextBuild {
    /// A build is wanted. One that is due later stays so.
    pub fn want(&mut self) {
        if *self == Self::NotWanted {
            *self = Self::Now;
        }
    }

    pub fn is_due(self) -> bool {
        match self {
            Self::NotWanted => false,
            Self::Now => true,
            Self::At(at) => at <= Instant::now(),
        }
    }
}
