//! An alias in the place of an answer: how a policy zone leads to a walled garden. Knows what it
//! leads to, not who resolves that.
//!
//! ```text
//! bets.example.    30 CNAME garden.example.    the feed's
//! garden.example.  30 A     203.0.113.1        what the target has of the type that was asked for, from the cache like any other answer
//! ```
//!
//! The lists have no word in what stands behind the alias: it is an answer of theirs
//! (draft-vixie-dnsop-dns-rpz-00 section 6).

use hickory_proto::op::{Message, ResponseCode};
use policy::{
    decide::{Action, Verdict},
    lists::{
        blocklist::Blocklist,
        entry::{LocalData, LocalRecord},
    },
    name::{Name, NameRef, WireName},
};

use crate::{
    cache::KeyRef,
    engine::AtHand,
    message::{
        query::{Query, TYPE_ANY},
        reader,
        reply::{LOCAL_TTL_MAX_S, STALE_TTL_S},
    },
    upstream::{Answer, Question},
};

/// The record type, RFC 1035 section 3.2.2.
pub(crate) const TYPE_CNAME: u16 = 5;
/// How the target of an alias begins that stands for the name asked for below another one.
const WILDCARD_LABEL: &[u8] = b"\x01*";

/// Where a name leads.
pub(crate) struct Alias {
    pub(crate) target: Name,
    /// In seconds, as the feed has it; for a search engine the most that we allow.
    pub(crate) ttl_s: u32,
}

impl Alias {
    /// The alias among a feed's records, for the name asked for. None where that has no room below
    /// the target.
    pub(crate) fn of(asked: NameRef<'_>, record: &LocalRecord) -> Option<Self> {
        let mut room = WireName::default();
        let target = room.read(&record.rdata, 0).ok()?;
        let target = match target
            .parent()
            .filter(|_| record.rdata.starts_with(WILDCARD_LABEL))
        {
            Some(below) => asked.moved(Name::root().borrow(), below).ok()?,
            None => target.to_owned(),
        };
        Some(Self {
            target,
            ttl_s: record.ttl_s,
        })
    }

    /// The same by the verdict that wants it.
    pub(crate) fn wanted(asked: NameRef<'_>, verdict: Verdict, lists: &Blocklist) -> Option<Self> {
        if let Some(target) = verdict.safe_search_target() {
            return Some(Self {
                target: target.clone(),
                ttl_s: LOCAL_TTL_MAX_S,
            });
        }
        let Action::LocalData(index) = verdict.action else {
            return None;
        };
        lists
            .answers()
            .get(index as usize)
            .and_then(among)
            .and_then(|record| Self::of(asked, record))
    }

    /// Under what the target's answer is kept: the very key of a client that asks for it.
    pub(crate) fn key<'k>(&'k self, query: &'k Query<'_>) -> KeyRef<'k> {
        KeyRef::of(query).about(self.target.borrow())
    }

    /// What is to be resolved.
    pub(crate) fn question(&self, query: &Query<'_>) -> Question {
        Question::new(self.target.clone(), query.record_type)
    }
}

/// The record among a feed's that answers whatever is asked for, RFC 1034 section 3.6.2.
pub(crate) fn among(records: &LocalData) -> Option<&LocalRecord> {
    records
        .0
        .iter()
        .find(|record| record.record_type == TYPE_CNAME)
}

/// Whether a type is about what an alias leads to, not about the alias.
pub(crate) fn leads(record_type: u16) -> bool {
    !matches!(record_type, TYPE_CNAME | TYPE_ANY)
}

/// What a target's entry says, for as long as what stands in the place of an answer may be kept.
/// None where it does not tell what the target has.
pub(crate) fn read(
    AtHand {
        entry,
        is_stale,
        now,
        ..
    }: AtHand<'_>,
) -> Option<Answer> {
    let mut copy = entry.message().to_vec();
    if is_stale {
        entry.write_ttl(&mut copy, STALE_TTL_S);
    } else {
        entry.write_ttls(&mut copy, now);
    }
    let Message {
        metadata,
        mut answers,
        mut authorities,
        ..
    } = reader::read(&copy)?.message;
    answers
        .iter_mut()
        .chain(&mut authorities)
        .for_each(|record| record.ttl = record.ttl.min(LOCAL_TTL_MAX_S));
    let rcode = metadata.response_code;
    matches!(rcode, ResponseCode::NoError | ResponseCode::NXDomain).then_some(Answer {
        rcode,
        answers,
        authorities,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asked: &str, rdata: &[u8], expected: Option<&str>) {
        let record = LocalRecord {
            record_type: TYPE_CNAME,
            ttl_s: 60,
            rdata: rdata.to_vec(),
        };
        let alias = Alias::of(Name::parse(asked).unwrap().borrow(), &record);
        assert_eq!(
            alias.map(|alias| alias.target.to_string()).as_deref(),
            expected,
            "{asked}"
        );
    }

    #[test]
    fn an_alias_leads_to_its_target_or_below_it() {
        check(
            "www.bets.example",
            b"\x06Garden\x07example\0",
            Some("garden.example"),
        );
        check(
            "www.bets.example",
            b"\x01*\x06garden\x07example\0",
            Some("www.bets.example.garden.example"),
        );
        check(
            "www.bets.example",
            b"\x02a*\x06garden\x07example\0",
            Some("a\\042.garden.example"),
        );
        check("bets.example", b"\x01*\0", Some("bets.example"));
        let long = vec!["a".repeat(60); 4].join(".");
        check(&long, b"\x01*\x06garden\x07example\0", None);
        for no_name in [&b""[..], b"\xc0\x0c", b"\x09short\0"] {
            check("bets.example", no_name, None);
        }
    }
}
