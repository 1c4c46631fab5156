//! The TSIG key of a definition (RFC 8945).

use serde::{Deserialize, Serialize};

use super::secret::Secret;

/// A key that signs transfers (RFC 8945).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Tsig {
    /// The key's name, which the primary must use too.
    pub name: String,
    #[serde(default)]
    pub algorithm: TsigAlgorithm,
    /// The key in Base64.
    pub secret: Secret,
}

/// The supported algorithms of RFC 8945. HMAC-SHA-224 is missing because the cryptography library
/// does not have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum TsigAlgorithm {
    HmacSha1,
    #[default]
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

impl TsigAlgorithm {
    /// The name in the configuration and in DNS.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha1 => "hmac-sha1",
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }
}

impl Tsig {
    /// Checks the name and a literal secret.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let is_base64 = |text: &str| {
            let digits = text.trim_end_matches('=');
            let is_digit = |octet: u8| octet.is_ascii_alphanumeric() || b"+/".contains(&octet);
            text.len().is_multiple_of(4)
                && text.len() - digits.len() <= 2
                && !digits.is_empty()
                && digits.bytes().all(is_digit)
        };
        if policy::name::Name::parse(&self.name).is_err() {
            return Err(
                "name is no domain name; it must be the one that the primary knows the key by",
            );
        }
        if self.secret.literal().is_some_and(|words| !is_base64(words)) {
            return Err("secret is not in Base64; it may also be \"env:NAME\" or \"file:PATH\"");
        }
        Ok(())
    }
}
