//! A folder of generations, compared with a naive model: a map of names for each number.

use std::collections::BTreeMap;

use policy::{
    lists::{
        artefact::{FeedSummary, Header},
        builder::{ArtefactBuilder, fold},
        entry::{ListEntry, NO_CATEGORY, Scope, Tier},
    },
    name::Name,
};
use proptest::prelude::*;

use super::*;

/// The entries of a generation by name.
type Model = BTreeMap<Vec<u8>, Vec<ListEntry>>;

fn header(generation: u64) -> Header {
    let feeds = vec![
        FeedSummary::new("orders", Tier::Mandatory),
        FeedSummary::new("more", Tier::Security),
    ];
    let arrivals = vec![jiff::Timestamp::UNIX_EPOCH];
    Header {
        feeds,
        arrivals,
        ..Header::of(generation, jiff::Timestamp::UNIX_EPOCH)
    }
}

fn key(name: u8) -> Vec<u8> {
    let mut key = Vec::new();
    Name::parse(&format!("n{name}.example"))
        .unwrap()
        .borrow()
        .write_key(&mut key);
    key
}

fn mark(word: u8) -> Vec<ListEntry> {
    let one = |feed, scope| ListEntry::deny(feed, NO_CATEGORY, scope);
    match word % 4 {
        0 => Vec::new(),
        1 => vec![one(0, Scope::Subtree)],
        2 => vec![one(1, Scope::Exact)],
        _ => vec![one(0, Scope::Exact), one(1, Scope::Descendants)],
    }
}

fn write_full(directory: &Path, generation: u64, model: &Model) {
    let mut builder = ArtefactBuilder::new();
    for (key, marks) in model {
        for &mark in marks {
            builder.push_key(key, mark).unwrap();
        }
    }
    builder
        .write(header(generation), None, &path_of(directory, generation))
        .unwrap();
}

fn write_delta(directory: &Path, generation: u64, parent: u64, changes: &Model) {
    let changes = changes
        .iter()
        .map(|(key, marks)| (key.clone().into_boxed_slice(), marks.clone()))
        .collect();
    let header = Header {
        parent: Some(parent),
        ..header(generation)
    };
    Delta {
        path: delta_path(directory, generation),
        header,
        changes,
        sha256: String::new(),
    }
    .write()
    .unwrap();
}

fn model_of(lists: &Blocklist) -> Model {
    let mut model = Model::new();
    lists.for_each_name(|key, marks| {
        model.insert(
            key.to_vec(),
            marks.map(|mark| ListEntry { arrival: 0, ..mark }).collect(),
        );
    });
    model
}

fn generations(artefacts: &[Artefact]) -> Vec<u64> {
    artefacts
        .iter()
        .map(|artefact| artefact.generation)
        .collect()
}

#[derive(Debug, Clone)]
enum Step {
    /// A full artefact with these names.
    Full(Vec<(u8, u8)>),
    /// A delta to the newest generation, or to an older one.
    Delta(usize, Vec<(u8, u8)>),
    /// Folds the generation this far before the newest.
    Fold(usize),
    /// Keeps this many full artefacts; the generation this far before the newest is live.
    Prune(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let names = || prop::collection::vec((0..30u8, any::<u8>()), 0..12);
    prop_oneof![
        1 => names().prop_map(Step::Full),
        4 => (prop_oneof![4 => Just(0usize), 1 => 0..6usize], names()).prop_map(|(back, names)| Step::Delta(back, names)),
        2 => (0..6usize).prop_map(Step::Fold),
        1 => (1..4usize, 0..6usize).prop_map(|(keep, live)| Step::Prune(keep, live)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_kept_generation_opens_and_says_of_each_name_what_it_always_said(steps in prop::collection::vec(step(), 1..24)) {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path();
        let taxonomy = Taxonomy::shipped();
        let mut models: BTreeMap<u64, Model> = BTreeMap::new();
        let mut next = 1;
        for step in steps {
            let nth = |back: usize, models: &BTreeMap<u64, Model>| models.keys().rev().nth(back).copied();
            match step {
                Step::Full(names) => {
                    let model: Model = names.iter().map(|&(name, word)| (key(name), mark(word))).filter(|(_, marks)| !marks.is_empty()).collect();
                    write_full(directory, next, &model);
                    models.insert(next, model);
                    next += 1;
                }
                Step::Delta(back, names) => {
                    let Some(parent) = nth(back, &models) else { continue };
                    let changes: Model = names.iter().map(|&(name, word)| (key(name), mark(word))).collect();
                    write_delta(directory, next, parent, &changes);
                    let mut model = models[&parent].clone();
                    model.extend(changes);
                    model.retain(|_, marks| !marks.is_empty());
                    models.insert(next, model);
                    next += 1;
                }
                Step::Fold(back) => {
                    let Some(generation) = nth(back, &models) else { continue };
                    if delta_path(directory, generation).exists() {
                        fold(&open(directory, generation, &taxonomy).unwrap(), &path_of(directory, generation)).unwrap();
                    }
                }
                Step::Prune(keep, live) => {
                    let live = nth(live, &models);
                    let fulls: Vec<u64> = models.keys().rev().copied().filter(|&generation| path_of(directory, generation).exists()).collect();
                    let oldest = fulls.get(keep - 1).copied();
                    let gone: HashSet<u64> = generations(&prune_around(directory, keep, live).unwrap()).into_iter().collect();
                    prop_assert!(!live.is_some_and(|live| gone.contains(&live)));
                    prop_assert!(gone.iter().all(|&generation| oldest.is_some_and(|oldest| generation < oldest)));
                    models.retain(|generation, _| !gone.contains(generation));
                }
            }
            prop_assert_eq!(generations(&newest(directory).unwrap()), models.keys().rev().copied().collect::<Vec<_>>());
        }
        for (&generation, model) in &models {
            let opened = open(directory, generation, &taxonomy).unwrap();
            prop_assert_eq!(opened.generation(), generation);
            prop_assert_eq!(&model_of(&opened), model, "generation {}", generation);
        }
    }
}

#[test]
fn the_newest_come_first_and_only_the_oldest_are_pruned() {
    let folder = tempfile::tempdir().unwrap();
    for generation in [3, 11, 2, 12_345_678_901] {
        std::fs::write(path_of(folder.path(), generation), "").unwrap();
    }
    for other in [
        "generation-1.oxl",
        "generation-0000000009.oxl.writing-7",
        "generation-+000000009.oxl",
        "notes.txt",
    ] {
        std::fs::write(folder.path().join(other), "").unwrap();
    }
    assert_eq!(
        generations(&newest(folder.path()).unwrap()),
        [12_345_678_901, 11, 3, 2]
    );
    assert_eq!(generations(&prune(folder.path(), 2).unwrap()), [3, 2]);
    assert_eq!(
        generations(&newest(folder.path()).unwrap()),
        [12_345_678_901, 11]
    );
    assert!(folder.path().join("notes.txt").exists());
    assert!(prune(folder.path(), 9).unwrap().is_empty());
    assert!(newest(&folder.path().join("absent")).unwrap().is_empty());
}

#[test]
fn a_generation_that_is_also_folded_is_opened_without_its_delta() {
    let folder = tempfile::tempdir().unwrap();
    write_full(folder.path(), 1, &Model::from([(key(1), mark(1))]));
    write_delta(folder.path(), 2, 1, &Model::from([(key(2), mark(2))]));
    let opened = open(folder.path(), 2, &Taxonomy::shipped()).unwrap();
    assert_eq!(opened.base_generation(), 1);
    fold(&opened, &path_of(folder.path(), 2)).unwrap();
    assert_eq!(
        open(folder.path(), 2, &Taxonomy::shipped())
            .unwrap()
            .base_generation(),
        2
    );
    let listed: Vec<(u64, ArtefactKind)> = newest(folder.path())
        .unwrap()
        .iter()
        .map(|artefact| (artefact.generation, artefact.kind))
        .collect();
    assert_eq!(listed, [(2, ArtefactKind::Full), (1, ArtefactKind::Full)]);
    // The folded file is damaged: its deltas have the same content.
    std::fs::write(path_of(folder.path(), 2), "no list").unwrap();
    assert_eq!(
        model_of(&open(folder.path(), 2, &Taxonomy::shipped()).unwrap()),
        model_of(&opened)
    );
}

#[test]
fn chains_that_break_or_lead_in_a_circle_are_errors_that_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    let taxonomy = Taxonomy::shipped();
    write_full(directory, 1, &Model::new());
    write_delta(directory, 2, 1, &Model::new());
    write_delta(directory, 3, 2, &Model::new());
    std::fs::rename(delta_path(directory, 2), delta_path(directory, 9)).unwrap();
    assert!(matches!(
        open(directory, 9, &taxonomy),
        Err(OpenError::Misplaced { generation: 2, .. })
    ));
    assert!(matches!(
        open(directory, 3, &taxonomy),
        Err(OpenError::Missing { generation: 2, .. })
    ));
    assert!(matches!(
        chain(directory, 3),
        Err(OpenError::Missing { generation: 2, .. })
    ));
    write_delta(directory, 2, 3, &Model::new());
    assert!(matches!(
        open(directory, 3, &taxonomy),
        Err(OpenError::Misplaced {
            generation: 2,
            parent: Some(3),
            ..
        })
    ));
    std::fs::write(delta_path(directory, 2), "no delta").unwrap();
    assert!(matches!(
        open(directory, 3, &taxonomy),
        Err(OpenError::Artefact(_))
    ));
    // Nothing is deleted if the chain of the live generation is unknown.
    write_full(directory, 20, &Model::new());
    assert!(prune_around(directory, 1, Some(3)).unwrap().is_empty());
    std::fs::rename(path_of(directory, 1), path_of(directory, 30)).unwrap();
    assert!(matches!(
        open(directory, 30, &taxonomy),
        Err(OpenError::Misplaced { generation: 1, .. })
    ));
}

#[test]
fn the_sweep_takes_what_a_killed_builder_left_and_no_delta_in_writing() {
    let folder = tempfile::tempdir().unwrap();
    let aside = |name: &str| folder.path().join(name);
    let live = format!("generation-0000000009.oxd.writing-{}", std::process::id());
    let left = [
        "generation-0000000009.oxl.writing-7",
        "generation-0000000009.oxd.writing-4294967295",
    ];
    for name in left.iter().copied().chain([live.as_str()]) {
        std::fs::write(aside(name), "").unwrap();
    }
    let _lock = lock(folder.path()).unwrap();
    assert!(left.iter().all(|name| !aside(name).exists()));
    assert!(aside(&live).exists());
}
