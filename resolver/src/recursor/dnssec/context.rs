//! What a validation is done with: the time, the settings and the budget of the client query.

use super::budget::ValidationBudget;

/// Iterations above which a zone is insecure, RFC 9276 section 3.2: the limit of BIND, Knot Resolver
/// and PowerDNS.
const ITERATIONS_MAX: u16 = 50;

/// The skew of Unbound: at most a day.
const SKEW_MAX_S: u32 = 86_400;

/// What the operator may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidationSettings {
    /// Whether algorithms 5 and 7 (RSA with SHA-1) and digest type 1 are supported. RFC 9905 section 2 wants zones
    /// with no other algorithm to be insecure.
    pub accepts_rsa_sha1: bool,
    /// How wrong the clock of a signer may be at most, in seconds.
    pub skew_max_s: u32,
    /// NSEC3 records with more iterations make what they prove insecure (RFC 9276 section 3.2).
    pub nsec3_iterations_max: u16,
}

impl Default for ValidationSettings {
    fn default() -> Self {
        Self {
            accepts_rsa_sha1: false,
            skew_max_s: SKEW_MAX_S,
            nsec3_iterations_max: ITERATIONS_MAX,
        }
    }
}

/// The circumstances of one step of validation.
#[derive(Debug, Clone, Copy)]
pub struct ValidationContext<'a> {
    /// Seconds since 1970-01-01 00:00 UTC, modulo 2^32 (RFC 4034 section 3.1.5).
    pub now_unix: u32,
    pub settings: &'a ValidationSettings,
    pub budget: &'a ValidationBudget,
}
