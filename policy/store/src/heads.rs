//! Signed heads of the audit's chain. A head states that the row with this sequence had this hash
//! at this time, signed with a key outside of the database. It covers all rows before it, because
//! each row holds the hash of the one before.
//!
//! As text a head is one word, so that it can be found in a log, a message or a file:
//!
//! ```text
//! oxhead1.STORE.SEQUENCE.HASH.UNIX-TIME.PUBLIC-KEY.SIGNATURE     the last three fields but the time are hexadecimal, as HASH is
//! ```
//!
//! The signature is Ed25519 (RFC 8032) over the text before the last dot. The key is the node's
//! own, in a file beside the store with mode 600. A process that can read this file can sign other
//! heads; a process that can only write the database cannot.

use std::{fmt, io, path::Path, str::FromStr};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use jiff::Timestamp;

use crate::{
    audit::hexadecimal,
    error::StoreError,
    file::{give_to_owner, write_new},
};

/// The first field, with the version of the format.
const FORM: &str = "oxhead1";
/// Octets of the private key (the seed).
const SEED_OCTETS: usize = 32;

/// A head with its signature, which [`Self::is_genuine`] checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    pub store: String,
    pub sequence: u64,
    /// The hash of the row, in hexadecimal.
    pub hash: String,
    /// When it was signed, in whole seconds.
    pub at: Timestamp,
    /// The public key, in hexadecimal.
    pub key: String,
    signature: String,
}

impl SignedHead {
    /// Whether the signature is right for the key.
    #[must_use]
    pub fn is_genuine(&self) -> bool {
        let (Some(key), Some(signature)) = (octets(&self.key), octets(&self.signature)) else {
            return false;
        };
        UnparsedPublicKey::new(&ED25519, key)
            .verify(self.unsigned().as_bytes(), &signature)
            .is_ok()
    }

    /// Finds all heads in a text such as a log or a message.
    #[must_use]
    pub fn find_all(text: &str) -> Vec<Self> {
        let words = text.split(|letter: char| {
            !letter.is_ascii_alphanumeric() && letter != '.' && letter != '-'
        });
        words
            .filter_map(|word| word.trim_matches('.').parse().ok())
            .collect()
    }

    fn unsigned(&self) -> String {
        let Self {
            store,
            sequence,
            hash,
            at,
            key,
            ..
        } = self;
        format!("{FORM}.{store}.{sequence}.{hash}.{}.{key}", at.as_second())
    }
}

impl fmt::Display for SignedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.unsigned(), self.signature)
    }
}

impl FromStr for SignedHead {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let fields: Vec<&str> = text.split('.').collect();
        let [FORM, store, sequence, hash, at, key, signature] = fields[..] else {
            return Err(());
        };
        Ok(Self {
            store: store.to_owned(),
            sequence: sequence.parse().map_err(drop)?,
            hash: hash.to_owned(),
            at: at
                .parse()
                .ok()
                .and_then(|second| Timestamp::from_second(second).ok())
                .ok_or(())?,
            key: key.to_owned(),
            signature: signature.to_owned(),
        })
    }
}

/// Parses hexadecimal text.
fn octets(text: &str) -> Option<Vec<u8>> {
    let pairs = text
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    if text.len().is_multiple_of(2) && text.bytes().all(|letter| letter.is_ascii_hexdigit()) {
        pairs.collect()
    } else {
        None
    }
}

/// The private key of a node.
#[derive(Debug)]
pub(crate) struct Signer(Ed25519KeyPair);

impl Signer {
    /// Reads the key; `None` where it does not exist, or belongs to another user.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
            {
                return Ok(None);
            }
            Err(source) => {
                return Err(StoreError::Access {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let pair =
            octets(text.trim()).and_then(|seed| Ed25519KeyPair::from_seed_unchecked(&seed).ok());
        let detail = || {
            format!("it is no key of the audit: {SEED_OCTETS} octets in hexadecimal are expected")
        };
        pair.map(Self)
            .map(Some)
            .ok_or_else(|| StoreError::Unusable {
                path: path.to_owned(),
                detail: detail(),
            })
    }

    /// Creates a key and writes it to a file that must not exist yet.
    pub(crate) fn make(path: &Path, store: &Path) -> Result<Self, StoreError> {
        let mut seed = [0; SEED_OCTETS];
        getrandom::fill(&mut seed)
            .map_err(|error| StoreError::Random(io::Error::other(error.to_string())))?;
        let written = write_new(path, &format!("{}\n", hexadecimal(&seed)))
            .and_then(|()| give_to_owner(path, store));
        written.map_err(|source| StoreError::Access {
            path: path.to_owned(),
            source,
        })?;
        Self::read(path)?.ok_or_else(|| StoreError::Unusable {
            path: path.to_owned(),
            detail: "it cannot be read back".to_owned(),
        })
    }

    /// The public key, in hexadecimal.
    pub(crate) fn public_key(&self) -> String {
        hexadecimal(self.0.public_key().as_ref())
    }

    pub(crate) fn sign(
        &self,
        store: &str,
        sequence: u64,
        hash: &[u8],
        now: Timestamp,
    ) -> SignedHead {
        let at = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let store = store.to_owned();
        let hash = hexadecimal(hash);
        let key = self.public_key();
        let head = SignedHead {
            store,
            sequence,
            hash,
            at,
            key,
            signature: String::new(),
        };
        SignedHead {
            signature: hexadecimal(self.0.sign(head.unsigned().as_bytes()).as_ref()),
            ..head
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        // The first test vector of RFC 8032, section 7.1.
        let seed =
            octets("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        Signer(Ed25519KeyPair::from_seed_unchecked(&seed).unwrap())
    }

    fn head() -> SignedHead {
        signer().sign(
            "0a1b",
            7,
            &[0xab; 32],
            Timestamp::from_second(1_900_000_000).unwrap(),
        )
    }

    #[test]
    fn the_key_and_the_signature_are_those_of_rfc_8032() {
        assert_eq!(
            signer().public_key(),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        assert!(
            hexadecimal(signer().0.sign(b"").as_ref())
                .starts_with("e5564300c360ac729086e2cc806e828a")
        );
    }

    #[test]
    fn a_head_is_found_in_a_log_and_is_the_same() {
        let head = head();
        assert!(head.is_genuine());
        let log = format!(
            "2030-01-01T00:00:00Z  INFO audit head head={head}\n{{\"head\":\"{head}\"}}, \"{head}\". oxhead1.a.b"
        );
        assert_eq!(SignedHead::find_all(&log), vec![head; 3]);
    }

    #[test]
    fn each_field_of_a_head_is_signed() {
        let head = head();
        for (field, other) in [
            (1, "0a1c"),
            (2, "8"),
            (3, &"ac".repeat(32)),
            (4, "1900000001"),
            (5, &"00".repeat(32)),
            (6, &"00".repeat(64)),
        ] {
            let text = head.to_string();
            let mut fields: Vec<&str> = text.split('.').collect();
            fields[field] = other;
            let forged: SignedHead = fields.join(".").parse().unwrap();
            assert!(!forged.is_genuine(), "{forged}");
        }
        for text in [
            "",
            "oxhead1",
            "oxhead2.a.1.b.1.c.d",
            "oxhead1.a.1.b.1.c",
            "oxhead1.a.x.b.1.c.d",
        ] {
            assert!(text.parse::<SignedHead>().is_err(), "{text}");
        }
    }
}
