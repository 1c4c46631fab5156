//! Queries of households that keep a history of their activity, on the way from the workers to the
//! aggregator.
//!
//! Most households keep no history; their queries pay one bit test. A query that a mandatory order
//! blocks is never sent, so that no history shows the order.

use std::sync::Arc;

use policy::{
    category::CategorySet,
    decide::{Action, EffectivePolicy, Layer, Verdict},
    name::NameRef,
    rules::compiled::HouseholdRules,
    unix_seconds::UnixSeconds,
};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::telemetry::name_sampler::InlineName;

/// Slots of a worker's ring: 0.1 s of 80,000 queries/s. The kernel maps a page when a slot in it is
/// first written.
const RING_SLOTS: usize = 1 << 13;

/// One query of a household that keeps a history.
pub struct ActivityEvent {
    /// The household, with the version of its rules that judged the query.
    pub rules: Arc<HouseholdRules>,
    /// The device, by its index in the rules; none if it is unknown.
    pub device: Option<u16>,
    pub at: UnixSeconds,
    /// The layer that decided.
    pub layer: Layer,
    /// The categories for which the query was blocked.
    pub categories: CategorySet,
    /// The queried name.
    pub name: InlineName,
}

/// A worker's end of its ring.
pub struct ActivitySender(Producer<ActivityEvent>);

impl ActivitySender {
    /// A ring: its sender, and the consumer for the aggregator.
    #[must_use]
    pub fn pair() -> (Self, Consumer<ActivityEvent>) {
        let (producer, consumer) = RingBuffer::new(RING_SLOTS);
        (Self(producer), consumer)
    }

    /// Sends a query, if its household keeps a history and the client need not repeat the query over
    /// TCP. Returns false if the ring is full: the query is missing in the household's history.
    pub fn send(
        &mut self,
        policy: &EffectivePolicy,
        name: NameRef<'_>,
        verdict: Verdict,
        at: UnixSeconds,
    ) -> bool {
        let is_shown = verdict.layer != Layer::Mandatory && verdict.action != Action::TcpOnly;
        let Some((rules, device)) = policy.recorded().filter(|_| is_shown) else {
            return true;
        };
        let Verdict {
            layer, categories, ..
        } = verdict;
        self.0
            .push(ActivityEvent {
                rules: Arc::clone(rules),
                device,
                at,
                layer,
                categories,
                name: InlineName::new(name),
            })
            .is_ok()
    }
}
