//! The lists against a naive matcher: 10,000 rule sets, made by builds, deltas and folds.
//!
//! The matcher walks plain rows. It has no keys, FST, overlay or ranks: it sorts the rows of each
//! feed that apply to a name and reads down to the first exception, so its errors differ from those
//! of the code under test.

// A test that cannot continue fails.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
    sync::Arc,
};

use jiff::Timestamp;
use policy::{
    category::{CategorySet, Taxonomy},
    decide::{Action, EffectivePolicy, Layer, decide},
    lists::{
        artefact::Header,
        blocklist::{Blocklist, Classification},
        builder::fold,
        delta::Delta,
        entry::{EntryAction, ListEntry, LocalData, Scope, Tier},
        index_key::name_of_address,
    },
    name::{Name, NameRef},
    rules::{
        compiled::HouseholdRules,
        household::{Attributed, CustomName, Household, Switch, SwitchState},
        operator::OperatorDefaults,
    },
};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::world::*;

mod world;

/// Compares the lists with the matcher; counts the decisions.
struct Check<'w> {
    world: &'w World,
    lists: &'w Blocklist,
    taxonomy: &'w Taxonomy,
    client: &'w EffectivePolicy,
    own: &'w (Name, SwitchState),
}

impl Check<'_> {
    fn slugs(&self, set: CategorySet) -> BTreeSet<&'static str> {
        let slugs = self.taxonomy.slugs(set);
        SLUGS
            .into_iter()
            .filter(|slug| slugs.contains(slug))
            .collect()
    }

    fn data(&self, word: &Word, data: u32) {
        match word.row.action {
            EntryAction::LocalData => {
                assert_eq!(self.lists.answers()[data as usize], records(&word.records))
            }
            EntryAction::RedirectToProxy => assert_eq!(data, word.paths),
            _ => assert_eq!(data, 0),
        }
    }

    /// Checks that an action in memory is that of a row.
    fn action(&self, word: &Word, action: Action) {
        match action {
            Action::LocalData(index) => self.data(word, index),
            Action::RedirectToProxy { paths, .. } => self.data(word, paths),
            _ => self.data(word, 0),
        }
        assert_eq!(action.as_str(), word.row.action.as_str());
    }

    /// Checks that the classification of a name follows the rows, and that the verdict follows the
    /// classification.
    fn name(&self, asked: &Name, said: &Classification) {
        let words = self.world.words(asked);
        let mut found = self.lists.matches(asked.borrow());
        for word in &words {
            let mark = ListEntry {
                data: 0,
                arrival: 0,
                ..self.world.mark(&word.row)
            };
            let place = found.iter().position(|found| {
                found.mark.says_what(&mark) && found.entry == word.entry.borrow()
            });
            let found =
                found.swap_remove(place.unwrap_or_else(|| panic!("{asked}: missing {word:?}")));
            assert_eq!(
                (found.counts, found.since),
                (word.counts, word.since),
                "{asked}: {word:?}"
            );
            assert_eq!(found.tier, self.world.feeds[word.place].tier);
            assert_eq!(
                found.category,
                word.row
                    .category
                    .map(|slug| self.taxonomy.find(slug).unwrap())
            );
            self.data(word, found.mark.data);
        }
        assert!(
            found.is_empty(),
            "{asked}: {found:?} speaks for it and should not"
        );
        let reading = read(self.world, &words, self.taxonomy);
        self.classification(&reading, said);
        self.verdict(asked, &reading, said);
        self.over_tcp(&reading, said);
    }

    fn classification(&self, reading: &Reading, said: &Classification) {
        let Reading {
            choice,
            security,
            mandatory,
            never_block,
            path_choice,
            path_security,
            path_mandatory,
            spokesmen,
        } = reading;
        assert_eq!(
            (&self.slugs(said.choice), &self.slugs(said.security)),
            (choice, security)
        );
        assert_eq!(
            (said.mandatory, said.never_block),
            (*mandatory, *never_block)
        );
        assert_eq!(
            (
                &self.slugs(said.path_choice),
                said.path_security,
                said.path_mandatory
            ),
            (path_choice, *path_security, *path_mandatory)
        );
        let listings: BTreeMap<_, _> = said
            .listings
            .iter()
            .flatten()
            .map(|listing| {
                (
                    (
                        matches!(listing.action, Action::RedirectToProxy { .. }),
                        tier_weight(listing.tier),
                        listing.category,
                    ),
                    listing,
                )
            })
            .collect();
        let heaviest: BTreeMap<_, _> = spokesmen.iter().take(said.listings.len()).collect();
        assert_eq!(
            listings.keys().collect::<Vec<_>>(),
            heaviest.keys().copied().collect::<Vec<_>>()
        );
        for (listing, word) in listings.values().zip(heaviest.values()) {
            assert_eq!(usize::from(listing.feed), word.place);
            self.action(word, listing.action);
        }
    }

    fn verdict(&self, asked: &Name, reading: &Reading, said: &Classification) {
        let verdict = decide(self.client, asked.borrow(), said);
        let blocked = self.slugs(self.client.blocked());
        let own = (asked == &self.own.0).then_some(self.own.1);
        let met = |slugs: &BTreeSet<&'static str>| {
            slugs
                .intersection(&blocked)
                .copied()
                .collect::<BTreeSet<_>>()
        };
        let (layer, tier, categories) = match own {
            _ if reading.mandatory => (Layer::Mandatory, Some(Tier::Mandatory), BTreeSet::new()),
            _ if reading.never_block => {
                (Layer::NeverBlock, Some(Tier::NeverBlock), BTreeSet::new())
            }
            Some(SwitchState::Allow) => (Layer::HouseholdAllow, None, BTreeSet::new()),
            Some(SwitchState::Block) => (Layer::HouseholdDeny, None, BTreeSet::new()),
            None if !reading.security.is_empty() => (
                Layer::Security,
                Some(Tier::Security),
                reading.security.clone(),
            ),
            None if !met(&reading.choice).is_empty() => {
                (Layer::Category, Some(Tier::Choice), met(&reading.choice))
            }
            None => (Layer::Default, None, BTreeSet::new()),
        };
        assert_eq!(
            (verdict.layer, &self.slugs(verdict.categories)),
            (layer, &categories),
            "{asked}"
        );
        let spokesman =
            |of_paths: bool, tier: Tier, categories: &BTreeSet<&'static str>| -> Option<&Word> {
                let known = reading.spokesmen.iter().take(said.listings.len());
                let asked = known.filter(|((paths, weight, _), word)| {
                    let is_asked = categories.is_empty()
                        || word
                            .row
                            .category
                            .is_some_and(|slug| categories.contains(slug));
                    (*paths, *weight) == (of_paths, tier_weight(tier)) && is_asked
                });
                asked
                    .min_by_key(|((_, _, category), word)| (word.place, *category))
                    .map(|(_, word)| word)
            };
        let path_categories = met(&reading.path_choice);
        let proxied = match layer {
            _ if layer.blocks() => None,
            _ if reading.path_mandatory => Some((Tier::Mandatory, BTreeSet::new())),
            Layer::Default if reading.path_security => Some((Tier::Security, BTreeSet::new())),
            Layer::Default if !path_categories.is_empty() => Some((Tier::Choice, path_categories)),
            _ => None,
        };
        let word = match (&proxied, tier) {
            (Some((tier, categories)), _) => spokesman(true, *tier, categories).or_else(|| {
                // No row applies to the paths; the layer of the name decides, if it has one.
                (layer == Layer::NeverBlock)
                    .then(|| spokesman(false, Tier::NeverBlock, &categories.clone()))
                    .flatten()
            }),
            (None, Some(tier)) => spokesman(false, tier, &categories),
            (None, None) => None,
        };
        assert_eq!(
            verdict.feed.map(usize::from),
            word.map(|word| word.place),
            "{asked}"
        );
        match (&proxied, layer, word) {
            (None, Layer::NeverBlock, _) | (None, _, None) => {
                assert_eq!(verdict.action, Action::OperatorPolicy, "{asked}");
            }
            (Some(_), _, word) if word.is_none_or(|word| word.paths == 0) => {
                let none = Action::RedirectToProxy {
                    paths: 0,
                    search: None,
                };
                assert_eq!(verdict.action, none, "{asked}");
            }
            (_, _, Some(word)) => self.action(word, verdict.action),
            (Some(_), _, None) => unreachable!("matched above"),
        }
    }

    /// Over TCP, rows with the action `tcp-only` have no effect.
    fn over_tcp(&self, reading: &Reading, said: &Classification) {
        let over = said.over_tcp();
        let kept = |tier: Tier, slug: &'static str| {
            let subject = (
                false,
                tier_weight(tier),
                Some(self.taxonomy.find(slug).unwrap()),
            );
            let place = reading
                .spokesmen
                .keys()
                .position(|other| *other == subject)
                .unwrap();
            place >= said.listings.len()
                || reading.spokesmen[&subject].row.action != EntryAction::TcpOnly
        };
        let choice: BTreeSet<_> = reading
            .choice
            .iter()
            .copied()
            .filter(|slug| kept(Tier::Choice, slug))
            .collect();
        let security: BTreeSet<_> = reading
            .security
            .iter()
            .copied()
            .filter(|slug| kept(Tier::Security, slug))
            .collect();
        assert_eq!(
            (self.slugs(over.choice), self.slugs(over.security)),
            (choice, security)
        );
        let mandatory: Vec<&Word> = reading
            .spokesmen
            .iter()
            .filter(|((paths, tier, _), _)| (*paths, *tier) == (false, 0))
            .map(|(_, word)| word)
            .collect();
        if mandatory.len() <= said.listings.len() {
            assert_eq!(
                over.mandatory,
                mandatory
                    .iter()
                    .any(|word| word.row.action != EntryAction::TcpOnly)
            );
        }
        assert_eq!(
            (
                over.never_block,
                over.path_choice,
                over.path_security,
                over.path_mandatory
            ),
            (
                said.never_block,
                said.path_choice,
                said.path_security,
                said.path_mandatory
            )
        );
    }

    /// Checks that the lists hold exactly these rows, key by key.
    fn content(&self) {
        let arrivals = &self.lists.header().arrivals;
        let answers = self.lists.answers();
        let mut place =
            |records: LocalData| answers.iter().position(|other| *other == records).unwrap() as u32;
        let mut expected = self.world.keys(&mut place, arrivals);
        let plain = |mark: &ListEntry| match mark.action {
            // The same records can have several indices.
            EntryAction::LocalData => ListEntry {
                data: answers
                    .iter()
                    .position(|other| *other == answers[mark.data as usize])
                    .unwrap() as u32,
                ..*mark
            },
            _ => *mark,
        };
        expected.values_mut().for_each(|marks| marks.sort());
        let mut found: BTreeMap<Vec<u8>, Vec<ListEntry>> = BTreeMap::new();
        let mut names = self.lists.names();
        let mut last = None;
        while let Some((key, marks)) = names.next() {
            assert!(
                last.as_deref().is_none_or(|last| last < key),
                "names come in order, each once"
            );
            last = Some(key.to_vec());
            assert_eq!(self.lists.marks(key), marks);
            let mut marks: Vec<ListEntry> = marks.iter().map(plain).collect();
            marks.sort();
            found.insert(key.to_vec(), marks);
        }
        assert_eq!(found, expected);
    }
}

/// Checks every name with rows, names around those, and addresses.
fn check(world: &World, lists: &Blocklist, taxonomy: &Taxonomy, chance: &mut StdRng) -> usize {
    let mut asked: BTreeSet<Name> = (0..6).map(|_| name(chance)).collect();
    let mut addresses: BTreeSet<IpAddr> = (0..3).map(|_| address(chance)).collect();
    for row in world.rows.keys() {
        match &row.about {
            About::Name(name) | About::Path(name, _) => {
                asked.insert(name.clone());
                asked.extend(name.borrow().parent().map(NameRef::to_owned));
                let below = [labels_of(name), vec![pick(chance, &LABELS)]].concat();
                asked.insert(name_of(&below));
            }
            About::Prefix(prefix) => drop(addresses.insert(prefix.network())),
        }
    }
    let below_root: Vec<&Name> = asked
        .iter()
        .filter(|name| !name.borrow().is_root())
        .collect();
    let own = (
        pick(chance, &below_root).clone(),
        pick(chance, &[SwitchState::Block, SwitchState::Allow]),
    );
    let client = client(chance, &own, taxonomy);
    let check = Check {
        world,
        lists,
        taxonomy,
        client: &client,
        own: &own,
    };
    check.content();
    for name in &asked {
        check.name(name, &lists.classify(name.borrow()));
    }
    for &address in &addresses {
        let name = name_of_address(address);
        check.name(&name, &lists.classify_address(address));
        // A query for the name of an address key is an ordinary name.
        assert_eq!(lists.classify(name.borrow()), Classification::NOTHING);
    }
    assert!(
        lists.has_addresses()
            || !world
                .rows
                .keys()
                .any(|row| matches!(row.about, About::Prefix(_)))
    );
    asked.len() + addresses.len()
}

fn client(
    chance: &mut StdRng,
    (name, state): &(Name, SwitchState),
    taxonomy: &Taxonomy,
) -> EffectivePolicy {
    fn set<T>(value: T) -> Attributed<T> {
        Attributed {
            value,
            set_by: "model".to_owned(),
            set_at: Timestamp::UNIX_EPOCH,
        }
    }
    let mut household = Household::new("home".parse().unwrap());
    for slug in SLUGS {
        household.settings.categories.insert(
            slug.to_owned(),
            set(Switch {
                state: pick(chance, &[SwitchState::Block, SwitchState::Allow]),
            }),
        );
    }
    household.settings.names.insert(
        name.clone(),
        set(CustomName {
            state: *state,
            scope: Scope::Exact,
        }),
    );
    EffectivePolicy::of(
        &Arc::new(HouseholdRules::compile(
            &household,
            taxonomy,
            OperatorDefaults::default(),
            Timestamp::UNIX_EPOCH,
        )),
        None,
        policy::unix_seconds::UnixSeconds::FIRST,
    )
}

/// The delta between two states of a world, as the changed rows of a feed would give it.
fn delta(before: &World, after: &World, lists: &Blocklist, path: &Path) -> Delta {
    let mut arrivals = lists.header().arrivals.clone();
    arrivals.push(after.now());
    let mut answers: Vec<LocalData> = Vec::new();
    let known = lists.answers().len();
    // Answers without an entry are gone when the lists have been folded.
    let mut named = BTreeSet::new();
    lists.for_each_name(|_, marks| {
        named.extend(
            marks
                .filter(|mark| mark.action == EntryAction::LocalData)
                .map(|mark| mark.data as usize),
        )
    });
    let mut place = |records: LocalData| {
        let old = named
            .iter()
            .copied()
            .find(|&place| lists.answers()[place] == records);
        let place = old.or_else(|| {
            answers
                .iter()
                .position(|other| *other == records)
                .map(|place| known + place)
        });
        place.unwrap_or_else(|| {
            answers.push(records);
            known + answers.len() - 1
        }) as u32
    };
    let was = before.keys(&mut place, &arrivals);
    let is = after.keys(&mut place, &arrivals);
    let touched: BTreeSet<&Vec<u8>> = was
        .keys()
        .chain(is.keys())
        .filter(|key| was.get(*key) != is.get(*key))
        .collect();
    let changes = touched
        .into_iter()
        .map(|key| {
            (
                key.as_slice().into(),
                is.get(key).cloned().unwrap_or_default(),
            )
        })
        .collect();
    let header = Header {
        parent: Some(before.generation),
        arrivals,
        answers,
        ..after.header()
    };
    Delta {
        path: path.to_owned(),
        header,
        changes,
        sha256: String::new(),
    }
}

/// Another state of a world: rows are removed, added, and added again.
fn changed(world: &World, gone: &mut Vec<Row>, chance: &mut StdRng) -> World {
    let mut next = World {
        generation: world.generation + 1,
        ..world.clone()
    };
    let now = next.now();
    for _ in 0..chance.random_range(0..6) {
        if let Some(row) = next.rows.keys().nth(chance.random_range(0..30)).cloned() {
            next.rows.remove(&row);
            gone.push(row);
        }
    }
    (0..chance.random_range(0..6)).for_each(|_| next.add(chance));
    for row in std::mem::take(gone) {
        if one_in(chance, 3) && next.feeds.iter().any(|feed| feed.number == row.feed) {
            let records = if row.action == EntryAction::LocalData {
                [1].into()
            } else {
                BTreeSet::new()
            };
            next.rows.entry(row).or_insert(Rest {
                records,
                since: now,
            });
        } else {
            gone.push(row);
        }
    }
    next.settle(world);
    next
}

fn live_one_world(seed: u64, folder: &Path, taxonomy: &Taxonomy) -> usize {
    let mut chance = StdRng::seed_from_u64(seed);
    let chance = &mut chance;
    let [path, other, aside] = ["lists", "other", "delta"].map(|file| folder.join(file));
    let mut world = World::new(chance);
    let mut gone = Vec::new();
    let written = world.build(chance, None, &path);
    world.build(chance, None, &other);
    let mut lists = Blocklist::open(&path, taxonomy).unwrap();
    assert_eq!(
        Blocklist::open(&other, taxonomy).unwrap().sha256(),
        lists.sha256(),
        "the order of rows means nothing"
    );
    assert_eq!(written.header.names, lists.header().names);
    let mut decisions = check(&world, &lists, taxonomy, chance);
    for _ in 1..STATES {
        match chance.random_range(0..8) {
            // The lists are folded; meanwhile a delta is applied to the current lists.
            0 | 1 => {
                let next = changed(&world, &mut gone, chance);
                let delta = delta(&world, &next, &lists, &aside);
                fold(&lists, &path).unwrap();
                let folded = Blocklist::open(&path, taxonomy).unwrap();
                assert_eq!(
                    (folded.overlay_size().0, folded.generation()),
                    (0, lists.generation())
                );
                check(&world, &folded, taxonomy, chance);
                lists = folded.with_deltas(&[delta], taxonomy).unwrap();
                world = next;
            }
            // The configuration changes, and everything is built again.
            2 => {
                let before = world.clone();
                world.generation += 1;
                world.configure(chance);
                let next = changed(&world, &mut gone, chance);
                world = World {
                    generation: world.generation,
                    ..next
                };
                world.settle(&before);
                world.build(chance, Some(&lists), &path);
                lists = Blocklist::open(&path, taxonomy).unwrap();
            }
            // Several deltas at once, as at the start.
            3 => {
                let second = {
                    let next = changed(&world, &mut gone, chance);
                    let first = delta(&world, &next, &lists, &aside);
                    let between = lists
                        .with_deltas(std::slice::from_ref(&first), taxonomy)
                        .unwrap();
                    let last = changed(&next, &mut gone, chance);
                    let second = delta(&next, &last, &between, &aside);
                    world = last;
                    [first, second]
                };
                lists = lists.with_deltas(&second, taxonomy).unwrap();
            }
            _ => {
                let next = changed(&world, &mut gone, chance);
                let mut delta = delta(&world, &next, &lists, &aside);
                if one_in(chance, 3) {
                    delta.write().unwrap();
                    assert_eq!(Delta::read(&aside).unwrap(), delta);
                }
                lists = lists.with_deltas(&[delta], taxonomy).unwrap();
                world = next;
            }
        }
        assert_eq!(lists.generation(), world.generation);
        decisions += check(&world, &lists, taxonomy, chance);
    }
    decisions
}

#[test]
fn ten_thousand_rule_sets_are_matched_as_a_naive_matcher_matches_them() {
    let taxonomy = Taxonomy::shipped();
    // In memory if possible: the writer syncs, and this writes some thousand files.
    let folder = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap();
    let mut decisions = 0;
    for seed in 0..WORLDS {
        let folder = folder.path();
        let lived = std::panic::catch_unwind(|| live_one_world(seed, folder, &taxonomy));
        decisions += lived.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    println!(
        "{} rule sets, {decisions} decisions, seeds 0 to {}",
        WORLDS * STATES,
        WORLDS - 1
    );
}
