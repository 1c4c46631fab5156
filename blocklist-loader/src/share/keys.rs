//! The minisign key pair that signs manifests. minisign's own tools can generate keys and verify
//! signatures.

use std::{
    fmt,
    io::{Cursor, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use minisign::{KeyPair, PublicKey, PublicKeyBox, SecretKey, SecretKeyBox, SignatureBox};

use super::error::{ShareError, disk};

const SECRET_FILE: &str = "lists.key";
const PUBLIC_FILE: &str = "lists.pub";
/// Mode bits that give access to users other than the owner.
const OTHERS: u32 = 0o077;

/// A new key pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFiles {
    /// The secret key file, for the publisher's `secret_key`.
    pub secret: PathBuf,
    /// The public key file in minisign's format.
    pub public: PathBuf,
    /// The public key, for the followers' `public_key`.
    pub public_key: String,
}

/// Generates a key pair in a folder.
///
/// # Errors
/// The folder has one already, or is not writable.
pub fn generate_keys(directory: &Path) -> Result<KeyFiles, ShareError> {
    let pair = KeyPair::generate_unencrypted_keypair()
        .map_err(|error| bad("that was to be made", error))?;
    let secret = pair
        .sk
        .to_box(Some("signs the lists that nodes of OX Protect share"))
        .map_err(|error| bad(SECRET_FILE, error))?;
    let public = pair.pk.to_box().map_err(|error| bad(PUBLIC_FILE, error))?;
    std::fs::create_dir_all(directory).map_err(disk("creating", directory))?;
    let keys = KeyFiles {
        secret: directory.join(SECRET_FILE),
        public: directory.join(PUBLIC_FILE),
        public_key: pair.pk.to_base64(),
    };
    // Neither file is ever overwritten: after the loss of a secret key, every node needs a new
    // public key.
    for (path, text, mode) in [
        (&keys.secret, secret.into_string(), 0o600),
        (&keys.public, public.into_string(), 0o644),
    ] {
        let file = std::fs::File::options()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path);
        file.and_then(|mut file| {
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
        })
        .map_err(disk("writing", path))?;
    }
    Ok(keys)
}

/// The secret key, for signing.
pub(super) struct ManifestSigner {
    secret: SecretKey,
    pub(super) verifier: Verifier,
}

impl ManifestSigner {
    pub(super) fn read(path: &Path) -> Result<Self, ShareError> {
        let name = path.display().to_string();
        let mode = std::fs::metadata(path)
            .map_err(disk("reading the key", path))?
            .permissions()
            .mode();
        if mode & OTHERS != 0 {
            let reason = format!(
                "others may read it (mode {:03o}): chmod 600 {name}",
                mode & 0o777
            );
            return Err(ShareError::Key { key: name, reason });
        }
        let text = std::fs::read_to_string(path).map_err(disk("reading the key", path))?;
        let sealed = SecretKeyBox::from_string(&text).map_err(|error| bad(&name, error))?;
        let encrypted = |_| {
            bad(
                &name,
                "the secret key is encrypted or malformed; publishing needs an unencrypted key",
            )
        };
        let secret = sealed.into_unencrypted_secret_key().map_err(encrypted)?;
        let public = PublicKey::from_secret_key(&secret).map_err(|error| bad(&name, error))?;
        Ok(Self {
            secret,
            verifier: Verifier(public),
        })
    }

    /// The signature of a message: four lines of text.
    pub(super) fn sign(&self, message: &[u8], comment: &str) -> Result<String, ShareError> {
        let signed = minisign::sign(
            Some(&self.verifier.0),
            &self.secret,
            Cursor::new(message),
            Some(comment),
            Some("lists that nodes of OX Protect share"),
        );
        Ok(signed
            .map_err(|error| bad("that signs", error))?
            .into_string())
    }
}

/// The public key, for verification.
pub(super) struct Verifier(PublicKey);

impl Verifier {
    /// Parses a key in Base64, the two lines of a minisign key file, or `file:PATH`.
    pub(super) fn parse(text: &str) -> Result<Self, ShareError> {
        let read = match text.strip_prefix("file:") {
            Some(path) => {
                std::fs::read_to_string(path).map_err(disk("reading the key", Path::new(path)))?
            }
            None => text.to_owned(),
        };
        let key = if read.trim().contains('\n') {
            PublicKeyBox::from_string(read.trim()).and_then(PublicKeyBox::into_public_key)
        } else {
            PublicKey::from_base64(read.trim())
        };
        key.map(Self).map_err(|error| bad(text, error))
    }

    pub(super) fn verify(&self, message: &[u8], signature: &str) -> Result<(), ShareError> {
        let unsigned = |error: minisign::PError| ShareError::Signature(error.to_string());
        let signature = SignatureBox::from_string(signature).map_err(unsigned)?;
        minisign::verify(
            &self.0,
            &signature,
            Cursor::new(message),
            true,
            false,
            false,
        )
        .map_err(unsigned)
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_base64())
    }
}

fn bad(key: &str, reason: impl fmt::Display) -> ShareError {
    ShareError::Key {
        key: key.to_owned(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_signs_and_verifies_and_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let keys = generate_keys(folder.path()).unwrap();
        assert_eq!(
            std::fs::metadata(&keys.secret)
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
        let signer = ManifestSigner::read(&keys.secret).unwrap();
        let signature = signer.sign(b"content", "of a test").unwrap();
        let text = std::fs::read_to_string(&keys.public).unwrap();
        for public in [
            keys.public_key.clone(),
            text,
            format!("file:{}", keys.public.display()),
        ] {
            let verifier = Verifier::parse(&public).unwrap();
            verifier.verify(b"content", &signature).unwrap();
            assert!(matches!(
                verifier.verify(b"c0ntent", &signature),
                Err(ShareError::Signature(_))
            ));
        }
        assert!(matches!(
            generate_keys(folder.path()),
            Err(ShareError::Disk { .. })
        ));
        let stranger = generate_keys(&folder.path().join("other")).unwrap();
        assert!(
            Verifier::parse(&stranger.public_key)
                .unwrap()
                .verify(b"content", &signature)
                .is_err()
        );
    }

    #[test]
    fn a_secret_key_that_others_may_read_and_what_is_no_key_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let keys = generate_keys(folder.path()).unwrap();
        std::fs::set_permissions(&keys.secret, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(
            ManifestSigner::read(&keys.secret)
                .err()
                .unwrap()
                .to_string()
                .contains("chmod 600")
        );
        std::fs::write(&keys.secret, "no key").unwrap();
        std::fs::set_permissions(&keys.secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(
            ManifestSigner::read(&keys.secret),
            Err(ShareError::Key { .. })
        ));
        for text in ["", "RWabc", "file:/absent/lists.pub"] {
            assert!(Verifier::parse(text).is_err(), "{text:?}");
        }
    }
}
