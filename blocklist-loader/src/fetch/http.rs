//! Fetches a list that is published as one file. The server's validators are sent with the next
//! request, so that an unchanged list costs nothing. New content is verified completely before it
//! replaces the old one.

use std::{fs::File, io, path::Path};

use minisign::{PublicKey, SignatureBox};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::{
    client::{self, HttpAnswer, HttpClient, Validators, plain},
    error::{FetchError, disk, unpack_failed},
    fetched::{Fetched, VERSION_DIGITS},
};
use crate::{
    feed::Feed,
    gate::Gate,
    source::published_name,
    spool::{self, RowKey, SnapshotWriter, Spool},
    unpack::{self, UnpackError, Unpacked},
};

/// Suffix of a signature's URL.
const SIGNATURE: &str = ".minisig";

/// The state that is stored with the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// The source and the verification settings. If they change, the list is fetched again.
    asked: String,
    /// SHA-256 of the content.
    sha256: String,
    validators: Validators,
}

/// The fetcher of one list.
pub struct HttpList {
    client: HttpClient,
    spool: Spool,
    asked: String,
    name: String,
    octets_max: u64,
    checksum: Option<Url>,
    signature: Option<(PublicKey, Url)>,
}

impl HttpList {
    pub(crate) fn new(feed: &Feed, directory: &Path) -> Result<Self, FetchError> {
        let spool = Spool::open(&spool::folder_of(directory, &feed.name), RowKey::WholeRow)
            .map_err(disk)?;
        let client = HttpClient::new(feed)?;
        let checksum = feed.sha256_url.as_deref().map(client::parse).transpose()?;
        let signature = feed.minisign_key.as_ref().map(|key| {
            let key = PublicKey::from_base64(key).map_err(|error| {
                FetchError::because(Gate::Signature, "minisign_key is no key", error)
            })?;
            let url = match &feed.signature_url {
                Some(url) => client::parse(url)?,
                None => beside(client.source()),
            };
            Ok((key, url))
        });
        Ok(Self {
            asked: format!(
                "{:?}",
                (
                    &feed.source,
                    &feed.sha256_url,
                    &feed.minisign_key,
                    &feed.signature_url
                )
            ),
            name: published_name(&feed.source),
            octets_max: feed.octets_max(),
            signature: signature.transpose()?,
            checksum,
            spool,
            client,
        })
    }

    pub(crate) async fn fetch(&mut self) -> Result<Fetched, FetchError> {
        let known: Option<State> = self.spool.state();
        let validators = known
            .as_ref()
            .filter(|state| state.asked == self.asked)
            .map(|state| state.validators.clone())
            .unwrap_or_default();
        let work = async {
            match self.client.get(self.client.source(), &validators).await? {
                HttpAnswer::NotModified => Ok(None),
                HttpAnswer::Content(response, validators) => {
                    let writer = self.spool.snapshot().map_err(disk)?;
                    let writer = client::store(response, self.octets_max, writer).await?;
                    Ok(Some((self.check(writer).await?, validators)))
                }
            }
        };
        let Some((writer, validators)) = self.client.in_time(work).await? else {
            return Ok(Fetched::Unchanged);
        };
        let state = State {
            asked: self.asked.clone(),
            sha256: writer.digest(),
            validators,
        };
        if known.is_some_and(|known| known.sha256 == state.sha256) {
            drop(writer);
            self.spool.set_state(&state).map_err(disk)?;
            return Ok(Fetched::Unchanged);
        }
        let version = state.sha256[..VERSION_DIGITS].to_owned();
        tokio::task::spawn_blocking(move || writer.commit(&state))
            .await
            .map_err(io::Error::other)
            .and_then(|done| done)
            .map_err(disk)?;
        Ok(Fetched::Replaced { version })
    }

    pub(super) fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Verifies the checksum, the signature and the compression.
    async fn check(&self, mut writer: SnapshotWriter) -> Result<SnapshotWriter, FetchError> {
        if let Some(url) = &self.checksum {
            check_digest(
                &self.client.small(url).await?,
                &self.name,
                &writer.digest(),
                url,
            )?;
        }
        let signature = match &self.signature {
            Some((key, url)) => Some((
                key.clone(),
                parse_signature(&self.client.small(url).await?, url)?,
            )),
            None => None,
        };
        let name = self.name.clone();
        let octets_max = self.octets_max;
        let checked = tokio::task::spawn_blocking(move || {
            let file = writer.written().map_err(disk)?;
            if let Some((key, signature)) = signature {
                minisign::verify(
                    &key,
                    &signature,
                    file.try_clone().map_err(disk)?,
                    true,
                    false,
                    false,
                )
                .map_err(|error| {
                    FetchError::because(
                        Gate::Signature,
                        "the list is not what was signed by minisign_key",
                        error,
                    )
                })?;
            }
            check_packing(writer.written().map_err(disk)?, &name, octets_max)?;
            Ok(writer)
        });
        checked
            .await
            .map_err(|error| disk(io::Error::other(error)))?
    }
}

/// The default URL of the signature: the suffix follows the path, and the query stays.
fn beside(source: &Url) -> Url {
    let mut url = source.clone();
    url.set_path(&format!("{}{SIGNATURE}", source.path()));
    url
}

fn parse_signature(text: &[u8], url: &Url) -> Result<SignatureBox, FetchError> {
    let wrong = || {
        FetchError::new(
            Gate::Signature,
            format!("{} is no signature of minisign", plain(url)),
        )
    };
    let signature = SignatureBox::from_string(std::str::from_utf8(text).map_err(|_| wrong())?)
        .map_err(|_| wrong())?;
    // A legacy signature covers the whole content, which would have to be in memory.
    if signature.is_prehashed() {
        Ok(signature)
    } else {
        Err(wrong())
    }
}

/// Compares a digest with the output of `sha256sum` for one or many files, or with bare digits.
fn check_digest(text: &[u8], name: &str, digest: &str, url: &Url) -> Result<(), FetchError> {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| {
            let (digits, rest) = line
                .trim()
                .split_once(char::is_whitespace)
                .unwrap_or((line.trim(), ""));
            let is_digest =
                digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            is_digest.then(|| {
                (
                    digits,
                    rest.trim_start()
                        .trim_start_matches('*')
                        .rsplit('/')
                        .next()
                        .unwrap_or_default(),
                )
            })
        })
        .collect();
    let named = lines.iter().find(|(_, of)| *of == name);
    let stated = match (named, lines.as_slice()) {
        (Some((stated, _)), _) | (None, [(stated, _)]) => *stated,
        _ => {
            return Err(FetchError::new(
                Gate::Checksum,
                format!("{} holds no SHA-256 of {name:?}", plain(url)),
            ));
        }
    };
    if stated.eq_ignore_ascii_case(digest) {
        return Ok(());
    }
    Err(FetchError::new(
        Gate::Checksum,
        format!(
            "the SHA-256 of the list is {digest}, {} says {stated}",
            plain(url)
        ),
    ))
}

/// Unpacks a compressed file to check that this works.
fn check_packing(mut file: File, name: &str, octets_max: u64) -> Result<(), FetchError> {
    let unpacked = unpack::unpack(
        &mut file,
        name,
        octets_max,
        |Unpacked { reader, is_archive }| match is_archive {
            true => unpack::for_each_member(reader, |_, _| Ok::<(), io::Error>(())),
            false => Ok(()),
        },
    );
    match unpacked {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(unpack_failed(name, UnpackError::Damaged("tar", error))),
        Err(error) => Err(unpack_failed(name, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_found_in_whatever_way_it_is_written() {
        let url: Url = "https://a.example/SHA256SUMS?key=secret".parse().unwrap();
        let good = "a".repeat(64);
        let bad = "b".repeat(64);
        let check = |text: &str| {
            check_digest(text.as_bytes(), "list.txt", &good, &url)
                .map_err(|error| error.to_string())
        };
        assert_eq!(check(&good), Ok(()));
        assert_eq!(check(&format!("{}\n", good.to_uppercase())), Ok(()));
        assert_eq!(check(&format!("{good}  another.txt\n")), Ok(()));
        assert_eq!(
            check(&format!("# sums\n{bad}  other\n{good} *lists/list.txt\n")),
            Ok(())
        );
        assert!(
            check(&format!("{good}  x\n{bad}  list.txt\n"))
                .unwrap_err()
                .starts_with("checksum: the SHA-256 of the list is aaaa")
        );
        for text in [
            "",
            "not found",
            &"a".repeat(63),
            &format!("{good} x\n{good} y\n"),
        ] {
            assert_eq!(
                check(text).unwrap_err(),
                "checksum: https://a.example/SHA256SUMS holds no SHA-256 of \"list.txt\""
            );
        }
    }

    #[test]
    fn a_signature_stands_beside_its_list() {
        assert_eq!(
            beside(&"https://a.example/b.gz?c=d".parse().unwrap()).as_str(),
            "https://a.example/b.gz.minisig?c=d"
        );
    }
}
