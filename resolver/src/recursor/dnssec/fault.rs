//! Why data are bogus, and why they are insecure.

use crate::message::types::EdeCode;

/// Why data are bogus, RFC 4033 section 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ValidationFault {
    #[error("no RRSIG covers the RRset")]
    SignatureMissing,
    #[error("no RRSIG of the RRset has a supported algorithm")]
    SignatureAlgorithm,
    #[error("an RRSIG has data that cannot be parsed")]
    SignatureMalformed,
    #[error("the signature of the RRset is wrong")]
    SignatureWrong,
    #[error("the signature of the RRset has expired")]
    SignatureExpired,
    #[error("the signature of the RRset is not yet valid")]
    SignatureNotYetValid,
    #[error("the signature of the RRset expires before it becomes valid")]
    SignatureLifetime,
    #[error("the signer of the RRset is not its zone")]
    SignerForeign,
    /// The labels field of the RRSIG, RFC 4034 section 3.1.3.
    #[error("the label count of the RRSIG does not fit its owner and its signer")]
    SignatureLabels,
    /// An RRset of a type that no wildcard can have.
    #[error("the RRset is expanded from a wildcard, which its type cannot be")]
    WildcardForbidden,
    #[error("the zone has no DNSKEY of the key tag and algorithm of the RRSIG")]
    KeyMissing,
    #[error("the DNSKEY of the RRSIG is no zone key")]
    KeyNotOfZone,
    #[error("the DNSKEY of the RRSIG is revoked")]
    KeyRevoked,
    #[error("the DNSKEY of the RRSIG cannot be parsed or is not supported")]
    KeyUnusable,
    /// No fault of the data: the caller takes them for insecure, see [`Self::insecurity`].
    #[error("the DNSKEY of the RRSIG has an unsupported size")]
    KeySize,
    #[error("no DNSKEY of the zone matches its DS RRset or its trust anchors")]
    KeyUntrusted,
    #[error("more DNSKEYs of the zone have one key tag and algorithm than chance can explain")]
    KeyTags,
    #[error("the zone has no DNSKEY RRset")]
    KeySetMissing,
    #[error("no NSEC or NSEC3 record proves the denial")]
    DenialMissing,
    #[error("the NSEC or NSEC3 records contradict the response")]
    DenialContradicted,
    /// The budget of the client query is used up. This says nothing about the data.
    #[error("the validation takes more work than one query may cause")]
    TooMuchWork,
    /// The caller lacks a part of the chain, for example because servers do not respond.
    #[error("the chain of trust could not be completed")]
    Indeterminate,
}

impl ValidationFault {
    /// The info-code of the Extended DNS Error, RFC 8914 section 4.
    #[must_use]
    pub fn ede(self) -> EdeCode {
        match self {
            Self::SignatureMissing | Self::SignatureAlgorithm => EdeCode::RRSIGS_MISSING,
            Self::SignatureExpired => EdeCode::SIGNATURE_EXPIRED,
            Self::SignatureNotYetValid => EdeCode::SIGNATURE_NOT_YET_VALID,
            Self::SignatureLifetime => EdeCode::SIGNATURE_EXPIRED_BEFORE_VALID,
            Self::KeyMissing
            | Self::KeyRevoked
            | Self::KeyUnusable
            | Self::KeySize
            | Self::KeyUntrusted
            | Self::KeySetMissing => EdeCode::DNSKEY_MISSING,
            Self::KeyNotOfZone => EdeCode::NO_ZONE_KEY_BIT_SET,
            Self::DenialMissing => EdeCode::NSEC_MISSING,
            Self::Indeterminate => EdeCode::DNSSEC_INDETERMINATE,
            Self::SignatureMalformed
            | Self::SignatureWrong
            | Self::SignerForeign
            | Self::SignatureLabels
            | Self::WildcardForbidden
            | Self::DenialContradicted
            | Self::KeyTags
            | Self::TooMuchWork => EdeCode::DNSSEC_BOGUS,
        }
    }

    /// Why the data are insecure and not bogus: all keys that sign them are of a size that the
    /// validator does not have (RFC 4035 section 5.2).
    #[must_use]
    pub fn insecurity(self) -> Option<InsecurityCause> {
        (self == Self::KeySize).then_some(InsecurityCause::UnsupportedKeySize)
    }

    /// Whether the fault is due to the client query and its cost, so that it must not be cached as
    /// a property of the data.
    #[must_use]
    pub fn is_of_query(self) -> bool {
        matches!(self, Self::TooMuchWork | Self::Indeterminate)
    }

    /// The value of the metric label `cause`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::SignatureMissing => "signature-missing",
            Self::SignatureAlgorithm => "signature-algorithm",
            Self::SignatureMalformed => "signature-malformed",
            Self::SignatureWrong => "signature-wrong",
            Self::SignatureExpired => "signature-expired",
            Self::SignatureNotYetValid => "signature-not-yet-valid",
            Self::SignatureLifetime => "signature-lifetime",
            Self::SignerForeign => "signer-foreign",
            Self::SignatureLabels => "signature-labels",
            Self::WildcardForbidden => "wildcard-forbidden",
            Self::KeyMissing => "key-missing",
            Self::KeyNotOfZone => "key-not-of-zone",
            Self::KeyRevoked => "key-revoked",
            Self::KeyUnusable => "key-unusable",
            Self::KeySize => "key-size",
            Self::KeyUntrusted => "key-untrusted",
            Self::KeyTags => "key-tags",
            Self::KeySetMissing => "key-set-missing",
            Self::DenialMissing => "denial-missing",
            Self::DenialContradicted => "denial-contradicted",
            Self::TooMuchWork => "too-much-work",
            Self::Indeterminate => "indeterminate",
        }
    }

    /// Of two faults of one RRset, the one that says more: a signature that was checked against its
    /// key says more than one without a key, and that more than none.
    pub(super) fn or_graver(self, other: Self) -> Self {
        if other.gravity() > self.gravity() {
            other
        } else {
            self
        }
    }

    fn gravity(self) -> u8 {
        match self {
            Self::TooMuchWork => 7,
            Self::SignatureExpired | Self::SignatureNotYetValid | Self::SignatureLifetime => 6,
            Self::SignatureWrong => 5,
            Self::KeyNotOfZone | Self::KeyRevoked | Self::KeyUnusable => 4,
            Self::KeySize => 3,
            Self::SignatureAlgorithm => 1,
            Self::SignatureMissing => 0,
            _ => 2,
        }
    }
}

/// Why data that nothing is wrong with are insecure, RFC 4033 section 5. Each cause is proved by
/// secure data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum InsecurityCause {
    #[error("the delegation has no DS RRset")]
    UnsignedDelegation,
    /// RFC 5155 section 6.
    #[error("the name lies in an opt-out span")]
    OptOut,
    #[error("no DS record of the zone has a supported algorithm")]
    UnsupportedAlgorithm,
    #[error("no DS record of the zone has a supported digest type")]
    UnsupportedDigest,
    /// RSA keys that the cryptographic library does not verify with.
    #[error("a key of the zone has an unsupported size")]
    UnsupportedKeySize,
    /// RFC 7646.
    #[error("a negative trust anchor is at or above the name")]
    NegativeTrustAnchor,
    /// RFC 9276 section 3.2.
    #[error("the NSEC3 records of the zone have too many iterations")]
    TooManyIterations,
}

impl InsecurityCause {
    /// The info-code of the Extended DNS Error; none where being insecure is the zone's intent.
    #[must_use]
    pub fn ede(self) -> Option<EdeCode> {
        match self {
            Self::UnsignedDelegation | Self::OptOut => None,
            Self::UnsupportedAlgorithm | Self::UnsupportedKeySize => {
                Some(EdeCode::UNSUPPORTED_DNSKEY_ALGORITHM)
            }
            Self::NegativeTrustAnchor => Some(EdeCode::NEGATIVE_TRUST_ANCHOR),
            Self::UnsupportedDigest => Some(EdeCode::UNSUPPORTED_DS_DIGEST_TYPE),
            Self::TooManyIterations => Some(EdeCode::UNSUPPORTED_NSEC3_ITERATIONS),
        }
    }
}
