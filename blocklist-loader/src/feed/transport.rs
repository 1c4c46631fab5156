//! The keys of a definition that say how a feed is fetched (scheme, credentials, keys), and their
//! validation.

use super::{
    definition::{Feed, is_remote},
    error::FeedFault,
    format::Format,
    tsig::Tsig,
};

impl Feed {
    /// Checks the keys that say how the feed is fetched.
    pub(super) fn transport_fault(&self) -> Result<(), FeedFault> {
        let is_http = self.source.starts_with("http://") || self.source.starts_with("https://");
        let is_zone = self.source.starts_with("rpz://");
        if is_remote(&self.source) && !is_http && !is_zone {
            return Err(FeedFault::SourceUnknown(self.source.clone()));
        }
        let wrong = |right| FeedFault::SourceOfFormat {
            format: self.format,
            source_text: self.source.clone(),
            right,
        };
        match self.format {
            Format::Rpz if !is_zone => {
                return Err(wrong("a zone is transferred from rpz://HOST:PORT/ZONE"));
            }
            Format::CategoryFeed if is_zone => {
                return Err(wrong(
                    "it is published over http:// or https://, or in a folder",
                ));
            }
            Format::Rpz | Format::CategoryFeed => {}
            _ if is_zone => return Err(wrong("rpz:// is the source of format \"rpz\"")),
            _ => {}
        }
        if is_http {
            check_url(&self.source)?;
        }
        if is_zone {
            check_zone(&self.source)?;
        }
        self.check_keys(is_http, is_zone)?;
        match (&self.username, &self.password, &self.bearer) {
            (None, None, _) | (Some(_), Some(_), None) => {}
            _ => return Err(FeedFault::Credentials),
        }
        for url in self.sha256_url.iter().chain(&self.signature_url) {
            check_url(url)?;
        }
        if self
            .minisign_key
            .as_ref()
            .is_some_and(|key| minisign::PublicKey::from_base64(key).is_err())
        {
            return Err(FeedFault::MinisignKey);
        }
        self.tsig
            .as_ref()
            .map_or(Ok(()), Tsig::check)
            .map_err(FeedFault::Tsig)
    }

    /// Refuses keys that have no effect: the operator may rely on them.
    fn check_keys(&self, is_http: bool, is_zone: bool) -> Result<(), FeedFault> {
        const HTTP: &str = "sources that begin with http:// or https://";
        const LIST: &str =
            "lists that begin with http:// or https://; a category feed has checksums of its own";
        let is_list = is_http && self.format != Format::CategoryFeed;
        let keys = [
            (
                "interval_s",
                self.interval_s.is_some(),
                self.is_fetched(),
                "sources that are fetched",
            ),
            (
                "max_age_s",
                self.max_age_s.is_some(),
                self.is_fetched(),
                "sources that are fetched",
            ),
            ("username", self.username.is_some(), is_http, HTTP),
            ("password", self.password.is_some(), is_http, HTTP),
            ("bearer", self.bearer.is_some(), is_http, HTTP),
            ("sha256_url", self.sha256_url.is_some(), is_list, LIST),
            ("minisign_key", self.minisign_key.is_some(), is_list, LIST),
            (
                "signature_url",
                self.signature_url.is_some(),
                is_list && self.minisign_key.is_some(),
                "lists with a minisign_key",
            ),
            (
                "tsig",
                self.tsig.is_some(),
                is_zone,
                "sources that begin with rpz://",
            ),
        ];
        match keys
            .into_iter()
            .find(|(_, is_given, has_meaning, _)| *is_given && !has_meaning)
        {
            Some((key, _, _, meant)) => Err(FeedFault::KeyWithoutMeaning { key, meant }),
            None => Ok(()),
        }
    }
}

fn check_url(text: &str) -> Result<(), FeedFault> {
    let url = reqwest::Url::parse(text)
        .map_err(|error| FeedFault::SourceMalformed(format!("{text:?}: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(FeedFault::SourceMalformed(format!(
            "{text:?}: it must begin with http:// or https://"
        )));
    }
    if url.username().is_empty() && url.password().is_none() {
        Ok(())
    } else {
        Err(FeedFault::SourceWithCredentials)
    }
}

/// `rpz://HOST:PORT/ZONE`; the port is optional.
fn check_zone(text: &str) -> Result<(), FeedFault> {
    let malformed =
        || FeedFault::SourceMalformed(format!("{text:?}: it must be rpz://HOST:PORT/ZONE"));
    let url = reqwest::Url::parse(text).map_err(|_| malformed())?;
    let zone = url.path().trim_start_matches('/');
    let is_plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if url.host_str().is_none_or(str::is_empty)
        || !is_plain
        || policy::name::Name::parse(zone).is_err()
    {
        return Err(malformed());
    }
    Ok(())
}
