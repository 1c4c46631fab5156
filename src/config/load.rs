//! Reads and checks a configuration.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use blocklist_loader::{Feed, Plan};
use control::{causes, detection::mac_register::MacRegister, notifications::settings as notices};
use policy::{
    category::Taxonomy,
    rules::{bypass::BypassPrevention, operator::OperatorDefaults},
};
use resolver::recursor::TrustAnchors;

use super::{
    anchors, api,
    effect::{self, ENVIRONMENT_PREFIX},
    error::ConfigError,
    history, lists, reports,
    sections::Config,
    warnings,
};

/// The configuration without `--config`.
pub const EMBEDDED: &str = include_str!("../../configs/default.toml");
/// A checked configuration, and what follows from it.
pub struct Checked {
    /// The configuration, its paths resolved.
    pub config: Config,
    pub taxonomy: Taxonomy,
    /// The operator's defaults, compiled.
    pub defaults: OperatorDefaults,
    /// Addresses of the root servers.
    pub roots: Vec<IpAddr>,
    /// Trust anchors. None without validation.
    pub anchors: TrustAnchors,
    /// Who made the network interface with a MAC address.
    pub mac_register: Arc<MacRegister>,
    /// Warnings to the operator, one sentence each.
    pub warnings: Vec<String>,
    /// Whether it is the embedded configuration.
    pub is_embedded: bool,
    /// The folder to which relative paths are relative.
    pub base: PathBuf,
}

impl Checked {
    /// What the loader builds: the feeds of the configuration.
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

/// Reads a configuration file, or the embedded default; overrides keys by environment variables; and
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

/// Overrides keys by environment variables. The file was parsed before, so a failure here is the
/// variable's fault.
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

/// The text of a file that the configuration names.
fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::Read(path.to_owned(), error))
}

fn check(config: Config) -> Result<Checked, ConfigError> {
    check_sections(&config)?;
    let taxonomy = match config.policy.taxonomy.as_os_str().is_empty() {
        true => Taxonomy::shipped(),
        false => Taxonomy::parse(&read(&config.policy.taxonomy)?)
            .map_err(|error| ConfigError::Value("policy.taxonomy", causes(&error)))?,
    };
    let taxonomy = match &config.home_test.zone {
        None => taxonomy,
        Some(zone) => taxonomy
            .with_names_below(zone)
            .map_err(|error| ConfigError::Value("home_test.zone", causes(&error)))?,
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
    let anchors = anchors::collect(&config.recursion, read)?;
    let mac_register = MacRegister::read(&config.new_devices.mac_register)
        .map_err(|error| ConfigError::Value("new_devices.mac_register", causes(&error)))?;
    let warnings = warnings::of_networks(&config.dns, &config.api);
    let bypass = BypassPrevention {
        canary: config.policy.refuse_canary,
        relay: config.policy.refuse_private_relay,
    };
    Ok(Checked {
        defaults: OperatorDefaults { preset, bypass },
        config,
        taxonomy,
        roots,
        anchors,
        mac_register: Arc::new(mac_register),
        warnings,
        is_embedded: false,
        base: PathBuf::new(),
    })
}

/// Checks that all values are in their ranges.
fn check_sections(config: &Config) -> Result<(), ConfigError> {
    config.node.check()?;
    config.dns.check()?;
    config.limits.check()?;
    lists::check(&config.lists)?;
    notices::check(&config.notices).map_err(|(key, error)| ConfigError::Value(key, error))?;
    history::check(&config.history)?;
    reports::check(&config.reports)?;
    api::check(&config.api)?;
    config.landing.check()?;
    config.home_test.check()?;
    config.app.check(config.api.oidc.is_some())?;
    effect::check(config)?;
    config.store.check()?;
    config.recursion.check()
}

#[cfg(test)]
mod tests;
