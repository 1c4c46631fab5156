//! A response policy zone, one record a row: `OWNER\tTYPE\tRDATA`, the owner relative to the zone.
//! Semantics are those of draft-vixie-dnsop-dns-rpz-00: the owner is the trigger, the data is the
//! action.
//!
//! ```text
//! bad.example                    CNAME  .                 NXDOMAIN
//! *.bad.example                  CNAME  *.                NODATA, for names below bad.example
//! good.bad.example               CNAME  rpz-passthru.     exempt; the old form is the name itself as target
//! bad.example                    CNAME  rpz-drop.         no response
//! bad.example                    CNAME  rpz-tcp-only.     truncated response over UDP
//! bad.example                    CNAME  walled.example.   local data, like every other record
//! bad.example                    CNAME  *.walled.example. local data: bad.example.walled.example.
//! 24.0.2.0.192.rpz-ip            CNAME  .                 responses with an address in 192.0.2.0/24
//! 48.zz.1.db8.2001.rpz-ip        CNAME  .                 responses with an address in 2001:db8:1::/48
//! ```

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use ipnet::IpNet;
use policy::lists::entry::{self, LocalData, NO_CATEGORY, Scope, Tier};
use sha2::{Digest, Sha256};

use super::records::RecordParser;
use crate::{
    feed::Feed,
    rows::{EntryRule, Rows},
    source::SourceError,
    spool::{self, RowKey},
};

/// Prefix of the last label of an owner or target that is a keyword of the format.
const RESERVED: &[u8] = b"rpz-";
/// Suffix of owners of address triggers.
const ADDRESSES: &[u8] = b".rpz-ip";
/// In an address, stands for a run of zero words.
const ZEROES: &str = "zz";

/// The trigger and the action of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RpzRow<'a> {
    pub(crate) trigger: Trigger<'a>,
    pub(crate) action: RpzAction<'a>,
}

/// When a rule applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trigger<'a> {
    /// The query name equals this name, or is below it.
    Name(&'a str, Scope),
    /// The response has an address in this network.
    Address(IpNet),
    /// An unsupported trigger, by its keyword.
    Unsupported(&'a str),
    /// No trigger: a record of the zone apex.
    Apex,
}

/// The policy action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RpzAction<'a> {
    Nxdomain,
    Nodata,
    Passthru,
    Drop,
    TcpOnly,
    /// Answer with this record. A CNAME target that begins with `*.` gets the query name in place
    /// of the star.
    LocalData {
        rtype: &'a str,
        rdata: &'a str,
    },
}

impl<'a> RpzRow<'a> {
    /// Parses a row.
    ///
    /// # Errors
    /// The reason, for people.
    pub(crate) fn parse(row: &'a [u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(row).map_err(|_| "is not plain text")?;
        let mut columns = text.splitn(3, '\t');
        let (Some(owner), Some(rtype), Some(rdata)) =
            (columns.next(), columns.next(), columns.next())
        else {
            return Err("has not the three columns OWNER, TYPE, RDATA");
        };
        Ok(Self {
            trigger: Trigger::parse(owner)?,
            action: RpzAction::parse(owner, rtype, rdata.trim())?,
        })
    }
}

impl<'a> Trigger<'a> {
    fn parse(owner: &'a str) -> Result<Self, &'static str> {
        if owner == "@" || owner.is_empty() {
            return Ok(Self::Apex);
        }
        let (before, last) = owner.rsplit_once('.').unwrap_or(("", owner));
        if last.eq_ignore_ascii_case("rpz-ip") {
            return network(before).map(Self::Address);
        }
        if is_reserved(last) {
            return Ok(Self::Unsupported(last));
        }
        match owner.strip_prefix("*.") {
            Some(name) => Ok(Self::Name(name, Scope::Descendants)),
            None if owner == "*" => Err("covers every name there is"),
            None => Ok(Self::Name(owner, Scope::Exact)),
        }
    }
}

impl<'a> RpzAction<'a> {
    fn parse(owner: &str, rtype: &'a str, rdata: &'a str) -> Result<Self, &'static str> {
        if rtype.is_empty() || rdata.is_empty() {
            return Err("has a column with nothing in it");
        }
        if !rtype.eq_ignore_ascii_case("CNAME") {
            return Ok(Self::LocalData { rtype, rdata });
        }
        let target = rdata.strip_suffix('.').unwrap_or(rdata);
        let is = |word: &str| target.eq_ignore_ascii_case(word);
        if is("") {
            Ok(Self::Nxdomain)
        } else if is("*") {
            Ok(Self::Nodata)
        } else if is("rpz-passthru")
            || is(owner)
            || strip_ignoring_case(owner, ".rpz-ip").is_some_and(is)
        {
            Ok(Self::Passthru)
        } else if is("rpz-drop") {
            Ok(Self::Drop)
        } else if is("rpz-tcp-only") {
            Ok(Self::TcpOnly)
        } else if target.rsplit('.').next().is_some_and(is_reserved) {
            Err("an action that is not defined: the target's last label begins with rpz-")
        } else {
            Ok(Self::LocalData { rtype, rdata })
        }
    }
}

fn is_reserved(label: &str) -> bool {
    label
        .as_bytes()
        .get(..RESERVED.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(RESERVED))
}

fn strip_ignoring_case<'a>(text: &'a str, end: &str) -> Option<&'a str> {
    let (before, after) = text.split_at_checked(text.len().checked_sub(end.len())?)?;
    after.eq_ignore_ascii_case(end).then_some(before)
}

/// The network before `rpz-ip`: prefix length, then the parts of the address from last to first.
fn network(text: &str) -> Result<IpNet, &'static str> {
    let (length, words) = text
        .split_once('.')
        .ok_or("an address without a prefix length in front, or the other way round")?;
    let mut words: Vec<&str> = words.rsplit('.').collect();
    let is_four = words.len() == 4 && !words.iter().any(|word| word.eq_ignore_ascii_case(ZEROES));
    let address = if is_four {
        IpAddr::V4(four(&words)?)
    } else {
        IpAddr::V6(six(&mut words)?)
    };
    let length = decimal::<u8>(length)
        .filter(|&length| length > 0)
        .ok_or("a prefix length that is none")?;
    let network =
        IpNet::new(address, length).map_err(|_| "a prefix that is longer than the address")?;
    if network.network() != address {
        return Err("an address with bits beyond its prefix");
    }
    Ok(network)
}

fn four(words: &[&str]) -> Result<Ipv4Addr, &'static str> {
    let mut octets = [0; 4];
    for (octet, word) in octets.iter_mut().zip(words) {
        *octet = decimal(word).ok_or("an IPv4 address with an octet that is none")?;
    }
    Ok(octets.into())
}

fn six(words: &mut Vec<&str>) -> Result<Ipv6Addr, &'static str> {
    let zeroes: Vec<usize> = (0..words.len())
        .filter(|&place| words[place].eq_ignore_ascii_case(ZEROES))
        .collect();
    match (zeroes[..].first(), zeroes.len(), words.len()) {
        (None, _, 8) => {}
        (Some(&place), 1, 1..=8) => {
            let missing = 9 - words.len();
            words.splice(place..=place, std::iter::repeat_n("0", missing));
        }
        _ => return Err("an address of neither 4 octets nor 8 words"),
    }
    let mut segments = [0; 8];
    for (segment, word) in segments.iter_mut().zip(words) {
        let is_word =
            (1..=4).contains(&word.len()) && word.bytes().all(|octet| octet.is_ascii_hexdigit());
        *segment = u16::from_str_radix(word, 16)
            .ok()
            .filter(|_| is_word)
            .ok_or("an IPv6 address with a word that is none")?;
    }
    Ok(segments.into())
}

/// A number without sign and leading zero.
fn decimal<T: std::str::FromStr>(text: &str) -> Option<T> {
    let is_plain = text.bytes().all(|octet| octet.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

/// Whether a row has an address trigger.
pub(crate) fn is_about_addresses(row: &[u8]) -> bool {
    let owner = row
        .split(|&octet| octet == b'\t')
        .next()
        .unwrap_or_default();
    owner.len() >= ADDRESSES.len()
        && owner[owner.len() - ADDRESSES.len()..].eq_ignore_ascii_case(ADDRESSES)
}

/// Parses rows into entries.
pub(crate) struct Reader {
    category: u8,
    /// In a feed of names that are never blocked, PASSTHRU lists the name.
    lists_passed: bool,
    parser: RecordParser,
}

impl Reader {
    pub(crate) fn new(feed: &Feed, place_of: &dyn Fn(&str) -> u8) -> Self {
        let category = feed
            .category
            .as_ref()
            .map_or(NO_CATEGORY, |slug| place_of(slug));
        Self {
            category,
            lists_passed: feed.tier == Tier::NeverBlock,
            parser: RecordParser::default(),
        }
    }

    /// Parses one row.
    pub(crate) fn read(&mut self, row: &[u8], rows: &mut Rows<'_>) {
        rows.set_category(self.category);
        let RpzRow { trigger, action } = match RpzRow::parse(row) {
            Ok(understood) => understood,
            Err(reason) => return rows.bad(row, &reason),
        };
        let records = match action {
            RpzAction::LocalData { rtype, rdata } => match self.parser.record(rtype, rdata) {
                Ok(record) => Some(LocalData(vec![record])),
                Err(reason) => return rows.bad(row, &reason),
            },
            _ => None,
        };
        let rule = |scope| {
            let action = match action {
                RpzAction::Passthru if !self.lists_passed => return EntryRule::allow(scope),
                RpzAction::Passthru => entry::EntryAction::OperatorPolicy,
                RpzAction::Nxdomain => entry::EntryAction::Nxdomain,
                RpzAction::Nodata => entry::EntryAction::Nodata,
                RpzAction::Drop => entry::EntryAction::Drop,
                RpzAction::TcpOnly => entry::EntryAction::TcpOnly,
                RpzAction::LocalData { .. } => entry::EntryAction::LocalData,
            };
            EntryRule {
                action,
                ..EntryRule::deny(scope)
            }
        };
        match trigger {
            Trigger::Name(name, scope) => {
                rows.entry_with(row, name.as_bytes(), rule(scope), records.as_ref())
            }
            Trigger::Address(network) => {
                rows.address(network, rule(Scope::Subtree), records.as_ref())
            }
            Trigger::Unsupported(word) => {
                rows.unsupported(row, &format!("triggers of {word} are not applied"))
            }
            Trigger::Apex => {}
        }
    }
}

/// Reads the spooled content.
pub(crate) fn read(
    feed: &Feed,
    content: &Path,
    place_of: &dyn Fn(&str) -> u8,
    rows: &mut Rows<'_>,
    hash: &mut Sha256,
) -> Result<spool::Content, SourceError> {
    let failed = |source| SourceError::Io {
        step: "reading",
        path: content.to_owned(),
        source,
    };
    spool::whole_file(content)
        .map_err(failed)?
        .ok_or(SourceError::NotFetched)?;
    let mut reader = Reader::new(feed, place_of);
    rows.enter("zone", Some(NO_CATEGORY));
    spool::for_each_row(content, RowKey::WholeRow, &mut |line| {
        hash.update(line);
        hash.update(b"\n");
        rows.next_line();
        reader.read(line, rows);
    })
    .map_err(failed)
}

pub(super) fn row(row: &[u8], _: Scope, rows: &mut Rows<'_>) {
    Reader {
        category: NO_CATEGORY,
        lists_passed: false,
        parser: RecordParser::default(),
    }
    .read(row, rows);
}

#[cfg(test)]
mod tests;
