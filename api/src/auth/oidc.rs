//! Bearer tokens of an OIDC provider (RFC 7519).
//!
//! ```text
//! header: algorithm, key id -> the provider's key -> signature -> issuer, audience, time -> role, household, device
//! ```
//!
//! A key verifies only algorithms of its own type, whatever the token says. Algorithms with a
//! shared secret, or none, are not accepted. A [`KeySet`] supplies the provider's keys.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use jiff::Timestamp;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    errors::ErrorKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use policy::rules::household::Id;
use policy_store::{Author, Role};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::{Semaphore, oneshot};

use crate::{auth::principal::Principal, panics};

/// The longest token, in octets: the usual limit of an HTTP header.
const TOKEN_OCTETS_MAX: usize = 8 << 10;
/// The longest subject (OpenID Connect Core, section 2).
const SUBJECT_OCTETS_MAX: usize = 255;
/// The most keys of a provider. Further ones are ignored.
const KEYS_MAX: usize = 100;
/// The least time between two readings of the keys for unknown key names: a client that makes up
/// names must not cause more.
const READ_EVERY: Duration = Duration::from_secs(60);
/// The wait after the first failure to read the keys, doubled with each further failure, and the
/// longest wait. It is short, because until then valid tokens are refused.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long a request waits for the keys. If the provider takes longer, the reading goes on without
/// the request.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// How long keys are used before they are read again, in case the provider revoked one.
const KEYS_AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// The greatest clock difference that is tolerated, in seconds.
pub const LEEWAY_S_MAX: u64 = 60;

/// `[api.oidc]`: the provider, and the claims with role, household and device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OidcSettings {
    /// The issuer of the tokens (`iss`), compared exactly.
    pub issuer: String,
    /// The audience of the tokens (`aud`).
    pub audience: String,
    /// The provider's keys: an `https` address or a file.
    pub jwks: String,
    /// Whether that address may be a private one, and `http`.
    #[serde(default)]
    pub allow_private: bool,
    /// The claim with the role.
    #[serde(default = "role_claim")]
    pub role_claim: String,
    /// The claim with the household.
    #[serde(default = "household_claim")]
    pub household_claim: String,
    /// The claim with a child's device.
    #[serde(default = "device_claim")]
    pub device_claim: String,
    /// The roles that this provider may give.
    #[serde(default = "roles")]
    pub roles: Vec<Role>,
    /// The tolerated clock difference, in seconds.
    #[serde(default = "leeway_s")]
    pub leeway_s: u64,
}

fn role_claim() -> String {
    "ox_role".to_owned()
}

fn household_claim() -> String {
    "ox_household".to_owned()
}

fn device_claim() -> String {
    "ox_device".to_owned()
}

fn roles() -> Vec<Role> {
    vec![Role::Parent, Role::SecondParent, Role::Child]
}

fn leeway_s() -> u64 {
    LEEWAY_S_MAX
}

/// The source of a provider's keys.
#[async_trait]
pub trait KeySet: Send + Sync {
    /// Reads the key set (RFC 7517). Fails with the reason.
    async fn read(&self) -> Result<String, String>;

    /// Whether it has changed since it was last read, as far as that is known.
    fn has_changed(&self) -> bool;
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The token is wrong. The reason tells nothing that its bearer does not know.
    Wrong(&'static str),
    /// The provider's keys cannot be read, so the token cannot be verified. They are read again
    /// after this time.
    Unavailable(Duration),
}

/// A key of the provider, and the algorithms that it verifies.
struct ProvidersKey {
    id: String,
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

/// The keys, as last read.
#[derive(Default)]
struct Keys {
    all: Vec<ProvidersKey>,
    read_at: Option<Instant>,
}

/// The state of reading the provider's keys.
#[derive(Debug, Clone, Copy, Default)]
struct QueryParameters {
    at: Option<Instant>,
    /// Whether a reading is under way.
    is_under_way: bool,
    /// Consecutive failures.
    failures: u32,
}

impl QueryParameters {
    /// When the keys may be read again for an unknown key name.
    fn again_at(&self) -> Option<Instant> {
        let apart = match self.failures {
            0 => READ_EVERY,
            failures => RETRY_FIRST
                .saturating_mul(1 << (failures - 1).min(16))
                .min(RETRY_MAX),
        };
        Some(self.at? + apart)
    }
}

/// Verifies tokens.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    settings: OidcSettings,
    source: Box<dyn KeySet>,
    keys: RwLock<Arc<Keys>>,
    asked: Mutex<QueryParameters>,
    /// Held by the task that reads the keys.
    reading: tokio::sync::Mutex<()>,
    /// Tokens from addresses with too many failures are verified one at a time.
    turn: Semaphore,
}

impl Tokens {
    /// Verifies tokens by these settings. No key is known before the first token, or
    /// [`Self::refresh`].
    #[must_use]
    pub fn new(settings: OidcSettings, source: Box<dyn KeySet>) -> Self {
        let keys = RwLock::default();
        let asked = Mutex::default();
        let reading = tokio::sync::Mutex::default();
        let turn = Semaphore::new(1);
        Self(Arc::new(Inner {
            settings,
            source,
            keys,
            asked,
            reading,
            turn,
        }))
    }

    /// Whether a credential has the form of a token: three parts, which no API key has.
    pub(crate) fn is_token(secret: &str) -> bool {
        secret.bytes().filter(|octet| *octet == b'.').count() == 2
    }

    /// Reads the keys, unless that was done a moment ago. If it fails, the last keys stay, and the
    /// next attempt follows within seconds.
    pub async fn refresh(&self) {
        let _reading = self.0.reading.lock().await;
        let is_due = self
            .asked()
            .again_at()
            .is_none_or(|at| at <= Instant::now());
        if !is_due && !self.0.source.has_changed() {
            return;
        }
        {
            let mut asked = self.asked();
            *asked = QueryParameters {
                at: Some(Instant::now()),
                is_under_way: true,
                ..*asked
            };
        }
        let read = self.0.source.read().await.and_then(|text| read_keys(&text));
        let failures = match read {
            Ok(all) => {
                let keys = Arc::new(Keys {
                    all,
                    read_at: Some(Instant::now()),
                });
                *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
                0
            }
            Err(error) => {
                tracing::warn!(
                    error,
                    "the keys of the OIDC provider cannot be read; those that were read last stay"
                );
                self.asked().failures.saturating_add(1)
            }
        };
        *self.asked() = QueryParameters {
            at: Some(Instant::now()),
            is_under_way: false,
            failures,
        };
    }

    /// Reads the keys in a task, which goes on if the request ends. Waits no longer than a client
    /// does.
    async fn refresh_in_task(&self) {
        let (tokens, (read, is_read)) = (self.clone(), oneshot::channel());
        panics::spawn("reading the keys of the OIDC provider", async move {
            tokens.refresh().await;
            // The request may have ended.
            let _ = read.send(());
        });
        let _in_time = tokio::time::timeout(WAIT_MAX, is_read).await;
    }

    fn asked(&self) -> MutexGuard<'_, QueryParameters> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.0.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the provider has a key of this name, as last read.
    pub(crate) fn has_key(&self, id: &str) -> bool {
        self.keys().all.iter().any(|key| key.id == id)
    }

    /// Why a token with an unknown key is refused.
    fn without_key(&self) -> Refused {
        let asked = *self.asked();
        if asked.failures == 0 && !asked.is_under_way {
            return Refused::Wrong("the provider has no key of this name");
        }
        let wait = asked.again_at().map_or(RETRY_FIRST, |at| {
            at.saturating_duration_since(Instant::now())
        });
        Refused::Unavailable(wait.clamp(RETRY_FIRST, RETRY_MAX))
    }

    /// The principal of a token. If its address has too many failures, `takes_turns` makes it wait
    /// for its turn.
    pub async fn read(&self, token: &str, takes_turns: bool) -> Result<Principal, Refused> {
        self.read_with(token, takes_turns, None).await
    }

    async fn read_with(
        &self,
        token: &str,
        takes_turns: bool,
        nonce: Option<&str>,
    ) -> Result<Principal, Refused> {
        if token.len() > TOKEN_OCTETS_MAX {
            return Err(Refused::Wrong("the token is too long"));
        }
        let header = decode_header(token)
            .map_err(|_| Refused::Wrong("this is no token that is signed with a key pair"))?;
        // A token with critical header parameters is refused (RFC 7515, section 4.1.11).
        if header.crit.is_some() {
            return Err(Refused::Wrong(
                "the token wants something understood that is not",
            ));
        }
        let id = header
            .kid
            .ok_or(Refused::Wrong("the token does not name its key"))?;
        if !self.has_key(&id) || self.0.source.has_changed() {
            self.refresh_in_task().await;
        } else if self
            .keys()
            .read_at
            .is_some_and(|at| at.elapsed() >= KEYS_AGE_MAX)
        {
            let tokens = self.clone();
            panics::spawn("reading the keys of the OIDC provider", async move {
                tokens.refresh().await
            });
        }
        if !self.has_key(&id) {
            return Err(self.without_key());
        }
        let _turn = if takes_turns {
            self.0.turn.acquire().await.ok()
        } else {
            None
        };
        self.verify(token, (header.alg, id), nonce)
    }

    /// The principal of an ID token, which carries this nonce (OpenID Connect Core, section
    /// 3.1.3.7).
    pub(crate) async fn read_bound(&self, token: &str, nonce: &str) -> Result<Principal, Refused> {
        self.read_with(token, true, Some(nonce)).await
    }

    /// The principal of a token with a known key and algorithm.
    fn verify(
        &self,
        token: &str,
        (algorithm, id): (Algorithm, String),
        nonce: Option<&str>,
    ) -> Result<Principal, Refused> {
        let keys = self.keys();
        let key = keys
            .all
            .iter()
            .find(|key| key.id == id && key.algorithms.contains(&algorithm));
        let key = key.ok_or(Refused::Wrong(
            "the provider's key of this name is not used in this algorithm",
        ))?;
        let claims = self.claims(token, key, algorithm)?;
        if let Some(nonce) = nonce
            && claims.get("nonce").and_then(Value::as_str) != Some(nonce)
        {
            return Err(Refused::Wrong("the token is not for this log-in"));
        }
        self.principal(&claims, id)
    }

    /// The claims of a token, after its signature, issuer, audience and time were verified.
    fn claims(
        &self,
        token: &str,
        key: &ProvidersKey,
        algorithm: Algorithm,
    ) -> Result<Map<String, Value>, Refused> {
        let settings = &self.0.settings;
        let mut validation = Validation::new(algorithm);
        validation.leeway = settings.leeway_s.min(LEEWAY_S_MAX);
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&settings.issuer]);
        validation.set_audience(&[&settings.audience]);
        let claims = decode::<Map<String, Value>>(token, &key.key, &validation)
            .map(|decoded| decoded.claims);
        let claims = claims.map_err(|error| {
            Refused::Wrong(match error.kind() {
                ErrorKind::ExpiredSignature => "the token has expired",
                ErrorKind::ImmatureSignature => "the token is not valid yet",
                ErrorKind::InvalidIssuer => "the token is of another issuer",
                ErrorKind::InvalidAudience => "the token is for somebody else",
                ErrorKind::MissingRequiredClaim(_) => "the token lacks exp, iss, aud or sub",
                _ => "the token's signature or form is wrong",
            })
        })?;
        // The library also accepts a list of issuers, which no provider sends.
        match claims.get("iss").is_some_and(Value::is_string) {
            true => Ok(claims),
            false => Err(Refused::Wrong("the token is of another issuer")),
        }
    }

    fn principal(&self, claims: &Map<String, Value>, key: String) -> Result<Principal, Refused> {
        let settings = &self.0.settings;
        let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
        let is_subject = |text: &&str| {
            (1..=SUBJECT_OCTETS_MAX).contains(&text.len())
                && text
                    .bytes()
                    .all(|octet| octet == b' ' || octet.is_ascii_graphic())
        };
        let subject = text("sub").filter(is_subject).ok_or(Refused::Wrong(
            "the token's subject is not 1 to 255 printable ASCII characters",
        ))?;
        let role = text(&settings.role_claim).and_then(|role| role.parse::<Role>().ok());
        let role = role
            .filter(|role| settings.roles.contains(role))
            .ok_or(Refused::Wrong(
                "the token names no role that its issuer may give",
            ))?;
        let id = |claim: &str| text(claim).and_then(|id| id.parse::<Id>().ok());
        let household = match role.is_of_household() {
            true => Some(
                id(&settings.household_claim)
                    .ok_or(Refused::Wrong("the token names no household"))?,
            ),
            false => None,
        };
        let device = match role {
            Role::Child => Some(
                id(&settings.device_claim).ok_or(Refused::Wrong("the token names no device"))?,
            ),
            _ => None,
        };
        let author = Author {
            actor: format!("jwt:{subject}"),
            role: role.to_string(),
        };
        Ok(Principal {
            author,
            role,
            household,
            device,
            expires_at: self.expiry(claims),
            signed_by: Some(key),
            session: None,
        })
    }

    /// When a token expires. `None` if that is beyond the calendar.
    fn expiry(&self, claims: &Map<String, Value>) -> Option<Timestamp> {
        let leeway_s = self.0.settings.leeway_s.min(LEEWAY_S_MAX) as f64;
        // NumericDate may have a fraction (RFC 7519, section 2). A float that is too large becomes
        // the largest integer, which is beyond the calendar. The token has expired in the second of
        // its expiry.
        let seconds = claims.get("exp")?.as_f64()? + leeway_s + 1.0;
        Timestamp::from_second(seconds as i64).ok()
    }
}

/// Parses a key set. Keys of unknown types are ignored, as RFC 7517, section 5 requires.
fn read_keys(text: &str) -> Result<Vec<ProvidersKey>, String> {
    let set: Value =
        serde_json::from_str(text).map_err(|error| format!("the key set is no JSON: {error}"))?;
    let all = set["keys"]
        .as_array()
        .ok_or("the key set has no list of keys")?;
    let keys: Vec<ProvidersKey> = all.iter().take(KEYS_MAX).filter_map(usable).collect();
    if keys.is_empty() {
        Err("the key set has no key that can be used here".to_owned())
    } else {
        Ok(keys)
    }
}

/// A key for signatures, with a name and of a known type.
fn usable(value: &Value) -> Option<ProvidersKey> {
    let jwk = Jwk::deserialize(value).ok()?;
    if jwk
        .common
        .public_key_use
        .as_ref()
        .is_some_and(|used| *used != PublicKeyUse::Signature)
    {
        return None;
    }
    let of_kind: &[(Algorithm, KeyAlgorithm)] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[
            (Algorithm::RS256, KeyAlgorithm::RS256),
            (Algorithm::PS256, KeyAlgorithm::PS256),
        ],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            &[(Algorithm::ES256, KeyAlgorithm::ES256)]
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            &[(Algorithm::EdDSA, KeyAlgorithm::EdDSA)]
        }
        _ => &[],
    };
    let named = jwk.common.key_algorithm;
    let algorithms = of_kind
        .iter()
        .filter(|(_, of_key)| named.is_none_or(|named| named == *of_key))
        .map(|(algorithm, _)| *algorithm);
    let algorithms: Vec<Algorithm> = algorithms.collect();
    let id = jwk.common.key_id.clone()?;
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    (!algorithms.is_empty()).then_some(ProvidersKey {
        id,
        key,
        algorithms,
    })
}
