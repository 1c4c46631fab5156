//! Why a name is blocked or not: the data path's verdict in words, and who set what decided.
//!
//! The verdict comes from the function that answers queries ([`Explainer`]); nothing is decided
//! here.

mod display;
mod reason;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use policy::{
    category::Taxonomy,
    decide::{Action, EffectivePolicy, Layer},
    explain::QueryExplanation,
    lists::{
        artefact::Header,
        blocklist::{Blocklist, EntryMatch},
        entry::{EntryAction, Polarity, Scope, Tier},
        index_key::prefix_of_name,
        mandates::Mandate,
        services::ServiceMatch,
    },
    name::{Name, NameRef},
    rules::household::Id,
};
use serde::Serialize;

use self::{display::shown, reason::VerdictReason};
use crate::households::{provenance::Setter, subscriber::Subscriber};

/// Answers a question as the data path does.
#[async_trait]
pub trait Explainer: Send + Sync {
    /// Judges and answers one question by the live lists, or by `lists`. What it takes of the data
    /// path is the household's share.
    async fn explain(
        &self,
        asker: EffectivePolicy,
        household: Option<&Id>,
        name: Name,
        record_type: u16,
        lists: Option<Arc<Blocklist>>,
    ) -> QueryExplanation;
}

/// Why a name is blocked or not.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Explanation {
    /// The name that was asked for.
    name: String,
    /// The record type.
    r#type: String,
    /// The household that asked. Null for a line without a household.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    household: Option<Id>,
    /// The device that asked. Null if it is not known.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    device: Option<Id>,
    verdict: Decision,
    #[cfg_attr(feature = "schema", schema(value_type = Layer))]
    layer: &'static str,
    /// How the deciding entry answers the name: `policy` means as the operator configured,
    /// `proxied` a host with listed paths, `led` safe search, and `ordered` a mandate; or
    /// `nxdomain`, `nodata`, `drop`, `tcp-only`, `records`.
    action: &'static str,
    /// One sentence to read out.
    reason: String,
    /// The first blocked category.
    category: Option<String>,
    /// All blocked categories.
    categories: Vec<String>,
    /// The deciding entry: of a feed, a bundle, a custom list, a thing's list, or a mandate.
    entry: Option<String>,
    /// Where that entry is listed.
    source: Option<EntrySource>,
    /// The feed of that entry.
    feed: Option<String>,
    /// The scope of that entry.
    scope: Option<Scope>,
    /// The deciding mandate.
    mandate: Option<DecidingMandate>,
    /// The generation of the lists.
    generation: u64,
    /// Who set what decided.
    setter: Option<Setter>,
    hop: Hop,
    /// The names that the answer leads over, in order.
    chain: Vec<String>,
    /// All entries that match the deciding name.
    matches: Vec<MatchedEntry>,
    answer: ExplainedAnswer,
}

impl Explanation {
    /// The level at which what decided is set: `device`, `person`, `household`, `preset`, `operator`,
    /// `feed` or `mandate`.
    #[must_use]
    pub fn level(&self) -> Option<&'static str> {
        self.setter.as_ref().map(|setter| setter.layer)
    }
}

/// What was decided about the name.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
enum Decision {
    Block,
    Allow,
}

/// Where an entry is listed.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
enum EntrySource {
    Feed,
    /// The names that a category of the taxonomy brings itself.
    Bundle,
    OwnList,
    /// The domains that a thing may not reach.
    Thing,
    Mandate,
}

/// The deciding mandate, as far as the reader may see it. A family sees its basis at most.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = MandateOfExplanation))]
struct DecidingMandate {
    /// Its identifier.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    id: Option<Id>,
    #[cfg_attr(feature = "schema", schema(schema_with = policy::schema::bases))]
    basis: &'static str,
    /// The reference of the order.
    reference: Option<String>,
    /// Whether only the operator and auditors may see it. A family reads `false` of each.
    confidential: bool,
}

/// How much of an explanation its reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Everything: for the operator and auditors.
    Whole,
    /// For a family: of a mandate, confidential or not, only its basis.
    Family,
}

/// The deciding name.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
struct Hop {
    /// 0 is the queried name, followed by those of its chain, then listed addresses.
    index: usize,
    /// The name.
    name: String,
}

/// An entry that matches the name.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = Matched))]
struct MatchedEntry {
    /// The listed name.
    entry: String,
    source: EntrySource,
    /// The feed that lists it. Null for an entry of a bundle.
    feed: Option<String>,
    /// Its category, by slug.
    category: Option<String>,
    scope: Scope,
    polarity: Polarity,
    tier: Tier,
    action: EntryAction,
    /// False if another entry of its feed outranks it.
    counts: bool,
    /// When it was added to the lists, or later, RFC 3339. Null for an entry of a bundle.
    since: Option<Timestamp>,
}

/// The answer to a query.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = Answer))]
struct ExplainedAnswer {
    /// The response code in words, such as `NXDOMAIN`.
    rcode: String,
    /// The records in presentation format.
    records: Vec<String>,
    /// The extended DNS error, if there is one.
    ede: Option<Ede>,
}

/// An extended DNS error (RFC 8914).
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
struct Ede {
    code: u16,
    text: String,
}

/// The mnemonics of common record types.
const TYPES: [(&str, u16); 16] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("NAPTR", 35),
    ("DS", 43),
    ("DNSKEY", 48),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("CAA", 257),
    ("ANY", 255),
];

/// Parses a type that a query can ask data of: a mnemonic, a number, or `TYPE123` (RFC 3597). Type 0,
/// OPT and the meta-types (RFC 6895 section 3.1) have no data, except ANY.
pub fn record_type(text: &str) -> Option<u16> {
    const OPT: u16 = 41;
    const ANY: u16 = 255;
    const META: std::ops::RangeInclusive<u16> = 128..=255;
    let upper = text.to_ascii_uppercase();
    let known = TYPES
        .iter()
        .find(|(mnemonic, _)| *mnemonic == upper)
        .map(|&(_, number)| number);
    known
        .or_else(|| upper.strip_prefix("TYPE").unwrap_or(&upper).parse().ok())
        .filter(|number| *number == ANY || !(matches!(*number, 0 | OPT) || META.contains(number)))
}

fn mnemonic(record_type: u16) -> String {
    TYPES
        .iter()
        .find(|(_, number)| *number == record_type)
        .map_or_else(
            || format!("TYPE{record_type}"),
            |(mnemonic, _)| (*mnemonic).to_owned(),
        )
}

/// Composes an explanation, for the API and for the command line.
pub fn compose(
    explained: &QueryExplanation,
    record_type: u16,
    subscriber: Option<&Subscriber>,
    taxonomy: &Taxonomy,
    sight: Sight,
) -> Explanation {
    let verdict = explained.verdict;
    let is_hidden = sight == Sight::Family && verdict.layer == Layer::Mandatory;
    // A family does not learn which name of the chain a mandate blocks.
    let hop = if is_hidden { 0 } else { explained.hop };
    let name = &explained.names[hop];
    let header = explained.lists.header();
    let mut found = explained.lists.matches(name.borrow());
    if sight == Sight::Family {
        found.retain(|found| found.tier != Tier::Mandatory);
    }
    let decisive = decisive(explained, &found);
    let bundled = explained.lists.service_matches(name.borrow());
    let slugs = taxonomy.slugs(verdict.categories).into_iter();
    let categories: Vec<String> = slugs.map(str::to_owned).collect();
    let mandates = explained.lists.mandates();
    let mandate = verdict.mandate().and_then(|number| mandates.get(number));
    let visible_mandate = mandate.filter(|_| !is_hidden);
    let reason = VerdictReason {
        explained,
        subscriber,
        taxonomy,
        feed: decisive.map(|found| feed_name(header, found)),
        mandate,
        is_hidden,
    };
    let of_bundle = deciding_bundle(explained, &bundled, decisive);
    let (entry, source, scope) = deciding_entry(decisive, of_bundle, &reason, visible_mandate);
    let setter = reason.setter();
    let device = subscriber.and_then(Subscriber::device);
    Explanation {
        name: explained.names[0].to_string(),
        r#type: mnemonic(record_type),
        household: subscriber.map(|subscriber| subscriber.household.id.clone()),
        device: device.map(|(id, _)| id.clone()),
        verdict: match verdict.is_block() {
            true => Decision::Block,
            false => Decision::Allow,
        },
        layer: verdict.layer.as_str(),
        action: match is_hidden {
            true => Action::OperatorPolicy.as_str(),
            false => verdict.action.as_str(),
        },
        reason: reason.sentence(setter.as_ref()),
        category: categories.first().cloned(),
        categories,
        entry,
        source,
        feed: reason.feed.clone(),
        scope,
        mandate: mandate.map(|mandate| DecidingMandate::of(mandate, is_hidden)),
        generation: header.generation,
        setter,
        hop: Hop {
            index: hop,
            name: shown(name.borrow()),
        },
        chain: visible_chain(explained, sight),
        matches: matched(header, &found, &bundled, taxonomy),
        answer: ExplainedAnswer::of(explained),
    }
}

/// The alias chain of the queried name. It also has addresses, because they are listed or under a
/// mandate: a family sees only names.
fn visible_chain(explained: &QueryExplanation, sight: Sight) -> Vec<String> {
    let chain = explained.names[1..]
        .iter()
        .filter(|name| sight == Sight::Whole || prefix_of_name(name.borrow()).is_none());
    chain.map(|name| shown(name.borrow())).collect()
}

impl DecidingMandate {
    fn of(mandate: &Mandate, is_hidden: bool) -> Self {
        let visible = Some(mandate).filter(|_| !is_hidden);
        Self {
            id: visible.map(|mandate| mandate.id.clone()),
            basis: mandate.basis.as_str(),
            reference: visible.and_then(|mandate| mandate.reference.clone()),
            confidential: visible.is_some_and(|mandate| mandate.confidential),
        }
    }
}

impl ExplainedAnswer {
    fn of(explained: &QueryExplanation) -> Self {
        let answer = &explained.answer;
        let error = answer.error.clone();
        Self {
            rcode: answer.rcode.clone(),
            records: answer.records.clone(),
            ede: error.map(|(code, text)| Ede { code, text }),
        }
    }
}

/// The entry of a feed that decided: the deepest one of the deciding feed, of the host or of its
/// paths.
fn decisive<'f>(
    explained: &QueryExplanation,
    found: &'f [EntryMatch<'f>],
) -> Option<&'f EntryMatch<'f>> {
    let verdict = explained.verdict;
    let is_of_paths = matches!(verdict.action, Action::RedirectToProxy { .. });
    found
        .iter()
        .filter(|found| found.counts && found.mark.polarity == Polarity::Deny)
        .rfind(|found| {
            verdict.feed == Some(found.mark.feed)
                && (found.mark.action == EntryAction::RedirectToProxy) == is_of_paths
                && (verdict.categories.is_empty()
                    || found
                        .category
                        .is_some_and(|category| verdict.categories.contains(category)))
        })
}

/// The bundle that decided. An entry of a feed counts before one of a bundle.
fn deciding_bundle<'b>(
    explained: &QueryExplanation,
    bundled: &'b [ServiceMatch<'b>],
    decisive: Option<&EntryMatch<'_>>,
) -> Option<&'b ServiceMatch<'b>> {
    let verdict = explained.verdict;
    let is_of_bundle = verdict.layer == Layer::Category && decisive.is_none();
    bundled.iter().rfind(|bundled| {
        is_of_bundle
            && !bundled
                .categories
                .intersection(verdict.categories)
                .is_empty()
    })
}

/// The entry that decided, where it is listed, and its scope.
fn deciding_entry(
    decisive: Option<&EntryMatch<'_>>,
    of_bundle: Option<&ServiceMatch<'_>>,
    reason: &VerdictReason<'_>,
    mandate: Option<&Mandate>,
) -> (Option<String>, Option<EntrySource>, Option<Scope>) {
    if let Some(found) = decisive {
        let entry = shown(found.entry);
        return (Some(entry), Some(EntrySource::Feed), Some(found.mark.scope));
    }
    if let Some(bundled) = of_bundle {
        let entry = bundled.entry.to_string();
        return (Some(entry), Some(EntrySource::Bundle), Some(Scope::Subtree));
    }
    if let Some((entry, own)) = reason.own_entry() {
        let entry = entry.to_string();
        return (
            Some(entry),
            Some(EntrySource::OwnList),
            Some(own.value.scope),
        );
    }
    if let Some(domain) = reason.denial() {
        let entry = domain.to_string();
        return (Some(entry), Some(EntrySource::Thing), Some(Scope::Subtree));
    }
    if let Some(mandate) = mandate {
        let entry = mandate.target.to_string();
        return (
            Some(entry),
            Some(EntrySource::Mandate),
            mandate.target.scope(),
        );
    }
    (None, None, None)
}

/// The matching entries of feeds, then those of bundles, one for each category.
fn matched(
    header: &Header,
    found: &[EntryMatch<'_>],
    bundled: &[ServiceMatch<'_>],
    taxonomy: &Taxonomy,
) -> Vec<MatchedEntry> {
    let slug = |category| taxonomy.category(category).slug.clone();
    let of_feed = |found: &EntryMatch<'_>| MatchedEntry {
        entry: shown(found.entry),
        source: EntrySource::Feed,
        feed: Some(feed_name(header, found)),
        category: found.category.map(slug),
        scope: found.mark.scope,
        polarity: found.mark.polarity,
        tier: found.tier,
        action: found.mark.action,
        counts: found.counts,
        since: found.since,
    };
    let of_bundle = |entry: NameRef<'_>, category| MatchedEntry {
        entry: entry.to_string(),
        source: EntrySource::Bundle,
        feed: None,
        category: Some(slug(category)),
        scope: Scope::Subtree,
        polarity: Polarity::Deny,
        tier: Tier::Choice,
        action: EntryAction::OperatorPolicy,
        counts: true,
        since: None,
    };
    let of_bundles = bundled.iter().flat_map(|bundled| {
        bundled
            .categories
            .iter()
            .map(|category| of_bundle(bundled.entry, category))
    });
    found.iter().map(of_feed).chain(of_bundles).collect()
}

fn feed_name(header: &Header, found: &EntryMatch<'_>) -> String {
    header.feeds[usize::from(found.mark.feed)].name.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_types_with_data_can_be_explained() {
        for (text, number) in [
            ("A", 1),
            ("https", 65),
            ("ANY", 255),
            ("TYPE65280", 65_280),
            ("28", 28),
            ("256", 256),
        ] {
            assert_eq!(record_type(text), Some(number), "{text}");
        }
        for text in [
            "0", "TYPE0", "41", "128", "TYPE249", "252", "254", "65536", "", "AXFR",
        ] {
            assert_eq!(record_type(text), None, "{text}");
        }
    }
}
