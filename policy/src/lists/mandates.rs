//! Mandates: blocks of names and addresses that courts, law or police require. No allow entry lifts
//! them.
//!
//! ```text
//! documents ── read ──> mandates ── those in force now ──> ActiveMandates, part of the blocklist
//!                       (all of them: mandate_registry.rs)
//! ```
//!
//! [`ActiveMandates`] finds a mandate by hashing the ancestors of a name. Addresses are indexed
//! under keys that no name can have ([`crate::lists::index_key`]). A cached name is looked up once
//! for each set of mandates, not for each query.

use std::{
    collections::{BTreeMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use crate::lists::mandate_basis::{BASES, Basis, MandateRef};
use crate::{
    lists::{
        classification::Classification,
        entry::Scope,
        index_key::{names_of_prefix, unmapped},
        overlay::Overlay,
    },
    name::{Labels, Name, NameRef},
    rules::household::Id,
};

/// The longest reference, in octets: a case number or a link, not the text of the order.
pub const REFERENCE_OCTETS_MAX: usize = 256;
/// The shortest prefixes that a mandate may name without `force`.
const PREFIX_MIN_V4: u8 = 8;
const PREFIX_MIN_V6: u8 = 16;

/// A value of a document that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct MandateError {
    pub field: &'static str,
    pub message: String,
}

impl MandateError {
    fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self {
            field,
            message: message.into(),
        }
    }
}

/// A mandate to write: either a name or an address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = MandateBody))]
#[serde(deny_unknown_fields, default)]
pub struct MandateDocument {
    /// The name, as A-labels.
    pub name: Option<String>,
    /// An address in answers, or a network in CIDR notation.
    pub address: Option<String>,
    /// The scope of a name. Absent: `subtree`.
    pub scope: Option<Scope>,
    /// The legal basis: `court-order`, `sanctions`, `iwf`, `regulator` or `police`.
    #[cfg_attr(feature = "schema", schema(schema_with = crate::schema::bases, required))]
    pub basis: String,
    /// The reference of the order, at most 256 octets.
    #[cfg_attr(feature = "schema", schema(max_length = 256))]
    pub reference: Option<String>,
    /// When it begins, RFC 3339. Absent: it is in force at once.
    pub not_before: Option<Timestamp>,
    /// When it ends, RFC 3339. Absent: never.
    pub not_after: Option<Timestamp>,
    /// The answers to A and AAAA. Absent: as the operator configured.
    pub landing: Option<Landing>,
    /// Whether only the operator and auditors may see it.
    pub confidential: bool,
    /// Accepts a public suffix, a name of this service, or a network wider than /8 (IPv6: /16).
    pub force: bool,
}

/// The addresses that a blocked name is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Landing {
    /// The answer to A.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = Ipv4))]
    pub v4: Option<Ipv4Addr>,
    /// The answer to AAAA.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, format = Ipv6))]
    pub v6: Option<Ipv6Addr>,
}

/// What a mandate blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MandateTarget {
    Name(Name, Scope),
    /// Addresses in answers.
    Addresses(IpNet),
}

impl MandateTarget {
    /// Whether it covers a name.
    #[must_use]
    pub fn covers(&self, asked: NameRef<'_>) -> bool {
        matches!(self, Self::Name(name, scope) if asked.is_within(name.borrow()) && scope.covers(asked == name.borrow()))
    }

    /// The scope of a name; `None` for addresses.
    #[must_use]
    pub fn scope(&self) -> Option<Scope> {
        if let Self::Name(_, scope) = self {
            Some(*scope)
        } else {
            None
        }
    }

    /// Whether it covers more addresses than a mandate should.
    #[must_use]
    pub fn is_too_wide(&self) -> bool {
        matches!(self, Self::Addresses(network) if network.prefix_len() < if network.addr().is_ipv4() { PREFIX_MIN_V4 } else { PREFIX_MIN_V6 })
    }
}

impl std::fmt::Display for MandateTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name, _) => name.fmt(f),
            Self::Addresses(network) if network.prefix_len() == network.max_prefix_len() => {
                network.addr().fmt(f)
            }
            Self::Addresses(network) => network.fmt(f),
        }
    }
}

/// Whether a mandate is in force at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum MandatePhase {
    /// Before `not_before`.
    Pending,
    /// In force.
    Active,
    /// From `not_after` on.
    Expired,
}

/// A mandate whose document was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mandate {
    pub id: Id,
    pub target: MandateTarget,
    pub basis: Basis,
    pub reference: Option<String>,
    pub not_before: Option<Timestamp>,
    pub not_after: Option<Timestamp>,
    pub landing: Option<Landing>,
    /// Whether only the operator and auditors may see it.
    pub confidential: bool,
    /// Whether its width is intended.
    pub force: bool,
}

impl Mandate {
    /// Reads a document.
    ///
    /// # Errors
    /// The first value that cannot be used.
    pub fn read(id: Id, document: MandateDocument) -> Result<Self, MandateError> {
        let target = read_target(document.name, document.address, document.scope)?;
        let reference = document.reference;
        if reference
            .as_ref()
            .is_some_and(|text| text.len() > REFERENCE_OCTETS_MAX)
        {
            return Err(MandateError::new(
                "reference",
                format!("at most {REFERENCE_OCTETS_MAX} octets"),
            ));
        }
        if let (Some(from), Some(to)) = (document.not_before, document.not_after)
            && to <= from
        {
            return Err(MandateError::new("not_after", "must be after not_before"));
        }
        if document.landing.is_some_and(|to| to == Landing::default()) {
            return Err(MandateError::new(
                "landing",
                "a landing has an address: v4, v6 or both",
            ));
        }
        Ok(Self {
            id,
            target,
            basis: read_basis(&document.basis)?,
            reference,
            not_before: document.not_before,
            not_after: document.not_after,
            landing: document.landing,
            confidential: document.confidential,
            force: document.force,
        })
    }

    /// The document in its canonical form: [`Self::read`] returns an equal mandate.
    #[must_use]
    pub fn document(&self) -> MandateDocument {
        let target = self.target.to_string();
        let (name, address) = if self.target.scope().is_some() {
            (Some(target), None)
        } else {
            (None, Some(target))
        };
        MandateDocument {
            name,
            address,
            scope: self.target.scope(),
            basis: self.basis.as_str().to_owned(),
            reference: self.reference.clone(),
            not_before: self.not_before,
            not_after: self.not_after,
            landing: self.landing,
            confidential: self.confidential,
            force: self.force,
        }
    }

    /// The state at `now`. `not_after` itself is no longer in force.
    #[must_use]
    pub fn phase(&self, now: Timestamp) -> MandatePhase {
        if self.not_after.is_some_and(|end| end <= now) {
            MandatePhase::Expired
        } else if self.not_before.is_some_and(|begin| begin > now) {
            MandatePhase::Pending
        } else {
            MandatePhase::Active
        }
    }
}

fn read_target(
    name: Option<String>,
    address: Option<String>,
    scope: Option<Scope>,
) -> Result<MandateTarget, MandateError> {
    match (name, address) {
        (Some(name), None) => {
            let parsed = Name::parse(&name)
                .map_err(|error| MandateError::new("name", format!("{name:?}: {error}")))?;
            if parsed.borrow().is_root() {
                return Err(MandateError::new("name", "the root is the whole Internet"));
            }
            Ok(MandateTarget::Name(parsed, scope.unwrap_or(Scope::Subtree)))
        }
        (None, Some(_)) if scope.is_some() => {
            Err(MandateError::new("scope", "a scope is one of a name"))
        }
        (None, Some(address)) => Ok(MandateTarget::Addresses(read_addresses(&address)?)),
        (Some(_), Some(_)) => Err(MandateError::new("address", "either a name or an address")),
        (None, None) => Err(MandateError::new("name", "a name or an address is needed")),
    }
}

fn read_basis(word: &str) -> Result<Basis, MandateError> {
    Basis::find(word).ok_or_else(|| {
        let words = BASES.map(|(word, _)| word).join(", ");
        MandateError::new("basis", format!("{word:?} is none; one of {words}"))
    })
}

fn read_addresses(text: &str) -> Result<IpNet, MandateError> {
    let network = text
        .parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let network = network.ok_or_else(|| {
        MandateError::new("address", format!("{text:?} is no address and no network"))
    })?;
    if network.trunc() != network {
        return Err(MandateError::new(
            "address",
            format!(
                "{network} has host bits; the network is {}",
                network.trunc()
            ),
        ));
    }
    Ok(unmapped(network))
}

fn stamp_of(hash: Sha256) -> u64 {
    let digest = hash.finalize();
    u64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 octets"))
}

/// The mandates in force at a moment, and the names that only a mandate may block. Immutable.
#[derive(Default)]
pub struct ActiveMandates {
    all: Box<[Arc<Mandate>]>,
    /// From the key of a name or an address to an index in `sets`.
    index: Overlay,
    sets: Vec<Vec<MandateRef>>,
    has_addresses: bool,
    /// Names that only a mandate may block, with all names below them, in wire format.
    lifted: HashSet<Box<[u8]>>,
    stamp: u64,
}

impl ActiveMandates {
    #[must_use]
    pub fn of(all: Vec<Arc<Mandate>>) -> Self {
        let mut by_key: BTreeMap<Vec<u8>, Vec<MandateRef>> = BTreeMap::new();
        let mut hash = Sha256::new();
        let mut has_addresses = false;
        for (index, mandate) in all.iter().enumerate() {
            // The index of a reference has room for millions of mandates.
            let Some(reference) = MandateRef::new(index, mandate.basis) else {
                break;
            };
            let names = match &mandate.target {
                MandateTarget::Name(name, _) => vec![name.clone()],
                MandateTarget::Addresses(network) => {
                    has_addresses = true;
                    names_of_prefix(*network)
                }
            };
            for name in names {
                let mut key = Vec::new();
                name.borrow().write_key(&mut key);
                by_key.entry(key).or_default().push(reference);
            }
            hash.update(mandate.id.as_str());
            hash.update(serde_json::to_vec(&mandate.document()).expect("a document is plain data"));
        }
        let mut index =
            Overlay::default().grown(by_key.len(), by_key.keys().map(|key| key.len()).sum());
        let sets = (0..).zip(by_key).map(|(set, (key, references))| {
            index.set(&key, set);
            references
        });
        let sets = sets.collect();
        let stamp = if all.is_empty() { 0 } else { stamp_of(hash) };
        Self {
            all: all.into(),
            index,
            sets,
            has_addresses,
            lifted: HashSet::new(),
            stamp,
        }
    }

    /// Adds names that only a mandate may block, because a report of a wrong block was accepted.
    #[must_use]
    pub fn lifting<'n>(mut self, names: impl IntoIterator<Item = &'n Name>) -> Self {
        let mut hash = Sha256::new();
        for name in names {
            let wire = name.borrow().wire();
            hash.update([u8::try_from(wire.len()).unwrap_or(u8::MAX)]);
            hash.update(wire);
            self.lifted.insert(wire.into());
        }
        if !self.lifted.is_empty() {
            self.stamp ^= stamp_of(hash);
        }
        self
    }

    /// Adds the mandate that covers a name, and whether the name is lifted, to what the feeds say.
    pub(crate) fn classify(&self, name: NameRef<'_>, classification: &mut Classification) {
        if let Some(reference) = self.find(name) {
            classification.mandatory = true;
            classification.mandate = Some(reference);
        }
        classification.never_block |= self.lifts(name);
    }

    /// Whether only a mandate may block a name.
    #[must_use]
    pub fn lifts(&self, name: NameRef<'_>) -> bool {
        !self.lifted.is_empty()
            && name
                .ancestors()
                .any(|ancestor| self.lifted.contains(ancestor.wire()))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether any is about addresses.
    #[must_use]
    pub fn has_addresses(&self) -> bool {
        self.has_addresses
    }

    /// A number that stands for this content; 0 where it is empty.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    /// The mandate that covers a name, or the name that stands for an address. The most specific
    /// one is taken; of several for the same target the first.
    #[must_use]
    pub fn find(&self, name: NameRef<'_>) -> Option<MandateRef> {
        if self.all.is_empty() {
            return None;
        }
        let labels = Labels::of(name);
        let mut found = None;
        let count = labels.len();
        self.index
            .walk(&labels, self.index.look(&labels), |depth, set| {
                let is_own_name = usize::from(depth) == count;
                let covers = |reference: &&MandateRef| {
                    self.all[reference.index()]
                        .target
                        .scope()
                        .is_none_or(|scope| scope.covers(is_own_name))
                };
                found = self.sets[set as usize]
                    .iter()
                    .find(covers)
                    .copied()
                    .or(found);
            });
        found
    }

    /// The mandate that a verdict under this set refers to.
    #[must_use]
    pub fn get(&self, reference: MandateRef) -> Option<&Mandate> {
        self.all.get(reference.index()).map(Arc::as_ref)
    }
}

impl std::fmt::Debug for ActiveMandates {
    /// The count only: mandates can be confidential, and this goes to logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ActiveMandates")
            .field("count", &self.all.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
