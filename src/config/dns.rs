//! The DNS listener, and answers to blocked queries.

use std::net::{IpAddr, SocketAddr};

use blocklist_loader::Secret;
use ipnet::IpNet;
use resolver::message::{blocked::BlockedAnswers, cookie::CookieSecret, ede::BlockContact};
use serde::{Deserialize, Serialize};

use super::{
    blocks::{BlockedAnswerKind, BlockedBy, TierAnswer},
    error::ConfigError,
    networks,
};

/// The most octets of all contacts, and of the organisation's name.
const CONTACT_OCTETS_MAX: usize = 256;
const ORGANIZATION_OCTETS_MAX: usize = 100;

/// `[dns]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// Addresses for UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// Networks that may query beside those of households.
    pub allow_from: Vec<IpNet>,
    /// Networks whose EDNS options may identify a device of a household.
    pub trusted_peers: Vec<IpNet>,
    /// Networks that may send NOTIFY beside the primaries of policy zones.
    pub notify_from: Vec<IpNet>,
    /// Networks that may query without recursion (RD=0), and so see what is cached.
    pub snoop_from: Vec<IpNet>,
    /// Threads that answer UDP, each on every address. 0: one for each core.
    pub workers: usize,
    /// Whether each worker is pinned to a core.
    pub pin_workers: bool,
    /// The most datagrams of one system call.
    pub batch: usize,
    /// Secrets of the server cookies (RFC 9018), 32 hexadecimal digits each. The first one makes
    /// cookies.
    pub cookie_secrets: Vec<Secret>,
    /// The answer to `TXT CH id.server` (RFC 4892). Empty: refused.
    pub server_id: String,
    /// The answer to a blocked name.
    pub blocked_answer: BlockedAnswerKind,
    /// The addresses of `landing`.
    pub landing: Vec<IpAddr>,
    /// Other answers, by the tier of the block.
    pub blocked_by: BlockedBy,
    /// Contacts for questions about a block, as URIs.
    pub contact: Vec<String>,
    /// The name of the organisation that filters.
    pub organization: String,
    /// The language of the organisation's name and of category titles.
    pub language: String,
    /// The addresses of the proxy that checks listed paths.
    pub url_proxy: Vec<IpAddr>,
    /// The size of the answer cache, in MiB. 0: a share of the node's memory.
    pub cache_mib: u64,
    /// The most concurrent resolutions.
    pub resolutions_max: usize,
    /// The most concurrent resolutions of one client.
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
            cookie_secrets: Vec::new(),
            server_id: String::new(),
            blocked_answer: BlockedAnswerKind::Nxdomain,
            landing: Vec::new(),
            blocked_by: BlockedBy::default(),
            contact: Vec::new(),
            organization: String::new(),
            language: "en".to_owned(),
            url_proxy: Vec::new(),
            cache_mib: 0,
            resolutions_max: 4096,
            waiting_per_client_max: 1000,
        }
    }
}

impl Dns {
    pub fn check(&self) -> Result<(), ConfigError> {
        let value = |key, is_good, error| ConfigError::unless(is_good, key, error);
        value(
            "dns.listen",
            !self.listen.is_empty(),
            "at least one address is needed",
        )?;
        value("dns.workers", self.workers <= 256, "0 to 256")?;
        value("dns.batch", (1..=1024).contains(&self.batch), "1 to 1024")?;
        value(
            "dns.server_id",
            self.server_id.len() <= 255,
            "at most 255 octets, RFC 1035 section 3.3",
        )?;
        value(
            "dns.cache_mib",
            self.cache_mib <= 1_048_576,
            "0 (derived) to 1048576",
        )?;
        value(
            "dns.resolutions_max",
            (1..=1_000_000).contains(&self.resolutions_max),
            "1 to 1000000",
        )?;
        value(
            "dns.waiting_per_client_max",
            (1..=1_000_000).contains(&self.waiting_per_client_max),
            "1 to 1000000",
        )?;
        for secret in &self.cookie_secrets {
            cookie_secret(secret)
                .map_err(|error| ConfigError::Value("dns.cookie_secrets", error))?;
        }
        let needs_landing = self.blocked_answer == BlockedAnswerKind::Landing;
        value(
            "dns.landing",
            !needs_landing || !self.landing.is_empty(),
            "blocked_answer = \"landing\" needs at least one address",
        )?;
        self.check_blocks()
    }

    fn check_blocks(&self) -> Result<(), ConfigError> {
        let value = |key, is_good, error| ConfigError::unless(is_good, key, error);
        let BlockedBy {
            mandatory,
            security,
            choice,
        } = self.blocked_by;
        for (key, tier) in [
            ("dns.blocked_by.mandatory", mandatory),
            ("dns.blocked_by.security", security),
            ("dns.blocked_by.choice", choice),
        ] {
            let has_address = tier.is_none_or(|tier| {
                (tier.answer == BlockedAnswerKind::Landing)
                    == (tier.v4.is_some() || tier.v6.is_some())
            });
            value(
                key,
                has_address,
                "answer = \"landing\" needs v4, v6 or both, and no other answer has them",
            )?;
        }
        let is_uri = |uri: &String| {
            ["mailto:", "https:", "tel:"]
                .iter()
                .any(|scheme| uri.starts_with(scheme) && uri.len() > scheme.len())
        };
        let octets: usize = self.contact.iter().map(String::len).sum();
        value(
            "dns.contact",
            self.contact.iter().all(is_uri),
            "a contact is a URI: mailto:, https: or tel:",
        )?;
        value(
            "dns.contact",
            octets <= CONTACT_OCTETS_MAX,
            "at most 256 octets in all, so that a reply has room for them",
        )?;
        value(
            "dns.organization",
            self.organization.len() <= ORGANIZATION_OCTETS_MAX,
            "at most 100 octets, so that a reply has room for it",
        )?;
        let is_tag = |tag: &str| {
            (1..=35).contains(&tag.len())
                && tag
                    .bytes()
                    .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        };
        value(
            "dns.language",
            is_tag(&self.language),
            "a language tag, such as en or de-CH (BCP 47)",
        )
    }

    /// The secrets of the server cookies, as checked.
    pub fn cookie_secrets(&self) -> Vec<CookieSecret> {
        self.cookie_secrets
            .iter()
            .filter_map(|secret| cookie_secret(secret).ok())
            .collect()
    }

    /// The answers to blocked queries, by tier.
    pub fn blocked_answers(&self) -> BlockedAnswers {
        let Self {
            blocked_answer,
            landing,
            blocked_by,
            ..
        } = self;
        let v4 = landing.iter().find_map(|address| {
            if let IpAddr::V4(v4) = address {
                Some(*v4)
            } else {
                None
            }
        });
        let v6 = landing.iter().find_map(|address| {
            if let IpAddr::V6(v6) = address {
                Some(*v6)
            } else {
                None
            }
        });
        let general = blocked_answer.with(v4, v6);
        let by = |tier: Option<TierAnswer>| {
            tier.map_or(general, |tier| tier.answer.with(tier.v4, tier.v6))
        };
        BlockedAnswers {
            mandatory: by(blocked_by.mandatory),
            security: by(blocked_by.security),
            choice: by(blocked_by.choice),
        }
    }

    /// The contact for questions about a block, as replies carry it.
    pub fn block_contact(&self) -> BlockContact {
        let Self {
            contact,
            organization,
            language,
            ..
        } = self;
        BlockContact {
            uris: contact.clone(),
            organization: organization.clone(),
            language: language.clone(),
        }
    }
}

/// The secret in its 32 hexadecimal digits, or why there is none.
fn cookie_secret(secret: &Secret) -> Result<CookieSecret, String> {
    let digits = secret.reveal()?;
    let is_hexadecimal =
        digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hexadecimal
        .then(|| u128::from_str_radix(&digits, 16).ok())
        .flatten()
        .map(u128::to_be_bytes)
        .ok_or_else(|| "32 hexadecimal digits each (RFC 9018)".to_owned())
}
