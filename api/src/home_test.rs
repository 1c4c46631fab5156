//! The home test: harmless names, one for each category, by which a browser finds out which
//! categories are blocked where it is.
//!
//! ```text
//! gambling.test.isp.example ── in the category gambling ──> blocked: nothing answers
//!                                                      └──> not blocked: this listener answers
//! open.test.isp.example     ── in no category ──> answers wherever this resolver is used, unless a
//!                                                 pause, a thing or an own list blocks it
//! ```
//!
//! The names exist in this resolver only, so a device that uses another one reaches none of them. A
//! test may follow a change of the rules at once: the names' records have a TTL of zero, and each
//! answer ends its connection, so that the next test asks again.

use std::collections::BTreeSet;

use axum::{
    Router,
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use policy::name::Name;

use crate::panics;

/// The label of the name in no category.
pub const OPEN_LABEL: &str = "open";

/// Where the names of the home test are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeTest {
    /// The name above all of them.
    pub zone: Name,
    /// The port of the listener without TLS, if there is one.
    pub http_port: Option<u16>,
    /// The port of the listener with TLS, if there is one.
    pub https_port: Option<u16>,
}

impl HomeTest {
    /// The name below the zone with this label.
    pub(crate) fn name(&self, label: &str) -> String {
        format!("{label}.{}", self.zone)
    }

    /// The address of a name, as a browser would open it.
    pub(crate) fn url(&self, label: &str, scheme: &str) -> Option<String> {
        let (port, default) = match scheme {
            "https" => (self.https_port?, 443),
            _ => (self.http_port?, 80),
        };
        let name = self.name(label);
        Some(match port == default {
            true => format!("{scheme}://{name}/"),
            false => format!("{scheme}://{name}:{port}/"),
        })
    }

    /// The origins that a page of the parents' app asks.
    pub fn origins(&self) -> BTreeSet<String> {
        ["http", "https"]
            .into_iter()
            .filter_map(|scheme| self.url("*", scheme))
            .map(|url| url.trim_end_matches('/').to_owned())
            .collect()
    }
}

/// Answers each request: the name was reached.
pub fn router() -> Router {
    async fn open(request: axum::extract::Request, next: Next) -> Response {
        let mut answer = next.run(request).await;
        let headers = answer.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // A browser that keeps the connection would reach the name without asking for it.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        // The page that asks is at another name. The answer says nothing about the visitor.
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            HeaderValue::from_static("*"),
        );
        answer
    }
    Router::new()
        .fallback(|| async { "open\n".into_response() })
        .layer(middleware::from_fn(open))
        .layer(middleware::from_fn(panics::caught))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_a_port_only_where_a_browser_needs_it() {
        let test = HomeTest {
            zone: Name::parse("test.isp.example").unwrap(),
            http_port: Some(80),
            https_port: Some(8443),
        };
        let url = |scheme| test.url("gambling", scheme).unwrap();
        assert_eq!(url("http"), "http://gambling.test.isp.example/");
        assert_eq!(url("https"), "https://gambling.test.isp.example:8443/");
        let origins: Vec<String> = test.origins().into_iter().collect();
        let expected = [
            "http://*.test.isp.example",
            "https://*.test.isp.example:8443",
        ];
        assert_eq!(origins, expected);
        let closed = HomeTest {
            http_port: None,
            ..test
        };
        assert_eq!(closed.url("gambling", "http"), None);
    }
}
