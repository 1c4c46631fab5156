//! The base artefact of a generation: an FST from the keys of names to the numbers of their mark
//! sets.
//!
//! A lookup walks a name from its top-level domain down, one transition an octet, and stops at the
//! first octet that no listed name has. Each label end on the way that is final is a listed
//! ancestor, or the name itself. Nothing is allocated.

use std::path::Path;

use fst::raw::{CompiledAddr, Fst, Node, Output};

use crate::{
    lists::{
        artefact::{ArtefactError, Contents},
        blocklist::mark_set::OF_OVERLAY,
    },
    name::{KEY_ESCAPE, KEY_LABEL_END, LABELS_MAX, Labels},
};

/// The bytes of an artefact and the range of the FST in them.
pub(super) struct FstOctets {
    octets: Vec<u8>,
    range: std::ops::Range<usize>,
}

impl AsRef<[u8]> for FstOctets {
    fn as_ref(&self) -> &[u8] {
        &self.octets[self.range.clone()]
    }
}

/// An artefact in memory.
pub(super) struct Base {
    pub(super) generation: u64,
    /// Number of mark sets that the artefact holds.
    set_count: usize,
    fst: Fst<FstOctets>,
    /// Number of answers that the artefact holds.
    pub(super) answer_count: usize,
}

/// The listed ancestors of one name, the name included, ordered by depth: the number of labels and
/// the mark set of each.
///
/// Each label end can be a hit once. The list takes a kilobyte, so it is filled in place and not
/// moved.
pub(super) struct Hits {
    list: [(u8, u32); LABELS_MAX],
    count: usize,
}

impl Hits {
    pub(super) const NONE: Self = Self {
        list: [(0, 0); LABELS_MAX],
        count: 0,
    };

    #[inline]
    pub(super) fn as_slice(&self) -> &[(u8, u32)] {
        &self.list[..self.count]
    }

    #[inline]
    fn push(&mut self, depth: u8, set: u32) {
        self.list[self.count] = (depth, set);
        self.count += 1;
    }

    /// Replaces the set of a depth, or inserts it there.
    pub(super) fn replace(&mut self, depth: u8, set: u32) {
        let at = self.as_slice().partition_point(|&(other, _)| other < depth);
        if at == self.count || self.list[at].0 != depth {
            self.list.copy_within(at..self.count, at + 1);
            self.count += 1;
        }
        self.list[at] = (depth, set);
    }
}

impl Base {
    /// Generation 0, without names, and the length of its FST in octets.
    pub(super) fn empty() -> (Self, u64) {
        let octets = fst::raw::Builder::memory()
            .into_inner()
            .expect("memory does not fail");
        let fst_octets = octets.len() as u64;
        let range = 0..octets.len();
        let base = Self {
            generation: 0,
            set_count: 0,
            fst: Fst::new(FstOctets { octets, range }).expect("just built"),
            answer_count: 0,
        };
        (base, fst_octets)
    }

    /// Takes the names of an artefact, after checking the structure of the FST.
    pub(super) fn of(contents: &mut Contents, path: &Path) -> Result<Self, ArtefactError> {
        let damaged = |what| ArtefactError::Damaged {
            path: path.to_owned(),
            what,
        };
        let header = &contents.header;
        let set_count = contents.mark_sets.len();
        // The walk trusts every address in the FST, so the FST must be sound, not only have the hash
        // that our own writer gave it.
        let fst = Fst::new(FstOctets {
            octets: std::mem::take(&mut contents.octets),
            range: contents.fst.clone(),
        })
        .and_then(|fst| fst.verify().map(|()| fst))
        .map_err(|_| damaged("its transducer cannot be read"))?;
        if fst.len() as u64 != header.names {
            return Err(damaged("its transducer holds another number of names"));
        }
        if set_count >= OF_OVERLAY as usize {
            return Err(damaged("it has more sets of marks than names"));
        }
        Ok(Self {
            generation: header.generation,
            set_count,
            fst,
            answer_count: header.answers.len(),
        })
    }

    /// Octets of the artefact in memory.
    pub(super) fn octets(&self) -> usize {
        self.fst.as_inner().octets.len()
    }

    /// The mark set of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<u32> {
        self.fst.get(key).and_then(|set| self.set_of(set.value()))
    }

    /// All keys in order, with values for [`Self::set_of`].
    pub(super) fn stream(&self) -> fst::raw::Stream<'_> {
        self.fst.stream()
    }

    /// The mark set that a value of the FST means. The artefact was verified, so the set exists; a
    /// wrong value means no set rather than a panic.
    #[inline]
    pub(super) fn set_of(&self, value: u64) -> Option<u32> {
        u32::try_from(value)
            .ok()
            .filter(|&set| (set as usize) < self.set_count)
    }

    /// Adds the listed ancestors of a name to `hits`.
    pub(super) fn walk(&self, name: &Labels<'_>, hits: &mut Hits) {
        let mut node = self.fst.root();
        let mut output = Output::zero();
        for depth in 0..name.len() {
            for &octet in name.label_from_top(depth) {
                let escaped = octet <= KEY_ESCAPE;
                if escaped && !self.step(&mut node, &mut output, KEY_ESCAPE) {
                    return;
                }
                let octet = if escaped { octet + 1 } else { octet };
                if !self.step(&mut node, &mut output, octet) {
                    return;
                }
            }
            if !self.step(&mut node, &mut output, KEY_LABEL_END) {
                return;
            }
            if node.is_final() {
                let value = output.cat(node.final_output()).value();
                if let Some(set) = self.set_of(value) {
                    hits.push(u8::try_from(depth + 1).expect("at most 127 labels"), set);
                }
            }
        }
    }

    /// Whether any key begins with these octets.
    pub(super) fn has_prefix(&self, prefix: &[u8]) -> bool {
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
