//! The rules of this house, as tests: what is drawn in ARCHITECTURE.md and asked for in
//! CONTRIBUTING.md is so.

mod documents;
mod shape;
mod source;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// All source files of ours.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = [
        "src",
        "policy",
        "blocklist-loader",
        "resolver",
        "control",
        "api",
        "tests",
        "benches",
    ]
    .map(PathBuf::from)
    .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the rooms are where ARCHITECTURE.md says") {
            let path = entry.expect("a folder of ours can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

#[test]
fn arrows_between_crates_point_as_drawn() {
    let drawn: [(&str, &[&str]); 6] = [
        ("policy", &[]),
        ("policy/store", &["policy"]),
        ("blocklist-loader", &["policy"]),
        ("resolver", &["policy"]),
        (
            "control",
            &["policy", "policy-store", "blocklist-loader", "resolver"],
        ),
        ("api", &["policy", "policy-store", "control"]),
    ];
    let ours: BTreeSet<&str> = [
        "policy",
        "policy-store",
        "blocklist-loader",
        "resolver",
        "control",
        "api",
        "ox-protect",
    ]
    .into();
    for (folder, allowed) in drawn {
        let manifest: toml::Table = read(Path::new(folder).join("Cargo.toml"))
            .parse()
            .expect("a manifest is TOML");
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let named: BTreeSet<&str> = manifest
                .get(section)
                .and_then(toml::Value::as_table)
                .into_iter()
                .flatten()
                .map(|(name, _)| name.as_str())
                .collect();
            let arrows: Vec<&&str> = named
                .intersection(&ours)
                .filter(|name| !allowed.contains(*name))
                .collect();
            assert!(arrows.is_empty(), "{folder} must not know {arrows:?}");
        }
    }
}

#[test]
fn a_room_knows_only_its_own_trade() {
    let foreign: [(&str, &[&str]); 6] = [
        (
            "policy/src",
            &[
                "tokio",
                "hickory",
                "axum",
                "sqlx",
                "std::net::UdpSocket",
                "Instant::now",
                "SystemTime",
            ],
        ),
        ("policy/store/src", &["hickory", "axum"]),
        ("blocklist-loader/src", &["hickory", "axum", "sqlx"]),
        ("resolver/src", &["axum", "sqlx", "serde"]),
        ("control/src", &["hickory", "axum", "sqlx"]),
        ("api/src", &["hickory", "sqlx", "notify"]),
    ];
    for (folder, words) in foreign {
        for path in sources()
            .into_iter()
            .filter(|path| path.starts_with(folder))
        {
            let text = read(&path);
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                for word in words {
                    assert!(
                        !line.contains(&format!("{word}::"))
                            && !line.contains(&format!("use {word}")),
                        "{}: {line}",
                        path.display()
                    );
                }
            }
        }
    }
}

#[test]
fn every_file_introduces_itself_and_leaves_no_marker_behind() {
    // Spelled in halves, so that this file does not find itself.
    let markers =
        [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["HA", "CK"]].map(|halves| halves.concat());
    for path in sources() {
        let text = read(&path);
        assert!(
            text.starts_with("//!"),
            "{} does not say what it is",
            path.display()
        );
        for marker in &markers {
            assert!(
                !text.contains(marker.as_str()),
                "{} holds {marker}",
                path.display()
            );
        }
    }
}

#[test]
fn unsafe_code_stands_in_one_module_and_each_block_says_why_it_is_sound() {
    let allow = ["allow(", "unsafe_code)"].concat();
    let block = ["unsafe ", "{"].concat();
    let holds = |text: &str| text.contains(&allow) || text.contains(&block);
    let found: Vec<PathBuf> = sources()
        .into_iter()
        .filter(|path| holds(&read(path)))
        .collect();
    assert_eq!(found, [Path::new("resolver/src/listener/udp.rs")]);
    let text = read(&found[0]);
    assert_eq!(
        text.matches(&block).count(),
        text.matches("// SAFETY: ").count()
    );
}

#[test]
fn no_file_grows_past_what_one_reads_in_one_go() {
    // Long ones are long for their tests; the bound is where a file must become two.
    const LINES_MAX: usize = 920;
    for path in sources() {
        let lines = read(&path).lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
    }
}

#[test]
fn a_tests_name_is_one_promise_of_at_most_70_characters() {
    // Every name counts, and not only one behind `#[test]`, because macros make tests of names,
    // too.
    const CHARACTERS_MAX: usize = 70;
    for path in sources() {
        let text = read(&path);
        let mut words =
            text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
        if let Some(word) = words.find(|word| word.len() > CHARACTERS_MAX && word.contains('_')) {
            panic!(
                "{}: {word} has {} characters: say one promise in at most {CHARACTERS_MAX}",
                path.display(),
                word.len()
            );
        }
    }
}

#[test]
fn dependencies_are_named_once_and_each_says_what_it_is_for() {
    let root = read("Cargo.toml");
    let section = root
        .split("[workspace.dependencies]")
        .nth(1)
        .and_then(|rest| rest.split("\n[").next())
        .expect("the section is there");
    for line in section
        .lines()
        .filter(|line| line.contains('=') && !line.contains("path ="))
    {
        assert!(line.contains(" # "), "no sentence: {line}");
    }
    for folder in [
        "policy",
        "policy/store",
        "blocklist-loader",
        "resolver",
        "control",
        "api",
    ] {
        let manifest = read(Path::new(folder).join("Cargo.toml"));
        assert!(
            !manifest
                .lines()
                .any(|line| line.contains("version = \"") && !line.starts_with("version")),
            "{folder} names a version of its own"
        );
    }
}
