//! Settings of the app that the configuration gives.

use axum::http::HeaderValue;
use policy::name::Name;
use serde::Serialize;

/// Settings of the app.
#[derive(Debug, Clone, Default)]
pub struct AppSettings {
    /// The origin under which browsers reach the app, such as `https://family.isp.example`. `None`:
    /// the `Host` of a request.
    pub origin: Option<String>,
    /// The name below which there is a harmless name for each category.
    pub test_name: Option<Name>,
    /// Whether the app may begin a log-in at the OIDC provider.
    pub has_oidc: bool,
}

/// What the app may know before a log-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublicSettings {
    /// Whether `/app/login/oidc` begins a log-in.
    oidc: bool,
    /// The name below which there is a harmless name for each category.
    test_name: Option<String>,
}

impl AppSettings {
    /// The Content-Security-Policy of the page.
    pub(super) fn policy(&self) -> HeaderValue {
        let tests = self.test_name.as_ref().map_or(String::new(), |name| {
            format!(" https://*.{name} http://*.{name}")
        });
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
             font-src 'self'; connect-src 'self'{tests}; manifest-src 'self'; worker-src 'self'; \
             base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        );
        HeaderValue::from_str(&policy).expect("a name is visible ASCII")
    }

    pub(super) fn public(&self) -> PublicSettings {
        PublicSettings {
            oidc: self.has_oidc,
            test_name: self.test_name.as_ref().map(Name::to_string),
        }
    }
}
