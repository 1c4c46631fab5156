//! Trust points: the zones with trust anchors, whose keys are looked at from time to time (RFC 5011).

use std::sync::PoisonError;

use policy::name::NameRef;

use crate::message::types::Rtype;

use super::{
    cached::ChainEnd,
    dnssec::{KeyChange, ObservedKeys, TrackedKey, TrustAnchors, TrustPoint, ValidationFault},
    environment::Environment,
    failure::ResolutionFailure,
    lookup_chain::LookupChain,
    query_context::QueryContext,
    state::Recursor,
};
use crate::upstream::Question;

/// What a look at the keys of a zone has brought.
#[derive(Debug, Clone)]
pub struct KeyLook {
    pub changes: Vec<KeyChange>,
    /// When to look again, in seconds from now.
    pub look_again_s: u32,
}

impl<E: Environment> Recursor<E> {
    /// The zones with trust anchors, and what is known of their keys.
    #[must_use]
    pub fn trust_points(&self) -> Vec<TrustPoint> {
        let points = self.points.lock().unwrap_or_else(PoisonError::into_inner);
        points.clone()
    }

    /// Takes in what was known of a zone's keys before the start. Nothing for a zone without anchors.
    pub fn restore_keys(&self, zone: NameRef<'_>, keys: Vec<TrackedKey>) {
        let mut points = self.points.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(point) = points.iter_mut().find(|point| point.zone() == zone) {
            point.restore(keys);
        }
        drop(points);
        self.renew_anchors(zone);
    }

    /// Asks for the DNSKEY RRset of a zone with trust anchors, and takes in what it says. With
    /// `applies`, keys that become trusted or are revoked count from now on.
    ///
    /// # Errors
    /// [`ResolutionFailure::Bogus`] where no anchor vouches for the RRset.
    pub async fn look_at_keys(
        &self,
        zone: NameRef<'_>,
        applies: bool,
    ) -> Result<KeyLook, ResolutionFailure> {
        let question = Question::new(zone.to_owned(), Rtype::DNSKEY);
        let context = QueryContext::new(self.environment.now(), &question, false);
        // Not from the cache: the RRset may have changed since.
        self.rrsets.remove(zone, Rtype::DNSKEY);
        let chain = LookupChain::of_validation(zone, Rtype::DNSKEY);
        let found = self.find(&context, &chain, zone, Rtype::DNSKEY, false);
        let found = found.await?;
        let set = match found.end {
            ChainEnd::Records => found.sets.into_iter().next_back(),
            ChainEnd::Alias(_) | ChainEnd::Code(_) => None,
        };
        let set = set.ok_or(ResolutionFailure::Bogus(ValidationFault::KeySetMissing))?;
        let validation = self.validation(&context);
        let anchors = self.anchors.load_full();
        let trusted = anchors
            .closest(zone)
            .map_or(&[][..], |(_, anchors)| anchors);
        let observed = ObservedKeys::of(&set, trusted, validation);
        let observed = observed.map_err(ResolutionFailure::Bogus)?;
        let now_unix_s = self.environment.unix_s();
        let mut points = self.points.lock().unwrap_or_else(PoisonError::into_inner);
        let point = points.iter_mut().find(|point| point.zone() == zone);
        let changes = point.map_or_else(Vec::new, |point| {
            point.observe(&observed, now_unix_s, validation)
        });
        drop(points);
        if applies && !changes.is_empty() {
            self.renew_anchors(zone);
        }
        Ok(KeyLook {
            changes,
            look_again_s: observed.look_again_s(),
        })
    }

    /// Validates with the anchors that the trust points have now.
    fn renew_anchors(&self, zone: NameRef<'_>) {
        let question = Question::new(zone.to_owned(), Rtype::DNSKEY);
        let context = QueryContext::new(self.environment.now(), &question, false);
        let mut anchors = TrustAnchors::default();
        for point in self.trust_points() {
            for anchor in point.anchors(self.validation(&context)) {
                anchors.insert(point.zone().to_owned(), anchor);
            }
        }
        self.anchors.store(anchors.into());
        self.trust.remove_below(zone);
    }
}
