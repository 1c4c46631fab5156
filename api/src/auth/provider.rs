//! The provider at which families log in to the app, as `app::login` needs it.

use async_trait::async_trait;

use super::oidc::Tokens;

/// What the program knows of the provider.
#[async_trait]
pub trait Provider: Send + Sync {
    /// The address of the provider's log-in page, with these parameters. Fails with the reason.
    async fn authorization_url(&self, parameters: &[(&str, &str)]) -> Result<String, String>;

    /// Changes a code for an ID token. Fails with the reason.
    async fn exchange(&self, code: &str, verifier: &str, redirect: &str) -> Result<String, String>;
}

/// Log-in by a provider.
pub struct Login {
    pub provider: Box<dyn Provider>,
    /// Verifies the provider's ID tokens, whose audience is the app.
    pub tokens: Tokens,
    pub client_id: String,
    pub scopes: String,
}
