//! The lists as they are asked: one artefact, verified, in memory, immutable.
//!
//! A name is walked from its top-level domain down, one transition an octet. The walk stops at the first octet that no
//! listed name has; every label end on the way that is final is a listed ancestor (or the name). Nothing is allocated.
//!
//! Several entries may speak for a name. Inside one feed the highest rank speaks, whatever the order of lines:
//! `$important` first, then the deeper name, then allow before deny. Over feeds, categories add up.

use std::{path::Path, sync::Arc};

use fst::raw::{CompiledAddr, Fst, Node, Output};

use crate::{
    artefact::{self, ArtefactError, Header},
    category::{CategoryId, CategorySet, Taxonomy},
    listing::{Mark, Polarity, Tier},
    name::{KEY_ESCAPE, KEY_LABEL_END, LABELS_MAX, NameRef},
};

/// What the lists say of one name: small, copied, and valid for one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Classification {
    /// Categories of the choice tier.
    pub choice: CategorySet,
    /// Categories of the operator's security tier.
    pub security: CategorySet,
    /// Listed by order.
    pub mandatory: bool,
    /// On the operator's never-block list.
    pub never_block: bool,
}

impl Classification {
    /// Listed nowhere.
    pub const NOTHING: Self = Self { choice: CategorySet::EMPTY, security: CategorySet::EMPTY, mandatory: false, never_block: false };
}

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
    /// Whether any mark excepts: then ranks must be compared; otherwise they just add up.
    has_allow: bool,
}

#[derive(Clone, Copy)]
struct RunningMark {
    mark: Mark,
    tier: Tier,
    category: Option<CategoryId>,
}

/// One entry that speaks for a name, with where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match<'a> {
    /// The listed name.
    pub entry: NameRef<'a>,
    /// What the feed says of it.
    pub mark: Mark,
    /// The category in the running taxonomy; none for orders and names that are never blocked.
    pub category: Option<CategoryId>,
    /// The feed's tier.
    pub tier: Tier,
    /// Whether it counts, or another entry of its feed outranks it.
    pub counts: bool,
}

/// A generation of the lists.
pub struct Blocklist {
    header: Header,
    sha256: String,
    stamp: u64,
    sets: Box<[MarkSet]>,
    fst: Fst<FstOctets>,
}

/// The most listed ancestors a name can have: each label end, once.
type Hits = ([(u8, u32); LABELS_MAX], usize);

impl Blocklist {
    /// Lists that list nothing: generation 0, before the first artefact.
    #[must_use]
    pub fn empty() -> Self {
        let octets = fst::raw::Builder::memory().into_inner().expect("memory does not fail");
        let header = Header {
            generation: 0,
            built_at: jiff::Timestamp::UNIX_EPOCH,
            feeds: Vec::new(),
            categories: Vec::new(),
            names: 0,
            entries: 0,
            mark_sets_octets: 0,
            fst_octets: octets.len() as u64,
        };
        let range = 0..octets.len();
        let fst = Fst::new(FstOctets { octets, range }).expect("just built");
        Self { header, sha256: String::new(), stamp: 0, sets: Box::default(), fst }
    }

    /// Opens an artefact, after checking all of it.
    ///
    /// # Errors
    /// What is wrong with the file; nothing of it is used then.
    pub fn open(path: &Path, taxonomy: &Taxonomy) -> Result<Arc<Self>, ArtefactError> {
        let damaged = |what| ArtefactError::Damaged { path: path.to_owned(), what };
        let contents = artefact::read(path)?;
        let mut categories = Vec::with_capacity(contents.header.categories.len());
        for slug in &contents.header.categories {
            let category = taxonomy.find(slug);
            categories.push(category.ok_or_else(|| ArtefactError::UnknownCategory { path: path.to_owned(), slug: slug.clone() })?);
        }
        let tiers: Vec<Tier> = contents.header.feeds.iter().map(|feed| feed.tier).collect();
        let running = |marks: &Vec<Mark>| MarkSet {
            has_allow: marks.iter().any(|mark| mark.polarity == Polarity::Allow),
            marks: marks
                .iter()
                .map(|&mark| RunningMark {
                    mark,
                    tier: tiers[usize::from(mark.feed)],
                    category: categories.get(usize::from(mark.category)).copied(),
                })
                .collect(),
        };
        let sets: Box<[MarkSet]> = contents.mark_sets.iter().map(running).collect();
        let fst =
            Fst::new(FstOctets { octets: contents.octets, range: contents.fst }).map_err(|_| damaged("its transducer cannot be read"))?;
        if fst.len() as u64 != contents.header.names {
            return Err(damaged("its transducer holds another number of names"));
        }
        let stamp = u64::from_str_radix(&contents.sha256[..16], 16).expect("sixteen hexadecimal digits");
        Ok(Arc::new(Self { header: contents.header, sha256: contents.sha256, stamp, sets, fst }))
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

    /// A number that stands for this content: what was classified under the same stamp needs no second look.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Octets held in memory for the names.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.fst.as_inner().octets.len()
    }

    /// What the lists say of a name.
    #[must_use]
    pub fn classify(&self, name: NameRef<'_>) -> Classification {
        let (hits, count) = self.walk(name);
        if count == 0 {
            return Classification::NOTHING;
        }
        let mut classification = Classification::NOTHING;
        let has_allow = hits[..count].iter().any(|&(_, set)| self.sets[set as usize].has_allow);
        self.for_each_mark(&hits[..count], name, |depth, mark| {
            if mark.mark.polarity == Polarity::Deny && !(has_allow && self.is_excepted(&hits[..count], name, depth, mark)) {
                match mark.tier {
                    Tier::Mandatory => classification.mandatory = true,
                    Tier::NeverBlock => classification.never_block = true,
                    Tier::Security => classification.security.extend(mark.category),
                    Tier::Choice => classification.choice.extend(mark.category),
                }
            }
        });
        classification
    }

    /// Every entry that speaks for a name, for explanations. Allocates; the query path uses [`Self::classify`].
    #[must_use]
    pub fn matches<'a>(&self, name: NameRef<'a>) -> Vec<Match<'a>> {
        let (hits, count) = self.walk(name);
        let hits = &hits[..count];
        let mut ancestors: Vec<NameRef<'a>> = name.ancestors().collect();
        ancestors.reverse();
        let mut matches = Vec::new();
        self.for_each_mark(hits, name, |depth, mark| {
            let counts = mark.mark.polarity == Polarity::Allow || !self.is_excepted(hits, name, depth, mark);
            matches.push(Match {
                entry: ancestors[usize::from(depth) - 1],
                mark: mark.mark,
                category: mark.category,
                tier: mark.tier,
                counts,
            });
        });
        matches
    }

    /// All listed names with their marks, in key order: for `lists show` and for tests.
    pub fn for_each_name(&self, mut visit: impl FnMut(&[u8], &mut dyn Iterator<Item = Mark>)) {
        let mut stream = self.fst.stream();
        while let Some((key, set)) = fst::Streamer::next(&mut stream) {
            let set = self.sets.get(usize::try_from(set.value()).unwrap_or(usize::MAX));
            visit(key, &mut set.into_iter().flat_map(|set| set.marks.iter().map(|mark| mark.mark)));
        }
    }

    fn for_each_mark(&self, hits: &[(u8, u32)], name: NameRef<'_>, mut visit: impl FnMut(u8, RunningMark)) {
        let labels = name.labels().count();
        for &(depth, set) in hits {
            for &mark in &self.sets[set as usize].marks {
                if mark.mark.scope.covers(usize::from(depth) == labels) {
                    visit(depth, mark);
                }
            }
        }
    }

    /// Whether an allow of the same feed outranks this entry, see the rule in the head of this file.
    fn is_excepted(&self, hits: &[(u8, u32)], name: NameRef<'_>, depth: u8, deny: RunningMark) -> bool {
        let mut excepted = false;
        self.for_each_mark(hits, name, |allow_depth, allow| {
            let of_this_feed = allow.mark.feed == deny.mark.feed && allow.mark.polarity == Polarity::Allow;
            excepted |= of_this_feed && (allow.mark.important, allow_depth) >= (deny.mark.important, depth);
        });
        excepted
    }

    /// The listed ancestors of a name, the name included, from the top: how many labels each has, and its mark set.
    fn walk(&self, name: NameRef<'_>) -> Hits {
        let mut hits = ([(0, 0); LABELS_MAX], 0);
        let (starts, count) = name.label_starts();
        let mut node = self.fst.root();
        let mut output = Output::zero();
        for (depth, &start) in starts[..count].iter().rev().enumerate() {
            for &octet in name.label_at(start) {
                let escaped = octet <= KEY_ESCAPE;
                if escaped && !self.step(&mut node, &mut output, KEY_ESCAPE) {
                    return hits;
                }
                if !self.step(&mut node, &mut output, if escaped { octet + 1 } else { octet }) {
                    return hits;
                }
            }
            if !self.step(&mut node, &mut output, KEY_LABEL_END) {
                return hits;
            }
            if node.is_final() {
                let set = output.cat(node.final_output()).value();
                // The artefact was verified, so the set exists; a wrong one would be no set rather than a panic.
                if let Ok(set) = u32::try_from(set)
                    && (set as usize) < self.sets.len()
                {
                    hits.0[hits.1] = (u8::try_from(depth + 1).expect("at most 127 labels"), set);
                    hits.1 += 1;
                }
            }
        }
        hits
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
        f.debug_struct("Blocklist").field("generation", &self.header.generation).field("names", &self.header.names).finish_non_exhaustive()
    }
}
