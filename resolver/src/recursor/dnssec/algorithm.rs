//! Signature algorithms and digest types, IANA "DNS Security Algorithm Numbers" and "DS RR Type
//! Digest Algorithms". They are two lists: a disabled signature algorithm disables no digest.

use aws_lc_rs::{
    digest::{self, Digest},
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ML_DSA_44,
        RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, RsaParameters, VerificationAlgorithm,
    },
};

use super::context::ValidationSettings;

/// A signature algorithm that the validator can verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// 5, RFC 3110.
    RsaSha1,
    /// 7, RFC 5155 section 2: the same with the promise of NSEC3.
    RsaSha1Nsec3Sha1,
    /// 8, RFC 5702.
    RsaSha256,
    /// 10, RFC 5702.
    RsaSha512,
    /// 13, RFC 6605.
    EcdsaP256Sha256,
    /// 14, RFC 6605.
    EcdsaP384Sha384,
    /// 15, RFC 8080.
    Ed25519,
    /// 18, draft-ietf-dnsop-mldsa-dnssec.
    MlDsa44,
}

/// How the octets of a public key are read.
pub(super) enum KeyForm {
    /// Exponent and modulus, RFC 3110 section 2.
    Rsa(&'static RsaParameters),
    /// The uncompressed point without the octet that says so, RFC 6605 section 4.
    Point(&'static dyn VerificationAlgorithm),
    /// As the library takes them.
    Plain(&'static dyn VerificationAlgorithm),
}

impl SignatureAlgorithm {
    /// The algorithm with this number, if the validator has it and the settings allow it.
    #[must_use]
    pub fn supported(number: u8, settings: &ValidationSettings) -> Option<Self> {
        Self::known(number).filter(|algorithm| {
            settings.accepts_rsa_sha1
                || !matches!(algorithm, Self::RsaSha1 | Self::RsaSha1Nsec3Sha1)
        })
    }

    /// The algorithm with this number, if the validator has it.
    pub(super) fn known(number: u8) -> Option<Self> {
        Some(match number {
            5 => Self::RsaSha1,
            7 => Self::RsaSha1Nsec3Sha1,
            8 => Self::RsaSha256,
            10 => Self::RsaSha512,
            13 => Self::EcdsaP256Sha256,
            14 => Self::EcdsaP384Sha384,
            15 => Self::Ed25519,
            18 => Self::MlDsa44,
            _ => return None,
        })
    }

    pub(super) fn key_form(self) -> KeyForm {
        match self {
            Self::RsaSha1 | Self::RsaSha1Nsec3Sha1 => {
                KeyForm::Rsa(&RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY)
            }
            Self::RsaSha256 => KeyForm::Rsa(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY),
            Self::RsaSha512 => KeyForm::Rsa(&RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY),
            Self::EcdsaP256Sha256 => KeyForm::Point(&ECDSA_P256_SHA256_FIXED),
            Self::EcdsaP384Sha384 => KeyForm::Point(&ECDSA_P384_SHA384_FIXED),
            Self::Ed25519 => KeyForm::Plain(&ED25519),
            Self::MlDsa44 => KeyForm::Plain(&ML_DSA_44),
        }
    }
}

/// A digest type of DS records that the validator supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DigestType {
    /// 1, RFC 4034. RFC 4509 section 3 has it ignored beside the others. Off by default.
    Sha1,
    /// 2, RFC 4509.
    Sha256,
    /// 4, RFC 6605.
    Sha384,
}

impl DigestType {
    /// The digest type with this number, if the validator has it and the settings allow it.
    #[must_use]
    pub fn supported(number: u8, settings: &ValidationSettings) -> Option<Self> {
        Self::known(number).filter(|digest| settings.accepts_rsa_sha1 || *digest != Self::Sha1)
    }

    /// The digest type with this number, if the validator has it.
    pub(super) fn known(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Sha1),
            2 => Some(Self::Sha256),
            4 => Some(Self::Sha384),
            _ => None,
        }
    }

    pub(super) fn octets(self) -> usize {
        match self {
            Self::Sha1 => digest::SHA1_OUTPUT_LEN,
            Self::Sha256 => digest::SHA256_OUTPUT_LEN,
            Self::Sha384 => digest::SHA384_OUTPUT_LEN,
        }
    }

    pub(super) fn digest(self, octets: &[u8]) -> Digest {
        match self {
            Self::Sha1 => digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, octets),
            Self::Sha256 => digest::digest(&digest::SHA256, octets),
            Self::Sha384 => digest::digest(&digest::SHA384, octets),
        }
    }
}
