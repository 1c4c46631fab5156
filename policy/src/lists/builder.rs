//! The builder of artefacts: collects the entries of all feeds and writes them as one file. Also
//! folds a blocklist with its overlay into one file.
//!
//! ```text
//! entries ── sort ── names with their marks ── when did each mark come? ── sets by frequency ── header, sets, FST
//! ```
//!
//! Small values make a small FST, so the most frequent sets come first. The arrival time of an
//! entry is carried over from the previous lists by walking both in the order of their keys.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap, HashSet},
    io::{BufWriter, Write},
    path::Path,
};

use crate::{
    lists::{
        artefact::{
            ArtefactError, Header, MAGIC, WrittenArtefact, io, push_marks, tempfile_beside,
            write_aside, write_envelope,
        },
        blocklist::Blocklist,
        entry::{EntryAction, ListEntry, LocalData, Scope},
        index_key::{host_of_path, key_of_path},
    },
    name::NameRef,
};
use arrivals::PastArrivals;

mod arrivals;

/// Collects entries, then writes them at once.
///
/// Names are in one arena and entries have 24 octets, so that ten million names take about half a
/// gigabyte without an allocation each.
#[derive(Default)]
pub struct ArtefactBuilder {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    marks: Vec<ListEntry>,
    mark_places: HashMap<ListEntry, u32>,
    last_mark: Option<(ListEntry, u32)>,
    answers: AnswerTable,
    has_paths: bool,
}

/// Answers without duplicates.
#[derive(Default)]
struct AnswerTable {
    all: Vec<LocalData>,
    places: HashMap<LocalData, u32>,
}

impl AnswerTable {
    fn place(&mut self, records: LocalData) -> Result<u32, ArtefactError> {
        if let Some(&place) = self.places.get(&records) {
            return Ok(place);
        }
        let place = u32::try_from(self.all.len())
            .map_err(|_| ArtefactError::TooMany(u32::MAX as usize, "answers"))?;
        self.all.push(records.clone());
        self.places.insert(records, place);
        Ok(place)
    }

    /// Joins the answers of one feed for one name, which can come in several rows, into one set of
    /// records.
    fn join(&mut self, marks: &mut Vec<ListEntry>) -> Result<(), ArtefactError> {
        let is_one_of_several = |mark: &ListEntry, all: &[ListEntry]| {
            mark.action == EntryAction::LocalData
                && all.iter().filter(|other| other.says_what(mark)).count() > 1
        };
        while let Some(mark) = marks
            .iter()
            .find(|mark| is_one_of_several(mark, marks))
            .copied()
        {
            let same = marks.iter().filter(|other| other.says_what(&mark));
            let mut records: Vec<_> = same
                .flat_map(|other| self.all[other.data as usize].0.iter().cloned())
                .collect();
            records.sort();
            records.dedup();
            marks.retain(|other| !other.says_what(&mark));
            marks.push(ListEntry {
                data: self.place(LocalData(records))?,
                ..mark
            });
            marks.sort_unstable();
        }
        Ok(())
    }
}

/// A state of an [`ArtefactBuilder`] to return to.
#[derive(Debug)]
pub struct Checkpoint {
    arena: usize,
    entries: usize,
}

/// One name with one mark. The first octets of the key are copied here, so that sorting seldom
/// reads the arena.
#[derive(Clone, Copy)]
struct Entry {
    head: u64,
    offset: u32,
    length: u16,
    mark: u32,
}

impl ArtefactBuilder {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one entry. Order and repetition do not matter.
    ///
    /// # Errors
    /// [`ArtefactError::TooMany`] when the format has no room for more.
    pub fn push(&mut self, name: NameRef<'_>, mark: ListEntry) -> Result<(), ArtefactError> {
        let (offset, mark) = self.room_for(mark)?;
        name.write_key(&mut self.arena);
        self.note(offset, mark)
    }

    /// Adds one entry by its key, as [`crate::lists::blocklist::NameCursor`] returns it.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_key(&mut self, key: &[u8], mark: ListEntry) -> Result<(), ArtefactError> {
        self.has_paths |= mark.action == EntryAction::Path;
        // The paths of a host are counted when all are known.
        if mark.action == EntryAction::RedirectToProxy {
            return Ok(());
        }
        let (offset, mark) = self.room_for(mark)?;
        self.arena.extend_from_slice(key);
        self.note(offset, mark)
    }

    /// Adds a path of a host; the host's own mark follows from its paths.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_path(
        &mut self,
        host: NameRef<'_>,
        path: &[u8],
        mark: ListEntry,
    ) -> Result<(), ArtefactError> {
        self.push_key(
            &key_of_path(host, path),
            ListEntry {
                action: EntryAction::Path,
                scope: Scope::Exact,
                ..mark
            },
        )
    }

    /// Adds records that entries answer with, and returns their index for [`ListEntry::data`].
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn answer(&mut self, records: LocalData) -> Result<u32, ArtefactError> {
        self.answers.place(records)
    }

    /// The current state, for [`Self::rewind`].
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            arena: self.arena.len(),
            entries: self.entries.len(),
        }
    }

    /// Removes all entries since a checkpoint, so that a feed that turns out bad at its end leaves
    /// nothing.
    pub fn rewind(&mut self, checkpoint: &Checkpoint) {
        self.arena.truncate(checkpoint.arena);
        self.entries.truncate(checkpoint.entries);
    }

    /// The entries since a checkpoint, in the order of their keys, without duplicates.
    #[must_use]
    pub fn since(&self, checkpoint: &Checkpoint) -> Vec<(&[u8], ListEntry)> {
        let mut entries: Vec<(&[u8], ListEntry)> = self.entries[checkpoint.entries..]
            .iter()
            .map(|entry| (key_of(&self.arena, entry), self.marks[entry.mark as usize]))
            .collect();
        entries.sort_unstable();
        entries.dedup();
        entries
    }

    fn room_for(&mut self, mark: ListEntry) -> Result<(u32, u32), ArtefactError> {
        let offset = u32::try_from(self.arena.len())
            .map_err(|_| ArtefactError::TooMany(u32::MAX as usize, "octets of names"))?;
        // A feed repeats one mark for millions of names, so the last one is compared before
        // hashing.
        if let Some((last, place)) = self.last_mark
            && last == mark
        {
            return Ok((offset, place));
        }
        let place = match self.mark_places.get(&mark) {
            Some(&place) => place,
            None => {
                let place = u32::try_from(self.marks.len())
                    .map_err(|_| ArtefactError::TooMany(u32::MAX as usize, "distinct marks"))?;
                self.marks.push(mark);
                self.mark_places.insert(mark, place);
                place
            }
        };
        self.last_mark = Some((mark, place));
        Ok((offset, place))
    }

    /// Adds the entry whose key is the arena from `offset` on.
    fn note(&mut self, offset: u32, mark: u32) -> Result<(), ArtefactError> {
        let key = &self.arena[offset as usize..];
        let mut head = [0; 8];
        let shared = key.len().min(8);
        head[..shared].copy_from_slice(&key[..shared]);
        let Ok(length) = u16::try_from(key.len()) else {
            self.arena.truncate(offset as usize);
            return Err(ArtefactError::TooMany(
                usize::from(u16::MAX),
                "octets of a path",
            ));
        };
        self.entries.push(Entry {
            head: u64::from_be_bytes(head),
            offset,
            length,
            mark,
        });
        Ok(())
    }

    /// The number of entries added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Writes the artefact to `path`: aside, synced, renamed. Fills in counts, lengths, arrivals
    /// and answers of `header`. Entries that `previous` has as well keep their arrival time; all
    /// others arrive at `header.built_at`.
    ///
    /// # Errors
    /// The step that failed; then an existing file at `path` is unchanged.
    pub fn write(
        mut self,
        mut header: Header,
        previous: Option<&Blocklist>,
        path: &Path,
    ) -> Result<WrittenArtefact, ArtefactError> {
        header.entries = 0;
        if self.has_paths {
            self.count_paths()?;
        }
        self.sort();
        let mut past = PastArrivals::new(previous, &header);
        let mut sets = Sets::default();
        let mut answers = AnswerTable::default();
        let mut names: Vec<(u32, u32)> = Vec::new();
        let mut marks = Vec::new();
        let mut at = 0;
        while at < self.entries.len() {
            let key = key_of(&self.arena, &self.entries[at]);
            let same = self.entries[at..]
                .iter()
                .take_while(|entry| key_of(&self.arena, entry) == key)
                .count();
            marks.clear();
            marks.extend(
                self.entries[at..at + same]
                    .iter()
                    .map(|entry| self.marks[entry.mark as usize]),
            );
            marks.dedup();
            self.answers.join(&mut marks)?;
            // Answers of rewound feeds, and those that were joined, are not written.
            for mark in marks
                .iter_mut()
                .filter(|mark| mark.action == EntryAction::LocalData)
            {
                mark.data = answers.place(self.answers.all[mark.data as usize].clone())?;
            }
            past.date(key, &mut marks);
            header.entries += marks
                .iter()
                .filter(|mark| mark.action != EntryAction::RedirectToProxy)
                .count() as u64;
            names.push((
                u32::try_from(at).expect("the arena bounds the entries"),
                sets.place(&marks),
            ));
            at += same;
        }
        header.arrivals = past.arrivals();
        header.answers = answers.all;
        header.names = names.len() as u64;
        write_artefact(header, &sets, path, |insert| {
            names.iter().try_for_each(|&(entry, place)| {
                insert(key_of(&self.arena, &self.entries[entry as usize]), place)
            })
        })
    }

    fn sort(&mut self) {
        let arena = &self.arena;
        let marks = &self.marks;
        self.entries.sort_unstable_by(|a, b| {
            a.head
                .cmp(&b.head)
                .then_with(|| key_of(arena, a).cmp(key_of(arena, b)))
                // By content, not by index: the same entries in any order make the same artefact.
                .then_with(|| {
                    if a.mark == b.mark {
                        Ordering::Equal
                    } else {
                        marks[a.mark as usize].cmp(&marks[b.mark as usize])
                    }
                })
        });
    }

    /// Adds a mark for each host of paths, feed and category, with the number of paths.
    fn count_paths(&mut self) -> Result<(), ArtefactError> {
        let mut counts: BTreeMap<(&[u8], u16, u8), u32> = BTreeMap::new();
        let mut seen: HashSet<(&[u8], u16, u8)> = HashSet::new();
        for entry in &self.entries {
            let key = key_of(&self.arena, entry);
            let mark = self.marks[entry.mark as usize];
            if mark.action == EntryAction::Path && seen.insert((key, mark.feed, mark.category)) {
                *counts
                    .entry((host_of_path(key), mark.feed, mark.category))
                    .or_default() += 1;
            }
        }
        let hosts: Vec<(Vec<u8>, ListEntry)> = counts
            .into_iter()
            .map(|((host, feed, category), count)| {
                (
                    host.to_vec(),
                    ListEntry {
                        action: EntryAction::RedirectToProxy,
                        data: count,
                        ..ListEntry::deny(feed, category, Scope::Exact)
                    },
                )
            })
            .collect();
        for (host, mark) in hosts {
            let (offset, mark) = self.room_for(mark)?;
            self.arena.extend_from_slice(&host);
            self.note(offset, mark)?;
        }
        Ok(())
    }
}

fn key_of<'a>(arena: &'a [u8], entry: &Entry) -> &'a [u8] {
    &arena[entry.offset as usize..entry.offset as usize + usize::from(entry.length)]
}

/// Writes lists with an overlay as one artefact of the same generation: the same content in its
/// shortest form.
///
/// Deltas may arrive meanwhile, and they refer to answers by index in the lists before the fold.
/// Unused answers are therefore emptied and keep their index. Deltas refer to arrival times, too,
/// but [`Blocklist::with_deltas`] finds those again.
///
/// # Errors
/// The step that failed; then an existing file at `path` is unchanged.
pub fn fold(lists: &Blocklist, path: &Path) -> Result<WrittenArtefact, ArtefactError> {
    // Arrivals stay as they are, because deltas that continue this generation refer to them by
    // index.
    let mut header = lists.header().clone();
    header.answers = vec![LocalData::default(); lists.answers().len()];
    let mut sets = Sets::default();
    let mut places_of_names = Vec::new();
    let mut names = lists.names();
    while let Some((_, marks)) = names.next() {
        for mark in marks
            .iter()
            .filter(|mark| mark.action == EntryAction::LocalData)
        {
            let place = mark.data as usize;
            header.answers[place].clone_from(&lists.answers()[place]);
        }
        places_of_names.push(sets.place(marks));
    }
    header.names = places_of_names.len() as u64;
    write_artefact(header, &sets, path, |insert| {
        let mut names = lists.names();
        for place in places_of_names {
            let Some((key, _)) = names.next() else { break };
            insert(key, place)?;
        }
        Ok(())
    })
}

/// Mark sets without duplicates, with their frequency.
#[derive(Default)]
struct Sets {
    places: HashMap<Vec<ListEntry>, u32>,
    counts: Vec<u64>,
    last: Option<(Vec<ListEntry>, u32)>,
}

impl Sets {
    fn place(&mut self, marks: &[ListEntry]) -> u32 {
        if let Some((last, place)) = &self.last
            && last == marks
        {
            self.counts[*place as usize] += 1;
            return *place;
        }
        let place = match self.places.get(marks) {
            Some(&place) => place,
            None => {
                let place = u32::try_from(self.counts.len())
                    .expect("fewer sets than entries, and those are below 2^32");
                self.places.insert(marks.to_vec(), place);
                self.counts.push(0);
                place
            }
        };
        self.counts[place as usize] += 1;
        self.last = Some((marks.to_vec(), place));
        place
    }

    /// The sets by descending frequency, and the rank of each index.
    fn ranked(&self) -> (Vec<&[ListEntry]>, Vec<u32>) {
        let mut order: Vec<(&Vec<ListEntry>, u32)> = self
            .places
            .iter()
            .map(|(set, &place)| (set, place))
            .collect();
        order.sort_by_key(|&(_, place)| (std::cmp::Reverse(self.counts[place as usize]), place));
        let mut rank = vec![0; order.len()];
        for (position, &(_, place)) in order.iter().enumerate() {
            rank[place as usize] = u32::try_from(position).expect("places are 32 bits");
        }
        (
            order.into_iter().map(|(set, _)| set.as_slice()).collect(),
            rank,
        )
    }
}

/// Takes a key and the index of its set.
type Insert<'i> = dyn FnMut(&[u8], u32) -> Result<(), ArtefactError> + 'i;

fn write_artefact(
    mut header: Header,
    sets: &Sets,
    path: &Path,
    names: impl FnOnce(&mut Insert<'_>) -> Result<(), ArtefactError>,
) -> Result<WrittenArtefact, ArtefactError> {
    let (ranked, rank) = sets.ranked();
    let mut set_octets = Vec::new();
    for set in ranked {
        push_marks(&mut set_octets, set.iter().copied())?;
    }
    header.mark_sets_octets = set_octets.len() as u64;
    write_aside(path, |file| {
        // The header holds the length of the FST, so the FST is written first, into an unnamed file
        // in the same folder.
        let fst_error = |source| ArtefactError::Fst {
            path: path.to_owned(),
            source,
        };
        let mut builder =
            fst::raw::Builder::new(BufWriter::new(tempfile_beside(path)?)).map_err(fst_error)?;
        names(&mut |key, place| {
            builder
                .insert(key, u64::from(rank[place as usize]))
                .map_err(fst_error)
        })?;
        let mut scratch = builder
            .into_inner()
            .map_err(fst_error)?
            .into_inner()
            .map_err(|error| io("writing", path)(error.into_error()))?;
        header.fst_octets = scratch.metadata().map_err(io("measuring", path))?.len();
        let written = write_envelope(
            BufWriter::new(file),
            MAGIC,
            &header,
            |out: &mut dyn Write| {
                out.write_all(&set_octets)?;
                std::io::Seek::rewind(&mut scratch)?;
                std::io::copy(&mut scratch, out).map(|_| ())
            },
        );
        let (file, _) = written.map_err(io("writing", path))?;
        file.into_inner()
            .map_err(|error| io("writing", path)(error.into_error()))
    })?;
    let octets = std::fs::metadata(path)
        .map_err(io("measuring", path))?
        .len();
    Ok(WrittenArtefact {
        path: path.to_owned(),
        header,
        octets,
    })
}
