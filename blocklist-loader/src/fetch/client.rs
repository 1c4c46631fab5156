//! The HTTP client of one feed: allowed addresses, credentials, limits of size and time.
//!
//! ```text
//! get -> each hop: scheme, address, credentials for this origin only -> response -> store: wire -> decode -> limit -> writer
//! ```
//!
//! The client follows redirects itself, so that every hop is checked. It also decodes bodies
//! itself, because the limit applies to the octets that a server can make it write.

use std::{
    io::{self, Read, Write},
    time::Duration,
};

use bytes::Bytes;
use reqwest::{
    Response, StatusCode, Url,
    header::{
        ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, ETAG, HeaderMap, HeaderName, HeaderValue,
        IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION,
    },
    redirect,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{
    address::{NotPublic, PublicOnly, is_public},
    error::FetchError,
};
use crate::{
    feed::{Feed, Secret},
    gate::Gate,
};

/// The most redirects; browsers follow twenty, lists need up to two.
const REDIRECTS_MAX: usize = 5;
/// The longest time for connecting; the rest of the timeout is for the content.
const CONNECTING_MAX: Duration = Duration::from_secs(20);
/// Chunks of a body between the network and the disk, each of at most some ten thousand octets.
const PIECES_WAITING: usize = 32;
/// The most octets of a checksum file, a signature or a manifest.
const SMALL_OCTETS_MAX: u64 = 4 << 20;
/// Name suffixes of compressed files.
const PACKED: [&str; 3] = [".gz", ".zst", ".tgz"];

/// The validators of a response (RFC 9110 section 8.8), sent with the next conditional request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Validators {
    etag: Option<String>,
    last_modified: Option<String>,
}

/// A successful response.
pub(crate) enum HttpAnswer {
    /// 304 Not Modified.
    NotModified,
    /// A body to be stored, with its validators.
    Content(Response, Validators),
}

/// The client of one feed.
pub(crate) struct HttpClient {
    inner: reqwest::Client,
    /// The source. Only its origin gets the credentials.
    source: Url,
    username: Option<String>,
    password: Option<Secret>,
    bearer: Option<Secret>,
    allow_private: bool,
    octets_max: u64,
    timeout: Duration,
}

impl HttpClient {
    /// The client of a feed whose definition was checked.
    pub(crate) fn new(feed: &Feed) -> Result<Self, FetchError> {
        let source = parse(&feed.source)?;
        let builder = reqwest::Client::builder()
            .no_proxy()
            .referer(false)
            .redirect(redirect::Policy::none())
            .no_gzip()
            .no_zstd()
            .connect_timeout(CONNECTING_MAX)
            .user_agent(concat!("ox-protect/", env!("CARGO_PKG_VERSION")));
        let builder = if feed.allow_private {
            builder
        } else {
            builder.dns_resolver(PublicOnly)
        };
        let inner = builder.build().map_err(|error| {
            FetchError::because(Gate::Transport, "preparing to ask", error.without_url())
        })?;
        Ok(Self {
            inner,
            source,
            username: feed.username.clone(),
            password: feed.password.clone(),
            bearer: feed.bearer.clone(),
            allow_private: feed.allow_private,
            octets_max: feed.octets_max(),
            timeout: Duration::from_secs(feed.timeout_s.into()),
        })
    }

    pub(crate) fn source(&self) -> &Url {
        &self.source
    }

    /// Runs a fetch within the feed's timeout.
    pub(crate) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, FetchError>>,
    ) -> Result<T, FetchError> {
        let seconds = self.timeout.as_secs();
        let late = |_| {
            FetchError::new(
                Gate::Time,
                format!("{} took longer than {seconds} s", plain(&self.source)),
            )
        };
        tokio::time::timeout(self.timeout, work)
            .await
            .map_err(late)?
    }

    /// Sends a conditional request and follows redirects.
    pub(crate) async fn get(
        &self,
        url: &Url,
        known: &Validators,
    ) -> Result<HttpAnswer, FetchError> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let response = self.ask(&url, known).await?;
            let status = response.status();
            if status == StatusCode::NOT_MODIFIED && *known != Validators::default() {
                return Ok(HttpAnswer::NotModified);
            }
            let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
            if !is_redirect {
                return match status {
                    StatusCode::OK => {
                        let validators = Validators {
                            etag: text(&response, &ETAG),
                            last_modified: text(&response, &LAST_MODIFIED),
                        };
                        Ok(HttpAnswer::Content(response, validators))
                    }
                    _ => Err(FetchError::new(
                        Gate::Transport,
                        format!("{} answered {status}", plain(&url)),
                    )),
                };
            }
            let location = text(&response, &LOCATION).and_then(|location| url.join(&location).ok());
            let next = location.ok_or_else(|| {
                FetchError::new(
                    Gate::Transport,
                    format!("{} redirects to no address", plain(&url)),
                )
            })?;
            if !matches!(next.scheme(), "http" | "https")
                || (url.scheme() == "https" && next.scheme() != "https")
            {
                let detail = format!(
                    "{} redirects to {}, which is not a safe target",
                    plain(&url),
                    plain(&next)
                );
                return Err(FetchError::new(Gate::Transport, detail));
            }
            url = next;
        }
        Err(FetchError::new(
            Gate::Transport,
            format!(
                "more than {REDIRECTS_MAX} redirects, the last to {}",
                plain(&url)
            ),
        ))
    }

    /// The whole body of a small file.
    pub(crate) async fn small(&self, url: &Url) -> Result<Vec<u8>, FetchError> {
        match self.get(url, &Validators::default()).await? {
            HttpAnswer::Content(response, _) => {
                store(response, SMALL_OCTETS_MAX.min(self.octets_max), Vec::new()).await
            }
            HttpAnswer::NotModified => Err(FetchError::new(
                Gate::Transport,
                format!("{} answered nothing", plain(url)),
            )),
        }
    }

    async fn ask(&self, url: &Url, known: &Validators) -> Result<Response, FetchError> {
        self.check_address(url)?;
        let mut headers = self.credentials(url)?;
        // A compressed file must not get a content coding as well: its checksum covers the octets
        // on the server.
        let is_packed = PACKED.iter().any(|end| url.path().ends_with(end));
        headers.insert(
            ACCEPT_ENCODING,
            HeaderValue::from_static(if is_packed { "identity" } else { "gzip, zstd" }),
        );
        for (name, value) in [
            (IF_NONE_MATCH, &known.etag),
            (IF_MODIFIED_SINCE, &known.last_modified),
        ] {
            if let Some(value) = value
                .as_ref()
                .and_then(|value| HeaderValue::from_str(value).ok())
            {
                headers.insert(name, value);
            }
        }
        self.inner
            .get(url.clone())
            .headers(headers)
            .send()
            .await
            .map_err(|error| failed(url, error))
    }

    /// Checks an IP address in the URL, for which the resolver is not used.
    fn check_address(&self, url: &Url) -> Result<(), FetchError> {
        let literal = url.host_str().and_then(|host| {
            host.trim_start_matches('[')
                .trim_end_matches(']')
                .parse()
                .ok()
        });
        match literal {
            Some(address) if !self.allow_private && !is_public(address) => Err(FetchError::new(
                Gate::Transport,
                NotPublic(address).to_string(),
            )),
            _ => Ok(()),
        }
    }

    fn credentials(&self, url: &Url) -> Result<HeaderMap, FetchError> {
        let mut headers = HeaderMap::new();
        if url.origin() != self.source.origin() {
            return Ok(headers);
        }
        let reveal = |key: &str, secret: &Secret| {
            secret.reveal().map_err(|reason| {
                FetchError::new(Gate::Transport, format!("credentials: {key}: {reason}"))
            })
        };
        let value = match (&self.username, &self.password, &self.bearer) {
            (Some(username), Some(password), _) => basic(username, &reveal("password", password)?),
            (_, _, Some(bearer)) => format!("Bearer {}", reveal("bearer", bearer)?),
            _ => return Ok(headers),
        };
        let unsendable = |_| {
            FetchError::new(
                Gate::Transport,
                "credentials: they hold characters that HTTP cannot send",
            )
        };
        let mut value = HeaderValue::from_str(&value).map_err(unsendable)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        Ok(headers)
    }
}

/// The value of an `Authorization` header (RFC 7617).
fn basic(username: &str, password: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = "Basic ".to_owned();
    for three in format!("{username}:{password}").as_bytes().chunks(3) {
        let octet = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= three.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    text
}

/// Writes a decoded body on a blocking thread; returns the writer when the body is complete.
///
/// # Errors
/// The body is truncated, has another coding than it states, or is larger than `octets_max`. The
/// writer is dropped.
pub(crate) async fn store<W: Write + Send + 'static>(
    mut response: Response,
    octets_max: u64,
    writer: W,
) -> Result<W, FetchError> {
    let url = response.url().clone();
    let too_large = || {
        FetchError::new(
            Gate::Size,
            format!("{} has more than {octets_max} octets", plain(&url)),
        )
    };
    if response
        .content_length()
        .is_some_and(|length| length > octets_max)
    {
        return Err(too_large());
    }
    let coding = Coding::of(&response)?;
    let (sender, receiver) = mpsc::channel(PIECES_WAITING);
    let writing = tokio::task::spawn_blocking(move || {
        decode(
            Body {
                receiver,
                piece: Bytes::new(),
                is_complete: false,
            },
            coding,
            octets_max,
            writer,
        )
    });
    let received = send_pieces(&mut response, octets_max, &sender, &too_large).await;
    drop(sender);
    let written = writing
        .await
        .map_err(|error| FetchError::because(Gate::Disk, "the writer of a body ended", error))?;
    received?;
    written.map_err(|error| match error {
        BodyError::TooLarge => too_large(),
        BodyError::Body(error) => FetchError::because(
            Gate::Compression,
            format!(
                "the body of {} is not the {coding} it says it is, or is cut short",
                plain(&url)
            ),
            error,
        ),
        BodyError::Disk(error) => {
            FetchError::because(Gate::Disk, "writing what was fetched", error)
        }
    })
}

/// Sends a body to its writer in pieces, and entries its end.
async fn send_pieces(
    response: &mut Response,
    octets_max: u64,
    sender: &mpsc::Sender<Option<Bytes>>,
    too_large: impl Fn() -> FetchError,
) -> Result<(), FetchError> {
    let mut octets = 0;
    loop {
        match response.chunk().await {
            Ok(Some(piece)) => {
                octets += piece.len() as u64;
                if octets > octets_max {
                    return Err(too_large());
                }
                // The writer reports its own error.
                if sender.send(Some(piece)).await.is_err() {
                    return Ok(());
                }
            }
            Ok(None) => {
                let _ = sender.send(None).await;
                return Ok(());
            }
            Err(error) => return Err(failed(response.url(), error)),
        }
    }
}

/// The content coding of a response (RFC 9110 section 8.4). Checksums cover the decoded content.
#[derive(Clone, Copy)]
enum Coding {
    Identity,
    Gzip,
    Zstd,
}

impl Coding {
    fn of(response: &Response) -> Result<Self, FetchError> {
        match text(response, &CONTENT_ENCODING)
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
            .as_str()
        {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            other => {
                let detail = format!(
                    "{} came in content coding {other:?}, which was not asked for",
                    plain(response.url())
                );
                Err(FetchError::new(Gate::Transport, detail))
            }
        }
    }
}

impl std::fmt::Display for Coding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Identity => "content",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

enum BodyError {
    TooLarge,
    Body(io::Error),
    Disk(io::Error),
}

fn decode<W: Write>(
    body: Body,
    coding: Coding,
    octets_max: u64,
    mut writer: W,
) -> Result<W, BodyError> {
    let mut decoded: Box<dyn Read> = match coding {
        Coding::Identity => Box::new(body),
        Coding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(body)),
        Coding::Zstd => Box::new(zstd::Decoder::new(body).map_err(BodyError::Body)?),
    };
    let mut buffer = vec![0; 64 << 10];
    let mut octets = 0;
    loop {
        let length = match decoded.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(BodyError::Body(error)),
        };
        octets += length as u64;
        if octets > octets_max {
            return Err(BodyError::TooLarge);
        }
        writer
            .write_all(&buffer[..length])
            .map_err(BodyError::Disk)?;
    }
    writer.flush().map_err(BodyError::Disk)?;
    Ok(writer)
}

/// The blocking side of a body. Only an explicit end makes it complete; a closed channel does not.
struct Body {
    receiver: mpsc::Receiver<Option<Bytes>>,
    piece: Bytes,
    is_complete: bool,
}

impl Read for Body {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.is_complete {
            match self.receiver.blocking_recv() {
                Some(Some(piece)) => self.piece = piece,
                Some(None) => self.is_complete = true,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let length = self.piece.len().min(octets.len());
        octets[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

/// Parses a URL of a definition or a manifest.
pub(crate) fn parse(text: &str) -> Result<Url, FetchError> {
    Url::parse(text).map_err(|error| {
        FetchError::because(Gate::Transport, format!("{text:?} is no address"), error)
    })
}

/// A URL for display, without its query, which may contain a key.
pub(crate) fn plain(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

fn text(response: &Response, name: &HeaderName) -> Option<String> {
    response
        .headers()
        .get(name)?
        .to_str()
        .ok()
        .map(str::to_owned)
}

/// Converts an error of the HTTP library; names the address that was rejected, if that was the
/// cause.
fn failed(url: &Url, error: reqwest::Error) -> FetchError {
    let error = error.without_url();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<NotPublic>() {
            return FetchError::new(Gate::Transport, format!("{}: {refused}", plain(url)));
        }
        cause = error.source();
    }
    let (gate, what) = match (
        error.is_timeout(),
        error.is_connect(),
        error.is_body() || error.is_decode(),
    ) {
        (true, ..) => (Gate::Time, "did not answer in time"),
        (_, true, _) => (Gate::Transport, "could not be connected to"),
        (_, _, true) => (Gate::Transport, "broke off before its answer was complete"),
        _ => (Gate::Transport, "did not answer as it should"),
    };
    FetchError::because(gate, format!("{} {what}", plain(url)), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_written_as_its_rfc_says() {
        assert_eq!(
            basic("Aladdin", "open sesame"),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        assert_eq!(
            (basic("a", "b").as_str(), basic("ab", "c").as_str()),
            ("Basic YTpi", "Basic YWI6Yw==")
        );
    }
}
