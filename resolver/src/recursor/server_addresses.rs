//! The addresses of a zone's name servers: those that the caches know, and those that are looked up.

use std::net::SocketAddr;

use hickory_proto::{
    op::ResponseCode,
    rr::{Record, RecordType},
};
use policy::name::Name;

use crate::message::types::Rtype;

use super::{
    cache::{delegations::Delegation, rrsets::CachedData},
    environment::Environment,
    failure::ResolutionFailure,
    lookup_chain::LookupChain,
    query_context::QueryContext,
    response::NameServer,
    state::Recursor,
};

impl<E: Environment> Recursor<E> {
    /// Passes the known addresses of a zone's servers to `add`. Returns the names to look up when
    /// those do not help, in reverse order: servers without an address last, because they are looked
    /// up first, and before them servers outside of the zone whose glue may be stale.
    ///
    /// Glue is what the parent says and counts alone, so that a server that the parent has replaced
    /// cannot prolong its service by its own address records. Address records of the server's own
    /// zone are used where there is no glue, and for a server outside of the zone also where its
    /// glue leads to no server of the zone.
    pub(super) fn known_addresses(
        &self,
        delegation: &Delegation,
        mut add: impl FnMut(SocketAddr),
    ) -> Vec<Name> {
        let now = self.environment.now();
        delegation
            .addresses()
            .iter()
            .for_each(|&address| add(address));
        let apex = self.delegations.apex(&delegation.zone, now);
        let known = delegation.servers();
        let further = apex
            .iter()
            .flat_map(|apex| &apex.servers)
            .filter(|server| !known.iter().any(|known| known.name == server.name));
        let mut unknown = Vec::new();
        let mut doubtful = Vec::new();
        for server in known.iter().chain(further) {
            let is_inside = server.name.borrow().is_within(delegation.zone.borrow());
            let glue = self.usable_glue(server);
            let needs_own_records =
                glue.is_empty() || !is_inside && self.lead_nowhere(&glue, delegation);
            let own = if needs_own_records {
                self.cached_addresses(&server.name)
            } else {
                Vec::new()
            };
            match (own.is_empty(), glue.is_empty()) {
                (true, true) => unknown.push(server.name.clone()),
                // The zone's own servers would have to be queried for a server inside the zone.
                (true, false) if !is_inside => doubtful.push(server.name.clone()),
                _ => {}
            }
            own.into_iter().chain(glue).for_each(&mut add);
        }
        self.shuffle(&mut unknown);
        doubtful.append(&mut unknown);
        doubtful
    }

    /// The glue that came with a server's name, or else the glue of the same name in the delegations
    /// of the zones that the name is in.
    fn usable_glue(&self, server: &NameServer) -> Vec<SocketAddr> {
        let glue: Vec<SocketAddr> = server
            .glue
            .iter()
            .filter_map(|&address| self.settings.queryable(address))
            .collect();
        if glue.is_empty() {
            self.glue_of(&server.name)
        } else {
            glue
        }
    }

    /// Whether all these servers are down or lame for the zone.
    fn lead_nowhere(&self, glue: &[SocketAddr], delegation: &Delegation) -> bool {
        let now = self.environment.now();
        glue.iter().all(|address| {
            self.infra.server(*address).estimate(now).is_down
                || self.infra.quirks(*address, &delegation.zone).is_lame(now)
        })
    }

    /// The addresses of a server in the RRset cache.
    fn cached_addresses(&self, server: &Name) -> Vec<SocketAddr> {
        let now = self.environment.now();
        [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|rtype| {
                self.rrsets
                    .server_address(server.borrow(), rtype.into(), now)
            })
            .flat_map(|entry| match &entry.data {
                CachedData::Records(set) => self.addresses_in(&set.records),
                CachedData::NoData(_) | CachedData::NxDomain(_) => Vec::new(),
            })
            .collect()
    }

    /// The glue of a server in the delegations of the zones that its name is in.
    pub(super) fn glue_of(&self, server: &Name) -> Vec<SocketAddr> {
        let glue = self.delegations.glue_of(server, self.environment.now());
        glue.into_iter()
            .filter_map(|address| self.settings.queryable(address))
            .collect()
    }

    fn shuffle(&self, names: &mut [Name]) {
        for place in (1..names.len()).rev() {
            let other = self.environment.random() % (place as u64 + 1);
            names.swap(place, other as usize);
        }
    }

    /// Looks up the addresses of a server, in the first family that has some.
    pub(super) async fn addresses_of(
        &self,
        context: &QueryContext,
        chain: &LookupChain<'_>,
        server: &Name,
    ) -> Result<Vec<SocketAddr>, ResolutionFailure> {
        context.charge_server_lookup()?;
        let families = [
            (self.settings.ipv4, RecordType::A),
            (self.settings.ipv6, RecordType::AAAA),
        ];
        let mut result = Ok(Vec::new());
        for (_, rtype) in families.into_iter().filter(|(is_used, _)| *is_used) {
            let rtype = Rtype::from(rtype);
            let nested = chain.nested(server.borrow(), rtype)?;
            // Removes an entry from a delegation that has expired, so that the lookup does not find
            // it.
            let _current =
                self.rrsets
                    .server_address(server.borrow(), rtype, self.environment.now());
            match self
                .resolve_chain(context, &nested, server.borrow(), rtype)
                .await
            {
                Ok(resolved) => {
                    // The name of a server must not be an alias (RFC 2181 section 10.3). Many
                    // resolvers follow one nevertheless, and so does this one.
                    let found: Vec<SocketAddr> = resolved
                        .sets
                        .iter()
                        .flat_map(|set| self.addresses_in(&set.records))
                        .collect();
                    if !found.is_empty() {
                        return Ok(found);
                    }
                    if resolved.code == ResponseCode::NXDomain {
                        break;
                    }
                }
                Err(failure) => result = Err(failure),
            }
        }
        result
    }

    /// The addresses in A and AAAA records that may be queried.
    fn addresses_in(&self, records: &[Record]) -> Vec<SocketAddr> {
        records
            .iter()
            .filter_map(|record| self.settings.queryable(record.data.ip_addr()?))
            .collect()
    }
}
