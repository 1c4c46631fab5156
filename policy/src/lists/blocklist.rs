//! The lists as they are asked: one artefact, verified, in memory, immutable, and in front of it
//! what deltas have changed since.
//!
//! A name is walked from its top-level domain down, one transition an octet. The walk stops at the
//! first octet that no listed name has; every label end on the way that is final is a listed
//! ancestor (or the name). Nothing is allocated. What stands in the overlay takes the place of what
//! the artefact says of that name.
//!
//! Several entries may speak for a name. Inside one feed the highest rank speaks, whatever the
//! order of lines: `$important` first, then the deeper name, then allow before deny. In a feed that
//! is declared most specific, a deeper entry replaces what shallower ones say. Over feeds,
//! categories add up, and with those whose bundle has the name. Entries at the root speak for
//! nothing: no list means the whole Internet.

use std::{net::IpAddr, path::Path, sync::Arc};

use fst::raw::{CompiledAddr, Fst, Node, Output};
use jiff::Timestamp;

use crate::{
    category::{CategoryId, Taxonomy},
    lists::{
        artefact::{self, ARRIVALS_MAX, ArtefactError, FeedSummary, Header},
        classification::LISTINGS_MAX,
        delta::Delta,
        entry::{EntryAction, ListEntry, LocalData, Polarity, Tier},
        index_key::{address_tops, is_of_addresses, name_of_address},
        mandates::ActiveMandates,
        overlay::Overlay,
        services::{ServiceMatch, ServiceNames},
    },
    name::{KEY_ESCAPE, KEY_LABEL_END, LABELS_MAX, Labels, NameRef},
    rules::builtin_names::BuiltinNames,
};

pub use self::names::NameCursor;
pub use crate::lists::classification::{Classification, Listing};

mod names;

/// The bytes of an artefact and where the FST lies in them.
struct FstOctets {
    octets: Vec<u8>,
    range: std::ops::Range<usize>,
}

impl AsRef<[u8]> for FstOctets {
    fn as_ref(&self) -> &[u8] {
        &self.octets[self.range.clone()]
    }
}

/// One mark set, translated to the running taxonomy.
struct MarkSet {
    marks: Box<[RunningMark]>,
    /// Whether any mark excepts or replaces: then ranks must be compared; otherwise they just add
    /// up.
    is_ranked: bool,
}

#[derive(Clone, Copy)]
struct RunningMark {
    mark: ListEntry,
    tier: Tier,
    category: Option<CategoryId>,
    most_specific: bool,
}

/// One entry that speaks for a name, with where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryMatch<'a> {
    /// The listed name.
    pub entry: NameRef<'a>,
    /// What the feed says of it.
    pub mark: ListEntry,
    /// The category in the running taxonomy; none for orders and names that are never blocked.
    pub category: Option<CategoryId>,
    /// The feed's tier.
    pub tier: Tier,
    /// Whether it counts, or another entry of its feed outranks it.
    pub counts: bool,
    /// When it came to the lists, at the latest.
    pub since: Option<Timestamp>,
}

/// What a header says of feeds and categories, translated once.
struct Translation {
    /// Tier, whether it is most specific, and whether it was withdrawn.
    feeds: Vec<(Tier, bool, bool)>,
    categories: Vec<CategoryId>,
}

impl Translation {
    fn of(header: &Header, path: &Path, taxonomy: &Taxonomy) -> Result<Self, ArtefactError> {
        let category = |slug: &String| {
            let category = taxonomy.find(slug);
            category.ok_or_else(|| ArtefactError::UnknownCategory {
                path: path.to_owned(),
                slug: slug.clone(),
            })
        };
        Ok(Self {
            feeds: header
                .feeds
                .iter()
                .map(|feed: &FeedSummary| (feed.tier, feed.most_specific, feed.withdrawn))
                .collect(),
            categories: header
                .categories
                .iter()
                .map(category)
                .collect::<Result<_, _>>()?,
        })
    }

    fn set(&self, marks: &[ListEntry]) -> MarkSet {
        let running = |&mark: &ListEntry| {
            let (tier, most_specific, withdrawn) = self.feeds[usize::from(mark.feed)];
            (!withdrawn).then(|| RunningMark {
                mark,
                tier,
                category: self.categories.get(usize::from(mark.category)).copied(),
                most_specific,
            })
        };
        let marks: Box<[RunningMark]> = marks.iter().filter_map(running).collect();
        MarkSet {
            is_ranked: marks
                .iter()
                .any(|mark| mark.mark.polarity == Polarity::Allow || mark.most_specific),
            marks,
        }
    }
}

/// An artefact in memory.
struct Base {
    generation: u64,
    /// How many sets of marks its names lead to.
    sets: usize,
    fst: Fst<FstOctets>,
    answers: usize,
}

/// A generation of the lists.
pub struct Blocklist {
    header: Header,
    sha256: String,
    /// Of the lists alone, and with the mandates.
    lists_stamp: u64,
    stamp: u64,
    base: Arc<Base>,
    base_sets: Arc<[MarkSet]>,
    overlay: Arc<Overlay>,
    overlay_sets: Arc<Vec<MarkSet>>,
    answers: Arc<Vec<LocalData>>,
    has_addresses: bool,
    /// The taxonomy's: the same for all generations of a process, so the stamp need not know them.
    services: Arc<ServiceNames>,
    mandates: Arc<ActiveMandates>,
}

/// Set in the number of a mark set that is the overlay's.
const OF_OVERLAY: u32 = 1 << 31;

/// The most listed ancestors a name can have: each label end, once. A kilobyte, so it is filled
/// where it lies and not handed about.
type Hits = ([(u8, u32); LABELS_MAX], usize);
const NO_HITS: Hits = ([(0, 0); LABELS_MAX], 0);

impl Blocklist {
    /// Lists of no feed: generation 0, before the first artefact.
    #[must_use]
    pub fn empty(taxonomy: &Taxonomy) -> Self {
        let octets = fst::raw::Builder::memory()
            .into_inner()
            .expect("memory does not fail");
        let header = Header {
            fst_octets: octets.len() as u64,
            ..Header::of(0, Timestamp::UNIX_EPOCH)
        };
        let range = 0..octets.len();
        let fst = Fst::new(FstOctets { octets, range }).expect("just built");
        Self::on(
            (
                Base {
                    generation: 0,
                    sets: 0,
                    fst,
                    answers: 0,
                },
                Arc::new([]),
            ),
            header,
            String::new(),
            0,
            taxonomy,
        )
    }

    fn on(
        (base, base_sets): (Base, Arc<[MarkSet]>),
        mut header: Header,
        sha256: String,
        stamp: u64,
        taxonomy: &Taxonomy,
    ) -> Self {
        let answers = Arc::new(std::mem::take(&mut header.answers));
        let mut lists = Self {
            header,
            sha256,
            lists_stamp: stamp,
            stamp,
            base: Arc::new(base),
            base_sets,
            overlay: Arc::default(),
            overlay_sets: Arc::default(),
            answers,
            has_addresses: false,
            services: Arc::clone(taxonomy.services()),
            mandates: Arc::default(),
        };
        lists.has_addresses = address_tops().iter().any(|top| lists.base.has_prefix(top));
        lists
    }

    /// Opens an artefact, after checking all of it.
    ///
    /// # Errors
    /// What is wrong with the file; nothing of it is used then.
    pub fn open(path: &Path, taxonomy: &Taxonomy) -> Result<Arc<Self>, ArtefactError> {
        let damaged = |what| ArtefactError::Damaged {
            path: path.to_owned(),
            what,
        };
        let contents = artefact::read(path)?;
        let translation = Translation::of(&contents.header, path, taxonomy)?;
        let sets: Arc<[MarkSet]> = contents
            .mark_sets
            .iter()
            .map(|marks| translation.set(marks))
            .collect();
        let fst = Fst::new(FstOctets {
            octets: contents.octets,
            range: contents.fst,
        });
        // The walk believes every address in it, so it must be whole in itself, not only as our own
        // writer hashed it.
        let fst = fst
            .and_then(|fst| fst.verify().map(|()| fst))
            .map_err(|_| damaged("its transducer cannot be read"))?;
        if fst.len() as u64 != contents.header.names {
            return Err(damaged("its transducer holds another number of names"));
        }
        if sets.len() >= OF_OVERLAY as usize {
            return Err(damaged("it has more sets of marks than names"));
        }
        let base = Base {
            generation: contents.header.generation,
            sets: sets.len(),
            fst,
            answers: contents.header.answers.len(),
        };
        let stamp = stamp_of(&contents.sha256);
        Ok(Arc::new(Self::on(
            (base, sets),
            contents.header,
            contents.sha256,
            stamp,
            taxonomy,
        )))
    }

    /// These lists with deltas applied in their order: the base is shared, the overlay is a new
    /// one.
    ///
    /// # Errors
    /// A delta that continues another generation, or that does not fit: its feeds and categories
    /// are its parent's. Nothing is changed then.
    pub fn with(&self, deltas: &[Delta], taxonomy: &Taxonomy) -> Result<Arc<Self>, ArtefactError> {
        let keys = || {
            deltas
                .iter()
                .flat_map(|delta| &delta.changes)
                .map(|(key, _)| key.len())
        };
        let mut next = Self {
            header: self.header.clone(),
            sha256: self.sha256.clone(),
            lists_stamp: self.lists_stamp,
            stamp: self.stamp,
            base: Arc::clone(&self.base),
            base_sets: Arc::clone(&self.base_sets),
            overlay: Arc::default(),
            overlay_sets: Arc::default(),
            answers: Arc::clone(&self.answers),
            has_addresses: self.has_addresses,
            services: Arc::clone(&self.services),
            mandates: Arc::clone(&self.mandates),
        };
        let mut overlay = self.overlay.grown(keys().count(), keys().sum());
        let mut sets: Vec<Vec<ListEntry>> = self
            .overlay_sets
            .iter()
            .map(|set| set.marks.iter().map(|mark| mark.mark).collect())
            .collect();
        let mut places: std::collections::HashMap<Vec<ListEntry>, u32> = (0..)
            .zip(&sets)
            .map(|(place, set)| (set.clone(), place))
            .collect();
        for delta in deltas {
            let parent = delta.header.parent.unwrap_or_default();
            if parent != next.header.generation {
                return Err(ArtefactError::NoParent {
                    path: delta.path.clone(),
                    parent,
                });
            }
            let damaged = |what| ArtefactError::Damaged {
                path: delta.path.clone(),
                what,
            };
            if !next.header.is_continued_by(&delta.header) {
                return Err(damaged(
                    "its feeds or categories are not those of what it continues",
                ));
            }
            let (arrivals, arrival_places) =
                continue_arrivals(&next.header.arrivals, &delta.header.arrivals);
            let answers = next.answers.len() + delta.header.answers.len();
            for (key, marks) in &delta.changes {
                if marks.iter().any(|mark| {
                    mark.action == EntryAction::LocalData && mark.data as usize >= answers
                }) {
                    return Err(damaged("it names an answer that is not there"));
                }
                let mut marks = marks.clone();
                for mark in &mut marks {
                    mark.arrival = arrival_places
                        .get(usize::from(mark.arrival))
                        .copied()
                        .unwrap_or(mark.arrival);
                }
                marks.sort_unstable();
                let place = *places.entry(marks).or_insert_with_key(|marks| {
                    sets.push(marks.clone());
                    u32::try_from(sets.len() - 1).expect("fewer sets than names in the overlay")
                });
                overlay.set(key, place);
                next.has_addresses |= address_tops().iter().any(|top| key.starts_with(top));
            }
            if !delta.header.answers.is_empty() {
                Arc::make_mut(&mut next.answers).extend(delta.header.answers.iter().cloned());
            }
            let mut feeds = delta.header.feeds.clone();
            // What was withdrawn once is so in all that continues it.
            feeds
                .iter_mut()
                .zip(&next.header.feeds)
                .for_each(|(feed, before)| feed.withdrawn |= before.withdrawn);
            next.header = Header {
                feeds,
                answers: Vec::new(),
                arrivals,
                fst_octets: self.header.fst_octets,
                ..delta.header.clone()
            };
            next.sha256.clone_from(&delta.sha256);
        }
        let path = deltas
            .last()
            .map(|delta| delta.path.clone())
            .unwrap_or_default();
        let translation = Translation::of(&next.header, &path, taxonomy)?;
        if self
            .header
            .feeds
            .iter()
            .zip(&next.header.feeds)
            .any(|(before, now)| before.withdrawn != now.withdrawn)
        {
            let marks = |set: &MarkSet| set.marks.iter().map(|mark| mark.mark).collect::<Vec<_>>();
            next.base_sets = self
                .base_sets
                .iter()
                .map(|set| translation.set(&marks(set)))
                .collect();
        }
        next.overlay_sets = Arc::new(sets.iter().map(|set| translation.set(set)).collect());
        next.overlay = Arc::new(overlay);
        next.lists_stamp = if next.sha256.is_empty() {
            0
        } else {
            stamp_of(&next.sha256)
        };
        next.stamp = next.lists_stamp ^ next.mandates.stamp();
        Ok(Arc::new(next))
    }

    /// The same lists under these mandates; all else is shared. What continues these lists,
    /// [`Self::with`] deltas, has them as well.
    #[must_use]
    pub fn with_mandates(self: &Arc<Self>, mandates: &Arc<ActiveMandates>) -> Arc<Self> {
        if self.mandates.stamp() == mandates.stamp() {
            return Arc::clone(self);
        }
        Arc::new(Self {
            header: self.header.clone(),
            sha256: self.sha256.clone(),
            lists_stamp: self.lists_stamp,
            stamp: self.lists_stamp ^ mandates.stamp(),
            base: Arc::clone(&self.base),
            base_sets: Arc::clone(&self.base_sets),
            overlay: Arc::clone(&self.overlay),
            overlay_sets: Arc::clone(&self.overlay_sets),
            answers: Arc::clone(&self.answers),
            has_addresses: self.has_addresses,
            services: Arc::clone(&self.services),
            mandates: Arc::clone(mandates),
        })
    }

    /// What is ordered beside the feeds: the mandates that were in force when these lists became
    /// live.
    #[must_use]
    pub fn mandates(&self) -> &ActiveMandates {
        &self.mandates
    }

    /// The generation whose artefact lies under the overlay.
    #[must_use]
    pub fn base_generation(&self) -> u64 {
        self.base.generation
    }

    /// Names in the overlay, and octets that it holds.
    #[must_use]
    pub fn overlay_size(&self) -> (usize, usize) {
        (self.overlay.len(), self.overlay.octets())
    }

    /// LocalData that entries answer with, by [`ListEntry::data`].
    #[must_use]
    pub fn answers(&self) -> &[LocalData] {
        &self.answers
    }

    /// Octets of the answers that the base came with, in places: what a delta adds begins there.
    #[must_use]
    pub fn base_answers(&self) -> usize {
        self.base.answers
    }

    /// Whether any entry is about addresses: where none is, answers need not be looked at.
    #[must_use]
    pub fn has_addresses(&self) -> bool {
        self.has_addresses || self.mandates.has_addresses()
    }

    /// What the artefact says of itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The generation's number.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.header.generation
    }

    /// The artefact's SHA-256, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// A number that stands for this content, mandates included: what was classified under the same
    /// stamp needs no second look.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Octets held in memory for the names.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.base.fst.as_inner().octets.len() + self.overlay.octets()
    }

    /// Classifies a queried name. The keys of addresses are no names: they are not listed.
    #[must_use]
    pub fn classify(&self, name: NameRef<'_>) -> Classification {
        if is_of_addresses(name) {
            return Classification::NOTHING;
        }
        Classification {
            builtin: BuiltinNames::shipped().find(name),
            ..self.classify_key(name)
        }
    }

    fn classify_key(&self, name: NameRef<'_>) -> Classification {
        let labels = Labels::of(name);
        let mut classification = self.classify_by_feeds(name, &labels);
        classification.choice = classification.choice.union(self.services.find(&labels));
        self.mandates.speak(name, &mut classification);
        classification
    }

    fn classify_by_feeds(&self, name: NameRef<'_>, labels: &Labels<'_>) -> Classification {
        let mut room = NO_HITS;
        let hits = self.walk(labels, &mut room);
        let mut classification = Classification::NOTHING;
        if hits.is_empty() {
            return classification;
        }
        let is_ranked = hits.iter().any(|&(_, set)| self.set(set).is_ranked);
        let mut ranks = [(false, 0); LISTINGS_MAX];
        self.for_each_mark(hits, name, |depth, mark| {
            if mark.mark.polarity == Polarity::Deny
                && !(is_ranked && self.is_outranked(hits, name, depth, mark))
            {
                classification.add(
                    &mark.mark,
                    mark.tier,
                    mark.category,
                    (mark.mark.important, depth),
                    &mut ranks,
                );
            }
        });
        classification
    }

    /// What the lists say of an address in an answer. Allocates: ask only where
    /// [`Self::has_addresses`].
    #[must_use]
    pub fn classify_address(&self, address: IpAddr) -> Classification {
        if self.has_addresses() {
            self.classify_key(name_of_address(address).borrow())
        } else {
            Classification::NOTHING
        }
    }

    /// Every entry of a feed that speaks for a name, for explanations. Allocates; the query path
    /// uses [`Self::classify`].
    #[must_use]
    pub fn matches<'a>(&self, name: NameRef<'a>) -> Vec<EntryMatch<'a>> {
        let mut room = NO_HITS;
        let hits = self.walk(&Labels::of(name), &mut room);
        let mut ancestors: Vec<NameRef<'a>> = name.ancestors().collect();
        ancestors.reverse();
        let mut matches = Vec::new();
        self.for_each_mark(hits, name, |depth, mark| {
            matches.push(EntryMatch {
                entry: ancestors[usize::from(depth) - 1],
                mark: mark.mark,
                category: mark.category,
                tier: mark.tier,
                counts: !self.is_outranked(hits, name, depth, mark),
                since: self
                    .header
                    .arrivals
                    .get(usize::from(mark.mark.arrival))
                    .copied(),
            });
        });
        matches
    }

    /// Every entry of a bundle that speaks for a name, from the top, for explanations. Allocates.
    #[must_use]
    pub fn service_matches<'a>(&self, name: NameRef<'a>) -> Vec<ServiceMatch<'a>> {
        self.services.entries(name)
    }

    /// All that the lists say at a key, by itself.
    #[must_use]
    pub fn marks(&self, key: &[u8]) -> Vec<ListEntry> {
        let set = match self.overlay.get(key) {
            Some(place) => Some(place | OF_OVERLAY),
            None => self
                .base
                .fst
                .get(key)
                .and_then(|set| u32::try_from(set.value()).ok())
                .filter(|&set| (set as usize) < self.base.sets),
        };
        set.map(|set| self.set(set).marks.iter().map(|mark| mark.mark).collect())
            .unwrap_or_default()
    }

    fn set(&self, number: u32) -> &MarkSet {
        if number & OF_OVERLAY == 0 {
            &self.base_sets[number as usize]
        } else {
            &self.overlay_sets[(number & !OF_OVERLAY) as usize]
        }
    }

    fn for_each_mark(
        &self,
        hits: &[(u8, u32)],
        name: NameRef<'_>,
        mut visit: impl FnMut(u8, RunningMark),
    ) {
        let labels = name.label_count();
        for &(depth, set) in hits {
            for &mark in &self.set(set).marks {
                if mark.mark.scope.covers(usize::from(depth) == labels)
                    && mark.mark.action != EntryAction::Path
                {
                    visit(depth, mark);
                }
            }
        }
    }

    /// Whether another entry of the same feed outranks this one, see the rule in the head of this
    /// file.
    fn is_outranked(
        &self,
        hits: &[(u8, u32)],
        name: NameRef<'_>,
        depth: u8,
        entry: RunningMark,
    ) -> bool {
        // What is said of paths is said beside what is said of the name.
        if entry.mark.polarity == Polarity::Allow
            || entry.mark.action == EntryAction::RedirectToProxy
        {
            return false;
        }
        let rank = (entry.mark.important, depth);
        let mut outranked = false;
        self.for_each_mark(hits, name, |other_depth, other| {
            let other_rank = (other.mark.important, other_depth);
            let excepts = other.mark.polarity == Polarity::Allow && other_rank >= rank;
            let replaces = entry.most_specific
                && other.mark.action != EntryAction::RedirectToProxy
                && other_rank > rank;
            outranked |= other.mark.feed == entry.mark.feed && (excepts || replaces);
        });
        outranked
    }

    /// The listed ancestors of a name, the name included, from the top: how many labels each has,
    /// and its mark set.
    fn walk<'h>(&self, name: &Labels<'_>, hits: &'h mut Hits) -> &'h [(u8, u32)] {
        if self.overlay.len() == 0 {
            self.base.walk(name, hits);
        } else {
            let look = self.overlay.look(name);
            self.base.walk(name, hits);
            self.overlay.walk(name, look, |depth, set| {
                replace(hits, depth, set | OF_OVERLAY)
            });
        }
        &hits.0[..hits.1]
    }
}

/// Puts a set in the place of what was there at its depth, hits being ordered by depth.
fn replace((hits, count): &mut Hits, depth: u8, set: u32) {
    let at = hits[..*count].partition_point(|&(other, _)| other < depth);
    if at == *count || hits[at].0 != depth {
        hits.copy_within(at..*count, at + 1);
        *count += 1;
    }
    hits[at] = (depth, set);
}

/// The table of arrivals of lists and a delta, and where each place of the delta's is in it, if not
/// where it was. A delta that was made while its parent was folded knows the table as it was before
/// some times were told no longer apart.
fn continue_arrivals(known: &[Timestamp], new: &[Timestamp]) -> (Vec<Timestamp>, Vec<u16>) {
    if new.starts_with(known) {
        return (new.to_vec(), Vec::new());
    }
    let mut all = known.to_vec();
    let mut place = |&at: &Timestamp| {
        // Since then at the latest.
        let place = all.partition_point(|&known| known < at);
        if place == all.len() && place < ARRIVALS_MAX {
            all.push(at);
        }
        u16::try_from(place.min(all.len() - 1)).expect("bounded above and by who read the header")
    };
    let places = new.iter().map(&mut place).collect();
    (all, places)
}

fn stamp_of(sha256: &str) -> u64 {
    u64::from_str_radix(&sha256[..16], 16).expect("sixteen hexadecimal digits")
}

impl Base {
    fn walk(&self, name: &Labels<'_>, hits: &mut Hits) {
        let mut node = self.fst.root();
        let mut output = Output::zero();
        for depth in 0..name.len() {
            for &octet in name.label_from_top(depth) {
                let escaped = octet <= KEY_ESCAPE;
                if escaped && !self.step(&mut node, &mut output, KEY_ESCAPE) {
                    return;
                }
                if !self.step(
                    &mut node,
                    &mut output,
                    if escaped { octet + 1 } else { octet },
                ) {
                    return;
                }
            }
            if !self.step(&mut node, &mut output, KEY_LABEL_END) {
                return;
            }
            if node.is_final() {
                let set = output.cat(node.final_output()).value();
                // The artefact was verified, so the set exists; a wrong one would be no set rather
                // than a panic.
                if let Ok(set) = u32::try_from(set)
                    && (set as usize) < self.sets
                {
                    hits.0[hits.1] = (u8::try_from(depth + 1).expect("at most 127 labels"), set);
                    hits.1 += 1;
                }
            }
        }
    }

    /// Whether any key begins so.
    fn has_prefix(&self, prefix: &[u8]) -> bool {
        let mut node = self.fst.root();
        let mut output = Output::zero();
        prefix
            .iter()
            .all(|&octet| self.step(&mut node, &mut output, octet))
    }

    fn step<'f>(&'f self, node: &mut Node<'f>, output: &mut Output, octet: u8) -> bool {
        let Some(index) = node.find_input(octet) else {
            return false;
        };
        let transition = node.transition(index);
        *output = output.cat(transition.out);
        let address: CompiledAddr = transition.addr;
        *node = self.fst.node(address);
        true
    }
}

impl std::fmt::Debug for Blocklist {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocklist")
            .field("generation", &self.header.generation)
            .field("names", &self.header.names)
            .finish_non_exhaustive()
    }
}
