//! Random rows, and the naive matcher that reads them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
};

use ipnet::IpNet;
use jiff::Timestamp;
use policy::{
    category::{CategoryId, Taxonomy},
    lists::{
        artefact::{FeedSummary, Header},
        blocklist::Blocklist,
        builder::ArtefactBuilder,
        entry::{
            EntryAction, ListEntry, LocalData, LocalRecord, NO_CATEGORY, Polarity, Scope, Tier,
        },
        index_key::{key_of_path, names_of_prefix},
    },
    name::{Name, NameRef},
};
use rand::{Rng, rngs::StdRng, seq::SliceRandom};

/// Each world is built once and then changed; every state of it is a rule set.
pub const WORLDS: u64 = 1_250;
pub const STATES: u64 = 8;
pub const SLUGS: [&str; 6] = ["gambling", "violence", "social", "games", "adult", "ads"];
/// Few labels, so that names meet; some need escapes in a key, or look like a path or an address.
pub const LABELS: [&[u8]; 8] = [
    b"a",
    b"b",
    b"ab",
    b"com",
    b"/a",
    b"\x00",
    b"\x01\x02",
    b"\xff.\x00",
];
pub const PATHS: [&[u8]; 4] = [b"/", b"/a", b"/a/b", b"/\x00\x01"];

pub fn pick<T: Copy>(chance: &mut StdRng, from: &[T]) -> T {
    from[chance.random_range(0..from.len())]
}

pub fn one_in(chance: &mut StdRng, many: u32) -> bool {
    chance.random_range(0..many) == 0
}

/// The subject of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    Name(Name),
    Path(Name, &'static [u8]),
    Prefix(IpNet),
}

/// The content of a row, apart from its records and its arrival.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub about: About,
    /// The number of the feed, independent of its index in the configuration.
    pub feed: usize,
    pub category: Option<&'static str>,
    pub scope: Scope,
    pub polarity: Polarity,
    pub important: bool,
    pub action: EntryAction,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    pub records: BTreeSet<u8>,
    pub since: Timestamp,
}

#[derive(Debug, Clone, Copy)]
pub struct Feed {
    pub number: usize,
    pub tier: Tier,
    pub most_specific: bool,
}

/// The rows, and the configuration that they are read by.
#[derive(Debug, Clone)]
pub struct World {
    pub rows: BTreeMap<Row, Rest>,
    pub feeds: Vec<Feed>,
    pub categories: Vec<&'static str>,
    pub generation: u64,
    /// Since when each host of paths has had any, by feed and category.
    pub hosts_since: BTreeMap<Host, Timestamp>,
    pub has_uneven_prefixes: bool,
}

pub type Host = (Name, usize, Option<&'static str>);

/// One row that applies to a queried name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub entry: Name,
    pub depth: usize,
    pub place: usize,
    pub row: Row,
    /// The records of the answer, or the number of paths.
    pub records: BTreeSet<u8>,
    pub paths: u32,
    pub since: Option<Timestamp>,
    pub counts: bool,
}

pub fn name_of(labels_from_top: &[&[u8]]) -> Name {
    let mut wire = Vec::new();
    for label in labels_from_top.iter().rev() {
        wire.push(u8::try_from(label.len()).unwrap());
        wire.extend_from_slice(label);
    }
    wire.push(0);
    NameRef::from_wire(&wire).unwrap().to_owned()
}

pub fn labels_of(name: &Name) -> Vec<&[u8]> {
    let mut labels: Vec<&[u8]> = name.borrow().labels().collect();
    labels.reverse();
    labels
}

pub fn name(chance: &mut StdRng) -> Name {
    // Mostly nested one-letter labels, so that names are ancestors of each other.
    let depth = pick(chance, &[1, 2, 2, 3, 3, 4, 6]);
    let labels: Vec<&[u8]> = (0..depth)
        .map(|_| {
            if one_in(chance, 3) {
                pick(chance, &LABELS)
            } else {
                b"a"
            }
        })
        .collect();
    if one_in(chance, 60) {
        name_of(&[b"a".as_slice(); 120])
    } else if one_in(chance, 60) {
        Name::root()
    } else {
        name_of(&labels)
    }
}

pub fn address(chance: &mut StdRng) -> IpAddr {
    let [site, host] = [3, 5].map(|most| chance.random_range(0..most));
    if chance.random() {
        IpAddr::from([10, 0, site as u8, host as u8])
    } else {
        IpAddr::from([0x2001, 0xdb8, site << 4, 0, 0, 0, 0, host])
    }
}

/// A prefix whose length ends at a label or between labels. The prefixes of one world never share a
/// key, because entries at one key would be joined.
pub fn prefix(chance: &mut StdRng, are_uneven: bool) -> IpNet {
    let address = address(chance);
    let lengths: &[u8] = match (address.is_ipv4(), are_uneven) {
        (true, false) => &[0, 8, 24, 32],
        (true, true) => &[0, 8, 22, 31],
        (false, false) => &[0, 32, 48, 128],
        (false, true) => &[0, 32, 45, 126],
    };
    IpNet::new(address, pick(chance, lengths)).unwrap().trunc()
}

impl World {
    pub fn new(chance: &mut StdRng) -> Self {
        let mut world = Self {
            rows: BTreeMap::new(),
            feeds: Vec::new(),
            categories: SLUGS.to_vec(),
            generation: 0,
            hosts_since: BTreeMap::new(),
            has_uneven_prefixes: chance.random(),
        };
        world.configure(chance);
        let rows = chance.random_range(0..30);
        (0..rows).for_each(|_| world.add(chance));
        let before = world.clone();
        world.settle(&before);
        world
    }

    /// Rows that existed before keep their arrival; the others arrive now.
    pub fn settle(&mut self, before: &Self) {
        let now = self.now();
        self.rows
            .iter_mut()
            .for_each(|(row, rest)| rest.since = before.rows.get(row).map_or(now, |old| old.since));
        let hosts = self.hosts().into_keys();
        self.hosts_since = hosts
            .map(|host| {
                (
                    host.clone(),
                    before.hosts_since.get(&host).copied().unwrap_or(now),
                )
            })
            .collect();
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_second(self.generation as i64 * 60).unwrap()
    }

    /// Other feeds in another order; the rows of a removed feed are removed.
    pub fn configure(&mut self, chance: &mut StdRng) {
        let count = chance.random_range(1..6);
        let mut numbers: Vec<usize> = (0..6).collect();
        numbers.shuffle(chance);
        let tiers = [
            Tier::Mandatory,
            Tier::Security,
            Tier::Choice,
            Tier::Choice,
            Tier::Choice,
            Tier::NeverBlock,
        ];
        let feed = |number| Feed {
            number,
            tier: pick(chance, &tiers),
            most_specific: one_in(chance, 3),
        };
        self.feeds = numbers.into_iter().take(count).map(feed).collect();
        self.categories.shuffle(chance);
        let is_there = |number| self.feeds.iter().any(|feed| feed.number == number);
        self.rows.retain(|row, _| is_there(row.feed));
    }

    pub fn add(&mut self, chance: &mut StdRng) {
        let feed = pick(chance, &self.feeds).number;
        let about = match chance.random_range(0..8) {
            0 => About::Path(name(chance), pick(chance, &PATHS)),
            1 => About::Prefix(prefix(chance, self.has_uneven_prefixes)),
            _ => About::Name(name(chance)),
        };
        let polarity = if one_in(chance, 4) {
            Polarity::Allow
        } else {
            Polarity::Deny
        };
        let actions = [
            EntryAction::OperatorPolicy,
            EntryAction::OperatorPolicy,
            EntryAction::Nxdomain,
            EntryAction::Nodata,
            EntryAction::Drop,
            EntryAction::TcpOnly,
            EntryAction::LocalData,
        ];
        let mut row = Row {
            about,
            feed,
            category: (!one_in(chance, 8)).then(|| pick(chance, &SLUGS)),
            scope: pick(
                chance,
                &[
                    Scope::Exact,
                    Scope::Subtree,
                    Scope::Subtree,
                    Scope::Descendants,
                ],
            ),
            polarity,
            important: one_in(chance, 5),
            action: if polarity == Polarity::Deny {
                pick(chance, &actions)
            } else {
                EntryAction::OperatorPolicy
            },
        };
        match row.about {
            About::Path(..) => {
                (row.scope, row.polarity, row.important, row.action) =
                    (Scope::Exact, Polarity::Deny, false, EntryAction::Path);
            }
            About::Prefix(_) => row.scope = Scope::Subtree,
            About::Name(_) => {}
        }
        let now = self.now();
        let rest = self.rows.entry(row.clone()).or_insert(Rest {
            records: BTreeSet::new(),
            since: now,
        });
        if row.action == EntryAction::LocalData {
            rest.records.insert(chance.random_range(0..4));
        }
    }

    pub fn header(&self) -> Header {
        let feeds = self.feeds.iter().map(|feed| FeedSummary {
            most_specific: feed.most_specific,
            ..FeedSummary::new(&format!("f{}", feed.number), feed.tier)
        });
        let categories = self
            .categories
            .iter()
            .map(|&slug| slug.to_owned())
            .collect();
        Header {
            feeds: feeds.collect(),
            categories,
            ..Header::of(self.generation, self.now())
        }
    }

    pub fn place(&self, number: usize) -> usize {
        self.feeds
            .iter()
            .position(|feed| feed.number == number)
            .unwrap()
    }

    pub fn mark(&self, row: &Row) -> ListEntry {
        let place = |slug| {
            self.categories
                .iter()
                .position(|&other| other == slug)
                .unwrap() as u8
        };
        let Row {
            scope,
            polarity,
            important,
            action,
            ..
        } = *row;
        ListEntry {
            polarity,
            important,
            action,
            ..ListEntry::deny(
                self.place(row.feed) as u16,
                row.category.map_or(NO_CATEGORY, place),
                scope,
            )
        }
    }

    /// Builds the artefact, with the rows in random order and some of them twice.
    pub fn build(
        &self,
        chance: &mut StdRng,
        previous: Option<&Blocklist>,
        path: &Path,
    ) -> policy::lists::artefact::WrittenArtefact {
        let mut rows: Vec<(&Row, Option<u8>)> = Vec::new();
        for (row, rest) in &self.rows {
            let records: Vec<Option<u8>> = rest.records.iter().copied().map(Some).collect();
            for record in if records.is_empty() {
                vec![None]
            } else {
                records
            } {
                (0..1 + chance.random_range(0..5) / 4).for_each(|_| rows.push((row, record)));
            }
        }
        rows.shuffle(chance);
        let mut builder = ArtefactBuilder::new();
        let bad = builder.answer(records(&[99].into())).unwrap();
        let before = builder.checkpoint();
        builder
            .push(
                name(chance).borrow(),
                ListEntry {
                    action: EntryAction::LocalData,
                    data: bad,
                    ..ListEntry::deny(0, 0, Scope::Subtree)
                },
            )
            .unwrap();
        builder.rewind(&before);
        for (row, record) in rows {
            let mut mark = self.mark(row);
            if let Some(record) = record {
                mark.data = builder.answer(records(&[record].into())).unwrap();
            }
            match &row.about {
                About::Name(name) => builder.push(name.borrow(), mark).unwrap(),
                About::Path(host, path) => builder.push_path(host.borrow(), path, mark).unwrap(),
                About::Prefix(prefix) => {
                    names_of_prefix(*prefix)
                        .iter()
                        .for_each(|name| builder.push(name.borrow(), mark).unwrap());
                }
            }
        }
        let header = Header {
            entries: self.rows.len() as u64,
            ..self.header()
        };
        builder.write(header, previous, path).unwrap()
    }

    /// Every key with its entries, with the indices of lists with these answers and arrivals.
    pub fn keys(
        &self,
        answers: &mut dyn FnMut(LocalData) -> u32,
        arrivals: &[Timestamp],
    ) -> BTreeMap<Vec<u8>, Vec<ListEntry>> {
        let mut keys: BTreeMap<Vec<u8>, Vec<ListEntry>> = BTreeMap::new();
        for (row, rest) in &self.rows {
            let mut mark = self.mark(row);
            mark.arrival = arrivals.iter().position(|&at| at == rest.since).unwrap() as u16;
            if row.action == EntryAction::LocalData {
                mark.data = answers(records(&rest.records));
            }
            match &row.about {
                About::Name(name) => keys.entry(key_of(name)).or_default().push(mark),
                About::Prefix(prefix) => {
                    names_of_prefix(*prefix)
                        .iter()
                        .for_each(|name| keys.entry(key_of(name)).or_default().push(mark));
                }
                About::Path(host, path) => keys
                    .entry(key_of_path(host.borrow(), path))
                    .or_default()
                    .push(mark),
            }
        }
        for (host, count) in self.hosts() {
            let (since, (name, feed, category)) = (self.hosts_since[&host], &host);
            let mut mark = self.mark(&proxied(name, *feed, *category));
            (mark.data, mark.arrival) = (
                count,
                arrivals.iter().position(|&at| at == since).unwrap() as u16,
            );
            keys.entry(key_of(name)).or_default().push(mark);
        }
        keys
    }

    /// The hosts of paths, by feed and category, with the number of paths.
    pub fn hosts(&self) -> BTreeMap<Host, u32> {
        let mut hosts = BTreeMap::new();
        for row in self.rows.keys() {
            if let About::Path(host, _) = &row.about {
                *hosts
                    .entry((host.clone(), row.feed, row.category))
                    .or_default() += 1;
            }
        }
        hosts
    }

    /// All rows that apply to a name.
    pub fn words(&self, asked: &Name) -> Vec<Word> {
        let asked_labels = labels_of(asked);
        let mut words = Vec::new();
        for (row, rest) in &self.rows {
            let tops = match &row.about {
                About::Name(name) => vec![name.clone()],
                About::Prefix(prefix) => names_of_prefix(*prefix),
                About::Path(..) => continue,
            };
            for top in tops {
                let labels = labels_of(&top);
                let is_own = labels == asked_labels;
                let is_ancestor = !labels.is_empty() && asked_labels.starts_with(&labels);
                let speaks = match row.scope {
                    Scope::Exact => is_own,
                    Scope::Subtree => true,
                    Scope::Descendants => !is_own,
                };
                if is_ancestor && speaks {
                    let depth = labels.len();
                    let place = self.place(row.feed);
                    let since = Some(rest.since);
                    let records = rest.records.clone();
                    words.push(Word {
                        entry: top.clone(),
                        depth,
                        place,
                        row: row.clone(),
                        records,
                        paths: 0,
                        since,
                        counts: false,
                    });
                }
            }
        }
        for feed in &self.feeds {
            let place = self.place(feed.number);
            let mut of_feed: Vec<&mut Word> = words
                .iter_mut()
                .filter(|word| word.place == place)
                .collect();
            let rank = |word: &Word| {
                (
                    word.row.important,
                    word.depth,
                    word.row.polarity == Polarity::Allow,
                )
            };
            of_feed.sort_by_key(|word| std::cmp::Reverse(rank(word)));
            let mut highest = None;
            let mut is_excepted = false;
            for word in of_feed {
                let here = (word.row.important, word.depth);
                let is_replaced = feed.most_specific && *highest.get_or_insert(here) != here;
                is_excepted |= word.row.polarity == Polarity::Allow;
                word.counts = word.row.polarity == Polarity::Allow || !(is_excepted || is_replaced);
            }
        }
        for (host, paths) in self.hosts() {
            let (since, (entry, feed, category)) = (self.hosts_since[&host], host);
            if entry == *asked && !asked.borrow().is_root() {
                let depth = asked_labels.len();
                let place = self.place(feed);
                let row = proxied(&entry, feed, category);
                let records = BTreeSet::new();
                let since = Some(since);
                words.push(Word {
                    entry,
                    depth,
                    place,
                    row,
                    records,
                    paths,
                    since,
                    counts: true,
                });
            }
        }
        words
    }
}

pub fn proxied(host: &Name, feed: usize, category: Option<&'static str>) -> Row {
    let about = About::Name(host.clone());
    let polarity = Polarity::Deny;
    Row {
        about,
        feed,
        category,
        scope: Scope::Exact,
        polarity,
        important: false,
        action: EntryAction::RedirectToProxy,
    }
}

pub fn key_of(name: &Name) -> Vec<u8> {
    let mut key = Vec::new();
    name.borrow().write_key(&mut key);
    key
}

pub fn records(numbers: &BTreeSet<u8>) -> LocalData {
    LocalData(
        numbers
            .iter()
            .map(|&number| LocalRecord {
                record_type: 1,
                ttl_s: 5,
                rdata: vec![192, 0, 2, number],
            })
            .collect(),
    )
}

/// The expected verdict: the layer, its categories, and the row that the answer follows.
#[derive(Debug, Default)]
pub struct Reading {
    pub choice: BTreeSet<&'static str>,
    pub security: BTreeSet<&'static str>,
    pub mandatory: bool,
    pub never_block: bool,
    pub path_choice: BTreeSet<&'static str>,
    pub path_security: bool,
    pub path_mandatory: bool,
    /// For each subject, the row that decides: the first feed's, and of it the highest.
    pub spokesmen: BTreeMap<(bool, u8, Option<CategoryId>), Word>,
}

pub fn tier_weight(tier: Tier) -> u8 {
    [
        Tier::Mandatory,
        Tier::NeverBlock,
        Tier::Security,
        Tier::Choice,
    ]
    .iter()
    .position(|&other| other == tier)
    .unwrap() as u8
}

pub fn read(world: &World, words: &[Word], taxonomy: &Taxonomy) -> Reading {
    let mut reading = Reading::default();
    for word in words
        .iter()
        .filter(|word| word.counts && word.row.polarity == Polarity::Deny)
    {
        let tier = world.feeds[word.place].tier;
        let of_paths = word.row.action == EntryAction::RedirectToProxy;
        match (tier, of_paths) {
            (Tier::Mandatory, false) => reading.mandatory = true,
            (Tier::NeverBlock, false) => reading.never_block = true,
            (Tier::Security, false) => reading.security.extend(word.row.category),
            (Tier::Choice, false) => reading.choice.extend(word.row.category),
            (Tier::Mandatory, true) => reading.path_mandatory = true,
            (Tier::NeverBlock, true) => continue,
            (Tier::Security, true) => reading.path_security = true,
            (Tier::Choice, true) => reading.path_choice.extend(word.row.category),
        }
        let subject = (
            of_paths,
            tier_weight(tier),
            word.row.category.map(|slug| taxonomy.find(slug).unwrap()),
        );
        let order = |word: &Word| {
            let Row {
                scope,
                important,
                action,
                ..
            } = word.row;
            (
                word.place,
                std::cmp::Reverse((important, word.depth)),
                scope,
                action,
            )
        };
        match reading.spokesmen.get_mut(&subject) {
            Some(other) if order(word) < order(other) => *other = word.clone(),
            Some(_) => {}
            None => drop(reading.spokesmen.insert(subject, word.clone())),
        }
    }
    reading
}
