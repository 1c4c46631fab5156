//! How much work validation may do for one client query.

use std::sync::atomic::{AtomicI32, Ordering};

use super::fault::ValidationFault;

/// Signatures that are checked for one client query. A count: PowerDNS has 30, Knot Resolver 32
/// cryptographic operations; a cold chain of aliases through five zones takes about 40.
const SIGNATURES_MAX: i32 = 64;
/// Of them, those that do not verify. A count: a zone in order has none, so that this bounds what
/// an attacker can cause (KeyTrap, CVE-2023-50387). Unbound stops at 8 a set and 16 sets.
const WRONG_SIGNATURES_MAX: i32 = 16;
/// Keys beyond the first that have the tag and algorithm of a signature. A count: BIND stops at the
/// second failure, Unbound and PowerDNS after 4 and 2 collisions.
const COLLISIONS_MAX: i32 = 4;
/// Names that are hashed for NSEC3 (CVE-2023-50868). A count: PowerDNS has 600 at up to 50
/// iterations, Unbound pauses after 8. A proof takes one for each label of the name, and two.
const HASHES_MAX: i32 = 300;
/// Digests of DNSKEY records that are compared with DS records. A count: PowerDNS compares 8 DS
/// with 2 keys a zone.
const DIGESTS_MAX: i32 = 128;

/// The validation budget of one client query. A retry does not reset it (CVE-2026-50045).
#[derive(Debug)]
pub struct ValidationBudget {
    signatures: AtomicI32,
    wrong_signatures: AtomicI32,
    collisions: AtomicI32,
    hashes: AtomicI32,
    digests: AtomicI32,
}

impl Default for ValidationBudget {
    fn default() -> Self {
        Self {
            signatures: AtomicI32::new(SIGNATURES_MAX),
            wrong_signatures: AtomicI32::new(WRONG_SIGNATURES_MAX),
            collisions: AtomicI32::new(COLLISIONS_MAX),
            hashes: AtomicI32::new(HASHES_MAX),
            digests: AtomicI32::new(DIGESTS_MAX),
        }
    }
}

impl ValidationBudget {
    /// Charges the check of one signature with one key.
    ///
    /// # Errors
    /// [`ValidationFault::TooMuchWork`] when the budget is used up; so do the other charges.
    pub(super) fn charge_signature(&self) -> Result<(), ValidationFault> {
        charge(&self.signatures)
    }

    /// Charges a signature that did not verify.
    pub(super) fn charge_wrong_signature(&self) -> Result<(), ValidationFault> {
        charge(&self.wrong_signatures)
    }

    /// Charges a further key with the tag and algorithm of a signature.
    pub(super) fn charge_collision(&self) -> Result<(), ValidationFault> {
        charge(&self.collisions)
    }

    /// Charges the NSEC3 hash of one name.
    pub(super) fn charge_hash(&self) -> Result<(), ValidationFault> {
        charge(&self.hashes)
    }

    /// Charges the digest of one DNSKEY record.
    pub(super) fn charge_digest(&self) -> Result<(), ValidationFault> {
        charge(&self.digests)
    }
}

fn charge(budget: &AtomicI32) -> Result<(), ValidationFault> {
    // A budget that is used up stays so: it is not charged below zero, so it cannot wrap.
    budget
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            (left > 0).then(|| left - 1)
        })
        .map(drop)
        .map_err(|_| ValidationFault::TooMuchWork)
}
