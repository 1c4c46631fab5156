//! The part of DNSSEC validation that needs no network, no clock and no cache: RFC 4033 to 4035,
//! 5155, 6840. Time comes in as a number, and each question pays from its budget.
//!
//! ```text
//! anchors (iana_xml), ds ---> zone_keys: which keys of a zone are trusted
//!                    |  rrsig: do the signatures of a set verify     canonical: what they sign
//!                    |  dnskey, algorithm: keys and their algorithms
//!                    v
//!                  denial: what verified NSEC and NSEC3 sets prove   nsec, nsec3, finding, bitmap
//!                  spans: what those of a zone prove of other names
//!
//! context: time, settings and budget of a validation      fault: why data are bogus or insecure
//! ```
//!
//! The caller walks down from a trust anchor. At each zone it has [`ZoneKeys`], verifies what the
//! zone says with [`ZoneKeys::verify`], and enters the next zone with [`UsableDs`] or with
//! [`Proofs::delegation`].

mod algorithm;
mod anchors;
mod bitmap;
mod budget;
mod canonical;
mod context;
mod denial;
mod dnskey;
mod ds;
mod fault;
mod finding;
mod iana_xml;
mod nsec;
mod nsec3;
mod rollover;
mod rrsig;
mod spans;
mod zone_keys;

#[cfg(test)]
mod signed_zones;
#[cfg(test)]
pub(super) mod testing;

pub use self::{
    anchors::{AnchorError, LineProblem, TrustAnchors, parse_key},
    budget::ValidationBudget,
    canonical::wildcard,
    context::{ValidationContext, ValidationSettings},
    denial::{Denied, Proofs, denies_the_name},
    dnskey::ZoneKey,
    ds::UsableDs,
    fault::{InsecurityCause, ValidationFault},
    finding::Delegation,
    rollover::{KeyChange, KeyState, ObservedKeys, TrackedKey, TrustPoint},
    spans::{Synthesis, Synthesised, ZoneSpans},
    zone_keys::{ZoneKeys, ZoneTrust},
};
