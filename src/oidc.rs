//! The source of the OIDC provider's keys: a file or an HTTPS server.
//!
//! `api::auth::oidc` decides when they are read, and what they verify.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use api::auth::oidc::{KeySet, LEEWAY_S_MAX, OidcSettings, Tokens};
use async_trait::async_trait;
use blocklist_loader::{PublicOnly, is_public};
use reqwest::{Client, RequestBuilder, Url, redirect};

/// The largest key set, in octets. Real ones have some thousand.
pub const OCTETS_MAX: usize = 1 << 20;
/// The timeout of a request to the provider.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Checks the settings. Fails with the key at fault and what would be right.
pub fn check(settings: &OidcSettings) -> Result<(), (&'static str, String)> {
    let good = |key, is_good: bool, error: &str| {
        if is_good {
            Ok(())
        } else {
            Err((key, error.to_owned()))
        }
    };
    good(
        "api.oidc.issuer",
        !settings.issuer.is_empty(),
        "the issuer as it stands in the tokens",
    )?;
    good(
        "api.oidc.audience",
        !settings.audience.is_empty(),
        "the audience as it stands in the tokens",
    )?;
    good(
        "api.oidc.leeway_s",
        settings.leeway_s <= LEEWAY_S_MAX,
        "0 to 60",
    )?;
    good(
        "api.oidc.roles",
        !settings.roles.is_empty(),
        "at least one role",
    )?;
    let claims = [
        &settings.role_claim,
        &settings.household_claim,
        &settings.device_claim,
    ];
    good(
        "api.oidc.role_claim",
        claims.iter().all(|claim| !claim.is_empty()),
        "each claim has a name",
    )?;
    match url(&settings.jwks) {
        None => good(
            "api.oidc.jwks",
            !settings.jwks.is_empty(),
            "an https address or a file",
        ),
        Some(Err(error)) => Err(("api.oidc.jwks", format!("{:?}: {error}", settings.jwks))),
        Some(Ok(url)) => {
            let is_secure = url.scheme() == "https" || settings.allow_private;
            good(
                "api.oidc.jwks",
                is_secure,
                "http is for closed networks: https, or allow_private = true",
            )
        }
    }
}

/// The address, unless the setting is a file.
fn url(jwks: &str) -> Option<Result<Url, String>> {
    (jwks.starts_with("https://") || jwks.starts_with("http://"))
        .then(|| Url::parse(jwks).map_err(|error| error.to_string()))
}

/// Resolves a relative path against the folder of the configuration.
pub fn rooted(settings: OidcSettings, base: &Path) -> OidcSettings {
    match url(&settings.jwks) {
        None if !settings.jwks.is_empty() => OidcSettings {
            jwks: base.join(&settings.jwks).display().to_string(),
            ..settings
        },
        _ => settings,
    }
}

/// The verifier of tokens, by checked settings.
pub fn tokens(settings: &OidcSettings) -> anyhow::Result<Tokens> {
    let source: Box<dyn KeySet> = match url(&settings.jwks)
        .transpose()
        .map_err(anyhow::Error::msg)?
    {
        Some(url) => Box::new(Server::new(url, settings.allow_private)?),
        None => Box::new(File {
            path: settings.jwks.clone().into(),
            seen: Mutex::default(),
        }),
    };
    Ok(Tokens::new(settings.clone(), source))
}

/// A file. It is read again after a change.
struct File {
    path: PathBuf,
    seen: Mutex<Option<(SystemTime, u64)>>,
}

impl File {
    fn state(&self) -> Option<(SystemTime, u64)> {
        let metadata = std::fs::metadata(&self.path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    }
}

#[async_trait]
impl KeySet for File {
    async fn read(&self) -> Result<String, String> {
        // The state is taken before the file is read, so that a change in between is noticed the
        // next time.
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = self.state();
        let failed = |error: std::io::Error| format!("reading {}: {error}", self.path.display());
        let octets = tokio::fs::metadata(&self.path).await.map_err(failed)?.len();
        if octets > OCTETS_MAX as u64 {
            return Err(format!(
                "{} has more than {OCTETS_MAX} octets",
                self.path.display()
            ));
        }
        tokio::fs::read_to_string(&self.path).await.map_err(failed)
    }

    fn has_changed(&self) -> bool {
        // A missing file is one that is being replaced.
        self.state().is_some_and(|state| {
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) != Some(state)
        })
    }
}

/// The provider's HTTPS server.
struct Server {
    client: Client,
    url: Url,
}

impl Server {
    fn new(url: Url, allow_private: bool) -> anyhow::Result<Self> {
        // An IP address in the URL is connected to without the resolver, so it is checked here.
        let address = url
            .host_str()
            .and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        if let Some(address) = address.filter(|address| !allow_private && !is_public(*address)) {
            anyhow::bail!(
                "api.oidc.jwks: {address} is not an address of the public Internet; allow_private = true would allow it"
            );
        }
        Ok(Self {
            client: client(allow_private)?,
            url,
        })
    }
}

/// A client for requests to a provider.
pub fn client(allow_private: bool) -> reqwest::Result<Client> {
    let builder = Client::builder()
        .no_proxy()
        .referer(false)
        .redirect(redirect::Policy::none())
        .timeout(TIMEOUT)
        .user_agent(concat!("ox-protect/", env!("CARGO_PKG_VERSION")));
    let builder = if allow_private {
        builder
    } else {
        builder.dns_resolver(PublicOnly)
    };
    builder.build()
}

/// The answer to a request, if it is a good one. A longer answer is cut off behind `max` octets: it
/// is then no JSON, and is refused as such.
pub async fn read_limited(request: RequestBuilder, max: usize) -> Result<String, reqwest::Error> {
    let mut response = request.send().await?.error_for_status()?;
    let mut octets = Vec::new();
    while let Some(piece) = response.chunk().await? {
        octets.extend_from_slice(&piece);
        if octets.len() > max {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

#[async_trait]
impl KeySet for Server {
    async fn read(&self) -> Result<String, String> {
        let causes = |error: reqwest::Error| control::causes(&error.without_url());
        read_limited(self.client.get(self.url.clone()), OCTETS_MAX)
            .await
            .map_err(|error| {
                format!(
                    "{}: {}",
                    self.url.origin().ascii_serialization(),
                    causes(error)
                )
            })
    }

    fn has_changed(&self) -> bool {
        false
    }
}
