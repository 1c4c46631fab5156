//! The shape of the source: sizes, names, words and cycles. `make house` prints the figures.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::source::{self, CRATES, Source};

/// A function longer than this is hard to read on one screen.
const FUNCTION_LINES_MAX: usize = 70;

/// Words that hide who acts.
const VAGUE: [&str; 6] = ["whoever", "nobody", "somebody", "anybody", "he", "himself"];

/// Type names that two crates may share, because each crate has its own.
const SHARED_NAMES: &[&str] = &["Error", "Config", "Settings"];

fn all() -> Vec<(&'static str, Vec<Source>)> {
    CRATES
        .map(|folder| (folder, source::product(folder)))
        .into()
}

fn percent(part: usize, whole: usize) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

/// Comment lines, and how many vague words stand in them.
fn vague_words(paths: impl IntoIterator<Item = PathBuf>) -> (usize, Vec<String>) {
    let mut comments = 0;
    let mut found = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a source file is text");
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if !line.starts_with("//") {
                continue;
            }
            comments += 1;
            let words = line.split(|c: char| !c.is_ascii_alphabetic());
            for word in words.filter(|word| VAGUE.contains(&word.to_ascii_lowercase().as_str())) {
                found.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    (comments, found)
}

fn rust_files() -> Vec<PathBuf> {
    let folders = ["src", "tests", "benches"].iter().chain(&CRATES);
    let folders: BTreeSet<&str> = folders.copied().filter(|folder| *folder != ".").collect();
    let paths: BTreeSet<PathBuf> = folders
        .iter()
        .flat_map(|folder| source::files(Path::new(folder), "rs"))
        .collect();
    paths.into_iter().collect()
}

#[test]
fn no_files_of_a_crate_import_each_other_in_a_circle() {
    for (folder, sources) in all() {
        let cycles = source::cycles(&source::imports(&sources));
        let named: Vec<String> = cycles.iter().map(|module| module.join("::")).collect();
        assert!(named.is_empty(), "in {folder}: {named:?}");
    }
}

#[test]
fn at_most_one_function_in_a_hundred_is_longer_than_a_screen() {
    let mut functions = 0;
    let mut long = Vec::new();
    for (_, sources) in all() {
        for source in &sources {
            for (name, line, lines) in source.functions() {
                functions += 1;
                if lines > FUNCTION_LINES_MAX {
                    long.push(format!("{}:{line} {name}: {lines}", source.path.display()));
                }
            }
        }
    }
    println!(
        "{functions} functions, {:.1} % above {FUNCTION_LINES_MAX} lines",
        percent(long.len(), functions)
    );
    for function in &long {
        println!("  {function}");
    }
    assert!(percent(long.len(), functions) <= 1.0, "{long:#?}");
}

#[test]
fn half_of_all_files_have_at_most_200_lines() {
    let mut lines: Vec<usize> = all()
        .iter()
        .flat_map(|(_, sources)| sources.iter().map(|source| source.lines))
        .collect();
    lines.sort_unstable();
    let at = |part: usize| lines[(lines.len() * part / 100).min(lines.len() - 1)];
    println!(
        "{} files, {} lines without inline tests: median {}, 90 % {}, longest {}",
        lines.len(),
        lines.iter().sum::<usize>(),
        at(50),
        at(90),
        at(100)
    );
    assert!(
        at(50) <= 200,
        "half of all files are longer than {}",
        at(50)
    );
}

#[test]
fn a_type_name_means_one_thing() {
    let mut defined: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (_, sources) in all() {
        for source in &sources {
            for name in source.types() {
                let path = source.path.display().to_string();
                defined.entry(name).or_default().push(path);
            }
        }
    }
    let twice: Vec<_> = defined
        .iter()
        .filter(|(_, files)| files.len() > 1)
        .collect();
    println!(
        "{} type names, {:.1} % used for more than one type",
        defined.len(),
        percent(twice.len(), defined.len())
    );
    for (name, files) in &twice {
        println!("  {name}: {files:?}");
    }
    assert!(percent(twice.len(), defined.len()) <= 8.0);
}

#[test]
fn no_public_type_name_stands_in_two_crates() {
    let mut crates: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (folder, sources) in all() {
        for name in sources.iter().flat_map(Source::public_types) {
            crates.entry(name).or_default().insert(folder);
        }
    }
    let shared: Vec<_> = crates
        .into_iter()
        .filter(|(name, folders)| folders.len() > 1 && !SHARED_NAMES.contains(&name.as_str()))
        .collect();
    assert!(shared.is_empty(), "{shared:#?}");
}

#[test]
fn comments_name_the_actor() {
    let (comments, found) = vague_words(rust_files());
    let each_thousand = found.len() as f64 * 1000.0 / comments as f64;
    println!("{comments} lines of comments, {each_thousand:.1} vague words in a thousand");
    assert!(each_thousand <= 5.0, "{found:#?}");
}
