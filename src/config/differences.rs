//! The keys in which two configurations differ: what a restart would change.

use std::collections::BTreeSet;

use serde_json::Value;

use super::sections::Config;

/// The keys in which two configurations differ. A section that one of them lacks is named as a
/// whole. Values are left out: some are secret.
pub fn differences(before: &Config, after: &Config) -> Vec<String> {
    fn compare(path: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
        let (Value::Object(was), Value::Object(is)) = (before, after) else {
            if before != after {
                found.push(path.to_owned());
            }
            return;
        };
        let keys: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
        for key in keys {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            compare(
                &path,
                was.get(key).unwrap_or(&Value::Null),
                is.get(key).unwrap_or(&Value::Null),
                found,
            );
        }
    }
    let plain = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    let mut found = Vec::new();
    compare("", &plain(before), &plain(after), &mut found);
    // Values that cannot be serialised cannot be compared by key.
    if found.is_empty() && before != after {
        found.push("feeds".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use policy::name::Name;

    use super::*;

    #[test]
    fn keys_that_differ_are_named_and_no_value_is() {
        let before = Config::default();
        let mut after = before.clone();
        assert_eq!(differences(&before, &after), Vec::<String>::new());
        after.dns.cache_mib += 1;
        after.store.url = "sqlite:elsewhere.db".to_owned();
        after.api.oidc = None;
        after
            .recursion
            .private_domains
            .push(Name::parse("home.arpa").unwrap());
        assert_eq!(
            differences(&before, &after),
            ["dns.cache_mib", "recursion.private_domains", "store.url"]
        );
    }
}
