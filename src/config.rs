//! The configuration: read once, checked as a whole, and refused with the line and the words that
//! would be right.
//!
//! `configs/default.toml` is its reference and the embedded default; a test holds the two together.

mod api;
mod blocks;
mod differences;
mod effect;
mod history;
mod lists;
mod networks;
mod reports;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use blocklist_loader::{Feed, Plan};
use control::{
    causes,
    notifications::settings::{self as notices, NoticeSettings},
};
use ipnet::IpNet;
use policy::{
    category::Taxonomy,
    name::Name,
    rules::{compiled::OperatorDefaults, special::Refused},
};
use serde::{Deserialize, Serialize};

use crate::oidc;

pub use self::{
    api::Api,
    blocks::{BlockedAnswerKind, BlockedBy},
    differences::differences,
    history::History,
    lists::Lists,
    reports::Reports,
};

/// What runs without `--config`.
pub const EMBEDDED: &str = include_str!("../configs/default.toml");
/// Before each key that the environment overrides: `OX_PROTECT_SECTION__KEY`.
const ENVIRONMENT_PREFIX: &str = "OX_PROTECT_";

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where queries come in and what a block looks like.
    pub dns: Dns,
    /// The REST API.
    pub api: Api,
    /// Households and keys.
    pub store: Store,
    /// Compiled lists.
    pub lists: Lists,
    /// The operator's defaults.
    pub policy: Policy,
    /// Where holders of accounts are told.
    pub notices: NoticeSettings,
    /// What households may have kept.
    pub history: History,
    /// What the public reports.
    pub reports: Reports,
    /// Where answers come from.
    pub recursion: Recursion,
    /// What is written to standard error.
    pub log: Log,
    /// The lists.
    pub feeds: Vec<Feed>,
}

/// `[dns]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// Addresses for UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// Who may ask beside the households' own networks.
    pub allow_from: Vec<IpNet>,
    /// Who may assert identities for others.
    pub trusted_peers: Vec<IpNet>,
    /// Who may send NOTIFY beside the primaries of policy zones.
    pub notify_from: Vec<IpNet>,
    /// Who may ask without recursion, and so see what is in the cache.
    pub snoop_from: Vec<IpNet>,
    /// Threads that answer UDP, each on every address; 0 is one for each core.
    pub workers: usize,
    /// Whether each worker is kept on a core of its own.
    pub pin_workers: bool,
    /// The most datagrams that one system call takes or sends.
    pub batch: usize,
    /// What `TXT CH id.server` answers; empty refuses.
    pub server_id: String,
    /// What a blocked name is answered with.
    pub blocked_answer: BlockedAnswerKind,
    /// The addresses of `landing`.
    pub landing: Vec<IpAddr>,
    /// Other answers, by who decides about the block.
    pub blocked_by: BlockedBy,
    /// Whom to ask about a block, as URIs.
    pub contact: Vec<String>,
    /// Who filters, for people to read.
    pub organization: String,
    /// The language of that and of the titles of categories.
    pub language: String,
    /// The proxy that looks at listed paths, by its addresses.
    pub url_proxy: Vec<IpAddr>,
    /// Budget of the answer cache in MiB.
    pub cache_mib: u64,
    /// The most resolutions at a time.
    pub resolutions_max: usize,
    /// The most of them for one client.
    pub waiting_per_client_max: u32,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 5353))],
            allow_from: networks::local(),
            trusted_peers: networks::loopback(),
            notify_from: Vec::new(),
            snoop_from: Vec::new(),
            workers: 0,
            pin_workers: true,
            batch: 32,
            server_id: String::new(),
            blocked_answer: BlockedAnswerKind::Nxdomain,
            landing: Vec::new(),
            blocked_by: BlockedBy::default(),
            contact: Vec::new(),
            organization: String::new(),
            language: "en".to_owned(),
            url_proxy: Vec::new(),
            cache_mib: 256,
            resolutions_max: 4096,
            waiting_per_client_max: 1000,
        }
    }
}

/// `[store]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// `sqlite:PATH`.
    pub url: String,
    /// How often a signed head of the audit is announced while something is written, in seconds.
    pub audit_head_interval_s: u32,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: "sqlite:data/ox-protect.db".to_owned(),
            audit_head_interval_s: 600,
        }
    }
}

/// `[policy]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// The preset of those who chose none.
    pub default_preset: String,
    /// A taxonomy document; empty is the shipped one.
    pub taxonomy: PathBuf,
    /// Whether canary names (`use-application-dns.net`) are answered negatively where filtering is
    /// on, so that browsers keep to this resolver.
    pub refuse_canary: bool,
    /// Whether the names of private relays are, so that devices say that the relay is not available
    /// in this network.
    pub refuse_private_relay: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            default_preset: "off".to_owned(),
            taxonomy: PathBuf::new(),
            refuse_canary: true,
            refuse_private_relay: true,
        }
    }
}

/// `[recursion]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recursion {
    /// A root hints file; empty is the shipped one.
    pub root_hints: PathBuf,
    /// The port of every authority.
    pub authority_port: u16,
    /// Networks that are never asked.
    pub do_not_query: Vec<IpNet>,
    /// Ask over IPv4.
    pub ipv4: bool,
    /// Ask over IPv6.
    pub ipv6: bool,
    /// Show zones no more of a name than they need.
    pub qname_minimisation: bool,
    /// Mix letter case.
    pub case_randomisation: bool,
    /// Send client cookies.
    pub cookies: bool,
    /// Ask the root who serves it.
    pub prime: bool,
    /// Believe addresses of servers only from the zone they are in.
    pub harden_glue: bool,
    /// Answer special names here.
    pub special_zones: bool,
    /// Addresses that names of the Internet may not have.
    pub private_addresses: Vec<IpNet>,
    /// Names that may have them.
    pub private_domains: Vec<Name>,
    /// The least that anything is kept, in seconds.
    pub ttl_min_s: u32,
    /// The most, in seconds.
    pub ttl_max_s: u32,
    /// The most for denials, in seconds.
    pub ttl_negative_max_s: u32,
    /// How long an answer may be used that is too old, in seconds; 0 never.
    pub serve_stale_s: u32,
    /// How long a client waits for a newer one, in milliseconds.
    pub stale_client_timeout_ms: u32,
    /// Ask again before the end of what is asked for.
    pub prefetch: bool,
    /// Budget of the cache of records in MiB.
    pub cache_mib: u64,
    /// Questions that wait for the servers of one zone.
    pub waiting_per_zone_max: u32,
    /// Queries under way to one server.
    pub queries_per_server_max: u32,
    /// For the version that validates; refused until then.
    pub dnssec: bool,
    /// For the version that validates; refused until then.
    pub trust_anchors: Vec<String>,
    /// For the version that validates; refused until then.
    pub negative_trust_anchors: Vec<Name>,
    /// Zones answered by other resolvers.
    pub forward: Vec<Zone>,
    /// Zones whose authorities are given.
    pub stub: Vec<Zone>,
    /// Certificates that vouch for servers asked over TLS, a PEM file; empty is what the system
    /// trusts.
    pub tls_authorities: PathBuf,
    /// Records this node answers itself; empty is none.
    pub local_records: PathBuf,
}

/// One entry of `recursion.forward` or `recursion.stub`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// The zone.
    pub zone: Name,
    /// Who answers it.
    pub to: Vec<SocketAddr>,
    /// The name that they prove to have over TLS (RFC 7858); absent asks in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// Recursion takes over where they fail.
    #[serde(default)]
    pub first: bool,
}

impl Default for Recursion {
    fn default() -> Self {
        Self {
            root_hints: PathBuf::new(),
            authority_port: 53,
            do_not_query: networks::special(),
            ipv4: true,
            ipv6: true,
            qname_minimisation: true,
            case_randomisation: true,
            cookies: true,
            prime: true,
            harden_glue: true,
            special_zones: true,
            private_addresses: Vec::new(),
            private_domains: Vec::new(),
            ttl_min_s: 0,
            ttl_max_s: 86_400,
            ttl_negative_max_s: 3_600,
            serve_stale_s: 86_400,
            stale_client_timeout_ms: 1_800,
            prefetch: true,
            cache_mib: 64,
            waiting_per_zone_max: 400,
            queries_per_server_max: 2_000,
            dnssec: false,
            trust_anchors: Vec::new(),
            negative_trust_anchors: Vec::new(),
            forward: Vec::new(),
            stub: Vec::new(),
            tls_authorities: PathBuf::new(),
            local_records: PathBuf::new(),
        }
    }
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A level or a filter.
    pub level: String,
    /// Text or JSON.
    pub format: LogFormat,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// What is wrong with a configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Read(PathBuf, std::io::Error),
    /// Not TOML, an unknown key, or a value of the wrong kind; the message shows the line.
    Parse(String, Box<toml::de::Error>),
    /// A variable that overrides nothing, or with something it cannot be.
    Environment(String, String),
    /// A value that cannot be used.
    Value(&'static str, String),
    /// A feed that cannot be used.
    Feed(blocklist_loader::FeedError),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, error) => write!(f, "reading {}: {error}", path.display()),
            Self::Parse(file, error) => write!(f, "{file}: {error}"),
            Self::Environment(variable, error) => {
                write!(f, "environment variable {variable}: {error}")
            }
            Self::Value(key, error) => write!(f, "{key}: {error}"),
            Self::Feed(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// A configuration that was checked, with what follows from it.
pub struct Checked {
    /// The configuration, its paths resolved.
    pub config: Config,
    /// The taxonomy.
    pub taxonomy: Taxonomy,
    /// The operator's defaults, compiled.
    pub defaults: OperatorDefaults,
    /// Addresses of root servers.
    pub roots: Vec<IpAddr>,
    /// Things the operator should know; each a sentence.
    pub warnings: Vec<String>,
    /// Whether no file was given.
    pub is_embedded: bool,
    /// The folder that relative paths are seen from.
    pub base: PathBuf,
}

impl Checked {
    /// What the loader is to build.
    pub fn plan(&self) -> Plan {
        let lists = &self.config.lists;
        let feeds = self.config.feeds.clone();
        let directory = lists.directory.clone();
        Plan {
            feeds,
            directory,
            own_names: lists.own_names.clone(),
            ..Plan::default()
        }
    }
}

/// Reads a configuration file, or the embedded default, lets the environment override keys, and
/// checks the whole.
pub fn load(
    path: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Checked, ConfigError> {
    let (text, name, base) = match path {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| ConfigError::Read(path.to_owned(), error))?;
            (
                text,
                path.display().to_string(),
                path.parent().unwrap_or(Path::new("")).to_owned(),
            )
        }
        None => (
            EMBEDDED.to_owned(),
            "the embedded configuration".to_owned(),
            PathBuf::new(),
        ),
    };
    let config = parse(&text, &name)?;
    let checked = check(override_by(config, &text, environment)?.rooted(&base))?;
    Ok(Checked {
        is_embedded: path.is_none(),
        base,
        ..checked
    })
}

fn parse(text: &str, name: &str) -> Result<Config, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError::Parse(name.to_owned(), Box::new(error)))
}

/// The file is sound by now, so whatever fails here is the variable's fault.
fn override_by(
    config: Config,
    text: &str,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let ours = environment.filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX));
    let (mut variables, others): (Vec<_>, Vec<_>) = ours.partition(|(name, _)| name.contains("__"));
    others
        .iter()
        .try_for_each(|(name, _)| effect::check_variable(name))?;
    variables.sort();
    let mut config = config;
    let mut table = text
        .parse::<toml::Table>()
        .expect("it was read a moment ago");
    for (variable, value) in variables {
        let failed = |error: String| ConfigError::Environment(variable.clone(), error);
        let path = variable[ENVIRONMENT_PREFIX.len()..].to_ascii_lowercase();
        let (section, key) = path.split_once("__").expect("filtered above");
        let section = table
            .entry(section)
            .or_insert_with(|| toml::Table::new().into());
        let section = section
            .as_table_mut()
            .ok_or_else(|| failed("this section cannot be overridden".to_owned()))?;
        // A value that is no TOML, such as a bare path, is a string.
        let parsed = format!("value = {value}")
            .parse::<toml::Table>()
            .ok()
            .and_then(|mut table| table.remove("value"));
        section.insert(
            key.to_owned(),
            parsed.unwrap_or_else(|| value.clone().into()),
        );
        config = table
            .clone()
            .try_into()
            .map_err(|error: toml::de::Error| failed(error.message().to_owned()))?;
    }
    Ok(config)
}

impl Config {
    /// Resolves relative paths against the folder of the configuration file.
    fn rooted(mut self, base: &Path) -> Self {
        let root = |path: &mut PathBuf| {
            if !path.as_os_str().is_empty() {
                *path = base.join(&*path);
            }
        };
        root(&mut self.lists.directory);
        if let Some(folder) = &mut self.lists.api_folder {
            root(folder);
        }
        root(&mut self.policy.taxonomy);
        root(&mut self.recursion.root_hints);
        root(&mut self.recursion.tls_authorities);
        root(&mut self.recursion.local_records);
        if let Some(path) = self.store.url.strip_prefix("sqlite:") {
            self.store.url = format!("sqlite:{}", base.join(path).display());
        }
        self.history = self.history.rooted(base, &self.store.url);
        self.feeds = self
            .feeds
            .into_iter()
            .map(|feed| feed.rooted(base))
            .collect();
        self.lists.share = self.lists.share.map(|share| share.rooted(base));
        self.notices = self.notices.rooted(base);
        self.api.oidc = self.api.oidc.map(|settings| oidc::rooted(settings, base));
        self
    }
}

fn check(config: Config) -> Result<Checked, ConfigError> {
    check_ranges(&config)?;
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|error| ConfigError::Read(path.to_owned(), error))
    };
    let taxonomy = match config.policy.taxonomy.as_os_str().is_empty() {
        true => Taxonomy::shipped(),
        false => Taxonomy::parse(&read(&config.policy.taxonomy)?)
            .map_err(|error| ConfigError::Value("policy.taxonomy", causes(&error)))?,
    };
    let preset = taxonomy
        .preset(&config.policy.default_preset)
        .ok_or_else(|| {
            let known: Vec<&str> = taxonomy
                .presets()
                .map(|(preset, _)| preset.slug.as_str())
                .collect();
            ConfigError::Value(
                "policy.default_preset",
                format!(
                    "{:?} is no preset; one of {}",
                    config.policy.default_preset,
                    known.join(", ")
                ),
            )
        })?;
    Feed::check_all(&config.feeds, &taxonomy).map_err(ConfigError::Feed)?;
    let hints = match config.recursion.root_hints.as_os_str().is_empty() {
        true => resolver::recursor::ROOT_HINTS.to_owned(),
        false => read(&config.recursion.root_hints)?,
    };
    let roots = resolver::recursor::parse_hints(&hints)
        .map_err(|error| ConfigError::Value("recursion.root_hints", causes(&error)))?;
    let warnings = networks::warnings(&config.dns);
    let refused = Refused {
        canary: config.policy.refuse_canary,
        relay: config.policy.refuse_private_relay,
    };
    Ok(Checked {
        defaults: OperatorDefaults { preset, refused },
        config,
        taxonomy,
        roots,
        warnings,
        is_embedded: false,
        base: PathBuf::new(),
    })
}

fn check_ranges(config: &Config) -> Result<(), ConfigError> {
    let value = |key, is_good: bool, error: &str| {
        if is_good {
            Ok(())
        } else {
            Err(ConfigError::Value(key, error.to_owned()))
        }
    };
    let Config {
        dns,
        lists,
        recursion,
        store,
        ..
    } = config;
    value(
        "dns.listen",
        !dns.listen.is_empty(),
        "at least one address is needed",
    )?;
    value("dns.workers", dns.workers <= 256, "0 to 256")?;
    value("dns.batch", (1..=1024).contains(&dns.batch), "1 to 1024")?;
    value(
        "dns.server_id",
        dns.server_id.len() <= 255,
        "at most 255 octets, RFC 1035 section 3.3",
    )?;
    value(
        "dns.cache_mib",
        (1..=1_048_576).contains(&dns.cache_mib),
        "1 to 1048576",
    )?;
    value(
        "dns.resolutions_max",
        (1..=1_000_000).contains(&dns.resolutions_max),
        "1 to 1000000",
    )?;
    value(
        "dns.waiting_per_client_max",
        (1..=1_000_000).contains(&dns.waiting_per_client_max),
        "1 to 1000000",
    )?;
    let needs_landing = dns.blocked_answer == BlockedAnswerKind::Landing;
    value(
        "dns.landing",
        !needs_landing || !dns.landing.is_empty(),
        "blocked_answer = \"landing\" needs at least one address",
    )?;
    blocks::check(dns)?;
    lists::check(lists)?;
    notices::check(&config.notices).map_err(|(key, error)| ConfigError::Value(key, error))?;
    history::check(&config.history)?;
    reports::check(&config.reports)?;
    api::routes::check(&config.api)?;
    effect::check(config)?;
    value(
        "store.url",
        store.url.starts_with("sqlite:"),
        "this version keeps households in SQLite: sqlite:PATH",
    )?;
    let interval = store.audit_head_interval_s;
    value(
        "store.audit_head_interval_s",
        (10..=86_400).contains(&interval),
        "10 to 86400",
    )?;
    value(
        "recursion.authority_port",
        recursion.authority_port != 0,
        "1 to 65535",
    )?;
    value(
        "recursion.ipv4",
        recursion.ipv4 || recursion.ipv6,
        "IPv4 and IPv6 are both off",
    )?;
    let leads_somewhere = |zones: &[Zone]| zones.iter().all(|zone| !zone.to.is_empty());
    value(
        "recursion.forward",
        leads_somewhere(&recursion.forward),
        "each zone needs at least one address in `to`",
    )?;
    value(
        "recursion.stub",
        leads_somewhere(&recursion.stub),
        "each zone needs at least one address in `to`",
    )?;
    let mut fixed: Vec<&Name> = recursion
        .forward
        .iter()
        .chain(&recursion.stub)
        .map(|zone| &zone.zone)
        .collect();
    fixed.sort();
    value(
        "recursion.stub",
        fixed.windows(2).all(|pair| pair[0] != pair[1]),
        "a zone stands once, in `forward` or in `stub`",
    )?;
    let is_ordered = recursion.ttl_min_s <= recursion.ttl_max_s && recursion.ttl_max_s <= 604_800;
    value("recursion.ttl_max_s", is_ordered, "ttl_min_s to 604800")?;
    value(
        "recursion.ttl_min_s",
        recursion.ttl_min_s <= 3_600,
        "0 to 3600: more would keep what its owner has changed",
    )?;
    value(
        "recursion.ttl_negative_max_s",
        recursion.ttl_negative_max_s <= 86_400,
        "0 to 86400",
    )?;
    value(
        "recursion.serve_stale_s",
        recursion.serve_stale_s <= 604_800,
        "0 to 604800, RFC 8767 section 5",
    )?;
    value(
        "recursion.stale_client_timeout_ms",
        recursion.stale_client_timeout_ms <= 10_000,
        "0 to 10000",
    )?;
    value(
        "recursion.cache_mib",
        (1..=1_048_576).contains(&recursion.cache_mib),
        "1 to 1048576",
    )?;
    value(
        "recursion.waiting_per_zone_max",
        (1..=1_000_000).contains(&recursion.waiting_per_zone_max),
        "1 to 1000000",
    )?;
    value(
        "recursion.queries_per_server_max",
        (1..=1_000_000).contains(&recursion.queries_per_server_max),
        "1 to 1000000",
    )
}

#[cfg(test)]
mod tests;
