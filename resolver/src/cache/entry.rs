//! Entries of the answer cache: the wire answer without OPT record, the offsets of its TTLs, the
//! names of its chain, and its classification.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use policy::{lists::blocklist::Blocklist, name::Name};

use crate::{
    cache::{
        classified::{ClassificationMemo, Classified},
        key::{QuestionKey, QuestionKeyRef},
    },
    message::{
        targets,
        types::{EdeCode, Rcode},
        wire::{HEADER_OCTETS, read_u16, skip_name},
    },
    weighed::{arc_octets, heap_octets},
};

/// The lowest TTL with prefetch, in seconds: a tenth of a lower one is shorter than a resolution.
const PREFETCH_TTL_MIN_S: u32 = 10;

/// The cached answer to one question.
pub struct AnswerEntry {
    /// The message (header, question in lower case, sections without OPT record), then the offset
    /// of each record's TTL in it, two octets each in native byte order. A placeholder has header
    /// and question only.
    pub(super) octets: Box<[u8]>,
    pub(super) message_octets: u16,
    pub(super) chain: Box<[Name]>,
    /// What the lists say of the queried name, the chain and the addresses.
    pub(crate) classification: ClassificationMemo,
    /// Octets of the classification that the entry weighs with, from the moment that it is first
    /// stored in the cache: a weight must not change there.
    pub(super) classification_octets: OnceLock<u32>,
    pub(super) stored_s: u32,
    /// Lowered once, when validation changes at the entry's names.
    pub(super) ttl_s: AtomicU32,
    /// The info-code of the Extended DNS Error that goes with the answer.
    pub(crate) code: Option<EdeCode>,
    /// Whether a worker has claimed the prefetch of this entry.
    pub(super) is_prefetch_claimed: AtomicBool,
}

impl AnswerEntry {
    /// An entry of a wire answer without OPT record. The chain is read from the message, so that the
    /// policy judges all that is sent.
    ///
    /// Returns none if the message cannot be parsed: a fault of the caller.
    #[must_use]
    pub fn new(message: Vec<u8>, ttl_s: u32, now: Duration) -> Option<Self> {
        let message_octets = u16::try_from(message.len()).ok()?;
        let chain = targets::names(&message).into();
        let mut octets = message;
        ttl_offsets(&octets)?
            .iter()
            .for_each(|offset| octets.extend(offset.to_ne_bytes()));
        Some(Self {
            octets: octets.into(),
            message_octets,
            chain,
            stored_s: seconds(now),
            ttl_s: AtomicU32::new(ttl_s),
            ..Self::empty()
        })
    }

    /// The same entry with the info-code of an Extended DNS Error.
    pub(super) fn with_code(self, code: Option<EdeCode>) -> Self {
        Self { code, ..self }
    }

    /// An entry without an answer, for a question that is not resolved. It remembers the name's
    /// classification: a name that is blocked for each client that asks is never resolved.
    #[must_use]
    pub fn placeholder(key: &QuestionKeyRef<'_>) -> Self {
        let octets = [&[0; HEADER_OCTETS], key.name.wire(), &key.tail].concat();
        Self {
            message_octets: u16::try_from(octets.len()).expect("a question is short"),
            octets: octets.into(),
            ..Self::empty()
        }
    }

    /// The same answer without its classification.
    #[must_use]
    pub fn unclassified(&self) -> Self {
        let Self {
            message_octets,
            stored_s,
            code,
            ..
        } = *self;
        Self {
            octets: self.octets.clone(),
            message_octets,
            chain: self.chain.clone(),
            stored_s,
            ttl_s: AtomicU32::new(self.ttl_s()),
            code,
            ..Self::empty()
        }
    }

    /// The same answer with its classification, not weighed yet.
    pub(super) fn reweighed(&self) -> Self {
        Self {
            classification: self.classification.clone(),
            ..self.unclassified()
        }
    }

    pub(super) fn empty() -> Self {
        Self {
            octets: Box::default(),
            message_octets: 0,
            chain: Box::default(),
            classification: ClassificationMemo::default(),
            classification_octets: OnceLock::new(),
            stored_s: 0,
            ttl_s: AtomicU32::new(0),
            code: None,
            is_prefetch_claimed: AtomicBool::new(false),
        }
    }

    /// Whether the entry answers the question of this key.
    #[inline]
    pub(super) fn answers(&self, key: &QuestionKeyRef<'_>) -> bool {
        let question = self.octets.get(HEADER_OCTETS..).unwrap_or_default();
        let name = key.name.wire();
        question.starts_with(name) && question[name.len()..].starts_with(&key.tail)
    }

    /// Whether the entry has an answer whose TTL is not over.
    #[must_use]
    pub fn is_fresh(&self, now: Duration) -> bool {
        self.age_s(now) < self.ttl_s()
    }

    /// Whether the answer's TTL ended at most `stale_max` ago, so that it may be served stale (RFC
    /// 8767).
    #[must_use]
    pub fn is_stale_but_servable(&self, now: Duration, stale_max: Duration) -> bool {
        let (age, ttl) = (u64::from(self.age_s(now)), u64::from(self.ttl_s()));
        ttl > 0 && age >= ttl && age < ttl + stale_max.as_secs()
    }

    /// Ends the TTL now, so that the answer may be served stale only. False where that cannot be
    /// said: the answer was stored within this second.
    pub(super) fn expire(&self, now: Duration) -> bool {
        let age = self.age_s(now);
        self.ttl_s.fetch_min(age.max(1), Ordering::Relaxed) == 0 || age > 0
    }

    /// Returns true once, when at most 10 % of the TTL remains and the TTL is at least
    /// [`PREFETCH_TTL_MIN_S`]. The caller must then start a prefetch.
    pub fn claim_prefetch(&self, now: Duration) -> bool {
        let ttl_s = self.ttl_s();
        let left = ttl_s.saturating_sub(self.age_s(now));
        ttl_s >= PREFETCH_TTL_MIN_S
            && left <= ttl_s / 10
            && !self.is_prefetch_claimed.swap(true, Ordering::Relaxed)
    }

    /// Whether the answer may be cached. One with a TTL of 0 is for the clients that wait for it
    /// (RFC 1035 section 3.2.1).
    #[must_use]
    pub fn is_cacheable(&self) -> bool {
        self.ttl_s() > 0
    }

    pub(super) fn ttl_s(&self) -> u32 {
        self.ttl_s.load(Ordering::Relaxed)
    }

    fn age_s(&self, now: Duration) -> u32 {
        seconds(now).saturating_sub(self.stored_s)
    }

    /// The response code of the message, without the extended bits.
    #[must_use]
    pub fn rcode_low(&self) -> u8 {
        self.message()[3] & 0x0f
    }

    /// Whether the queried name exists. With an alias the response code is the target's (RFC 6604
    /// section 3), and the queried name exists.
    #[must_use]
    pub fn has_name(&self) -> bool {
        let code = self.rcode_low();
        let answers = read_u16(self.message(), 6).unwrap_or(0);
        code == Rcode::NoError as u8 || code == Rcode::NxDomain as u8 && answers > 0
    }

    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.octets[..usize::from(self.message_octets)]
    }

    /// The targets behind the queried name, in order.
    #[must_use]
    pub fn chain(&self) -> &[Name] {
        &self.chain
    }

    /// The names that hops of a verdict refer to, behind the queried name: the chain, then the names
    /// that stand for listed addresses (`policy::lists::index_key`).
    #[must_use]
    pub fn hops(&self, lists: &Blocklist) -> Vec<Name> {
        let listed = self.classification.listed();
        let addresses = listed
            .by(lists.stamp())
            .map_or(&[][..], |classified| &classified.addresses);
        self.chain
            .iter()
            .chain(addresses.iter().map(|(name, _)| name))
            .cloned()
            .collect()
    }

    /// Writes one TTL, in seconds, into all records of a copy of the message.
    pub fn set_ttls(&self, copy: &mut [u8], ttl_s: u32) {
        for offset in self.ttl_offsets() {
            copy[offset..offset + 4].copy_from_slice(&ttl_s.to_be_bytes());
        }
    }

    /// Subtracts the entry's age from the TTLs of a copy of the message.
    pub fn age_ttls(&self, copy: &mut [u8], now: Duration) {
        let age = self.age_s(now);
        for offset in self.ttl_offsets() {
            let ttl = u32::from_be_bytes(copy[offset..offset + 4].try_into().expect("four octets"));
            copy[offset..offset + 4].copy_from_slice(&ttl.saturating_sub(age).to_be_bytes());
        }
    }

    #[inline]
    fn ttl_offsets(&self) -> impl Iterator<Item = usize> {
        self.octets[usize::from(self.message_octets)..]
            .chunks_exact(2)
            .map(|offset| usize::from(u16::from_ne_bytes([offset[0], offset[1]])))
    }

    /// The key of the entry's question. None for an entry that holds no question.
    pub(super) fn key(&self) -> Option<QuestionKey> {
        let end = skip_name(self.message(), HEADER_OCTETS)? + 4;
        self.message()
            .get(HEADER_OCTETS..end)
            .map(QuestionKey::of_question)
    }

    /// Remembers what the lists say. Returns false where that takes more memory than the entry
    /// weighs in the cache: the caller replaces it there.
    pub(crate) fn remember(&self, classified: Classified, has_older: bool) -> bool {
        self.classification.store(classified, has_older);
        self.classification_octets
            .get()
            .is_none_or(|weighed| self.classification.octets() <= *weighed)
    }

    /// Fixes the weight. Returns false where it was fixed before the entry became heavier.
    pub(super) fn fix_weight(&self) -> bool {
        let octets = self.classification.octets();
        *self.classification_octets.get_or_init(|| octets) >= octets
    }

    /// The memory of the entry on the heap, in octets, without its key.
    pub(super) fn heap_octets(&self) -> usize {
        let chain: usize = self
            .chain
            .iter()
            .map(|name| heap_octets(name.borrow().wire().len()))
            .sum();
        arc_octets::<Self>()
            + heap_octets(self.octets.len())
            + heap_octets(size_of_val(&*self.chain))
            + chain
            + self
                .classification_octets
                .get()
                .copied()
                .unwrap_or_default() as usize
    }
}

/// Whole seconds of the engine's clock: enough for 136 years.
fn seconds(now: Duration) -> u32 {
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

/// The offset of each record's TTL; none if the message does not parse.
pub(super) fn ttl_offsets(message: &[u8]) -> Option<Vec<u16>> {
    let mut at = HEADER_OCTETS;
    for _ in 0..read_u16(message, 4)? {
        at = skip_name(message, at)? + 4;
    }
    let records = (6..12)
        .step_by(2)
        .map(|offset| read_u16(message, offset).map(usize::from))
        .sum::<Option<usize>>()?;
    let mut offsets = Vec::with_capacity(records.min(message.len()));
    for _ in 0..records {
        at = skip_name(message, at)?;
        offsets.push(u16::try_from(at + 4).ok()?);
        at += 10 + usize::from(read_u16(message, at + 8)?);
    }
    (at == message.len()).then_some(offsets)
}
