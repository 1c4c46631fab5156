//! Secrets in feed definitions: hidden when a definition is shown, and put back when it is sent
//! back.
//!
//! Hidden are passwords and keys in the definition itself (not references such as `env:NAME`), and
//! in addresses the user information and the query, in which providers put licence keys.

pub use policy::lists::artefact::without_secrets as address;
use policy::lists::artefact::HIDDEN;
use serde_json::Value;

/// The keys of `[[feeds]]` with secrets.
const SECRET_KEYS: [&str; 3] = ["password", "bearer", "secret"];
/// The keys with addresses to which secrets are sent.
const ADDRESS_KEYS: [&str; 3] = ["source", "sha256_url", "signature_url"];

/// A definition without its secrets.
pub fn definition(document: &Value) -> Value {
    veil("", document)
}

fn veil(key: &str, value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), veil(key, value)))
            .collect(),
        Value::Array(items) => items.iter().map(|item| veil(key, item)).collect(),
        Value::String(text) if !SECRET_KEYS.contains(&key) => address(text).into(),
        Value::String(text) if text.starts_with("env:") || text.starts_with("file:") => {
            text.as_str().into()
        }
        _ if SECRET_KEYS.contains(&key) => HIDDEN.into(),
        other => other.clone(),
    }
}

/// A sentence without the secrets in its addresses: errors of libraries contain whole addresses.
pub fn sentence(text: &str) -> String {
    text.split_inclusive(char::is_whitespace)
        .map(address_and_space)
        .collect()
}

fn address_and_space(word: &str) -> String {
    let bare = word.trim_end();
    address(bare) + &word[bare.len()..]
}

/// Puts the secrets back into a definition that was shown, changed and sent back. Fails with the
/// key whose secret must be given. A client that changes an address must give its secrets again:
/// otherwise it could send the secrets to another server.
pub fn lift(shown: Value, before: Option<&Value>) -> Result<Value, String> {
    let moved = |before: &Value| {
        ADDRESS_KEYS
            .iter()
            .any(|key| !is_same_address(&shown[key], &before[key]))
    };
    let known = before.filter(|before| !moved(before));
    let lifted = lift_value("", shown, known);
    match hidden_key("", &lifted) {
        Some(key) => Err(key),
        None => Ok(lifted),
    }
}

/// Whether an address is the stored one, as it is or as it is shown.
fn is_same_address(sent: &Value, kept: &Value) -> bool {
    sent == kept || *sent == veil("", kept)
}

fn lift_value(key: &str, shown: Value, before: Option<&Value>) -> Value {
    match (shown, before) {
        (Value::Object(fields), before) => {
            let lift = |(key, value): (String, Value)| {
                let lifted = lift_value(&key, value, before.and_then(|before| before.get(&key)));
                (key, lifted)
            };
            fields.into_iter().map(lift).collect()
        }
        (Value::String(text), Some(before))
            if text.contains(HIDDEN) && veil(key, before) == text.as_str() =>
        {
            before.clone()
        }
        (other, _) => other,
    }
}

/// The first key whose value is still hidden.
fn hidden_key(key: &str, value: &Value) -> Option<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .find_map(|(key, value)| hidden_key(key, value)),
        Value::String(text) if text.contains(HIDDEN) => Some(key.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_secret_is_shown_and_nothing_else_is_hidden() {
        let kept = json!({
            "name": "bets", "source": "https://ox:hunter2@lists.example/a@b/list.gz?licence=hunter2&x=1", "interval_s": 5,
            "username": "ox", "password": "hunter2", "bearer": "env:TOKEN", "sha256_url": "https://lists.example/sum?k=hunter2",
            "tsig": { "name": "key.", "secret": "hunter2" }, "categories": { "1": "gambling" }, "must_match": ["a.example"],
        });
        let shown = definition(&kept);
        assert!(!shown.to_string().contains("hunter2"), "{shown}");
        assert_eq!(
            shown["source"],
            "https://(hidden)@lists.example/a@b/list.gz?(hidden)"
        );
        assert_eq!(
            (&shown["bearer"], &shown["tsig"]),
            (
                &json!("env:TOKEN"),
                &json!({ "name": "key.", "secret": "(hidden)" })
            )
        );
        for key in ["name", "interval_s", "username", "categories", "must_match"] {
            assert_eq!(shown[key], kept[key]);
        }
        assert_eq!(
            definition(&json!({ "password": ["hunter2"], "bearer": 7 }))
                .to_string()
                .matches("hunter2")
                .count(),
            0
        );
        assert_eq!(
            lift(shown.clone(), Some(&kept)),
            Ok(kept.clone()),
            "what was shown can be sent back"
        );
        let changed = json!({ "name": "bets", "interval_s": 9, "source": shown["source"], "sha256_url": shown["sha256_url"], "bearer": "new" });
        let lifted = lift(changed, Some(&kept)).unwrap();
        assert_eq!(
            (&lifted["source"], &lifted["interval_s"], &lifted["bearer"]),
            (&kept["source"], &json!(9), &json!("new"))
        );
        assert_eq!(
            lift(shown, None),
            Err("password".to_owned()),
            "there is nothing to put in its place"
        );
    }

    #[test]
    fn a_hidden_secret_is_never_sent_to_another_address() {
        let kept = json!({ "source": "https://lists.example/a", "password": "hunter2", "sha256_url": "https://lists.example/sum" });
        for (key, address) in [
            ("source", "https://thief.example/a"),
            ("sha256_url", "https://thief.example/a"),
            ("signature_url", "https://thief.example/a"),
        ] {
            let mut sent = definition(&kept);
            sent[key] = address.into();
            assert_eq!(lift(sent, Some(&kept)), Err("password".to_owned()), "{key}");
        }
        let elsewhere = json!({ "source": "https://thief.example/a", "password": "mine", "sha256_url": "https://lists.example/sum" });
        assert_eq!(lift(elsewhere.clone(), Some(&kept)), Ok(elsewhere));
    }

    #[test]
    fn a_complaint_keeps_its_words_and_loses_the_secrets_of_its_addresses() {
        let complaint = "no answer from https://ox:hunter2@lists.example/a?k=hunter2 within\n300 s";
        assert_eq!(
            sentence(complaint),
            "no answer from https://(hidden)@lists.example/a?(hidden) within\n300 s"
        );
        assert_eq!(sentence("twice two is four"), "twice two is four");
        assert_eq!(address("/srv/lists/a?b"), "/srv/lists/a?b");
        assert_eq!(
            address("rpz://192.0.2.1:53/zone"),
            "rpz://192.0.2.1:53/zone"
        );
    }
}
