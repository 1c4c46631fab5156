//! Manufacturer usage descriptions (RFC 8520): the names that a maker says its device reaches.
//!
//! Only names count (`ietf-acldns`, RFC 8520, section 8): ports, addresses and controllers are left
//! out, because a resolver does not see them. A file is given by the family and never fetched; its
//! CMS signature (section 13) is in another file and is not checked.

use std::collections::BTreeSet;

use policy::{
    lists::public_suffix::is_at_or_above_suffix, name::Name, rules::thing::THING_DOMAINS_MAX,
};
use serde_json::Value;

/// Why a file is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MudError {
    #[error("there is no object ietf-mud:mud with mud-version 1 (RFC 8520)")]
    NotMud,
    #[error("no access list that the policies name has an entry with a name")]
    NoNames,
    #[error("{0:?} is no name that one company has")]
    Name(String),
    #[error("it has more than {THING_DOMAINS_MAX} names")]
    TooMany,
}

/// The names that a device may reach, of the access lists that its policies name.
///
/// # Errors
/// The document is no MUD file, or has no names that can be used.
pub fn names(document: &Value) -> Result<BTreeSet<Name>, MudError> {
    let mud = &document["ietf-mud:mud"];
    if mud["mud-version"].as_u64() != Some(1) {
        return Err(MudError::NotMud);
    }
    let policies = [&mud["from-device-policy"], &mud["to-device-policy"]];
    let lists: BTreeSet<&str> = policies
        .into_iter()
        .flat_map(|policy| items(&policy["access-lists"]["access-list"]))
        .filter_map(|list| list["name"].as_str())
        .collect();
    let acls = items(&document["ietf-access-control-list:acls"]["acl"]).filter(|acl| {
        acl["name"]
            .as_str()
            .is_some_and(|name| lists.contains(name))
    });
    let entries = acls
        .flat_map(|acl| items(&acl["aces"]["ace"]))
        .filter(|entry| entry["actions"]["forwarding"] == "accept");
    let mut names = BTreeSet::new();
    for text in entries.flat_map(|entry| names_of(&entry["matches"])) {
        let name = Name::parse(text).map_err(|_| MudError::Name(text.to_owned()))?;
        if is_at_or_above_suffix(name.borrow()) {
            return Err(MudError::Name(text.to_owned()));
        }
        names.insert(name);
        if names.len() > THING_DOMAINS_MAX {
            return Err(MudError::TooMany);
        }
    }
    match names.is_empty() {
        true => Err(MudError::NoNames),
        false => Ok(names),
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The names in a match: in `ipv4` and `ipv6`, where RFC 8520 puts them.
fn names_of(matches: &Value) -> impl Iterator<Item = &str> {
    ["ipv4", "ipv6"].into_iter().flat_map(move |family| {
        ["ietf-acldns:dst-dnsname", "ietf-acldns:src-dnsname"]
            .into_iter()
            .filter_map(move |key| matches[family][key].as_str())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The example of RFC 8520, section 9, shortened.
    fn example() -> Value {
        let ace = |key: &str, name: &str, action: &str| {
            json!({ "name": "cl0", "matches": { "ipv4": { key: name, "protocol": 6 } },
                "actions": { "forwarding": action } })
        };
        let (to, from) = ("ietf-acldns:src-dnsname", "ietf-acldns:dst-dnsname");
        json!({
            "ietf-mud:mud": {
                "mud-version": 1, "mud-url": "https://lighting.example.com/lightbulb2000",
                "from-device-policy": { "access-lists": { "access-list": [{ "name": "mud-76100-v6fr" }] } },
                "to-device-policy": { "access-lists": { "access-list": [{ "name": "mud-76100-v6to" }] } },
            },
            "ietf-access-control-list:acls": { "acl": [
                { "name": "mud-76100-v6to", "aces": { "ace": [ace(to, "test.example.com", "accept")] } },
                { "name": "mud-76100-v6fr", "aces": { "ace": [
                    ace(from, "test.example.com", "accept"), ace(from, "Time.example.net", "accept"),
                    ace(from, "no.example.org", "drop"),
                ] } },
                { "name": "unused", "aces": { "ace": [ace(from, "other.example", "accept")] } },
            ] },
        })
    }

    #[test]
    fn the_names_of_the_named_access_lists_are_taken() {
        let names = names(&example()).unwrap();
        let texts: Vec<String> = names.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["test.example.com", "time.example.net"]);
    }

    #[test]
    fn a_file_without_usable_names_is_refused() {
        assert_eq!(names(&json!({})), Err(MudError::NotMud));
        let mut unnamed = example();
        unnamed["ietf-mud:mud"]["from-device-policy"] = json!(null);
        unnamed["ietf-mud:mud"]["to-device-policy"] = json!(null);
        assert_eq!(names(&unnamed), Err(MudError::NoNames));
        for wide in ["com", "co.uk", "a..b"] {
            let mut example = example();
            let ace = &mut example["ietf-access-control-list:acls"]["acl"][0]["aces"]["ace"][0];
            ace["matches"]["ipv4"]["ietf-acldns:src-dnsname"] = wide.into();
            assert_eq!(names(&example), Err(MudError::Name(wide.to_owned())));
        }
    }
}
