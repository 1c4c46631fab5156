//! The signature by which a push service knows this node (VAPID, RFC 8292): a token for the service's
//! origin, signed with ES256.

use aws_lc_rs::{
    error::{KeyRejected, Unspecified},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

/// For how long a token is good (RFC 8292, section 2: at most 24 hours).
const AGE: SignedDuration = SignedDuration::from_hours(12);

/// The key of this node.
pub struct SenderKey(EcdsaKeyPair);

impl SenderKey {
    /// A new key, in PKCS #8.
    pub fn fresh() -> Result<Vec<u8>, Unspecified> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
        Ok(key.as_ref().to_vec())
    }

    pub fn read(pkcs8: &[u8]) -> Result<Self, KeyRejected> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map(Self)
    }

    /// The public key, an uncompressed point in base64url.
    pub fn public(&self) -> String {
        BASE64URL_NOPAD.encode(self.0.public_key().as_ref())
    }

    /// The header `Authorization` of a message to a push service of this origin.
    pub fn authorization(
        &self,
        origin: &str,
        contact: Option<&str>,
        now: Timestamp,
    ) -> Result<String, Unspecified> {
        let mut claims = json!({ "aud": origin, "exp": (now + AGE).as_second() });
        if let Some(contact) = contact {
            claims["sub"] = contact.into();
        }
        let header = json!({ "typ": "JWT", "alg": "ES256" });
        let part = |value: serde_json::Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes())?;
        let signature = BASE64URL_NOPAD.encode(signature.as_ref());
        Ok(format!("vapid t={signed}.{signature}, k={}", self.public()))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_token_is_for_one_origin_ends_and_is_signed_by_the_key_beside_it() {
        let key = SenderKey::read(&SenderKey::fresh().unwrap()).unwrap();
        let now: Timestamp = "2030-06-03T20:15:02Z".parse().unwrap();
        let header = key
            .authorization("https://push.example", Some("mailto:a@isp.example"), now)
            .unwrap();
        let (token, public) = header
            .strip_prefix("vapid t=")
            .unwrap()
            .split_once(", k=")
            .unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let octets = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, octets(public))
            .verify(signed.as_bytes(), &octets(signature))
            .unwrap();
        let claims = octets(signed.split_once('.').unwrap().1);
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(
            claims,
            json!({ "aud": "https://push.example", "sub": "mailto:a@isp.example",
                "exp": now.as_second() + 12 * 3_600 })
        );
    }
}
