//! Checks of a version's counts against those of the last good one, and of the own names it blocks.

use policy::{lists::artefact::FeedReport, name::Name};

use super::refusal::{Gate, Refusal};
use crate::feed::Feed;

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
