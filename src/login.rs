//! The OIDC provider at which families log in to the app: its discovery document, its token
//! endpoint, and the keys of its ID tokens.
//!
//! `api::app::login` decides when each is asked, and what is verified.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use api::auth::{
    oidc::{KeySet, OidcSettings, Tokens},
    provider::{Login, Provider},
};
use async_trait::async_trait;
use reqwest::{Client, RequestBuilder, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::{
    config::{AppConfig, AppOidc},
    oidc::{OCTETS_MAX, client, read_limited},
};

/// How long a discovery document is used before it is read again.
const DISCOVERY_AGE_MAX: Duration = Duration::from_secs(3_600);

/// The parts of a discovery document that a log-in needs (OpenID Connect Discovery, section 3).
#[derive(Clone, Deserialize)]
struct Discovery {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
}

/// The answer of a token endpoint (OpenID Connect Core, section 3.1.3.3).
#[derive(Deserialize)]
struct TokenAnswer {
    id_token: String,
}

/// The provider, by its address.
#[derive(Clone)]
struct Server(std::sync::Arc<Inner>);

struct Inner {
    client: Client,
    issuer: String,
    allow_private: bool,
    client_id: String,
    secret_file: Option<PathBuf>,
    discovered: Mutex<Option<(Instant, Discovery)>>,
}

/// Log-in by the provider of the configuration, whose claims are those of `[api.oidc]`.
pub fn login(app: &AppConfig, claims: Option<&OidcSettings>) -> anyhow::Result<Option<Login>> {
    let Some(AppOidc {
        issuer,
        client_id,
        client_secret_file,
        scopes,
        allow_private,
    }) = app.oidc.clone()
    else {
        return Ok(None);
    };
    let server = Server(std::sync::Arc::new(Inner {
        client: client(allow_private)?,
        issuer: issuer.clone(),
        allow_private,
        client_id: client_id.clone(),
        secret_file: client_secret_file,
        discovered: Mutex::default(),
    }));
    let claims = claims.context("app.oidc needs the claims of [api.oidc]")?;
    let settings = OidcSettings {
        issuer,
        audience: client_id.clone(),
        ..claims.clone()
    };
    Ok(Some(Login {
        tokens: Tokens::new(settings, Box::new(server.clone())),
        provider: Box::new(server),
        client_id,
        scopes,
    }))
}

/// Resolves a relative path against the folder of the configuration.
pub fn rooted(oidc: AppOidc, base: &Path) -> AppOidc {
    AppOidc {
        client_secret_file: oidc.client_secret_file.map(|path| base.join(path)),
        ..oidc
    }
}

impl Server {
    async fn discovery(&self) -> Result<Discovery, String> {
        let inner = &self.0;
        let mut discovered = inner.discovered.lock().await;
        if let Some((at, discovery)) = &*discovered
            && at.elapsed() < DISCOVERY_AGE_MAX
        {
            return Ok(discovery.clone());
        }
        let issuer = inner.issuer.trim_end_matches('/');
        let place = format!("{issuer}/.well-known/openid-configuration");
        let text = self.text(inner.client.get(self.address(&place)?)).await?;
        let discovery: Discovery = serde_json::from_str(&text)
            .map_err(|error| format!("{place}: no discovery document: {error}"))?;
        // Otherwise another provider's document would do (OpenID Connect Discovery, section 4.3).
        if discovery.issuer != inner.issuer {
            return Err(format!("{place}: it is of another issuer"));
        }
        *discovered = Some((Instant::now(), discovery.clone()));
        Ok(discovery)
    }

    /// An address that the provider names: HTTPS, unless the provider is in a closed network.
    fn address(&self, text: &str) -> Result<Url, String> {
        let url = Url::parse(text).map_err(|error| format!("{text:?}: {error}"))?;
        match url.scheme() == "https" || self.0.allow_private {
            true => Ok(url),
            false => Err(format!("{text:?} is no https address")),
        }
    }

    async fn text(&self, request: RequestBuilder) -> Result<String, String> {
        let answer = read_limited(request, OCTETS_MAX).await;
        answer.map_err(|error| {
            format!(
                "{}: {}",
                self.0.issuer,
                control::causes(&error.without_url())
            )
        })
    }
}

#[async_trait]
impl Provider for Server {
    async fn authorization_url(&self, parameters: &[(&str, &str)]) -> Result<String, String> {
        let mut url = self.address(&self.discovery().await?.authorization_endpoint)?;
        url.query_pairs_mut().extend_pairs(parameters);
        Ok(url.into())
    }

    async fn exchange(&self, code: &str, verifier: &str, redirect: &str) -> Result<String, String> {
        let inner = &self.0;
        let endpoint = self.address(&self.discovery().await?.token_endpoint)?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect),
            ("client_id", &inner.client_id),
            ("code_verifier", verifier),
        ];
        let mut request = inner.client.post(endpoint).form(&form);
        if let Some(path) = &inner.secret_file {
            let secret = tokio::fs::read_to_string(path).await;
            let secret = secret.map_err(|error| format!("{}: {error}", path.display()))?;
            request = request.basic_auth(&inner.client_id, Some(secret.trim()));
        }
        let text = self.text(request).await?;
        let answer: Result<TokenAnswer, _> = serde_json::from_str(&text);
        let answer = answer.map_err(|error| format!("{}: no ID token: {error}", inner.issuer))?;
        Ok(answer.id_token)
    }
}

#[async_trait]
impl KeySet for Server {
    async fn read(&self) -> Result<String, String> {
        let place = self.address(&self.discovery().await?.jwks_uri)?;
        self.text(self.0.client.get(place)).await
    }

    fn has_changed(&self) -> bool {
        false
    }
}
