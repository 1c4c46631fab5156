//! The cookie of a browser's session, and its protection against forged requests.
//!
//! ```text
//! Cookie -> session -> the key or subject behind it -> Principal
//! a write: X-CSRF-Token of this session, and no Origin or Sec-Fetch-Site of another site
//! ```
//!
//! The cookie is `__Host-ox_session` where the client speaks TLS, otherwise `ox_session`. Neither is
//! read in place of the other: what a page of plain HTTP has set is no session of one with TLS.

use axum::http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts, uri::Authority,
};
use jiff::{SignedDuration, Timestamp};
use policy_store::session_fingerprint;
use sha2::{Digest, Sha256};

use crate::{client_address, problem::Problem};

/// The header with the token of a session.
const CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Hashed before the secret, so that the token is never the hash of something else.
const CSRF_DOMAIN: &[u8] = b"ox-protect csrf 1\n";
/// Octets of a token.
const CSRF_OCTETS: usize = 16;

/// The session that a request has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownSession {
    /// Tells sessions apart.
    pub fingerprint: u64,
    /// The token that each write of this session carries.
    pub csrf: String,
}

impl ShownSession {
    /// The session of a secret. `None` if the text has another form.
    pub fn of(secret: &str) -> Option<Self> {
        let hash = Sha256::new().chain_update(CSRF_DOMAIN).chain_update(secret);
        let hash = hash.finalize();
        let csrf = hash[..CSRF_OCTETS]
            .iter()
            .map(|octet| format!("{octet:02x}"));
        Some(Self {
            fingerprint: session_fingerprint(secret)?,
            csrf: csrf.collect(),
        })
    }

    /// Refuses a write that the app itself did not send.
    pub fn check_write(&self, parts: &Parts) -> Result<(), Problem> {
        let token = parts.headers.get(CSRF_TOKEN).map(HeaderValue::as_bytes);
        if token != Some(self.csrf.as_bytes()) {
            return Err(forged("a write of a session carries its X-CSRF-Token"));
        }
        check_origin(parts)
    }
}

fn forged(detail: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "csrf", detail)
}

/// Refuses a request that a page of another site sent.
pub fn check_origin(parts: &Parts) -> Result<(), Problem> {
    let headers = &parts.headers;
    if let Some(site) = headers.get(SEC_FETCH_SITE)
        && site != "same-origin"
    {
        return Err(forged("the request comes from another site"));
    }
    match headers.get(header::ORIGIN) {
        Some(origin) if !is_own(origin, headers, is_secure(parts)) => {
            Err(forged("the request comes from another origin"))
        }
        _ => Ok(()),
    }
}

/// Whether an origin is the one that the request was sent to.
fn is_own(origin: &HeaderValue, headers: &HeaderMap, is_secure: bool) -> bool {
    let authority = |text: &str, port: u16| {
        let authority: Authority = text.parse().ok()?;
        let host = authority.host().to_ascii_lowercase();
        Some((host, authority.port_u16().unwrap_or(port)))
    };
    let text = origin.to_str().unwrap_or_default();
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let (scheme, place) = text.split_once("://").unwrap_or_default();
    // A reverse proxy with TLS that is not among the trusted ones does not say that it has.
    let port = match (scheme, is_secure) {
        ("https", _) => 443,
        ("http", false) => 80,
        _ => return false,
    };
    let own = host.and_then(|host| authority(host, port));
    own.is_some() && authority(place, port) == own
}

/// Whether the client speaks TLS, with this program or with a trusted proxy.
pub fn is_secure(parts: &Parts) -> bool {
    parts
        .extensions
        .get::<client_address::SecureTransport>()
        .is_some()
}

/// The origin that a request was sent to.
pub fn own_origin(parts: &Parts) -> String {
    let scheme = if is_secure(parts) { "https" } else { "http" };
    let host = parts.headers.get(header::HOST);
    let host = host
        .and_then(|host| host.to_str().ok())
        .unwrap_or("localhost");
    format!("{scheme}://{host}")
}

fn cookie_name(is_secure: bool) -> &'static str {
    match is_secure {
        true => "__Host-ox_session",
        false => "ox_session",
    }
}

/// The secret of the session whose cookie the request has. `None` if it has none, or several.
pub fn secret(parts: &Parts) -> Option<String> {
    cookie_of(parts, cookie_name(is_secure(parts)))
}

/// The value of a cookie that the request has once.
pub fn cookie_of(parts: &Parts, name: &str) -> Option<String> {
    let lines = parts.headers.get_all(header::COOKIE).iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value);
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.to_owned()),
        _ => None,
    }
}

/// The `Set-Cookie` of a session, for as long as it lasts.
pub fn set_cookie(secret: &str, age: SignedDuration, is_secure: bool) -> HeaderValue {
    cookie(secret, age.as_secs(), is_secure)
}

/// The `Set-Cookie` that removes the session's cookie.
pub fn clear_cookie(is_secure: bool) -> HeaderValue {
    cookie("", 0, is_secure)
}

fn cookie(value: &str, seconds: i64, is_secure: bool) -> HeaderValue {
    let name = cookie_name(is_secure);
    let secure = if is_secure { "; Secure" } else { "" };
    let text =
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::from_str(&text).expect("digits and letters")
}

/// How long a session may still last.
pub fn left(ends_at: Timestamp, now: Timestamp) -> SignedDuration {
    ends_at.duration_since(now).max(SignedDuration::ZERO)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn parts(headers: &[(&str, &str)], is_secure: bool) -> Parts {
        let mut request = Request::builder().uri("/v1/session");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        if is_secure {
            parts.extensions.insert(client_address::SecureTransport);
        }
        parts
    }

    #[test]
    fn an_origin_is_own_by_scheme_host_and_port() {
        for (origin, host, is_secure, is_own) in [
            ("http://home.example", "home.example", false, true),
            ("http://HOME.example", "home.example:80", false, true),
            ("http://127.0.0.1:8080", "127.0.0.1:8080", false, true),
            ("http://[::1]:8080", "[::1]:8080", false, true),
            ("https://home.example", "home.example", true, true),
            // Behind a proxy that is not trusted.
            ("https://home.example", "home.example", false, true),
            ("http://home.example", "home.example", true, false),
            ("https://home.example:8443", "home.example", true, false),
            ("https://evil.example", "home.example", true, false),
            (
                "https://home.example.evil.example",
                "home.example",
                true,
                false,
            ),
            (
                "https://evil.example/home.example",
                "home.example",
                true,
                false,
            ),
            (
                "https://home.example@evil.example",
                "home.example",
                true,
                false,
            ),
            ("null", "home.example", true, false),
            ("", "home.example", true, false),
            ("ftp://home.example", "home.example", false, false),
        ] {
            let parts = parts(&[("origin", origin), ("host", host)], is_secure);
            assert_eq!(check_origin(&parts).is_ok(), is_own, "{origin} {host}");
        }
        let without_host = parts(&[("origin", "http://home.example")], false);
        assert!(check_origin(&without_host).is_err());
    }

    #[test]
    fn only_this_sites_own_requests_are_taken() {
        for (site, is_taken) in [
            ("same-origin", true),
            ("same-site", false),
            ("cross-site", false),
            ("none", false),
        ] {
            let parts = parts(&[("sec-fetch-site", site)], true);
            assert_eq!(check_origin(&parts).is_ok(), is_taken, "{site}");
        }
    }

    #[test]
    fn a_cookie_is_read_by_its_name_alone_and_once() {
        let read = |cookie: &str, is_secure| secret(&parts(&[("cookie", cookie)], is_secure));
        let found = |value: &str| Some(value.to_owned());
        assert_eq!(read("a=b; ox_session=x", false), found("x"));
        assert_eq!(read("__Host-ox_session=x;a=b", true), found("x"));
        assert_eq!(read("ox_session=x", true), None);
        assert_eq!(read("__Host-ox_session=x", false), None);
        assert_eq!(read("ox_session=x; ox_session=y", false), None);
        assert_eq!(read("xox_session=x; OX_SESSION=y", false), None);
        assert_eq!(read("ox_session", false), None);
    }

    #[test]
    fn each_session_has_a_token_of_its_own() {
        let of = |digit: &str| ShownSession::of(&format!("oxs_{}", digit.repeat(64)));
        let (one, other) = (of("a").unwrap(), of("b").unwrap());
        assert_eq!(one.csrf.len(), 2 * CSRF_OCTETS);
        assert_ne!(one.csrf, other.csrf);
        assert_eq!(ShownSession::of("oxs_"), None);
    }
}
