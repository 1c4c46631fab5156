//! Answers to blocked names: the form the operator chooses, for each kind of block.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use policy::{
    decide::{Layer, Verdict},
    lists::mandates::{Landing, Mandate},
};

use crate::message::types::{Rcode, Rtype};

/// How a blocked name is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BlockedAnswer {
    /// The name does not exist.
    #[default]
    NxDomain,
    /// The name exists and has no record of this type.
    NoData,
    /// The operator's block page for A and AAAA, NODATA for other types.
    Landing {
        v4: Option<Ipv4Addr>,
        v6: Option<Ipv6Addr>,
    },
}

impl BlockedAnswer {
    /// The response code and the address for a query type.
    #[must_use]
    pub fn parts(self, rtype: Rtype) -> (Rcode, Option<IpAddr>) {
        match (self, rtype) {
            (Self::NxDomain, _) => (Rcode::NxDomain, None),
            (Self::Landing { v4: Some(v4), .. }, Rtype::A) => (Rcode::NoError, Some(v4.into())),
            (Self::Landing { v6: Some(v6), .. }, Rtype::AAAA) => (Rcode::NoError, Some(v6.into())),
            (Self::NoData | Self::Landing { .. }, _) => (Rcode::NoError, None),
        }
    }
}

impl From<Landing> for BlockedAnswer {
    fn from(Landing { v4, v6 }: Landing) -> Self {
        Self::Landing { v4, v6 }
    }
}

/// The answers to blocked names, by the layer that blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockedAnswers {
    /// Blocks by order from outside.
    pub mandatory: BlockedAnswer,
    /// Blocks by the operator's security lists.
    pub security: BlockedAnswer,
    /// Blocks by the household's choice.
    pub choice: BlockedAnswer,
}

impl BlockedAnswers {
    /// The answer to a verdict that blocks. A mandate's own block page comes before the operator's.
    #[must_use]
    pub fn to(&self, verdict: Verdict, mandate: Option<&Mandate>) -> BlockedAnswer {
        match verdict.layer {
            Layer::Mandatory => mandate
                .and_then(|mandate| mandate.landing)
                .map_or(self.mandatory, BlockedAnswer::from),
            Layer::Security => self.security,
            _ => self.choice,
        }
    }
}

impl From<BlockedAnswer> for BlockedAnswers {
    fn from(answer: BlockedAnswer) -> Self {
        Self {
            mandatory: answer,
            security: answer,
            choice: answer,
        }
    }
}
