//! Requests that are refused before any route sees them.
//!
//! A request that programs may read differently is refused: a duplicate header, octets that are
//! not text. The server checks the framing of messages and `Host`.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::problem::Problem;

/// The longest request target, in octets. RFC 9110, section 4.1, requires at least 8,000.
pub const TARGET_OCTETS_MAX: usize = 8_192;
/// The longest header section, in octets, as HTTP/1.1 writes it. Four of the longest tokens fit.
pub const HEADER_OCTETS_MAX: usize = 32 << 10;
/// Headers with one value: two programs would read a duplicate differently.
const ONCE: [HeaderName; 8] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::HOST,
    header::ORIGIN,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
];
/// The methods of RFC 9110, section 9, PATCH (RFC 5789) and QUERY. A known method that a route does
/// not have is answered 405.
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY",
];

/// Middleware before all routes.
pub async fn read_strictly(request: Request, next: Next) -> Response {
    match check(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() > TARGET_OCTETS_MAX {
        let detail = format!("a request target has at most {TARGET_OCTETS_MAX} octets");
        return Err(Problem::new(
            StatusCode::URI_TOO_LONG,
            "uri_too_long",
            detail,
        ));
    }
    // The colon, the space and the line break.
    let octets: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if octets > HEADER_OCTETS_MAX {
        let detail = format!("all headers together have at most {HEADER_OCTETS_MAX} octets");
        return Err(Problem::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers_too_large",
            detail,
        ));
    }
    if !METHODS.contains(&method.as_str()) {
        return Err(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "method_unknown",
            "a method of HTTP that nothing here has",
        ));
    }
    if let Some(name) = ONCE
        .iter()
        .find(|name| headers.get_all(*name).iter().nth(1).is_some())
    {
        let detail = format!("the header {name} stands more than once");
        return Err(
            Problem::new(StatusCode::BAD_REQUEST, "header_twice", detail)
                .with_field(name.to_string()),
        );
    }
    for (code, text) in [
        ("path", uri.path()),
        ("query", uri.query().unwrap_or_default()),
    ] {
        if !is_text(text) {
            return Err(Problem::new(
                StatusCode::BAD_REQUEST,
                code,
                format!("the {code} is no percent-encoded UTF-8"),
            ));
        }
    }
    Ok(())
}

/// Whether a text is UTF-8 after percent-decoding (RFC 3986, section 2.1).
fn is_text(text: &str) -> bool {
    if !text.contains('%') {
        return true;
    }
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let mut digit = || {
            rest.next()
                .and_then(|digit| char::from(digit).to_digit(16))
                .and_then(|digit| u8::try_from(digit).ok())
        };
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return false;
        };
        octets.push(high << 4 | low);
    }
    std::str::from_utf8(&octets).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encodings_that_are_no_utf8_are_no_text() {
        for good in ["", "/v1/a%2Fb", "/%c3%a9%E2%82%AC", "name=%00", "100%25"] {
            assert!(is_text(good), "{good}");
        }
        for bad in [
            "%",
            "%2",
            "%zz",
            "%2g",
            "/%ff",
            "%c3",
            "%c3%28",
            "%ed%a0%80",
            "a%",
        ] {
            assert!(!is_text(bad), "{bad}");
        }
    }
}
