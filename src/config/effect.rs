//! Keys without effect, which are refused: keys of a later version, and keys that another key
//! disables. Otherwise an operator would believe that they work.

use super::{blocks::BlockedAnswerKind, error::ConfigError, sections::Config};

/// The prefix of environment variables that override keys: `OX_PROTECT_SECTION__KEY`.
pub const ENVIRONMENT_PREFIX: &str = "OX_PROTECT_";

/// Why the keys of DNSSEC validation are refused.
const NOT_VALIDATING: &str = "nothing is validated with recursion.dnssec = false";
/// The levels that `log.level` names.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Refuses keys without effect.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    let value = |key, is_good, error| ConfigError::unless(is_good, key, error);
    let Config {
        dns,
        recursion,
        log,
        ..
    } = config;
    let has_anchors =
        !recursion.trust_anchors.is_empty() || !recursion.trust_anchor_files.is_empty();
    value(
        "recursion.trust_anchors",
        recursion.dnssec || !has_anchors,
        NOT_VALIDATING,
    )?;
    value(
        "recursion.negative_trust_anchors",
        recursion.dnssec || recursion.negative_trust_anchors.is_empty(),
        NOT_VALIDATING,
    )?;
    let is_shown = dns.landing.is_empty() || dns.blocked_answer == BlockedAnswerKind::Landing;
    value(
        "dns.landing",
        is_shown,
        "only blocked_answer = \"landing\" leads to these addresses; a tier's own are in dns.blocked_by",
    )?;
    let is_filtered =
        recursion.private_domains.is_empty() || !recursion.private_addresses.is_empty();
    value(
        "recursion.private_domains",
        is_filtered,
        "these names are exempt from recursion.private_addresses, which is empty",
    )?;
    let is_filter =
        log.level.contains(['=', ',']) || LEVELS.contains(&log.level.to_ascii_lowercase().as_str());
    value(
        "log.level",
        is_filter,
        "error, warn, info, debug, trace or off, or a filter such as \"info,resolver=debug\"",
    )
}

/// Refuses a variable that names a key, but without the two underscores behind its section.
pub fn check_variable(variable: &str) -> Result<(), ConfigError> {
    let name = variable[ENVIRONMENT_PREFIX.len()..].to_ascii_lowercase();
    let defaults = toml::Table::try_from(Config::default()).expect("the defaults are a table");
    let is_key = |section: &str, key: &str| {
        defaults
            .get(section)
            .and_then(toml::Value::as_table)
            .is_some_and(|keys| keys.contains_key(key))
    };
    let sections = name
        .match_indices('_')
        .map(|(place, _)| (&name[..place], &name[place + 1..]));
    match sections
        .into_iter()
        .find(|(section, key)| is_key(section, key))
    {
        Some((section, key)) => {
            let right = format!(
                "{ENVIRONMENT_PREFIX}{}__{}",
                section.to_ascii_uppercase(),
                key.to_ascii_uppercase()
            );
            Err(ConfigError::Environment(
                variable.to_owned(),
                format!("this overrides nothing; write {right}"),
            ))
        }
        None => Ok(()),
    }
}
