//! What exchanges remember of a server and read from the infrastructure cache.

use std::{net::SocketAddr, time::Duration};

use policy::name::Name;

use super::{
    attempt::{Attempt, Feature, Features},
    cache::{
        infra::{InfraCache, ServerQuirks},
        server::{SUSPECTED_FOR, ServerState, UNSUPPORTED_FOR},
    },
};

/// The infrastructure cache at one server and zone.
#[derive(Clone, Copy)]
pub(super) struct ServerMemory<'a> {
    pub infra: &'a InfraCache,
    pub address: SocketAddr,
    pub server: &'a ServerState,
    pub zone: &'a Name,
}

impl ServerMemory<'_> {
    pub fn quirks(&self) -> ServerQuirks {
        self.infra.quirks(self.address, self.zone)
    }

    pub fn update<T>(&self, edit: impl FnOnce(&mut ServerQuirks) -> T) -> T {
        self.infra.update(self.address, self.zone, edit)
    }

    /// The features that the server is known to support, mixed case in this zone.
    pub fn supported(&self, now: Duration) -> Features {
        Features {
            options: self.server.supports_options(now),
            mixed_case: self.quirks().supports_mixed_case(now),
            edns: self.server.supports_edns(now),
        }
    }

    /// Remembers what a useful response to this attempt shows. `may_downgrade` is Some(true) where a
    /// downgraded query was charged.
    pub fn remember(&self, attempt: Attempt, may_downgrade: Option<bool>, now: Duration) {
        if attempt.features.edns {
            self.server.set_supports_edns(attempt.features.options, now);
        }
        if attempt.left_out.is_some() && may_downgrade == Some(true) {
            self.server.refund_downgrades();
        }
        let left_out = attempt.left_out.map(|feature| (feature, UNSUPPORTED_FOR));
        let suspected = attempt
            .suspected
            .iter()
            .map(|feature| (feature, SUSPECTED_FOR));
        for (feature, lifetime) in left_out.into_iter().chain(suspected) {
            match feature {
                Feature::Options => self.server.set_without_options(now, lifetime),
                Feature::Edns => self.server.set_without_edns(now, lifetime),
                Feature::MixedCase => {
                    self.update(|quirks| quirks.set_needs_lower_case(now, lifetime));
                }
            }
        }
    }

    /// Remembers that the server has found a name in mixed case.
    pub fn remember_mixed_case(&self, now: Duration) {
        self.server.set_supports_mixed_case(now);
        // Written anew only when half of the lifetime is over.
        if !self.quirks().supports_mixed_case(now + UNSUPPORTED_FOR / 2) {
            self.update(|quirks| quirks.set_supports_mixed_case(now));
        }
    }
}
