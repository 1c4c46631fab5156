//! Warnings about networks that are too wide.

use ipnet::IpNet;

use super::{api::Api, dns::Dns};

/// Warnings about networks that contain the whole Internet.
pub fn of_networks(dns: &Dns, api: &Api) -> Vec<String> {
    let holds_all = |networks: &[IpNet]| {
        networks
            .iter()
            .find(|network| network.prefix_len() == 0)
            .copied()
    };
    let sentences = [
        (
            &dns.allow_from,
            "dns.allow_from",
            "everybody on the Internet may ask: an open resolver is used for attacks on others",
        ),
        (
            &dns.trusted_peers,
            "dns.trusted_peers",
            "everybody on the Internet may say which device of a household asks",
        ),
        (
            &api.trusted_proxies,
            "api.trusted_proxies",
            "every client may name another address, and so escape the limits by address",
        ),
        (
            &api.proxy_from,
            "api.proxy_from",
            "every client may name another address, and so escape the limits by address",
        ),
    ];
    let warned = sentences
        .into_iter()
        .filter_map(|(networks, key, sentence)| Some((holds_all(networks)?, key, sentence)));
    warned
        .map(|(network, key, sentence)| format!("{key} holds {network}: {sentence}"))
        .collect()
}
