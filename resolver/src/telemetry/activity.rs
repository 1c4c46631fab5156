//! What is asked for by those who want it counted for themselves, on its way from the workers to
//! whoever counts.
//!
//! Most households keep nothing, and their queries pay one look at a bit for that. What the law
//! orders is nobody's activity: a query that an order blocks is not told of at all, so no count of
//! a household can show it.

use std::sync::Arc;

use policy::{
    category::CategorySet,
    decide::{Action, EffectivePolicy, Layer, Verdict},
    name::NameRef,
    rules::compiled::HouseholdRules,
    unix_seconds::UnixSeconds,
};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::telemetry::query_sample::CarriedName;

/// Queries that wait to be counted, for each worker: a tenth of a second of eighty thousand a
/// second. Nothing is touched before it is used.
const RING_HEARD: usize = 1 << 13;

/// One query of a household that wants its queries counted.
pub struct Heard {
    /// The household, with the rules that the query was judged by.
    pub rules: Arc<HouseholdRules>,
    /// The device by its place in them; none where nobody named it.
    pub device: Option<u16>,
    /// When it was answered.
    pub at: UnixSeconds,
    /// What decided.
    pub layer: Layer,
    /// The categories for which it was blocked.
    pub categories: CategorySet,
    /// What was asked for.
    pub name: CarriedName,
}

/// A worker's part.
pub struct Ears(Producer<Heard>);

impl Ears {
    /// Ears, and what they hear.
    #[must_use]
    pub fn pair() -> (Self, Consumer<Heard>) {
        let (producer, consumer) = RingBuffer::new(RING_HEARD);
        (Self(producer), consumer)
    }

    /// Tells of a query whose asker wants it counted; not of one that is to come again over TCP.
    /// False where the ring is full, and the query is lost for its household's counts.
    pub fn hear(
        &mut self,
        asker: &EffectivePolicy,
        name: NameRef<'_>,
        verdict: Verdict,
        at: UnixSeconds,
    ) -> bool {
        let Some((rules, device)) = asker.recorded().filter(|_| is_told(verdict)) else {
            return true;
        };
        let Verdict {
            layer, categories, ..
        } = verdict;
        self.0
            .push(Heard {
                rules: Arc::clone(rules),
                device,
                at,
                layer,
                categories,
                name: CarriedName::of(name),
            })
            .is_ok()
    }
}

fn is_told(verdict: Verdict) -> bool {
    verdict.layer != Layer::Mandatory && verdict.action != Action::TcpOnly
}
