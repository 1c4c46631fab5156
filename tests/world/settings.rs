//! The daemon's configuration: the settings for a closed test environment, the feeds, and TOML that
//! a test adds.

use std::path::Path;

use serde_json::json;
use toml::{Table, Value};

use super::feed::Feed;

/// The configuration of a daemon in `folder` that uses only the simulated Internet.
pub fn settings(folder: &Path, authority_port: u16, feeds: &[Feed], extra: &[String]) -> Table {
    let feeds: Vec<Table> = feeds.iter().map(|feed| feed.entry(folder)).collect();
    let base = json!({
        "dns": { "listen": ["127.0.0.1:0"] },
        "api": { "listen": "127.0.0.1:0" },
        "store": { "url": format!("sqlite:{}", folder.join("ox-protect.db").display()) },
        "lists": { "directory": folder.join("lists") },
        "recursion": {
            "root_hints": folder.join("root.hints"),
            "authority_port": authority_port,
            "do_not_query": [],
            "ipv6": false,
            "dnssec": false,
        },
        "feeds": feeds,
    });
    let mut table = Table::try_from(base).expect("the base settings have a TOML form");
    for text in extra {
        merge(
            &mut table,
            text.parse()
                .unwrap_or_else(|error| panic!("{error} in\n{text}")),
        );
    }
    table
}

/// The number of DNS addresses that the daemon will report.
pub fn dns_addresses(settings: &Table) -> usize {
    settings["dns"]["listen"].as_array().map_or(1, Vec::len)
}

/// Merges tables and appends to `[[feeds]]`; any other value replaces the existing one.
fn merge(base: &mut Table, extra: Table) {
    for (key, value) in extra {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(there)), Value::Table(added)) => merge(there, added),
            (Some(Value::Array(there)), Value::Array(added))
                if added.iter().all(Value::is_table) =>
            {
                there.extend(added)
            }
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}
