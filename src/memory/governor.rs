//! The governor: looks once a second at what is used, and shrinks the caches before the node runs
//! out of memory.
//!
//! It compares the process with its budget, and the control group with its limit. Cached answers
//! can be resolved again; lists, households and queries under way are never given up.

use std::{sync::Arc, time::Duration};

use control::lists::{model::EventKind, status::ListStatus};
use jiff::Timestamp;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use policy::{identity::directory::Directory, lists::current::CurrentLists};
use resolver::{
    engine::Engine,
    recursor::{CacheBudgets, Recursor, SystemEnvironment},
};
use tokio::time::{Instant, MissedTickBehavior};

use super::{
    budgets::{Budgets, of_households, of_resolutions},
    limit::{self, MemoryLimit},
    pressure::{Pressure, PressureChange},
};

/// How often the governor looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Caches keep their share of this part of the budget while they shrink.
const WHOLE_EIGHTHS: u64 = 8;

/// What the governor watches.
pub struct Governed {
    pub limit: MemoryLimit,
    pub budgets: Budgets,
    pub engine: Arc<Engine>,
    pub recursor: Arc<Recursor<SystemEnvironment>>,
    pub lists: Arc<CurrentLists>,
    pub directory: Arc<Directory>,
    pub status: Arc<ListStatus>,
}

/// The caches that can shrink, in octets.
#[derive(Clone, Copy)]
struct Caches {
    answers: u64,
    recursor: CacheBudgets,
}

impl Caches {
    fn each(self, with: Self, part: impl Fn(u64, u64) -> u64) -> Self {
        let (own, other) = (self.recursor, with.recursor);
        Self {
            answers: part(self.answers, with.answers),
            recursor: CacheBudgets {
                rrsets: part(own.rrsets, other.rrsets),
                delegations: part(own.delegations, other.delegations),
                servers: part(own.servers, other.servers),
                failures: part(own.failures, other.failures),
            },
        }
    }
}

impl Governed {
    /// Logs the budgets, and warns where keys of the configuration demand more than there is.
    pub fn announce(&self) {
        let mib = |octets: u64| octets >> 20;
        let parts = self.budgets.parts();
        let parts: Vec<String> = parts
            .iter()
            .map(|(part, octets)| format!("{part} {}", mib(*octets)))
            .collect();
        tracing::info!(
            total = mib(self.budgets.total),
            source = %self.limit.source,
            parts = parts.join(", "),
            places = self.budgets.places,
            api_connections = self.budgets.api_connections,
            "memory is divided, in MiB"
        );
        if self.budgets.sum() > self.budgets.total {
            tracing::warn!(
                total = mib(self.budgets.total),
                demanded = mib(self.budgets.sum()),
                "the parts demand more memory than the node may take: caches will shrink; raise node.memory_mib or the limit, or lower dns.cache_mib and recursion.cache_mib"
            );
        }
    }

    /// Sets the gauges of all parts.
    pub fn show(&self) {
        for (part, octets) in self.budgets.parts() {
            gauge!("ox_protect_memory_budget_bytes", "part" => part).set(octets as f64);
        }
        gauge!("ox_protect_memory_budget_bytes", "part" => "total").set(self.budgets.total as f64);
        let used = self.caches_in_use();
        for (part, octets) in [
            ("total", limit::process().unwrap_or_default()),
            ("lists", self.lists.load().octets() as u64),
            ("households", of_households(self.directory.len() as u64)),
            (
                "resolutions",
                of_resolutions(self.engine.resolutions() as u64),
            ),
            ("answers", used.answers),
            ("rrsets", used.recursor.rrsets),
            ("delegations", used.recursor.delegations),
            ("servers", used.recursor.servers),
            ("failures", used.recursor.failures),
        ] {
            gauge!("ox_protect_memory_used_bytes", "part" => part).set(octets as f64);
        }
    }

    fn caches_in_use(&self) -> Caches {
        Caches {
            answers: self.engine.cache_usage().0,
            recursor: self.recursor.usage(),
        }
    }

    fn whole(&self) -> Caches {
        Caches {
            answers: self.budgets.answers,
            recursor: self.budgets.recursor,
        }
    }

    fn resize(&self, caches: Caches) {
        self.engine.resize_cache(caches.answers);
        self.recursor.resize(caches.recursor);
    }

    /// What is used, and of what: of the process or of its control group, whichever is scarcer.
    fn scarcest(&self) -> Option<(u64, u64)> {
        let process = limit::process().map(|used| (used, self.budgets.total));
        let group = self.limit.group.as_ref();
        let group = group.and_then(|group| Some((group.used()?, group.limit)));
        let share =
            |(used, limit): &(u64, u64)| u128::from(*used) * 1_000 / u128::from(*limit).max(1);
        process.into_iter().chain(group).max_by_key(share)
    }

    fn publish(&self, kind: EventKind, detail: String) {
        let generation = self.lists.load().generation();
        let now = Timestamp::now();
        self.status
            .publish(kind, None, generation, Some(detail), now);
    }
}

/// Watches the memory for as long as the node runs.
pub async fn run(governed: Arc<Governed>) {
    describe_gauge!(
        "ox_protect_memory_budget_bytes",
        "Memory that a part of the node may take, derived at the start"
    );
    describe_gauge!("ox_protect_memory_used_bytes", "Memory that a part takes");
    describe_gauge!(
        "ox_protect_memory_caches_ratio",
        "Caches' part of what they had before memory ran short; 1 without shortage"
    );
    describe_counter!(
        "ox_protect_memory_shrinks_total",
        "Steps by which caches shrank because memory ran short"
    );
    counter!("ox_protect_memory_shrinks_total").absolute(0);
    gauge!("ox_protect_memory_caches_ratio").set(1.0);
    let mut watch = Watch {
        pressure: Pressure::default(),
        before: governed.whole(),
        began: Instant::now(),
        governed,
    };
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        watch.look();
    }
}

struct Watch {
    governed: Arc<Governed>,
    pressure: Pressure,
    /// What the caches had when memory ran short: of less than that they get a part.
    before: Caches,
    began: Instant,
}

impl Watch {
    fn look(&mut self) {
        let Some((used, limit)) = self.governed.scarcest() else {
            return;
        };
        let was = self.pressure.eighths();
        let change = self.pressure.observe(used, limit, self.began.elapsed());
        let (used, limit) = (used >> 20, limit >> 20);
        match change {
            Some(PressureChange::Shrink) => {
                counter!("ox_protect_memory_shrinks_total").increment(1);
                if was == WHOLE_EIGHTHS {
                    let whole = self.governed.whole();
                    self.before = whole.each(self.governed.caches_in_use(), u64::min);
                    tracing::warn!(used, limit, "memory runs short, in MiB: caches shrink");
                }
                self.apply();
            }
            Some(PressureChange::Grow) => {
                if self.pressure.eighths() == WHOLE_EIGHTHS {
                    tracing::info!(
                        used,
                        limit,
                        "memory is enough, in MiB: caches have all of theirs"
                    );
                }
                self.apply();
            }
            Some(PressureChange::Alarm) => {
                tracing::error!(
                    used,
                    limit,
                    "memory stays short, in MiB: the node may be killed"
                );
                self.governed.publish(
                    EventKind::MemoryShort,
                    format!("{used} of {limit} MiB are used"),
                );
            }
            Some(PressureChange::AllClear) => {
                tracing::info!(used, limit, "memory is no longer short, in MiB");
                self.governed.publish(
                    EventKind::MemoryEnough,
                    format!("{used} of {limit} MiB are used"),
                );
            }
            None => {}
        }
    }

    /// Gives the caches what their step says.
    fn apply(&self) {
        let eighths = self.pressure.eighths();
        gauge!("ox_protect_memory_caches_ratio").set(eighths as f64 / WHOLE_EIGHTHS as f64);
        let caches = if eighths == WHOLE_EIGHTHS {
            self.governed.whole()
        } else {
            self.before
                .each(self.before, |octets, _| octets / WHOLE_EIGHTHS * eighths)
        };
        self.governed.resize(caches);
    }
}
