//! The answers to blocked queries.

use std::net::{Ipv4Addr, Ipv6Addr};

use policy::lists::mandates::Landing;
use resolver::message::blocked::BlockedAnswer;
use serde::{Deserialize, Serialize};

/// `dns.blocked_answer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockedAnswerKind {
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
    /// Blocked by a mandate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mandatory: Option<TierAnswer>,
    /// Blocked by the operator's security lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security: Option<TierAnswer>,
    /// Blocked by the household's settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<TierAnswer>,
}

/// One table of `dns.blocked_by`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TierAnswer {
    pub answer: BlockedAnswerKind,
    /// The landing address for A.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v4: Option<Ipv4Addr>,
    /// The landing address for AAAA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v6: Option<Ipv6Addr>,
}

impl BlockedAnswerKind {
    pub fn with(self, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> BlockedAnswer {
        match self {
            Self::Nxdomain => BlockedAnswer::NxDomain,
            Self::Nodata => BlockedAnswer::NoData,
            Self::Landing => Landing { v4, v6 }.into(),
        }
    }
}
