//! The classification of an entry's names by the lists of one generation, remembered beside the
//! entry. It says which lists contain a name; it is no decision about a client.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::{ArcSwapOption, Guard};
use policy::{
    lists::{
        blocklist::{Blocklist, Classification},
        index_key::name_of_address,
    },
    name::{Name, NameRef},
};

use crate::{
    message::{embedded::embedded_ipv4, targets},
    weighed::{arc_octets, heap_octets},
};

/// How many of the last addresses are compared to skip one with an equal classification.
const DUPLICATES_LOOKED_BACK: usize = 16;
/// No lists have this stamp: a real one is a part of a SHA-256.
const NO_STAMP: u64 = u64::MAX;

/// What the lists with one stamp say of the queried name, the names of the chain and the listed
/// addresses of an answer.
pub(crate) struct Classified {
    stamp: u64,
    pub(crate) asked: Classification,
    pub(crate) chain: Box<[Classification]>,
    /// Listed addresses only, by the name that stands for an address in the lists.
    pub(crate) addresses: Box<[(Name, Classification)]>,
}

impl Classified {
    /// Looks up all names and addresses of an answer.
    pub(crate) fn look_up(
        asked: NameRef<'_>,
        chain: &[Name],
        message: &[u8],
        lists: &Blocklist,
    ) -> Self {
        Self {
            stamp: lists.stamp(),
            asked: lists.classify(asked),
            chain: chain
                .iter()
                .map(|name| lists.classify(name.borrow()))
                .collect(),
            addresses: listed_addresses(message, lists),
        }
    }

    fn is_unlisted(&self) -> bool {
        let mut names = std::iter::once(&self.asked).chain(&self.chain);
        self.addresses.is_empty() && names.all(|class| *class == Classification::NOTHING)
    }

    /// The memory behind its `Arc`, in octets.
    fn octets(&self) -> usize {
        let names: usize = self
            .addresses
            .iter()
            .map(|(name, _)| heap_octets(name.borrow().wire().len()))
            .sum();
        arc_octets::<Self>()
            + heap_octets(size_of_val(&*self.chain))
            + heap_octets(size_of_val(&*self.addresses))
            + names
    }

    /// The same without the marks that ask a client to come back over TCP.
    pub(crate) fn over_tcp(&self) -> Self {
        Self {
            stamp: self.stamp,
            asked: self.asked.over_tcp(),
            chain: self.chain.iter().map(|class| class.over_tcp()).collect(),
            addresses: self
                .addresses
                .iter()
                .map(|(name, class)| (name.clone(), class.over_tcp()))
                .collect(),
        }
    }
}

fn listed_addresses(message: &[u8], lists: &Blocklist) -> Box<[(Name, Classification)]> {
    let mut listed: Vec<(Name, Classification)> = Vec::new();
    let mut classify = |address| {
        let class = lists.classify_address(address);
        let is_duplicate = || {
            let recent = listed.iter().rev().take(DUPLICATES_LOOKED_BACK);
            recent.into_iter().any(|(_, known)| *known == class)
        };
        if class != Classification::NOTHING && !is_duplicate() {
            listed.push((name_of_address(address), class));
        }
    };
    if lists.has_addresses() {
        targets::for_each_address(message, |address| {
            // An IPv6 address that leads to a listed IPv4 address is no way around an order.
            embedded_ipv4(address).into_iter().for_each(&mut classify);
            classify(address);
        });
    }
    listed.into()
}

/// The latest classification of an entry. The first query after a list swap replaces it.
pub(crate) struct ClassificationMemo {
    /// The stamp of the lists that contain none of the names. True for nearly all names, and then a
    /// query reads this word alone.
    unlisted: AtomicU64,
    listed: ArcSwapOption<Classified>,
}

impl Default for ClassificationMemo {
    fn default() -> Self {
        Self {
            unlisted: AtomicU64::new(NO_STAMP),
            listed: ArcSwapOption::empty(),
        }
    }
}

impl Clone for ClassificationMemo {
    fn clone(&self) -> Self {
        Self {
            unlisted: AtomicU64::new(self.unlisted.load(Ordering::Relaxed)),
            listed: ArcSwapOption::new(self.listed.load_full()),
        }
    }
}

impl ClassificationMemo {
    /// The memory on the heap, in octets.
    pub(super) fn octets(&self) -> u32 {
        let listed = self.listed.load();
        let octets = listed.as_deref().map_or(0, Classified::octets);
        u32::try_from(octets).expect("an answer has at most 64 KiB of names and addresses")
    }

    /// Whether the lists with this stamp are known to contain none of the names.
    #[inline]
    pub(crate) fn is_unlisted(&self, stamp: u64) -> bool {
        self.unlisted.load(Ordering::Relaxed) == stamp
    }

    /// The latest classification by lists that contain one of the names.
    #[inline]
    pub(crate) fn listed(&self) -> Listed {
        Listed(self.listed.load())
    }

    /// Remembers a classification. `has_older` says whether [`Self::listed`] had one by other lists.
    pub(crate) fn store(&self, classified: Classified, has_older: bool) {
        if classified.is_unlisted() {
            self.unlisted.store(classified.stamp, Ordering::Relaxed);
            // Expensive, and needed only after lists that contained one of the names.
            if has_older {
                self.listed.store(None);
            }
        } else {
            self.listed.store(Some(Arc::new(classified)));
        }
    }
}

/// A reference to the latest classification.
pub(crate) struct Listed(Guard<Option<Arc<Classified>>>);

impl Listed {
    /// Whether there is one, by any lists.
    #[inline]
    pub(crate) fn exists(&self) -> bool {
        self.0.is_some()
    }

    /// The classification, if it is by the lists with this stamp.
    #[inline]
    pub(crate) fn by(&self, stamp: u64) -> Option<&Classified> {
        self.0
            .as_deref()
            .filter(|classified| classified.stamp == stamp)
    }
}
