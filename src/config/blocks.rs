//! What a block looks like: the answers, and whom to ask about it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use policy::lists::mandates::Landing;
use resolver::message::{
    blocked::{BlockedAnswer, BlockedAnswers},
    ede::BlockContact,
};
use serde::{Deserialize, Serialize};

use super::{Checked, ConfigError, Dns};

/// The most that is told of contacts and of the organization, in octets.
const CONTACT_OCTETS_MAX: usize = 256;
const ORGANIZATION_OCTETS_MAX: usize = 100;

/// `dns.blocked_answer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockedAnswerKind {
    /// NXDOMAIN.
    Nxdomain,
    /// NOERROR without records.
    Nodata,
    /// The landing addresses.
    Landing,
}

/// `dns.blocked_by`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlockedBy {
    /// By order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mandatory: Option<TierAnswer>,
    /// By the operator's security lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security: Option<TierAnswer>,
    /// By the family's choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<TierAnswer>,
}

/// One table of `dns.blocked_by`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TierAnswer {
    /// What kind.
    pub answer: BlockedAnswerKind,
    /// The landing address for A.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v4: Option<Ipv4Addr>,
    /// The landing address for AAAA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v6: Option<Ipv6Addr>,
}

impl BlockedAnswerKind {
    fn with(self, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> BlockedAnswer {
        match self {
            Self::Nxdomain => BlockedAnswer::NxDomain,
            Self::Nodata => BlockedAnswer::NoData,
            Self::Landing => Landing { v4, v6 }.into(),
        }
    }
}

impl Checked {
    /// What blocked names are answered with.
    pub fn blocked_answers(&self) -> BlockedAnswers {
        let Dns {
            blocked_answer,
            landing,
            blocked_by,
            ..
        } = &self.config.dns;
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

    /// Whom to ask about a block.
    pub fn contact(&self) -> BlockContact {
        let Dns {
            contact,
            organization,
            language,
            ..
        } = &self.config.dns;
        BlockContact {
            uris: contact.clone(),
            organization: organization.clone(),
            language: language.clone(),
        }
    }
}

/// What is told of a block, and where it leads.
pub fn check(dns: &Dns) -> Result<(), ConfigError> {
    let value = |key, is_good: bool, error: &str| {
        if is_good {
            Ok(())
        } else {
            Err(ConfigError::Value(key, error.to_owned()))
        }
    };
    let BlockedBy {
        mandatory,
        security,
        choice,
    } = dns.blocked_by;
    for (key, tier) in [
        ("dns.blocked_by.mandatory", mandatory),
        ("dns.blocked_by.security", security),
        ("dns.blocked_by.choice", choice),
    ] {
        let has_address = tier.is_none_or(|tier| {
            (tier.answer == BlockedAnswerKind::Landing) == (tier.v4.is_some() || tier.v6.is_some())
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
    let octets: usize = dns.contact.iter().map(String::len).sum();
    value(
        "dns.contact",
        dns.contact.iter().all(is_uri),
        "a contact is a URI: mailto:, https: or tel:",
    )?;
    value(
        "dns.contact",
        octets <= CONTACT_OCTETS_MAX,
        "at most 256 octets in all, so that a reply has room for them",
    )?;
    value(
        "dns.organization",
        dns.organization.len() <= ORGANIZATION_OCTETS_MAX,
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
        is_tag(&dns.language),
        "a language tag, such as en or de-CH (BCP 47)",
    )
}
