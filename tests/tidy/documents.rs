//! What the documents promise: each key, each metric and each path that they name is there, and
//! each that is there is named.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::{read, source};

/// All documents of the house.
fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "benches/README.md",
    ]
    .map(PathBuf::from)
    .into();
    found.extend(source::files(Path::new("docs"), "md"));
    found
}

/// The keys of `configs/default.toml`, those in comments among them, as `section.key`.
fn keys() -> BTreeSet<String> {
    let text = read("configs/default.toml");
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    let is_name = |word: &str| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("#   ") {
            // The keys of a feed stand in a list of their own, each behind three blanks.
            let (names, _) = rest.split_once("  ").unwrap_or((rest, ""));
            for name in names.split(", ").filter(|name| is_name(name)) {
                keys.insert(format!("feeds.{name}"));
            }
            continue;
        }
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_start_matches('[');
            section = header.split(']').next().unwrap_or_default().to_owned();
        } else if let Some((key, _)) = line.split_once('=')
            && is_name(key.trim())
            && !section.is_empty()
        {
            keys.insert(format!("{section}.{}", key.trim()));
        }
    }
    keys
}

/// The metrics that the text names.
fn metrics(text: &str) -> BTreeSet<String> {
    const PREFIX: &str = "ox_protect_";
    text.match_indices(PREFIX)
        .map(|(start, _)| {
            text[start..]
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_')
                .collect::<String>()
        })
        .filter(|name| name.len() > PREFIX.len())
        .collect()
}

#[test]
fn every_key_is_explained() {
    let keys = keys();
    assert!(keys.len() > 100, "only {} keys are found", keys.len());
    let page = read("docs/configuration.md");
    let missing: Vec<&String> = keys
        .iter()
        .filter(|key| !page.contains(&format!("`{key}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/configuration.md does not explain {missing:?}"
    );
}

#[test]
fn every_metric_is_explained_and_every_explained_one_exists() {
    let page = metrics(&read("docs/metrics.md"));
    let mut code = BTreeSet::new();
    for folder in source::CRATES {
        for file in source::product(folder) {
            for literal in file.text.split('"').skip(1).step_by(2) {
                let is_whole = |name: &String| name.as_str() == literal;
                code.extend(metrics(literal).into_iter().filter(is_whole));
            }
        }
    }
    let missing: Vec<&String> = code.difference(&page).collect();
    assert!(
        missing.is_empty(),
        "docs/metrics.md does not explain {missing:?}"
    );
    let mut help = String::new();
    for folder in source::CRATES {
        for file in source::product(folder) {
            help.extend(file.text.chars().filter(|c| !c.is_whitespace()));
        }
    }
    let has_help = |name: &&String| {
        ["counter!", "gauge!", "histogram!"]
            .iter()
            .any(|kind| help.contains(&format!("describe_{kind}(\"{name}\",")))
            || help.contains(&format!(",(\"{name}\",\""))
            || help.contains(&format!("[(\"{name}\",\""))
    };
    let silent: Vec<&String> = code.iter().filter(|name| !has_help(name)).collect();
    assert!(silent.is_empty(), "/metrics has no HELP for {silent:?}");
    // Prometheus derives these of a histogram.
    let derived = ["_bucket", "_sum", "_count"];
    let exists = |name: &&String| {
        code.contains(*name)
            || derived.iter().any(|end| {
                name.strip_suffix(end)
                    .is_some_and(|name| code.contains(name))
            })
    };
    let invented: Vec<&String> = page.iter().filter(|name| !exists(name)).collect();
    assert!(
        invented.is_empty(),
        "docs/metrics.md explains {invented:?}, which do not exist"
    );
}

#[test]
fn paths_named_in_the_documents_exist() {
    let rooms = [
        "src/",
        "policy/",
        "blocklist-loader/",
        "resolver/",
        "control/",
        "api/",
        "tests/",
        "benches/",
        "configs/",
        "docs/",
    ];
    for document in documents() {
        let text = read(&document);
        for word in text.split(|c: char| c.is_whitespace() || "`()[],;|".contains(c)) {
            let word = word.trim_end_matches(['.', ':']);
            let word = word.split('#').next().unwrap_or_default();
            let is_path =
                rooms.iter().any(|room| word.starts_with(room)) && !word.contains(['*', '{']);
            assert!(
                !is_path || Path::new(word).exists(),
                "{} names {word}, which is not there",
                document.display()
            );
        }
    }
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    for document in documents() {
        let folder = document
            .parent()
            .expect("a document lies in a folder")
            .to_path_buf();
        let text = read(&document);
        for (start, _) in text.match_indices("](") {
            let link = text[start + 2..].split(')').next().unwrap_or_default();
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with('<') {
                continue;
            }
            assert!(
                folder.join(target).exists(),
                "{} links to {target}, which is not there",
                document.display()
            );
        }
    }
}

#[test]
fn the_readme_is_read_in_five_minutes() {
    const LINES_MAX: usize = 120;
    let text = read("README.md");
    assert!(
        text.lines().count() <= LINES_MAX,
        "README.md has {} lines",
        text.lines().count()
    );
    for command in ["make run", "make test"] {
        assert!(text.contains(command), "README.md does not name {command}");
    }
}

#[test]
fn the_glossary_has_at_most_thirty_terms() {
    const TERMS_MAX: usize = 30;
    let text = read("ARCHITECTURE.md");
    let glossary = text
        .split("\n## Glossary")
        .nth(1)
        .expect("ARCHITECTURE.md has a glossary");
    let rows = glossary.split("\n## ").next().unwrap_or_default();
    let terms = rows
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .count();
    assert!(
        (1..=TERMS_MAX).contains(&terms),
        "the glossary has {terms} terms"
    );
}

#[test]
fn lines_of_the_documents_are_at_most_100_columns_wide() {
    const COLUMNS_MAX: usize = 100;
    let mut documents = documents();
    documents.extend(
        fs::read_dir("configs")
            .expect("configs is there")
            .filter_map(|entry| {
                let path = entry.expect("an entry of configs can be read").path();
                path.extension()
                    .is_some_and(|name| name == "toml")
                    .then_some(path)
            }),
    );
    for document in documents {
        let is_code = |fenced: &mut bool, line: &str| {
            *fenced ^= line.starts_with("```");
            *fenced || line.starts_with("```")
        };
        let mut fenced = false;
        for (number, line) in read(&document).lines().enumerate() {
            // Tables and code cannot be wrapped.
            let wraps =
                !is_code(&mut fenced, line) && !line.starts_with('|') && !line.contains("](");
            assert!(
                !wraps || line.chars().count() <= COLUMNS_MAX,
                "{}:{} has {} columns",
                document.display(),
                number + 1,
                line.chars().count()
            );
        }
    }
}
