//! What a reply says, and what of it may be believed. Everything that was not asked for, or is not
//! the server's to say, is left out here; nothing after this file sees it.

use std::net::IpAddr;

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{DNSClass, Name as ProtoName, RData, Record, RecordType, rdata},
};
use policy::name::{Name, NameRef};

use crate::upstream::{canonical, proto_name};

use super::rrsets::RrSet;

/// Aliases from the name asked for to its records, in one reply or in several. A count, as in BIND
/// up to 9.18.28; Unbound follows 11.
pub const ALIASES_MAX: usize = 16;
/// InfraCache that are taken from one referral: the root and the large registries have 13. A count, as
/// in BIND and PowerDNS.
const SERVERS_MAX: usize = 13;
/// Addresses that are taken for one server from one referral. A count.
const GLUE_MAX: usize = 6;
/// Records of one set; more is no answer but a load (CacheFlush). A count, as in PowerDNS.
const RECORDS_MAX: usize = 256;

/// Who was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerRole {
    /// A server of the zone, which says only what it has authority for.
    Authority,
    /// A resolver that was asked to resolve.
    Forwarder,
}

/// What was asked, and of whom.
#[derive(Debug, Clone, Copy)]
pub struct ScrubContext<'a> {
    /// The zone whose server was asked: it may speak of this and of what is below it.
    pub zone: NameRef<'a>,
    /// The name.
    pub name: NameRef<'a>,
    /// The type.
    pub record_type: u16,
    /// Who was asked.
    pub role: ServerRole,
    /// Believe addresses of servers only from the zone they are in.
    pub harden_glue: bool,
    /// Note what the zone says of its own servers.
    pub wants_apex: bool,
}

/// A server of a zone, and the addresses that came with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameServer {
    /// Its name.
    pub name: Name,
    /// Glue that the referring zone may vouch for.
    pub glue: Vec<IpAddr>,
}

/// Another zone's servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referral {
    /// The zone.
    pub zone: Name,
    /// Who serves it.
    pub servers: Vec<NameServer>,
    /// How long this holds, in seconds.
    pub ttl_s: u32,
}

/// What a reply says.
#[derive(Debug, Clone)]
pub enum ResponseKind {
    /// The records asked for, the last of these sets; aliases that lead to them stand in front.
    Answer(Vec<RrSet>),
    /// Aliases that lead to a name of which this reply says nothing.
    Alias(Vec<RrSet>, Name),
    /// The name at the end of the aliases does not exist.
    NxDomain(Vec<RrSet>, Name, Option<Record>),
    /// The name at the end of the aliases has no records of this type.
    NoData(Vec<RrSet>, Name, Option<Record>),
    /// The last of these sets is a DNAME that leads to too long a name, RFC 6672 section 2.2;
    /// aliases that lead to it stand in front.
    TooLong(Vec<RrSet>),
    /// Ask there.
    Referral(Referral),
    /// Nothing that helps.
    Unusable(ResponseFault),
}

/// Why a reply does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseFault {
    /// An error code.
    Code(ResponseCode),
    /// The server has no authority here: it refers upwards, or sideways, or says nothing.
    Lame,
    /// The code denies a name of which the answer section has a record.
    Inconsistent,
    /// More records than any honest set has.
    TooMuch,
}

/// A reply, response.
#[derive(Debug, Clone)]
pub struct Response {
    /// What it says.
    pub finding: ResponseKind,
    /// Whether this is as good as it gets: said with authority, and not merely empty. The rest is
    /// used only when no other server says anything better.
    pub is_sound: bool,
    /// The servers of the zone by the zone's own word.
    pub apex: Option<Referral>,
}

/// Sifts a reply.
#[must_use]
pub fn classify(message: &Message, asked: ScrubContext<'_>) -> Response {
    let metadata = &message.metadata;
    let apex = (asked.wants_apex && metadata.authoritative)
        .then(|| name_servers(message, asked, asked.zone))
        .flatten();
    let finding = find(message, asked);
    let is_sound = match (asked.role, &finding) {
        (ServerRole::Forwarder, _)
        | (_, ResponseKind::Referral(_) | ResponseKind::TooLong(_) | ResponseKind::Unusable(_)) => {
            true
        }
        // Nothing at all: some servers say so of names that others know.
        (_, ResponseKind::NoData(chain, _, None))
            if chain.is_empty() && message.authorities.is_empty() =>
        {
            false
        }
        // Some servers forget the flag; a resolver that answers from its cache says that it is one.
        _ => metadata.authoritative || !metadata.recursion_available,
    };
    Response {
        finding,
        is_sound,
        apex,
    }
}

fn find(message: &Message, asked: ScrubContext<'_>) -> ResponseKind {
    let code = message.metadata.response_code;
    if !matches!(
        code,
        ResponseCode::NoError | ResponseCode::NXDomain | ResponseCode::YXDomain
    ) {
        return ResponseKind::Unusable(ResponseFault::Code(code));
    }
    let mut chain = Vec::new();
    let mut at = asked.name.to_owned();
    for _ in 0..=ALIASES_MAX {
        if !at.borrow().is_within(asked.zone) {
            break;
        }
        let target = if let Some(dname) = dname_above(message, asked, at.borrow()) {
            let followed = synthesize_cname(&dname, at.borrow());
            chain.push(dname);
            match followed {
                Ok((alias, target)) => {
                    chain.push(alias);
                    // The alias that the DNAME makes is what was asked for.
                    if asked.record_type == u16::from(RecordType::CNAME) {
                        return ResponseKind::Answer(chain);
                    }
                    target
                }
                Err(DnameError::TooLong) => return ResponseKind::TooLong(chain),
                Err(DnameError::Unreadable) => return ResponseKind::Unusable(ResponseFault::Lame),
            }
        } else if let Some(set) = set_of(&message.answers, at.borrow(), asked.record_type) {
            if code != ResponseCode::NoError {
                return ResponseKind::Unusable(ResponseFault::Inconsistent);
            }
            if set.records.len() > RECORDS_MAX {
                return ResponseKind::Unusable(ResponseFault::TooMuch);
            }
            chain.push(set);
            return ResponseKind::Answer(chain);
        } else if let Some((alias, target)) = alias_of(message, at.borrow()) {
            chain.push(alias);
            target
        } else {
            break;
        };
        at = target;
        // An authority vouches for the name that it was asked for, not for where that leads (RFC
        // 2181 section 5.4.1).
        if asked.role == ServerRole::Authority {
            return ResponseKind::Alias(chain, at);
        }
    }
    let is_ours = at.borrow().is_within(asked.zone);
    let exists = message
        .answers
        .iter()
        .any(|record| record.dns_class == DNSClass::IN && is_named(record, at.borrow()));
    let soa = message
        .authorities
        .iter()
        .find(|record| is_soa_of(record, at.borrow(), asked));
    match (code, soa) {
        _ if !is_ours => ResponseKind::Alias(chain, at),
        (ResponseCode::NXDomain | ResponseCode::YXDomain, _) if exists => {
            ResponseKind::Unusable(ResponseFault::Inconsistent)
        }
        (ResponseCode::NXDomain, soa) => ResponseKind::NxDomain(chain, at, soa.cloned()),
        (ResponseCode::NoError, Some(soa)) => ResponseKind::NoData(chain, at, Some(soa.clone())),
        _ if !chain.is_empty() => ResponseKind::Alias(chain, at),
        (ResponseCode::NoError, None) => without_records(message, asked, at),
        _ => ResponseKind::Unusable(ResponseFault::Code(code)),
    }
}

/// A reply without answer and without SOA: a referral, an empty answer of an authority, or nothing.
fn without_records(message: &Message, asked: ScrubContext<'_>, at: Name) -> ResponseKind {
    let is_cut = |record: &&Record| {
        let owner = canonical(&record.name);
        let is_below = owner.borrow() != asked.zone && owner.borrow().is_within(asked.zone);
        record.record_type() == RecordType::NS && is_below && at.borrow().is_within(owner.borrow())
    };
    let has_servers = message
        .authorities
        .iter()
        .any(|record| record.record_type() == RecordType::NS);
    let delegation = message
        .authorities
        .iter()
        .find(is_cut)
        .map(|record| canonical(&record.name));
    match (asked.role, delegation) {
        (ServerRole::Authority, Some(zone)) => match name_servers(message, asked, zone.borrow()) {
            Some(referral) => ResponseKind::Referral(referral),
            None => ResponseKind::Unusable(ResponseFault::Lame),
        },
        (ServerRole::Authority, None)
            if message.metadata.authoritative
                && (!has_servers || refers_to(message, asked.zone)) =>
        {
            ResponseKind::NoData(Vec::new(), at, None)
        }
        // Records of the name that were not asked for: it exists.
        (ServerRole::Authority, None)
            if !has_servers
                && message
                    .answers
                    .iter()
                    .any(|record| is_named(record, asked.name)) =>
        {
            ResponseKind::NoData(Vec::new(), at, None)
        }
        // Not one record, and not even the flag: some servers mean by that that they have the name
        // and not the type.
        (ServerRole::Authority, None) if is_empty(message) => {
            ResponseKind::NoData(Vec::new(), at, None)
        }
        (ServerRole::Forwarder, None) if !has_servers => ResponseKind::NoData(Vec::new(), at, None),
        _ => ResponseKind::Unusable(ResponseFault::Lame),
    }
}

/// Whether the servers named in the authority section are those of this zone.
fn refers_to(message: &Message, zone: NameRef<'_>) -> bool {
    message
        .authorities
        .iter()
        .all(|record| record.record_type() != RecordType::NS || is_named(record, zone))
}

/// Whether no section has a record, OPT not counted.
fn is_empty(message: &Message) -> bool {
    message.answers.is_empty() && message.authorities.is_empty() && message.additionals.is_empty()
}

/// The DNAME above a name, in the zone of the server that says it.
fn dname_above(message: &Message, asked: ScrubContext<'_>, at: NameRef<'_>) -> Option<RrSet> {
    let mut above = at
        .ancestors()
        .skip(1)
        .filter(|owner| owner.is_within(asked.zone));
    above.find_map(|owner| set_of(&message.answers, owner, RecordType::DNAME.into()).map(alone))
}

/// The CNAME at a name, and where that leads.
fn alias_of(message: &Message, at: NameRef<'_>) -> Option<(RrSet, Name)> {
    let set = set_of(&message.answers, at, RecordType::CNAME.into()).map(alone)?;
    let target = set.alias_target()?;
    Some((set, target))
}

/// A name has one alias; of several, which nothing allows, the first is taken.
fn alone(mut set: RrSet) -> RrSet {
    set.records.truncate(1);
    set
}

/// Why a DNAME cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnameError {
    /// The name it leads to is too long, RFC 6672 section 2.2.
    TooLong,
    /// It is no DNAME.
    Unreadable,
}

/// The CNAME that a DNAME makes of a name below it, RFC 6672 section 3.1.
///
/// # Errors
/// [`DnameError`].
pub fn synthesize_cname(set: &RrSet, at: NameRef<'_>) -> Result<(RrSet, Name), DnameError> {
    let record = set.records.first().ok_or(DnameError::Unreadable)?;
    let RData::Unknown { rdata, .. } = &record.data else {
        return Err(DnameError::Unreadable);
    };
    let wire = rdata.anything.to_ascii_lowercase();
    let target = NameRef::from_wire(&wire).map_err(|_| DnameError::Unreadable)?;
    let target = at
        .moved(set.owner.borrow(), target)
        .map_err(|_| DnameError::TooLong)?;
    let alias = Record::from_rdata(
        proto_name(at),
        record.ttl,
        RData::CNAME(rdata::CNAME(proto_name(target.borrow()))),
    );
    Ok((
        RrSet {
            owner: at.to_owned(),
            record_type: RecordType::CNAME.into(),
            records: vec![alias],
        },
        target,
    ))
}

fn is_soa_of(record: &Record, name: NameRef<'_>, asked: ScrubContext<'_>) -> bool {
    if record.record_type() != RecordType::SOA || record.dns_class != DNSClass::IN {
        return false;
    }
    let owner = canonical(&record.name);
    name.is_within(owner.borrow()) && owner.borrow().is_within(asked.zone)
}

/// The servers that the authority section names for a zone, with the glue that may be believed.
fn name_servers(message: &Message, asked: ScrubContext<'_>, zone: NameRef<'_>) -> Option<Referral> {
    let sections = [&message.authorities, &message.answers];
    let set = sections
        .into_iter()
        .find_map(|section| set_of(section, zone, RecordType::NS.into()))?;
    referral(&set, zone, asked, &message.additionals)
}

/// The servers that a set of NS records names. Glue is believed only for names in the zone of who
/// says it.
fn referral(
    set: &RrSet,
    zone: NameRef<'_>,
    asked: ScrubContext<'_>,
    additionals: &[Record],
) -> Option<Referral> {
    let server = |record: &Record| {
        let RData::NS(name) = &record.data else {
            return None;
        };
        let name = canonical(&name.0);
        let is_believed = !asked.harden_glue || name.borrow().is_within(asked.zone);
        let glue = additionals
            .iter()
            .filter(|record| is_believed && is_named(record, name.borrow()));
        let glue = glue
            .filter_map(|record| record.data.ip_addr())
            .take(GLUE_MAX)
            .collect();
        Some(NameServer { name, glue })
    };
    let servers: Vec<NameServer> = set
        .records
        .iter()
        .filter_map(server)
        .take(SERVERS_MAX)
        .collect();
    (!servers.is_empty()).then(|| Referral {
        zone: zone.to_owned(),
        servers,
        ttl_s: set.ttl_s(),
    })
}

/// The records of a name and type, without repetitions.
fn set_of(section: &[Record], owner: NameRef<'_>, record_type: u16) -> Option<RrSet> {
    let mut records: Vec<Record> = Vec::new();
    for record in section {
        let is_it = u16::from(record.record_type()) == record_type
            && record.dns_class == DNSClass::IN
            && is_named(record, owner);
        if is_it && !records.iter().any(|known| known.data == record.data) {
            records.push(record.clone());
            // One more than anybody takes, which is enough to see that they are too many.
            if records.len() > RECORDS_MAX {
                break;
            }
        }
    }
    (!records.is_empty()).then(|| RrSet {
        owner: owner.to_owned(),
        record_type,
        records,
    })
}

/// Whether a record's owner is this name, whatever its letter case.
fn is_named(record: &Record, name: NameRef<'_>) -> bool {
    is_same(&record.name, name)
}

fn is_same(proto: &ProtoName, name: NameRef<'_>) -> bool {
    let mut theirs = proto.iter();
    let mut ours = name.labels();
    loop {
        match (theirs.next(), ours.next()) {
            (None, None) => return true,
            (Some(theirs), Some(ours)) if theirs.eq_ignore_ascii_case(ours) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests;
