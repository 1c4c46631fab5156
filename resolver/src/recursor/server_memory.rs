//! What exchanges remember of a server and read from the infrastructure cache.

use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

use hickory_proto::op::{Message, ResponseCode};
use policy::name::Name;

use super::{
    attempt::{Attempt, Feature, Features},
    cache::{
        infra::{InfraCache, ServerQuirks},
        server::{SUSPECTED_FOR, ServerState, UNSUPPORTED_FOR},
    },
    wire::cookie_of,
};

/// Octets of a client cookie with a server cookie of 8 to 32 octets, RFC 7873 section 4.
const COOKIE_OCTETS: RangeInclusive<usize> = 16..=40;

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

    /// Takes the server cookie of a reply (RFC 7873 section 5.3). Returns false where a datagram does
    /// not have the cookies of its query, so that it may be spoofed.
    pub fn take_cookie(
        &self,
        message: Option<&Message>,
        attempt: Attempt<'_>,
        (client_cookie, server_cookie): (&[u8], &[u8]),
    ) -> bool {
        let cookie = message
            .and_then(|message| message.edns.as_ref())
            .and_then(cookie_of);
        let may_be_spoofed = match cookie {
            Some(cookie) => !cookie.starts_with(client_cookie),
            None => attempt.features.edns && !server_cookie.is_empty(),
        };
        if may_be_spoofed && attempt.is_udp() {
            return false;
        }
        let code = message.map(|message| message.metadata.response_code);
        match cookie {
            Some(cookie) if !may_be_spoofed && COOKIE_OCTETS.contains(&cookie.len()) => {
                self.server.set_cookie(&cookie[client_cookie.len()..]);
            }
            // Over TCP, where replies cannot be spoofed: the server has no cookies any more.
            None if may_be_spoofed
                && matches!(code, Some(ResponseCode::NoError | ResponseCode::NXDomain)) =>
            {
                self.server.set_cookie(&[]);
            }
            _ => {}
        }
        true
    }

    /// Remembers what a useful response to this attempt shows. `may_fall_back` is Some(true) where a
    /// fallback query was charged.
    pub fn remember(&self, attempt: Attempt<'_>, may_fall_back: Option<bool>, now: Duration) {
        if attempt.features.edns {
            self.server.set_supports_edns(attempt.features.options, now);
        }
        if attempt.left_out.is_some() && may_fall_back == Some(true) {
            self.server.refund_fallbacks();
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
