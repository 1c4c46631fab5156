//! One `check` for all formats: the text of a file, the entries that it must give, and the counts.
//! Entries are written as `important allow subtree name`, without defaults.

use policy::{
    lists::{
        artefact::FeedReport,
        entry::{EntryAction, Polarity, Scope, Tier},
        index_key,
    },
    name::{Name, NameRef},
};
use proptest::prelude::*;
use sha2::Sha256;

use super::{adblock, category_feed, line, parser, rpz};
use crate::{
    feed::{Feed, Format},
    rows::{EntryRule, ParsedEntry, Rows},
    source::{self, FileKind, SourceFile, SourceItem},
};

/// A format with the scope of bare names; default: subtree.
pub(super) struct FeedReading(Format, Scope);

impl From<Format> for FeedReading {
    fn from(format: Format) -> Self {
        Self(format, Scope::Subtree)
    }
}

impl From<(Format, &str)> for FeedReading {
    fn from((format, scope): (Format, &str)) -> Self {
        Self(format, serde_json::from_value(scope.into()).unwrap())
    }
}

#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Counts {
    entries: u64,
    paths: u64,
    unsupported: u64,
    bad: u64,
    public_suffixes: u64,
}

pub(super) fn counts(entries: u64) -> Counts {
    Counts {
        entries,
        ..Counts::default()
    }
}

impl Counts {
    pub(super) fn paths(self, paths: u64) -> Self {
        Self { paths, ..self }
    }

    pub(super) fn unsupported(self, unsupported: u64) -> Self {
        Self {
            unsupported,
            ..self
        }
    }

    pub(super) fn bad(self, bad: u64) -> Self {
        Self { bad, ..self }
    }

    pub(super) fn public_suffixes(self, public_suffixes: u64) -> Self {
        Self {
            public_suffixes,
            ..self
        }
    }
}

fn read(
    format: Format,
    kind: FileKind,
    scope: Scope,
    text: &[u8],
    mut take: impl FnMut(NameRef<'_>, EntryRule),
) -> FeedReport {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, text).unwrap();
    let mut take = |entry: ParsedEntry<'_>| {
        if entry.path.is_none() {
            take(entry.name, entry.rule);
        }
        Ok(())
    };
    let mut rows = Rows::new(true, &mut take);
    rows.enter("list", Some(0));
    if format == Format::Adblock {
        rows.set_bad_filters(
            text.split(|&octet| octet == b'\n')
                .filter_map(adblock::bad_filter)
                .collect(),
        );
    }
    let parser = parser(format, kind);
    let file = SourceFile {
        path: file.path().to_owned(),
        label: "domains".to_owned(),
        folder: String::new(),
        kind,
        within: None,
    };
    let mut found = |found: SourceItem<'_>| {
        if let SourceItem::Line(text) = found {
            line(parser, text, scope, &mut rows);
        }
    };
    source::read(&file, format, u64::MAX, &mut Sha256::default(), &mut found).unwrap();
    rows.report
}

fn check_file(
    format: Format,
    kind: FileKind,
    scope: Scope,
    text: &[u8],
    entries: &str,
    counts: &Counts,
) {
    let mut found = Vec::new();
    let report = read(format, kind, scope, text, |name, rule| {
        let important = if rule.important { "important " } else { "" };
        let allow = if rule.polarity == Polarity::Allow {
            "allow "
        } else {
            ""
        };
        found.push(format!(
            "{important}{allow}{} {name}",
            format!("{:?}", rule.scope).to_lowercase()
        ));
    });
    let shown = String::from_utf8_lossy(text);
    assert_eq!(found.join(", "), entries, "{shown:?}");
    let FeedReport {
        entries,
        paths,
        unsupported,
        bad,
        public_suffixes,
        ..
    } = report;
    assert_eq!(
        &Counts {
            entries,
            paths,
            unsupported,
            bad,
            public_suffixes
        },
        counts,
        "{shown:?}"
    );
    let complaints = unsupported.min(5) + bad.min(5) + public_suffixes.min(5);
    assert_eq!(report.samples.len() as u64, complaints, "{shown:?}");
}

pub(super) fn check(
    reading: impl Into<FeedReading>,
    text: impl AsRef<[u8]>,
    entries: &str,
    counts: Counts,
) {
    let FeedReading(format, scope) = reading.into();
    check_file(
        format,
        FileKind::Names,
        scope,
        text.as_ref(),
        entries,
        &counts,
    );
}

pub(super) fn check_urls(text: &str, entries: &str, counts: Counts) {
    check_file(
        Format::Squidguard,
        FileKind::Urls,
        Scope::Subtree,
        text.as_bytes(),
        entries,
        &counts,
    );
}

const FORMATS: [Format; 8] = [
    Format::Rpz,
    Format::Domains,
    Format::Hosts,
    Format::Wildcard,
    Format::Adblock,
    Format::Dnsmasq,
    Format::Unbound,
    Format::Squidguard,
];

/// Rows that are almost right find more faults than noise does.
fn rows() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<Vec<u8>>()
            .prop_map(|octets| octets.into_iter().filter(|&octet| octet != 0).collect()),
        prop::sample::select(vec![
            "\n",
            "\r\n",
            " ",
            "#",
            "!",
            "||",
            "|",
            "@@",
            "^",
            "$important",
            "$badfilter",
            "transparent",
            "server=/",
            "##",
            "*.",
            ".",
            "/",
            "address=/",
            "local=/",
            "0.0.0.0 ",
            "::1 ",
            "local-zone: \"",
            "\tCNAME\t",
            ".rpz-ip",
            ".zz",
            "32.",
            "\" static",
            "http://",
            ":80",
            "a.example",
            "B.EXAMPLE.",
            "bücher.example",
            "com",
            "xn--",
            "\u{feff}",
            "\"",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// The same for rows with columns: almost zones, almost codes.
fn rows_of_columns() -> impl Strategy<Value = Vec<u8>> {
    let owner = prop::sample::select(vec![
        "a.example",
        "*.a.example",
        "*",
        "@",
        "",
        "32.7.2.0.192.rpz-ip",
        "1.zz.rpz-ip",
        "x.rpz-ip",
        ".rpz-ip",
        "rpz-ip",
        "a.rpz-nsdname",
        "com",
        "b\u{fc}cher.example/Path",
        "a..b",
        "a.example/",
        "\\046.example",
    ]);
    let rtype = prop::sample::select(vec![
        "CNAME",
        "A",
        "AAAA",
        "TXT",
        "MX",
        "SVCB",
        "TYPE65280",
        "IN A",
        "SOA",
        "$INCLUDE",
        "1,2",
        "01;name",
        "-",
        "",
    ]);
    let piece = prop_oneof![
        3 => prop::sample::select(vec![
            ".", "*.", "rpz-passthru.", "rpz-drop.", "rpz-x.", "*.garden.", "192.0.2.7", "2001:db8::7", "10 mail.", "\"a\\\"b\"", "\"", "(", ")", ";", "\\# 4 c0000207",
            "\\# 65535 00", "1 . alpn=h2", " ", "\\300", "\t", "1",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<Vec<u8>>(),
    ];
    let row = (
        owner,
        rtype,
        prop::collection::vec(piece, 0..4),
        prop::option::weighted(0.2, any::<Vec<u8>>()),
    )
        .prop_map(|(owner, rtype, data, noise)| {
            noise.unwrap_or_else(|| {
                [
                    owner.as_bytes(),
                    b"\t",
                    rtype.as_bytes(),
                    b"\t",
                    &data.concat(),
                ]
                .concat()
            })
        });
    prop::collection::vec(row, 0..12).prop_map(|rows| rows.join(&b'\n'))
}

proptest! {
    #[test]
    fn no_octets_panic_a_parser_and_every_name_taken_is_canonical(text in rows(), format in prop::sample::select(FORMATS.to_vec()), urls: bool) {
        let kind = if urls { FileKind::Urls } else { FileKind::Names };
        let report = read(format, kind, Scope::Subtree, &text, |name, _| {
            assert_eq!(Name::parse(&name.to_string()).unwrap().borrow(), name);
        });
        prop_assert!(report.samples.len() <= 20);
        prop_assert_eq!(report.lines as usize, text.split_inclusive(|&octet| octet == b'\n').count());
        for sample in report.samples {
            prop_assert!(sample.text.chars().count() <= 80 && !sample.text.contains(char::is_control), "{:?}", sample);
        }
    }

    /// The parsers of single rows, which builds and deltas share.
    #[test]
    fn no_octets_panic_a_reader_of_rows_and_what_they_take_is_canonical(text in rows_of_columns(), never_block: bool) {
        let zone = Feed { tier: if never_block { Tier::NeverBlock } else { Tier::Choice }, ..Feed::new("zone", "rpz://127.0.0.1/z", Format::Rpz) };
        let categories = [("1", "ads"), ("2", "none"), ("name", "games")].map(|(code, slug)| (code.to_owned(), slug.to_owned()));
        let codes = Feed { categories: categories.into(), ..Feed::new("codes", "codes", Format::CategoryFeed) };
        let place_of = |_: &str| 0;
        let mut of_zone = rpz::Reader::new(&zone, &place_of);
        let mut of_codes = category_feed::Reader::new(&codes, std::path::Path::new("nowhere"), &place_of);
        let mut take = |entry: ParsedEntry<'_>| {
            assert!(Name::parse(&entry.name.to_string()).is_ok_and(|name| name.borrow() == entry.name) || index_key::prefix_of_name(entry.name).is_some());
            assert_eq!(entry.rule.action == EntryAction::LocalData, entry.records.is_some_and(|records| records.0.len() == 1));
            assert!(entry.records.is_none_or(|records| records.0[0].record_type != 1 || records.0[0].rdata.len() == 4));
            Ok(())
        };
        let mut rows = Rows::new(true, &mut take);
        rows.enter("rows", Some(0));
        for line in text.split(|&octet| octet == b'\n') {
            rows.next_line();
            of_zone.read(line, &mut rows);
            of_codes.read(line, &mut rows);
            let _ = (rpz::is_about_addresses(line), category_feed::key(line));
        }
        prop_assert!(rows.failure().is_none());
    }

    /// A naive reader: words that look like lower-case names, found without the parsers.
    #[test]
    fn good_names_come_out_of_every_format_as_they_went_in(
        names in prop::collection::vec("[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\\.[a-z]{2,8}){1,3}\\.example", 0..50)
    ) {
        let ways: [(Format, &str, &str); 7] = [
            (Format::Domains, "", ""), (Format::Hosts, "0.0.0.0 ", ""), (Format::Wildcard, "*.", ""), (Format::Adblock, "||", "^"),
            (Format::Dnsmasq, "address=/", "/#"), (Format::Unbound, "local-zone: \"", ".\" always_null"), (Format::Squidguard, "", ""),
        ];
        for (format, before, after) in ways {
            let text: String = names.iter().map(|name| format!("{before}{name}{after}\n")).collect();
            let mut found = Vec::new();
            let report = read(format, FileKind::Names, Scope::Subtree, text.as_bytes(), |name, _| found.push(name.to_string()));
            prop_assert_eq!(&found, &names, "{}", format);
            prop_assert_eq!(report.entries as usize, names.len());
        }
    }
}
