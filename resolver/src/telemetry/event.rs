//! The event of one query, written once, at the end of its answer.

use policy::{
    decide::{EffectivePolicy, Verdict},
    name::NameRef,
    unix_seconds::UnixSeconds,
};

/// One query of an identified client, with its outcome.
#[derive(Clone, Copy)]
pub struct QueryEvent<'q> {
    pub policy: &'q EffectivePolicy,
    /// The queried name.
    pub name: NameRef<'q>,
    pub at: UnixSeconds,
    pub outcome: QueryOutcome,
}

/// How a query ended.
#[derive(Debug, Clone, Copy)]
pub enum QueryOutcome {
    /// Answered by this verdict, under the lists with this stamp.
    Judged { verdict: Verdict, lists_stamp: u64 },
    /// Answered SERVFAIL: the name was not resolved.
    Unresolved,
    /// A query without RD, answered from the cache alone. It is no activity of a household.
    CacheOnly,
}
