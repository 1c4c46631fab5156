//! Settings of the app that the configuration gives.

use axum::http::HeaderValue;
use control::product_name::ProductName;
use serde::Serialize;

use crate::home_test::HomeTest;

/// Settings of the app.
#[derive(Debug, Clone, Default)]
pub struct AppSettings {
    /// What the app is called.
    pub name: ProductName,
    /// The origin under which browsers reach the app, such as `https://family.isp.example`. `None`:
    /// the `Host` of a request.
    pub origin: Option<String>,
    /// The names that the home test of the app asks for.
    pub home_test: Option<HomeTest>,
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
        let origins = self.home_test.iter().flat_map(HomeTest::origins);
        let tests: String = origins.map(|origin| format!(" {origin}")).collect();
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
            test_name: self.home_test.as_ref().map(|test| test.zone.to_string()),
        }
    }
}
