//! What a version of a feed must pass before it judges a query: whether it is the list that it was,
//! and whether it would block what must never be blocked. Transport is the fetchers' affair, syntax
//! the parsers'; here it is about sense.
//!
//! A version that is stopped here can be let through by an operator who has looked at it; one that
//! came damaged cannot.

use std::{collections::HashSet, fmt};

use policy::{
    lists::{
        artefact::FeedReport,
        entry::{EntryAction, Polarity, Tier},
    },
    name::{Name, NameRef},
};
use serde::{Deserialize, Serialize};

use crate::{
    feed::Feed,
    rows::{Claim, Said},
};

/// Below this many entries a percentage says nothing about a feed that shrinks: a list of four
/// names may lose one.
const SHRUNK_FROM: u64 = 10;
/// And nothing about one that grows: a list that somebody has just begun.
const GROWN_FROM: u64 = 100;
/// Above this share of bad rows, in percent, a file is not what its format says: a page of HTML,
/// another format, half a download. Published lists have less than one in a thousand.
const BAD_PERCENT_MAX: u64 = 20;
/// Below this many bad rows the share says nothing: a list of four names may have a typing error in
/// one.
const BAD_ROWS_MIN: u64 = 5;

/// Names without which nobody can tell whether a certificate was revoked; a list that has one of
/// them is wrong. Those of the authorities that sign most of the web, and of the platforms' own.
const CERTIFICATE_STATUS: [&str; 18] = [
    "crl.apple.com",
    "ocsp.apple.com",
    "ocsp2.apple.com",
    "ocsp.digicert.com",
    "crl3.digicert.com",
    "crl4.digicert.com",
    "ocsp.entrust.net",
    "crl.entrust.net",
    "ocsp.globalsign.com",
    "crl.globalsign.com",
    "o.lencr.org",
    "c.lencr.org",
    "oneocsp.microsoft.com",
    "ctldl.windowsupdate.com",
    "o.pki.goog",
    "c.pki.goog",
    "ocsp.sectigo.com",
    "ocsp.usertrust.com",
];

/// What stopped a version: a stable word for metrics, API and alarms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// The source could not be asked, or did not answer as its protocol demands.
    Transport,
    /// More octets than the definition allows.
    Size,
    /// Longer than the definition allows.
    Time,
    /// Other octets than the checksum says.
    Checksum,
    /// Not signed, or not by the key that the definition names.
    Signature,
    /// A compressed file or an archive that is cut short or damaged.
    Compression,
    /// Versions that do not follow each other.
    Sequence,
    /// A transfer that is not authentic.
    Tsig,
    /// Content that is not text, or not in the feed's format.
    Format,
    /// Our own disk refused, or the source changed while it was read.
    Disk,
    /// Our own build could not start, or did not come to its end.
    Build,
    /// A definition of the API names what it must not; nothing is read.
    Definition,
    /// Nothing in it.
    Empty,
    /// Too many rows that hold no entry.
    BadRows,
    /// Far fewer entries than the last good version.
    Shrink,
    /// Far more.
    Growth,
    /// A canary name that it must cover and does not, or must not and does.
    Canary,
    /// An entry that covers a registry's suffix, such as `co.uk`, which the last good version had
    /// not.
    PublicSuffix,
    /// An entry that covers a name of the operator's own, or one that certificates are checked at.
    CustomNames,
}

impl Gate {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::Size => "size",
            Self::Time => "time",
            Self::Checksum => "checksum",
            Self::Signature => "signature",
            Self::Compression => "compression",
            Self::Sequence => "sequence",
            Self::Tsig => "tsig",
            Self::Format => "format",
            Self::Disk => "disk",
            Self::Build => "build",
            Self::Definition => "definition",
            Self::Empty => "empty",
            Self::BadRows => "bad-rows",
            Self::Shrink => "shrink",
            Self::Growth => "growth",
            Self::Canary => "canary",
            Self::PublicSuffix => "public-suffix",
            Self::CustomNames => "own-names",
        }
    }

    /// Whether an operator may let a version through that this gate stopped: he can judge sense,
    /// not missing octets.
    #[must_use]
    pub fn may_be_approved(self) -> bool {
        matches!(
            self,
            Self::Empty
                | Self::BadRows
                | Self::Shrink
                | Self::Growth
                | Self::Canary
                | Self::PublicSuffix
                | Self::CustomNames
        )
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A version is stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Stop {
    /// By which gate.
    pub gate: Gate,
    /// Why, for people.
    pub detail: String,
}

impl Stop {
    pub(crate) fn new(gate: Gate, detail: impl Into<String>) -> Self {
        Self {
            gate,
            detail: detail.into(),
        }
    }
}

/// Names that are never blocked, whatever lists say: the operator's, and those that certificates
/// are checked at.
#[must_use]
pub fn own_names(configured: &[Name]) -> Vec<Name> {
    let shipped = CERTIFICATE_STATUS
        .iter()
        .map(|name| Name::parse(name).expect("our own constants are names"));
    shipped.chain(configured.iter().cloned()).collect()
}

/// Judges by what was counted. `before` is the last good version's report, where there is one.
pub(crate) fn by_numbers(
    feed: &Feed,
    before: Option<&FeedReport>,
    report: &FeedReport,
    rows: u64,
) -> Result<(), Stop> {
    let bad = report.bad;
    let entries = report.entries + report.paths;
    if bad >= BAD_ROWS_MIN && bad * 100 > rows * BAD_PERCENT_MAX {
        return Err(Stop::new(
            Gate::BadRows,
            format!("{bad} of its {rows} rows are bad: this is not a list in its format"),
        ));
    }
    if entries == 0 && !feed.allow_empty {
        let what = if rows == 0 {
            "it holds no rows".to_owned()
        } else {
            format!("none of its {rows} rows gave an entry")
        };
        return Err(Stop::new(
            Gate::Empty,
            format!("{what}; allow_empty = true would take it as empty"),
        ));
    }
    let Some(before) = before else { return Ok(()) };
    let had = before.entries + before.paths;
    by_size(feed, had, entries)?;
    if report.registry_suffixes > before.registry_suffixes && !feed.force_public_suffixes {
        let sample = report
            .samples
            .iter()
            .find(|complaint| complaint.reason.contains("public suffix"));
        let sample = sample
            .map(|complaint| format!(", such as {:?}", complaint.text))
            .unwrap_or_default();
        let detail = format!(
            "{} of its entries cover a registry's suffix{sample}; the last good version had {}",
            report.registry_suffixes, before.registry_suffixes
        );
        return Err(Stop::new(Gate::PublicSuffix, detail));
    }
    Ok(())
}

/// Judges by how many entries there are now.
pub(crate) fn by_size(feed: &Feed, had: u64, has: u64) -> Result<(), Stop> {
    let shrink = u64::from(feed.max_shrink_percent);
    let growth = u64::from(feed.max_growth_percent);
    if shrink > 0 && had >= SHRUNK_FROM && has * 100 < had * (100_u64.saturating_sub(shrink)) {
        return Err(Stop::new(
            Gate::Shrink,
            format!(
                "{has} entries are less than {had} by more than {shrink} %, which is its max_shrink_percent"
            ),
        ));
    }
    if growth > 0 && had >= GROWN_FROM && has * 100 > had * (100 + growth) {
        return Err(Stop::new(
            Gate::Growth,
            format!(
                "{has} entries are more than {had} by over {growth} %, which is its max_growth_percent"
            ),
        ));
    }
    Ok(())
}

/// Listens, while a feed is read, for what is said of its canaries and of the operator's own names.
pub(crate) struct Sentry<'f> {
    feed: &'f Feed,
    own: &'f [Name],
    /// All names whose entries could cover one of them.
    ancestors: HashSet<Box<[u8]>>,
    heard: Vec<(Name, Claim)>,
}

impl<'f> Sentry<'f> {
    pub(crate) fn new(feed: &'f Feed, own: &'f [Name]) -> Self {
        // Who lists names that are never blocked may well list the operator's own.
        let own = if feed.tier == Tier::NeverBlock {
            &[]
        } else {
            own
        };
        let mut sentry = Self {
            feed,
            own,
            ancestors: HashSet::new(),
            heard: Vec::new(),
        };
        for name in canaries(&feed.must_match)
            .chain(canaries(&feed.must_not_match))
            .chain(own.iter().cloned())
        {
            sentry.ancestors.extend(
                name.borrow()
                    .ancestors()
                    .map(|ancestor| ancestor.wire().into()),
            );
        }
        sentry
    }

    /// All names whose entries it wants to hear of.
    pub(crate) fn names(&self) -> impl Iterator<Item = NameRef<'_>> {
        self.ancestors
            .iter()
            .filter_map(|wire| NameRef::from_wire(wire).ok())
    }

    pub(crate) fn hear(&mut self, said: &Said<'_>) {
        if said.path.is_none() && self.ancestors.contains(said.name.wire()) {
            self.heard.push((said.name.to_owned(), said.claim));
        }
    }

    /// What is wrong with what was heard.
    pub(crate) fn judge(&self) -> Result<(), Stop> {
        let must = canaries(&self.feed.must_match).find(|name| !self.is_denied(name));
        if let Some(name) = must {
            return Err(Stop::new(
                Gate::Canary,
                format!("it does not cover {name}, which its must_match names"),
            ));
        }
        if let Some(name) = canaries(&self.feed.must_not_match).find(|name| self.is_denied(name)) {
            return Err(Stop::new(
                Gate::Canary,
                format!("it covers {name}, which its must_not_match names"),
            ));
        }
        Ok(())
    }

    /// The own names that it would block.
    pub(crate) fn own_names_denied(&self) -> Vec<Name> {
        self.own
            .iter()
            .filter(|name| self.is_denied(name))
            .cloned()
            .collect()
    }

    /// By the rule of one feed: `$important`, then the deeper entry, then allow before deny.
    fn is_denied(&self, name: &Name) -> bool {
        let covering = self.heard.iter().filter(|(entry, claim)| {
            name.borrow().is_within(entry.borrow())
                && claim.scope.covers(entry == name)
                && claim.action != EntryAction::RedirectToProxy
        });
        let rank = |(entry, claim): &&(Name, Claim)| {
            (
                claim.important,
                entry.borrow().label_count(),
                claim.polarity == Polarity::Allow,
            )
        };
        covering
            .max_by_key(rank)
            .is_some_and(|(_, claim)| claim.polarity == Polarity::Deny)
    }
}

/// Canary names; a definition with one that is no name was refused.
fn canaries(names: &[String]) -> impl Iterator<Item = Name> {
    names.iter().filter_map(|name| Name::parse(name).ok())
}

/// The own names that a new version would block and the last good one would not: those stop it.
pub(crate) fn by_own_names(before: Option<&FeedReport>, denied: &[Name]) -> Result<(), Stop> {
    match (before, denied) {
        (None, _) | (_, []) => Ok(()),
        (Some(before), denied) if before.own_names >= denied.len() as u64 => Ok(()),
        (Some(_), [name, ..]) => Err(Stop::new(
            Gate::CustomNames,
            format!("it covers {name}, which is never to be blocked"),
        )),
    }
}

#[cfg(test)]
mod tests;
