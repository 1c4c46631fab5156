//! Scrubs and classifies a response: what it says, and which of its RRsets may be believed. All data
//! that were not queried, or are out of the server's bailiwick, are left out here.

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{DNSClass, RData, Record, RecordType},
};
use policy::name::{Name, NameRef};

use crate::{
    message::types::Rtype,
    upstream::{ALIASES_MAX, canonical},
};

use super::{
    dname::{DnameError, synthesise_cname},
    response::{
        DelegationSigner, Denial, NameServer, Referral, Response, ResponseFault, ResponseKind,
        ServerRole,
    },
    rrset::{Credibility, RrSet},
    sections::{RECORDS_MAX, denying_zone, is_named, proofs, rrset, singleton},
};

/// Name servers that are taken from one referral: the root and the large registries have 13. A
/// count, as in BIND and PowerDNS.
const REFERRAL_SERVERS_MAX: usize = 13;
/// Addresses that are taken for one name server from one referral. A count.
const GLUE_MAX: usize = 6;

/// The query that a response belongs to, and what the server may say.
#[derive(Debug, Clone, Copy)]
pub struct ScrubContext<'a> {
    /// The zone of the server: its bailiwick is this zone and what is below it.
    pub zone: NameRef<'a>,
    pub name: NameRef<'a>,
    pub rtype: Rtype,
    pub role: ServerRole,
    /// Whether glue outside of the zone is ignored.
    pub harden_glue: bool,
    /// Whether the NS RRset at the zone's apex is wanted.
    pub wants_apex: bool,
}

/// Scrubs and classifies a response.
#[must_use]
pub fn classify(message: &Message, context: ScrubContext<'_>) -> Response {
    let metadata = &message.metadata;
    let apex = (context.wants_apex && metadata.authoritative)
        .then(|| name_servers(message, context, context.zone))
        .flatten();
    let mut answer = Vec::new();
    let kind = match follow_answer(message, context, &mut answer) {
        Followed::Kind(kind) => kind,
        Followed::NothingAt(name) => kind_without_answer(message, context, &answer, name),
    };
    let denial = denial(message, context, &kind);
    let credibility = credibility(message, context.role, &kind, &answer, &denial);
    Response {
        kind,
        answer,
        denial,
        credibility,
        apex,
        server: None,
    }
}

fn credibility(
    message: &Message,
    role: ServerRole,
    kind: &ResponseKind,
    answer: &[RrSet],
    denial: &Denial,
) -> Credibility {
    let metadata = &message.metadata;
    let is_authoritative = match (role, kind) {
        (ServerRole::Forwarder, _)
        | (_, ResponseKind::Referral(_) | ResponseKind::DnameTooLong | ResponseKind::Unusable(_)) => {
            true
        }
        // An empty response: some servers send it for names that other servers of the zone know.
        (_, ResponseKind::NoData { .. })
            if answer.is_empty() && denial.soa.is_none() && message.authorities.is_empty() =>
        {
            false
        }
        // Some authoritative servers forget AA. A resolver that answers from its cache sets RA.
        _ => metadata.authoritative || !metadata.recursion_available,
    };
    if is_authoritative {
        Credibility::Authoritative
    } else {
        Credibility::NonAuthoritative
    }
}

/// The result of following the aliases of an answer section.
enum Followed {
    Kind(ResponseKind),
    /// The answer section has nothing that belongs to this name, at the end of the aliases.
    NothingAt(Name),
}

/// Follows the aliases from the queried name through the answer section. Adds the RRsets on the way
/// to `answer`.
fn follow_answer(
    message: &Message,
    context: ScrubContext<'_>,
    answer: &mut Vec<RrSet>,
) -> Followed {
    use Followed::{Kind, NothingAt};
    let code = message.metadata.response_code;
    if !matches!(
        code,
        ResponseCode::NoError | ResponseCode::NXDomain | ResponseCode::YXDomain
    ) {
        return Kind(ResponseKind::Unusable(ResponseFault::Code(code)));
    }
    let mut at = context.name.to_owned();
    for _ in 0..=ALIASES_MAX {
        if !at.borrow().is_within(context.zone) {
            break;
        }
        at = if let Some(dname) = dname_above(message, context, at.borrow()) {
            let synthesised = synthesise_cname(&dname, at.borrow());
            answer.push(dname);
            match synthesised {
                Ok((cname, target)) => {
                    answer.push(cname);
                    if context.rtype == Rtype::CNAME {
                        return Kind(ResponseKind::Answer);
                    }
                    target
                }
                Err(DnameError::TooLong) => return Kind(ResponseKind::DnameTooLong),
                Err(DnameError::Unreadable) => {
                    return Kind(ResponseKind::Unusable(ResponseFault::Lame));
                }
            }
        } else if let Some(set) = rrset(&message.answers, at.borrow(), context.rtype) {
            return Kind(accept_answer(code, set, answer));
        } else if let Some((alias, target)) = alias_at(message, at.borrow()) {
            answer.push(alias);
            target
        } else {
            break;
        };
        // An authoritative server is believed for the queried name only, not for the target of its
        // alias (RFC 2181 section 5.4.1).
        if context.role == ServerRole::Authority {
            return Kind(ResponseKind::Alias { target: at });
        }
    }
    NothingAt(at)
}

/// Checks the RRset that was queried.
fn accept_answer(code: ResponseCode, set: RrSet, answer: &mut Vec<RrSet>) -> ResponseKind {
    if code != ResponseCode::NoError {
        return ResponseKind::Unusable(ResponseFault::Inconsistent);
    }
    if set.records.len() > RECORDS_MAX {
        return ResponseKind::Unusable(ResponseFault::TooMuch);
    }
    answer.push(set);
    ResponseKind::Answer
}

/// The kind of a response whose answer section ends at `name`, without records of the queried type.
fn kind_without_answer(
    message: &Message,
    context: ScrubContext<'_>,
    answer: &[RrSet],
    name: Name,
) -> ResponseKind {
    let code = message.metadata.response_code;
    let is_in_bailiwick = name.borrow().is_within(context.zone);
    let exists = message
        .answers
        .iter()
        .any(|record| record.dns_class == DNSClass::IN && is_named(record, name.borrow()));
    let has_soa = denying_zone(&message.authorities, name.borrow(), context.zone).is_some();
    match code {
        _ if !is_in_bailiwick => ResponseKind::Alias { target: name },
        ResponseCode::NXDomain | ResponseCode::YXDomain if exists => {
            ResponseKind::Unusable(ResponseFault::Inconsistent)
        }
        ResponseCode::NXDomain => ResponseKind::NxDomain { name },
        ResponseCode::NoError if has_soa => ResponseKind::NoData { name },
        _ if !answer.is_empty() => ResponseKind::Alias { target: name },
        ResponseCode::NoError => kind_without_soa(message, context, name),
        _ => ResponseKind::Unusable(ResponseFault::Code(code)),
    }
}

/// The kind of a response without answer and SOA: a referral, NODATA without SOA, or lame.
fn kind_without_soa(message: &Message, context: ScrubContext<'_>, name: Name) -> ResponseKind {
    let is_below = |owner: &Name| {
        owner.borrow() != context.zone
            && owner.borrow().is_within(context.zone)
            && name.borrow().is_within(owner.borrow())
    };
    let mut name_server_records = message
        .authorities
        .iter()
        .filter(|record| record.record_type() == RecordType::NS)
        .peekable();
    let has_servers = name_server_records.peek().is_some();
    let delegated = name_server_records
        .map(|record| canonical(&record.name))
        .find(is_below);
    match (context.role, delegated) {
        (ServerRole::Authority, Some(zone)) => {
            match name_servers(message, context, zone.borrow()) {
                Some(referral) => ResponseKind::Referral(referral),
                None => ResponseKind::Unusable(ResponseFault::Lame),
            }
        }
        (ServerRole::Authority, None)
            if message.metadata.authoritative
                && (!has_servers || refers_to(message, context.zone)) =>
        {
            ResponseKind::NoData { name }
        }
        // Records of the name of another type: the name exists.
        (ServerRole::Authority, None)
            if !has_servers
                && message
                    .answers
                    .iter()
                    .any(|record| is_named(record, context.name)) =>
        {
            ResponseKind::NoData { name }
        }
        // No record and no AA: some servers say so that they have the name and not the type.
        (ServerRole::Authority, None) if is_empty(message) => ResponseKind::NoData { name },
        (ServerRole::Forwarder, None) if !has_servers => ResponseKind::NoData { name },
        _ => ResponseKind::Unusable(ResponseFault::Lame),
    }
}

/// Whether all NS records of the authority section are those of this zone.
fn refers_to(message: &Message, zone: NameRef<'_>) -> bool {
    message
        .authorities
        .iter()
        .all(|record| record.record_type() != RecordType::NS || is_named(record, zone))
}

/// Whether neither the answer nor the authority section has a record. Records of the additional
/// section answer nothing.
fn is_empty(message: &Message) -> bool {
    message.answers.is_empty() && message.authorities.is_empty()
}

/// The closest DNAME above a name, within the zone.
fn dname_above(message: &Message, context: ScrubContext<'_>, at: NameRef<'_>) -> Option<RrSet> {
    at.ancestors()
        .skip(1)
        .filter(|owner| owner.is_within(context.zone))
        .find_map(|owner| singleton(&message.answers, owner, Rtype::DNAME))
}

/// The CNAME of a name, and its target.
fn alias_at(message: &Message, at: NameRef<'_>) -> Option<(RrSet, Name)> {
    let set = singleton(&message.answers, at, Rtype::CNAME)?;
    let target = set.alias_target()?;
    Some((set, target))
}

/// The SOA and the proofs of the authority section, as far as they belong to a response of this
/// kind.
fn denial(message: &Message, context: ScrubContext<'_>, kind: &ResponseKind) -> Denial {
    if matches!(kind, ResponseKind::Unusable(_) | ResponseKind::Referral(_)) {
        return Denial::default();
    }
    let soa = match kind {
        ResponseKind::NxDomain { name } | ResponseKind::NoData { name } => {
            denying_zone(&message.authorities, name.borrow(), context.zone)
        }
        _ => None,
    };
    let section = &message.authorities;
    Denial {
        soa: soa.and_then(|zone| singleton(section, zone.borrow(), Rtype::SOA)),
        proofs: proofs(section, context.zone),
    }
}

/// The NS RRset of a zone, from the authority or the answer section, with its glue.
fn name_servers(
    message: &Message,
    context: ScrubContext<'_>,
    zone: NameRef<'_>,
) -> Option<Referral> {
    let sections = [&message.authorities, &message.answers];
    let set = sections
        .into_iter()
        .find_map(|section| rrset(section, zone, Rtype::NS))?;
    let servers: Vec<NameServer> = set
        .records
        .iter()
        .filter_map(|record| name_server(record, context, &message.additionals))
        .take(REFERRAL_SERVERS_MAX)
        .collect();
    (!servers.is_empty()).then(|| Referral {
        zone: zone.to_owned(),
        servers,
        ttl_s: set.ttl_s(),
        ds: delegation_signer(message, context, zone),
    })
}

/// The name server of an NS record, with the glue that the sending zone may vouch for: addresses of
/// names in its bailiwick.
fn name_server(
    record: &Record,
    context: ScrubContext<'_>,
    additionals: &[Record],
) -> Option<NameServer> {
    let RData::NS(name) = &record.data else {
        return None;
    };
    let name = canonical(&name.0);
    let is_believed = !context.harden_glue || name.borrow().is_within(context.zone);
    let glue = additionals
        .iter()
        .filter(|record| is_believed && is_named(record, name.borrow()))
        .filter_map(|record| record.data.ip_addr())
        .take(GLUE_MAX)
        .collect();
    Some(NameServer { name, glue })
}

/// What the authority section of a referral says about the zone's DS RRset.
fn delegation_signer(
    message: &Message,
    context: ScrubContext<'_>,
    zone: NameRef<'_>,
) -> DelegationSigner {
    DelegationSigner {
        set: rrset(&message.authorities, zone, Rtype::DS),
        proofs: proofs(&message.authorities, context.zone),
    }
}

#[cfg(test)]
mod tests;
