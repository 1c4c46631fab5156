//! A certificate with its key: two PEM files, read at the start and again when they change.
//!
//! A TLS listener asks for the pair at each handshake, so a renewed one touches no open connection.
//! Files that cannot be used leave the earlier pair in place. This file knows no protocol: each
//! listener has its own TLS settings around the same [`ServerCertificate`].

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use metrics::{describe_gauge, gauge};
use policy::lists::current::CurrentLists;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::sync::Notify;
use tokio_rustls::rustls::{
    self,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{
    causes,
    lists::{model::EventKind, status::ListStatus},
};

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long before its end a certificate raises an alarm, at most. One of 90 days is usually renewed
/// after 60, so by then that has failed for two weeks.
const ENDS_SOON_MAX: SignedDuration = SignedDuration::from_hours(14 * 24);
/// The same as a part of the certificate's life: there are certificates of six days.
const ENDS_SOON_PART: i32 = 3;

/// Where a certificate and its key are, as PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The certificate, then those that lead to its root.
    pub chain: PathBuf,
    /// The private key, without a passphrase.
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub enum CertificateError {
    #[error("reading {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("{} is no PEM file", .0.display())]
    Pem(PathBuf, #[source] pem::Error),
    #[error("{} has no certificate", .0.display())]
    NoCertificate(PathBuf),
    #[error("{} has no private key that is readable without a passphrase", .0.display())]
    NoKey(PathBuf),
    #[error("the certificate in {} cannot be read", .0.display())]
    Certificate(PathBuf),
    #[error("the key in {} does not fit the first certificate in {}", .0.key.display(), .0.chain.display())]
    Pair(CertificateFiles, #[source] rustls::Error),
    #[error("the certificate in {} ended at {}", .0.display(), .1)]
    Expired(PathBuf, Timestamp),
}

/// A certificate and its key, the newest usable ones of the files.
#[derive(Debug)]
pub struct ServerCertificate {
    files: CertificateFiles,
    live: ArcSwap<Pair>,
    asked: Notify,
}

/// What the files held.
#[derive(Debug)]
struct Pair {
    key: Arc<CertifiedKey>,
    not_after: Timestamp,
    /// From when on the certificate should have been renewed.
    renew_at: Timestamp,
    /// Of the files' content.
    hash: [u8; 32],
}

impl ServerCertificate {
    /// Reads the files. A certificate that has ended can be used: clients that do not check it go
    /// on, and the node starts.
    pub fn read(files: &CertificateFiles) -> Result<Self, CertificateError> {
        let pair = Pair::of(&Content::read(files)?, files)?;
        Ok(Self {
            files: files.clone(),
            live: ArcSwap::from_pointee(pair),
            asked: Notify::new(),
        })
    }

    /// Has the files looked at now.
    pub fn look_now(&self) {
        self.asked.notify_one();
    }

    /// Reads the files again. Returns whether there is a new pair.
    fn renew(&self, now: Timestamp) -> Result<bool, CertificateError> {
        let content = Content::read(&self.files)?;
        if content.hash() == self.live.load().hash {
            return Ok(false);
        }
        let pair = Pair::of(&content, &self.files)?;
        if pair.not_after <= now {
            return Err(CertificateError::Expired(
                self.files.chain.clone(),
                pair.not_after,
            ));
        }
        self.live.store(Arc::new(pair));
        Ok(true)
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.live.load().key))
    }
}

/// The content of both files.
struct Content {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Content {
    fn read(files: &CertificateFiles) -> Result<Self, CertificateError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| CertificateError::Read(path.to_owned(), error))
        };
        Ok(Self {
            chain: read(&files.chain)?,
            key: read(&files.key)?,
        })
    }

    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [&self.chain, &self.key] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

impl Pair {
    fn of(content: &Content, files: &CertificateFiles) -> Result<Self, CertificateError> {
        let chain = CertificateDer::pem_slice_iter(&content.chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| CertificateError::Pem(files.chain.clone(), error))?;
        let leaf = chain
            .first()
            .ok_or_else(|| CertificateError::NoCertificate(files.chain.clone()))?;
        let (not_before, not_after) =
            validity(leaf).ok_or_else(|| CertificateError::Certificate(files.chain.clone()))?;
        let soon = ENDS_SOON_MAX.min(not_after.duration_since(not_before) / ENDS_SOON_PART);
        let key = PrivateKeyDer::from_pem_slice(&content.key).map_err(|error| match error {
            pem::Error::NoItemsFound => CertificateError::NoKey(files.key.clone()),
            error => CertificateError::Pem(files.key.clone(), error),
        })?;
        let key = CertifiedKey::from_der(chain, key, &default_provider())
            .map_err(|error| CertificateError::Pair(files.clone(), error))?;
        Ok(Self {
            key: Arc::new(key),
            not_after,
            renew_at: not_after - soon,
            hash: content.hash(),
        })
    }
}

/// When a certificate begins and ends.
fn validity(certificate: &CertificateDer<'_>) -> Option<(Timestamp, Timestamp)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let validity = parsed.validity();
    let not_before = Timestamp::from_second(validity.not_before.timestamp()).ok()?;
    let not_after = Timestamp::from_second(validity.not_after.timestamp()).ok()?;
    (not_before <= not_after).then_some((not_before, not_after))
}

/// What an operator must know of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
enum CertificateState {
    Good,
    /// It ends soon, or has ended.
    Ends(Timestamp),
    /// The files cannot be used; the earlier pair stays.
    Failing(String),
}

/// Looks at the files of a certificate, and tells the operator what it finds.
pub struct CertificateWatch {
    /// The word for the certificate's listener in metrics, events and the log.
    pub listener: &'static str,
    pub certificate: Arc<ServerCertificate>,
    pub status: Arc<ListStatus>,
    pub lists: Arc<CurrentLists>,
}

impl CertificateWatch {
    /// Looks every few seconds, and when [`ServerCertificate::look_now`] says so.
    pub async fn run(self) {
        describe();
        let mut was = CertificateState::Good;
        loop {
            let is = self.look().await;
            if is != was {
                self.tell(&is);
                was = is;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.certificate.asked.notified() => {}
            }
        }
    }

    /// Takes a new pair from the files, if there is one.
    async fn look(&self) -> CertificateState {
        let now = Timestamp::now();
        let certificate = Arc::clone(&self.certificate);
        let looked = tokio::task::spawn_blocking(move || certificate.renew(now)).await;
        let failure = match looked {
            Ok(Ok(true)) => {
                self.tell_renewed();
                None
            }
            Ok(Ok(false)) => None,
            Ok(Err(error)) => Some(causes(&error)),
            Err(panicked) => Some(causes(&panicked)),
        };
        let listener = self.listener;
        let pair = self.certificate.live.load();
        gauge!("ox_protect_certificate_usable", "listener" => listener)
            .set(f64::from(u8::from(failure.is_none())));
        gauge!("ox_protect_certificate_not_after_seconds", "listener" => listener)
            .set(pair.not_after.as_second() as f64);
        match failure {
            Some(error) => CertificateState::Failing(error),
            None if pair.renew_at <= now => CertificateState::Ends(pair.not_after),
            None => CertificateState::Good,
        }
    }

    fn tell_renewed(&self) {
        let listener = self.listener;
        let until = self.certificate.live.load().not_after;
        tracing::info!(listener, %until, "the certificate is renewed");
        self.publish(EventKind::CertificateRenewed, &format!("until {until}"));
    }

    fn tell(&self, state: &CertificateState) {
        let listener = self.listener;
        match state {
            CertificateState::Good => {
                tracing::info!(listener, "the certificate files can be used");
            }
            CertificateState::Ends(at) => {
                tracing::error!(listener, %at, "the certificate ends soon, or has ended");
                self.publish(EventKind::CertificateExpiring, &format!("ends at {at}"));
            }
            CertificateState::Failing(error) => {
                tracing::error!(
                    listener,
                    error,
                    "the certificate files cannot be used; the earlier certificate stays"
                );
                self.publish(EventKind::CertificateFailing, error);
            }
        }
    }

    fn publish(&self, kind: EventKind, detail: &str) {
        let generation = self.lists.load().generation();
        let detail = format!("{}: {detail}", self.listener);
        self.status
            .publish(kind, None, generation, Some(detail), Timestamp::now());
    }
}

fn describe() {
    describe_gauge!(
        "ox_protect_certificate_usable",
        "1 while the certificate files can be used, 0 while they cannot and the earlier certificate stays"
    );
    describe_gauge!(
        "ox_protect_certificate_not_after_seconds",
        "When the certificate in use ends, in seconds since 1970"
    );
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    /// A folder with two PEM files.
    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn files(&self) -> CertificateFiles {
            CertificateFiles {
                chain: self.0.path().join("chain.pem"),
                key: self.0.path().join("key.pem"),
            }
        }

        fn write(&self, chain: &str, key: &str) {
            fs::write(self.files().chain, chain).unwrap();
            fs::write(self.files().key, key).unwrap();
        }

        fn read(&self) -> Result<ServerCertificate, String> {
            ServerCertificate::read(&self.files()).map_err(|error| causes(&error))
        }
    }

    /// A certificate and its key, valid for so many days from `begins` days before now on.
    fn pair(begins: i64, days: i64) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["api.example".to_owned()]).unwrap();
        let day = |days: i64| {
            let at = Timestamp::now() + SignedDuration::from_hours(24 * days);
            let at = at.to_zoned(jiff::tz::TimeZone::UTC);
            rcgen::date_time_ymd(at.year().into(), at.month() as u8, at.day() as u8)
        };
        params.not_before = day(-begins);
        params.not_after = day(days - begins);
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn a_pair_that_cannot_be_used_is_refused_by_its_reason() {
        let (chain, key) = pair(1, 90);
        let (_, other_key) = pair(1, 90);
        for (written, reason) in [
            (("", &*key), "chain.pem has no certificate"),
            ((&key, &key), "chain.pem has no certificate"),
            ((&chain, ""), "key.pem has no private key"),
            ((&chain, &chain), "key.pem has no private key"),
            ((&chain, &other_key), "does not fit"),
            ((&chain[..chain.len() / 2], &key), "chain.pem"),
            (
                (
                    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                    &key,
                ),
                "cannot be read",
            ),
        ] {
            let folder = Folder::new();
            folder.write(written.0, written.1);
            let error = folder.read().unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        assert!(Folder::new().read().unwrap_err().starts_with("reading "));
    }

    #[test]
    fn a_changed_pair_is_taken_and_a_bad_one_leaves_it() {
        let folder = Folder::new();
        let (chain, key) = pair(80, 90);
        folder.write(&chain, &key);
        let certificate = folder.read().unwrap();
        let now = Timestamp::now();
        let leaf = || certificate.live.load().key.cert[0].clone();
        let first = leaf();
        assert!(!certificate.renew(now).unwrap());
        let (renewed, its_key) = pair(1, 90);
        folder.write(&renewed, &key);
        assert!(certificate.renew(now).is_err(), "half of a pair");
        assert_eq!(leaf(), first);
        folder.write(&renewed, &its_key);
        assert!(certificate.renew(now).unwrap());
        let second = leaf();
        assert_ne!(second, first);
        let (ended, its_key) = pair(90, 80);
        folder.write(&ended, &its_key);
        let error = certificate.renew(now).unwrap_err().to_string();
        assert!(error.contains("ended at"), "{error}");
        assert_eq!(leaf(), second);
    }

    #[test]
    fn a_certificate_should_be_renewed_a_while_before_its_end() {
        for (begins, days, is_due) in [
            (1, 90, false),
            (74, 90, false),
            (77, 90, true),
            (100, 90, true),
            (1, 6, false),
            (5, 6, true),
        ] {
            let folder = Folder::new();
            let (chain, key) = pair(begins, days);
            folder.write(&chain, &key);
            let certificate = folder.read().expect("an ended one, too");
            let renew_at = certificate.live.load().renew_at;
            assert_eq!(renew_at <= Timestamp::now(), is_due, "{begins} of {days}");
        }
    }
}
