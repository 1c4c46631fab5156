//! The encryption of a push message (RFC 8291) in one record (RFC 8188).
//!
//! ```text
//! ECDH(own key of this message, browser's key) -> HKDF with the browser's secret -> HKDF with a salt
//!     -> content key and nonce -> AES-128-GCM
//! ```

use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    error::Unspecified,
    hkdf::{HKDF_SHA256, KeyType, Salt},
};

/// Octets of an uncompressed point of P-256.
pub const POINT_OCTETS: usize = 65;
/// Octets of a browser's secret.
pub const SECRET_OCTETS: usize = 16;
/// Octets of a salt.
pub const SALT_OCTETS: usize = 16;
/// The longest message (RFC 8291, section 4): a record of 4,096 octets without its header, the
/// padding's delimiter and the tag.
pub const MESSAGE_OCTETS_MAX: usize = 3_993;
/// The size of a record, as the header says it.
const RECORD_OCTETS: u32 = 4_096;
/// What ends the last record (RFC 8188, section 2).
const LAST: u8 = 2;

/// The keys of a browser's subscription.
#[derive(Debug, Clone, Copy)]
pub struct BrowserKeys<'k> {
    /// Its public key, an uncompressed point of P-256: `p256dh`.
    pub public: &'k [u8],
    /// Its secret: `auth`.
    pub secret: &'k [u8],
}

/// The length of an output of HKDF.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive<const OCTETS: usize>(
    salt: &[u8],
    key: &[u8],
    info: &[&[u8]],
) -> Result<[u8; OCTETS], Unspecified> {
    let mut derived = [0; OCTETS];
    let extracted = Salt::new(HKDF_SHA256, salt).extract(key);
    extracted.expand(info, Length(OCTETS))?.fill(&mut derived)?;
    Ok(derived)
}

/// Encrypts a message for a browser. Returns the body with the header of RFC 8188.
///
/// # Errors
/// The browser's key is no point of P-256, or the message is too long.
pub fn encrypt(
    message: &[u8],
    browser: BrowserKeys<'_>,
    own: &PrivateKey,
    salt: [u8; SALT_OCTETS],
) -> Result<Vec<u8>, Unspecified> {
    if message.len() > MESSAGE_OCTETS_MAX {
        return Err(Unspecified);
    }
    let own_public = own.compute_public_key()?;
    let peer = UnparsedPublicKey::new(&ECDH_P256, browser.public);
    let input = agree(own, peer, Unspecified, |shared| {
        let info: [&[u8]; 3] = [b"WebPush: info\0", browser.public, own_public.as_ref()];
        derive::<32>(browser.secret, shared, &info)
    })?;
    let key: [u8; 16] = derive(&salt, &input, &[b"Content-Encoding: aes128gcm\0"])?;
    let nonce: [u8; 12] = derive(&salt, &input, &[b"Content-Encoding: nonce\0"])?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key)?);
    let mut record = [message, &[LAST]].concat();
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, Aad::empty(), &mut record)?;
    let point = own_public.as_ref();
    let length = u8::try_from(point.len()).map_err(|_| Unspecified)?;
    Ok([
        &salt[..],
        &RECORD_OCTETS.to_be_bytes(),
        &[length],
        point,
        &record,
    ]
    .concat())
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;

    use super::*;

    fn octets(text: &str) -> Vec<u8> {
        BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_example_of_rfc_8291_appendix_a() {
        let own = PrivateKey::from_private_key(
            &ECDH_P256,
            &octets("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"),
        );
        let public = octets(
            "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        );
        let secret = octets("BTBZMqHH6r4Tts7J_aSIgg");
        let browser = BrowserKeys {
            public: &public,
            secret: &secret,
        };
        let salt = octets("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap();
        let message = b"When I grow up, I want to be a watermelon";
        let body = encrypt(message, browser, &own.unwrap(), salt).unwrap();
        assert_eq!(
            BASE64URL_NOPAD.encode(&body),
            concat!(
                "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml",
                "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT",
                "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN",
            )
        );
    }

    #[test]
    fn a_key_that_is_no_point_and_a_message_that_is_too_long_are_refused() {
        let own = PrivateKey::generate(&ECDH_P256).unwrap();
        let good = own.compute_public_key().unwrap();
        let of = |public: &[u8], length: usize| {
            let browser = BrowserKeys {
                public,
                secret: &[7; SECRET_OCTETS],
            };
            encrypt(&vec![b'a'; length], browser, &own, [0; SALT_OCTETS]).is_ok()
        };
        assert!(of(good.as_ref(), MESSAGE_OCTETS_MAX));
        assert!(!of(good.as_ref(), MESSAGE_OCTETS_MAX + 1));
        assert!(!of(&[4; POINT_OCTETS], 1));
        assert!(!of(&good.as_ref()[..64], 1));
        assert!(!of(&[], 1));
    }
}
