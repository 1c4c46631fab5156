//! Access control by source address: which networks may query, query without recursion, and assert
//! identities of clients.
//!
//! The networks of households are in the directory, which the engine asks first.

use std::net::IpAddr;

use ipnet::IpNet;
use policy::identity::directory::Trust;

use crate::{engine::config::EngineConfig, listener::network_set::NetworkSet};

/// The permissions of source addresses.
pub(crate) struct Access {
    /// Sources that may query.
    querying: NetworkSet,
    /// Sources that may query without RD.
    snooping: NetworkSet,
    /// Sources that may assert identities.
    trusted: NetworkSet,
    /// Trusted sources that are listed by one address.
    forwarders: NetworkSet,
}

impl Access {
    pub fn of(config: &EngineConfig) -> Self {
        let is_one_address = |network: &&IpNet| network.prefix_len() == network.max_prefix_len();
        Self {
            querying: NetworkSet::of(
                config
                    .allow_from
                    .iter()
                    .chain(config.trusted_peers.iter().filter(is_one_address)),
            ),
            snooping: NetworkSet::of(&config.snoop_from),
            trusted: NetworkSet::of(&config.trusted_peers),
            forwarders: NetworkSet::of(config.trusted_peers.iter().filter(is_one_address)),
        }
    }

    /// Whether a source outside of every household may query. A network of trusted peers may not
    /// for that reason alone: it is as wide as the operator's side of the access lines.
    pub fn may_query(&self, source: IpAddr) -> bool {
        self.querying.contains(source)
    }

    /// Whether a source may query without RD, and so learn what others asked for.
    pub fn may_snoop(&self, source: IpAddr) -> bool {
        self.snooping.contains(source)
    }

    /// How far an identity that this source asserts is trusted.
    pub fn trust(&self, source: IpAddr) -> Trust {
        if self.forwarders.contains(source) {
            Trust::Forwarder
        } else {
            Trust::from(self.trusted.contains(source))
        }
    }
}
