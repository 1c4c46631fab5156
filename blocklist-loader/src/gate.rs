//! The gates: checks that a version of a feed must pass before its entries judge queries. A gate
//! refuses a version that differs too much from the last good one, or that would block a name that
//! must never be blocked.
//!
//! The word is "gate" in the API, in metrics and in the documentation; a failed check is a
//! [`Refusal`]. Transport errors are reported by the fetchers and syntax errors by the parsers,
//! under gates of their own. An operator can approve a version that failed a plausibility gate, but
//! never damaged content.

use std::{collections::HashSet, fmt};

use policy::{
    lists::{
        artefact::FeedReport,
        entry::{Action, Polarity, Tier},
    },
    name::{Name, NameRef},
};
use serde::{Deserialize, Serialize};

use crate::{
    feed::Feed,
    rows::{EntryRule, ParsedEntry},
};

/// The least number of previous entries at which a shrink percentage counts: a list of four names
/// may lose one.
const SHRUNK_FROM: u64 = 10;
/// The least number of previous entries at which a growth percentage counts: a list may just have
/// been started.
const GROWN_FROM: u64 = 100;
/// The highest share of bad rows, in percent. Above it the file has another format, is a page of
/// HTML or half a download. Published lists have less than one bad row in a thousand.
const BAD_PERCENT_MAX: u64 = 20;
/// The least number of bad rows at which their share counts: a list of four names may have one
/// typing error.
const BAD_ROWS_MIN: u64 = 5;

/// Names that certificate revocation checks need (OCSP and CRL): those of the authorities that sign
/// most of the web, and of the platforms' own. A list that blocks one of them is wrong.
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

/// The check that refused a version: a stable word for metrics, API and alarms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// The source did not answer, or violated its protocol.
    Transport,
    /// The content is larger than `size_max_mib`.
    Size,
    /// The fetch took longer than `timeout_s`.
    Time,
    /// The content does not match its checksum.
    Checksum,
    /// The content is not signed by the key in the definition.
    Signature,
    /// A compressed file or an archive is truncated or damaged.
    Compression,
    /// Versions or serials that are not consecutive.
    Sequence,
    /// A zone transfer that is not authentic (RFC 8945).
    Tsig,
    /// Content that is not text or not in the feed's format.
    Format,
    /// The local disk failed, or the source changed while it was read.
    Disk,
    /// The build process could not start or did not finish.
    Build,
    /// A definition of the API that exceeds its limits; nothing is read.
    Definition,
    /// No entries.
    Empty,
    /// Too many rows without an entry.
    BadRows,
    /// Far fewer entries than the last good version.
    Shrink,
    /// Far more entries than the last good version.
    Growth,
    /// A canary name of `must_match` that is not covered, or one of `must_not_match` that is.
    Canary,
    /// An entry that covers a registry's suffix, such as `co.uk`, and that the last good version
    /// did not have.
    PublicSuffix,
    /// An entry that covers one of the operator's own names, or a name of certificate revocation
    /// checks.
    OwnNames,
}

impl Gate {
    /// The value in JSON and metrics.
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
            Self::OwnNames => "own-names",
        }
    }

    /// Whether an operator may approve a version that this gate refused. An operator can judge
    /// plausibility, not missing octets.
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
                | Self::OwnNames
        )
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a version was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    pub gate: Gate,
    /// The reason, for people.
    pub detail: String,
}

impl Refusal {
    pub(crate) fn new(gate: Gate, detail: impl Into<String>) -> Self {
        Self {
            gate,
            detail: detail.into(),
        }
    }
}

/// Names that no list may block: the operator's own, and those of certificate revocation checks.
#[must_use]
pub fn own_names(configured: &[Name]) -> Vec<Name> {
    let shipped = CERTIFICATE_STATUS
        .iter()
        .map(|name| Name::parse(name).expect("our own constants are names"));
    shipped.chain(configured.iter().cloned()).collect()
}

/// Checks the counts of a version. `before` is the report of the last good version, if there is
/// one.
pub(crate) fn by_numbers(
    feed: &Feed,
    before: Option<&FeedReport>,
    report: &FeedReport,
    rows: u64,
) -> Result<(), Refusal> {
    let bad = report.bad;
    let entries = report.entries + report.paths;
    if bad >= BAD_ROWS_MIN && bad * 100 > rows * BAD_PERCENT_MAX {
        return Err(Refusal::new(
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
        return Err(Refusal::new(
            Gate::Empty,
            format!("{what}; allow_empty = true would accept it"),
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
        return Err(Refusal::new(Gate::PublicSuffix, detail));
    }
    Ok(())
}

/// Checks the number of entries.
pub(crate) fn by_size(feed: &Feed, had: u64, has: u64) -> Result<(), Refusal> {
    let shrink = u64::from(feed.max_shrink_percent);
    let growth = u64::from(feed.max_growth_percent);
    if shrink > 0 && had >= SHRUNK_FROM && has * 100 < had * (100_u64.saturating_sub(shrink)) {
        return Err(Refusal::new(
            Gate::Shrink,
            format!(
                "{has} entries are less than {had} by more than {shrink} %, which is its max_shrink_percent"
            ),
        ));
    }
    if growth > 0 && had >= GROWN_FROM && has * 100 > had * (100 + growth) {
        return Err(Refusal::new(
            Gate::Growth,
            format!(
                "{has} entries are more than {had} by over {growth} %, which is its max_growth_percent"
            ),
        ));
    }
    Ok(())
}

/// Records the entries that could cover a canary or one of the operator's own names while a feed is
/// read.
pub(crate) struct NameGuard<'f> {
    feed: &'f Feed,
    own: &'f [Name],
    /// The names themselves and all their ancestors.
    ancestors: HashSet<Box<[u8]>>,
    heard: Vec<(Name, EntryRule)>,
}

impl<'f> NameGuard<'f> {
    pub(crate) fn new(feed: &'f Feed, own: &'f [Name]) -> Self {
        // A feed of names that are never blocked may list the operator's own.
        let own = if feed.tier == Tier::NeverBlock {
            &[]
        } else {
            own
        };
        let mut guard = Self {
            feed,
            own,
            ancestors: HashSet::new(),
            heard: Vec::new(),
        };
        for name in canaries(&feed.must_match)
            .chain(canaries(&feed.must_not_match))
            .chain(own.iter().cloned())
        {
            guard.ancestors.extend(
                name.borrow()
                    .ancestors()
                    .map(|ancestor| ancestor.wire().into()),
            );
        }
        guard
    }

    /// All names whose entries are recorded.
    pub(crate) fn names(&self) -> impl Iterator<Item = NameRef<'_>> {
        self.ancestors
            .iter()
            .filter_map(|wire| NameRef::from_wire(wire).ok())
    }

    pub(crate) fn observe(&mut self, said: &ParsedEntry<'_>) {
        if said.path.is_none() && self.ancestors.contains(said.name.wire()) {
            self.heard.push((said.name.to_owned(), said.rule));
        }
    }

    /// Checks the canaries.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let must = canaries(&self.feed.must_match).find(|name| !self.is_denied(name));
        if let Some(name) = must {
            return Err(Refusal::new(
                Gate::Canary,
                format!("it does not cover {name}, which its must_match names"),
            ));
        }
        if let Some(name) = canaries(&self.feed.must_not_match).find(|name| self.is_denied(name)) {
            return Err(Refusal::new(
                Gate::Canary,
                format!("it covers {name}, which its must_not_match names"),
            ));
        }
        Ok(())
    }

    /// The own names that the version would block.
    pub(crate) fn own_names_denied(&self) -> Vec<Name> {
        self.own
            .iter()
            .filter(|name| self.is_denied(name))
            .cloned()
            .collect()
    }

    /// Applies the precedence within a feed: `$important`, then the longer name, then allow before
    /// deny.
    fn is_denied(&self, name: &Name) -> bool {
        let covering = self.heard.iter().filter(|(entry, rule)| {
            name.borrow().is_within(entry.borrow())
                && rule.scope.covers(entry == name)
                && rule.action != Action::Proxied
        });
        let rank = |(entry, rule): &&(Name, EntryRule)| {
            (
                rule.important,
                entry.borrow().label_count(),
                rule.polarity == Polarity::Allow,
            )
        };
        covering
            .max_by_key(rank)
            .is_some_and(|(_, rule)| rule.polarity == Polarity::Deny)
    }
}

/// Canary names. [`Feed::check`] has refused invalid ones.
fn canaries(names: &[String]) -> impl Iterator<Item = Name> {
    names.iter().filter_map(|name| Name::parse(name).ok())
}

/// Refuses a version that blocks more own names than the last good one.
pub(crate) fn by_own_names(before: Option<&FeedReport>, denied: &[Name]) -> Result<(), Refusal> {
    match (before, denied) {
        (None, _) | (_, []) => Ok(()),
        (Some(before), denied) if before.own_names >= denied.len() as u64 => Ok(()),
        (Some(_), [name, ..]) => Err(Refusal::new(
            Gate::OwnNames,
            format!("it covers {name}, which is never to be blocked"),
        )),
    }
}

#[cfg(test)]
mod tests;
