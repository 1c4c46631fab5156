//! Bearer tokens of an OIDC provider (RFC 7519): who signed in there comes in here.
//!
//! ```text
//! header: algorithm, key id -> the provider's key -> signature -> issuer, audience, time -> role, household, device
//! ```
//!
//! A key may sign in the algorithms of its own kind and in no other, whatever a token says of itself; there is no algorithm that has a
//! shared secret or none at all. Where the provider's keys come from is [`KeySet`]'s to know.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    errors::ErrorKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use policy::household::Id;
use policy_store::{Author, Role};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::principal::Principal;

/// The longest token, in octets: what an HTTP header may be at other places.
const TOKEN_OCTETS_MAX: usize = 8 << 10;
/// The longest subject, by OpenID Connect Core, section 2.
const SUBJECT_OCTETS_MAX: usize = 255;
/// Keys of a provider; more are not looked at.
const KEYS_MAX: usize = 100;
/// How often the keys are read at most because somebody names one that is not known: whoever makes up names must not make us ask.
const READ_EVERY: Duration = Duration::from_secs(60);
/// How long keys are used without looking whether the provider took one back.
const KEYS_AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// The longest difference of two clocks that counts as none, in seconds.
pub const LEEWAY_S_MAX: u64 = 60;

/// `[api.oidc]`: whose tokens are taken, and what in them says who somebody is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Who must have issued a token (`iss`), to the letter.
    pub issuer: String,
    /// For whom it must be (`aud`).
    pub audience: String,
    /// The provider's keys: an `https` address or a file.
    pub jwks: String,
    /// Whether that address may be a private one, and `http`.
    #[serde(default)]
    pub allow_private: bool,
    /// The claim that names the role.
    #[serde(default = "role_claim")]
    pub role_claim: String,
    /// The claim that names the household.
    #[serde(default = "household_claim")]
    pub household_claim: String,
    /// The claim that names a child's device.
    #[serde(default = "device_claim")]
    pub device_claim: String,
    /// The roles that this provider may give.
    #[serde(default = "roles")]
    pub roles: Vec<Role>,
    /// How much two clocks may differ, in seconds.
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

/// Where a provider's keys come from.
#[async_trait]
pub trait KeySet: Send + Sync {
    /// The key set (RFC 7517), read now; or why it cannot be.
    async fn read(&self) -> Result<String, String>;

    /// Whether it is known to have changed since it was last read.
    fn has_changed(&self) -> bool;
}

/// Why a token opens nothing. It says nothing that its bearer does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(&'static str);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A key of the provider, with the algorithms that it may be used in.
struct ProvidersKey {
    id: String,
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

/// The keys as they were last read.
#[derive(Default)]
struct Keys {
    all: Vec<ProvidersKey>,
    read_at: Option<Instant>,
}

/// Whoever reads tokens.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    settings: Settings,
    source: Box<dyn KeySet>,
    keys: RwLock<Arc<Keys>>,
    /// When the keys were last asked for. Whoever reads them holds it.
    asked_at: tokio::sync::Mutex<Option<Instant>>,
}

impl Tokens {
    /// Reads tokens by these settings. No key is known before the first is asked for, or [`Self::refresh`].
    #[must_use]
    pub fn new(settings: Settings, source: Box<dyn KeySet>) -> Self {
        Self(Arc::new(Inner { settings, source, keys: RwLock::default(), asked_at: tokio::sync::Mutex::default() }))
    }

    /// Whether somebody's secret has the form of a token: three parts, which no key of ours has.
    pub(crate) fn is_token(secret: &str) -> bool {
        secret.bytes().filter(|octet| *octet == b'.').count() == 2
    }

    /// Reads the keys, unless they were asked for a moment ago. Where that fails, the last good ones stay.
    pub async fn refresh(&self) {
        let mut asked_at = self.0.asked_at.lock().await;
        let is_due = asked_at.is_none_or(|at| at.elapsed() >= READ_EVERY) || self.0.source.has_changed();
        if !is_due {
            return;
        }
        *asked_at = Some(Instant::now());
        match self.0.source.read().await.and_then(|text| read_keys(&text)) {
            Ok(all) => {
                let keys = Arc::new(Keys { all, read_at: Some(Instant::now()) });
                *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
            }
            Err(error) => tracing::warn!(error, "the keys of the OIDC provider cannot be read; those that were read last stay"),
        }
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.0.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who bears a token.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn read(&self, token: &str) -> Result<Principal, Refused> {
        if token.len() > TOKEN_OCTETS_MAX {
            return Err(Refused("the token is too long"));
        }
        let header = decode_header(token).map_err(|_| Refused("this is no token that is signed with a key pair"))?;
        // What must be understood to understand the token is not (RFC 7515, section 4.1.11).
        if header.crit.is_some() {
            return Err(Refused("the token wants something understood that is not"));
        }
        let id = header.kid.ok_or(Refused("the token does not name its key"))?;
        let is_known = |keys: &Keys| keys.all.iter().any(|key| key.id == id);
        let mut keys = self.keys();
        if !is_known(&keys) || self.0.source.has_changed() {
            self.refresh().await;
            keys = self.keys();
        } else if keys.read_at.is_some_and(|at| at.elapsed() >= KEYS_AGE_MAX) {
            let tokens = self.clone();
            tokio::spawn(async move { tokens.refresh().await });
        }
        let mut named = keys.all.iter().filter(|key| key.id == id).peekable();
        if named.peek().is_none() {
            return Err(Refused("the provider has no key of this name"));
        }
        let key = named.find(|key| key.algorithms.contains(&header.alg));
        let key = key.ok_or(Refused("the provider's key of this name is not used in this algorithm"))?;
        let claims = self.claims(token, key, header.alg)?;
        self.principal(&claims)
    }

    /// The claims of a token, once its signature, issuer, audience and time are right.
    fn claims(&self, token: &str, key: &ProvidersKey, algorithm: Algorithm) -> Result<Map<String, Value>, Refused> {
        let settings = &self.0.settings;
        let mut validation = Validation::new(algorithm);
        validation.leeway = settings.leeway_s.min(LEEWAY_S_MAX);
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&settings.issuer]);
        validation.set_audience(&[&settings.audience]);
        let claims = decode::<Map<String, Value>>(token, &key.key, &validation).map(|decoded| decoded.claims);
        let claims = claims.map_err(|error| {
            Refused(match error.kind() {
                ErrorKind::ExpiredSignature => "the token has expired",
                ErrorKind::ImmatureSignature => "the token is not valid yet",
                ErrorKind::InvalidIssuer => "the token is of another issuer",
                ErrorKind::InvalidAudience => "the token is for somebody else",
                ErrorKind::MissingRequiredClaim(_) => "the token lacks exp, iss, aud or sub",
                _ => "the token's signature or form is wrong",
            })
        })?;
        // The library takes a list of issuers as well, which no provider issues.
        match claims.get("iss").is_some_and(Value::is_string) {
            true => Ok(claims),
            false => Err(Refused("the token is of another issuer")),
        }
    }

    fn principal(&self, claims: &Map<String, Value>) -> Result<Principal, Refused> {
        let settings = &self.0.settings;
        let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
        let is_subject = |text: &&str| {
            (1..=SUBJECT_OCTETS_MAX).contains(&text.len()) && text.bytes().all(|octet| octet == b' ' || octet.is_ascii_graphic())
        };
        let subject = text("sub").filter(is_subject).ok_or(Refused("the token's subject is not 1 to 255 printable ASCII characters"))?;
        let role = text(&settings.role_claim).and_then(|role| role.parse::<Role>().ok());
        let role = role.filter(|role| settings.roles.contains(role)).ok_or(Refused("the token names no role that its issuer may give"))?;
        let id = |claim: &str| text(claim).and_then(|id| id.parse::<Id>().ok());
        let household = match role.is_of_household() {
            true => Some(id(&settings.household_claim).ok_or(Refused("the token names no household"))?),
            false => None,
        };
        let device = match role {
            Role::Child => Some(id(&settings.device_claim).ok_or(Refused("the token names no device"))?),
            _ => None,
        };
        Ok(Principal { author: Author { actor: format!("jwt:{subject}"), role: role.to_string() }, role, household, device })
    }
}

/// Reads a key set. A key that cannot be used here is left out, as RFC 7517 section 5 wants it.
fn read_keys(text: &str) -> Result<Vec<ProvidersKey>, String> {
    let set: Value = serde_json::from_str(text).map_err(|error| format!("the key set is no JSON: {error}"))?;
    let all = set["keys"].as_array().ok_or("the key set has no list of keys")?;
    let keys: Vec<ProvidersKey> = all.iter().take(KEYS_MAX).filter_map(usable).collect();
    if keys.is_empty() { Err("the key set has no key that can be used here".to_owned()) } else { Ok(keys) }
}

/// A key with a name, of a kind that is used here, and for signatures.
fn usable(value: &Value) -> Option<ProvidersKey> {
    let jwk = Jwk::deserialize(value).ok()?;
    if jwk.common.public_key_use.as_ref().is_some_and(|used| *used != PublicKeyUse::Signature) {
        return None;
    }
    let of_kind: &[(Algorithm, KeyAlgorithm)] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[(Algorithm::RS256, KeyAlgorithm::RS256), (Algorithm::PS256, KeyAlgorithm::PS256)],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => &[(Algorithm::ES256, KeyAlgorithm::ES256)],
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[(Algorithm::EdDSA, KeyAlgorithm::EdDSA)],
        _ => &[],
    };
    let named = jwk.common.key_algorithm;
    let algorithms = of_kind.iter().filter(|(_, of_key)| named.is_none_or(|named| named == *of_key)).map(|(algorithm, _)| *algorithm);
    let algorithms: Vec<Algorithm> = algorithms.collect();
    let (id, key) = (jwk.common.key_id.clone()?, DecodingKey::from_jwk(&jwk).ok()?);
    (!algorithms.is_empty()).then_some(ProvidersKey { id, key, algorithms })
}
