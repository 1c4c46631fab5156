//! Tests of parsing policy zones.

use super::{
    super::testing::{check, counts},
    *,
};
use crate::{
    feed::Format::Rpz,
    testing::{World, all_entries},
};

fn reads(row: &str, expected: &str) {
    let found = match RpzRow::parse(row.as_bytes()) {
        Ok(RpzRow { trigger, action }) => {
            let trigger = match trigger {
                Trigger::Name(name, Scope::Exact) => name.to_owned(),
                Trigger::Name(name, _) => format!("below {name}"),
                Trigger::Address(network) => network.to_string(),
                Trigger::Unsupported(word) => format!("unsupported {word}"),
                Trigger::Apex => "apex".to_owned(),
            };
            let action = match action {
                RpzAction::LocalData { rtype, rdata } => format!("{rtype} {rdata}"),
                other => format!("{other:?}").to_lowercase(),
            };
            format!("{trigger}: {action}")
        }
        Err(reason) => format!("bad: {reason}"),
    };
    assert_eq!(found, expected, "{row:?}");
}

#[test]
fn the_data_of_a_row_is_its_action() {
    reads("bad.example\tCNAME\t.", "bad.example: nxdomain");
    reads("bad.example\tCNAME\t*.", "bad.example: nodata");
    reads("bad.example\tCNAME\trpz-passthru.", "bad.example: passthru");
    reads("bad.example\tcname\tRPZ-Drop.", "bad.example: drop");
    reads("bad.example\tCNAME\trpz-tcp-only.", "bad.example: tcponly");
    reads(
        "bad.example\tCNAME\twalled.garden.",
        "bad.example: CNAME walled.garden.",
    );
    reads("bad.example\tA\t192.0.2.7", "bad.example: A 192.0.2.7");
    reads(
        "bad.example\tAAAA\t2001:db8::7",
        "bad.example: AAAA 2001:db8::7",
    );
    reads("bad.example\tMX\t0 .", "bad.example: MX 0 .");
    reads(
        "bad.example\tTXT\t\"see why\"",
        "bad.example: TXT \"see why\"",
    );
}

#[test]
fn a_target_that_begins_with_a_star_is_local_data_and_not_nodata() {
    reads(
        "bad.example\tCNAME\t*.garden.",
        "bad.example: CNAME *.garden.",
    );
    reads(
        "*.bad.example\tCNAME\t*.garden.example.",
        "below bad.example: CNAME *.garden.example.",
    );
}

#[test]
fn a_target_that_is_the_owner_is_the_passthru_of_old() {
    reads(
        "ok.bad.example\tCNAME\tok.bad.example.",
        "ok.bad.example: passthru",
    );
    reads(
        "*.bad.example\tCNAME\t*.bad.example.",
        "below bad.example: passthru",
    );
    reads(
        "32.7.2.0.192.rpz-ip\tCNAME\t32.7.2.0.192.",
        "192.0.2.7/32: passthru",
    );
    reads(
        "32.7.2.0.192.rpz-ip\tCNAME\t32.7.2.0.192.rpz-ip.",
        "192.0.2.7/32: passthru",
    );
    reads(
        "ok.bad.example\tCNAME\tbad.example.",
        "ok.bad.example: CNAME bad.example.",
    );
}

#[test]
fn a_star_in_front_covers_what_is_below_and_only_in_front() {
    reads("*.bad.example\tCNAME\t.", "below bad.example: nxdomain");
    reads("*.com\tCNAME\t.", "below com: nxdomain");
    reads("*\tCNAME\t.", "bad: covers every name there is");
    check(Rpz, "a.*.example\tCNAME\t.", "", counts(0).bad(1));
}

#[test]
fn an_address_stands_backwards_behind_the_length_of_its_prefix() {
    let address = |owner: &str, expected: &str| {
        reads(
            &format!("{owner}.rpz-ip\tCNAME\t."),
            &format!("{expected}: nxdomain"),
        )
    };
    address("32.7.2.0.192", "192.0.2.7/32");
    address("24.0.2.0.192", "192.0.2.0/24");
    address("1.0.0.0.128", "128.0.0.0/1");
    address("128.7.zz.db8.2001", "2001:db8::7/128");
    address("48.zz.1.db8.2001", "2001:db8:1::/48");
    address("128.57.zz.1002.960.51.48.0", "0:48:51:960:1002::57/128");
    address("128.8.7.6.5.4.3.db8.2001", "2001:db8:3:4:5:6:7:8/128");
    address("128.1.zz", "::1/128");
    address("32.ZZ.DB8.2001", "2001:db8::/32");
    address("64.zz.3.2.1", "1:2:3::/64");
    reads("32.7.2.0.192.RPZ-IP\tCNAME\t.", "192.0.2.7/32: nxdomain");
}

#[test]
fn an_address_that_is_none_is_bad() {
    for owner in [
        "",
        "32",
        "7.2.0.192",
        "33.7.2.0.192",
        "0.0.0.0.0",
        "24.7.2.0.192",
        "32.256.2.0.192",
        "32.07.2.0.192",
        "032.7.2.0.192",
        "+32.7.2.0.192",
        "32.7.2.0.192.5",
        "128.7.zz.1.zz.2001",
        "129.7.zz.db8.2001",
        "32.1.zz.db8.2001",
        "128.7.6.5.4.3.db8.2001",
        "128.12345.zz.2001",
        "128.g.zz.2001",
        "128.8.7.6.5.4.3.2.1.0",
        "128.zz.8.7.6.5.4.3.2.1",
        "*",
        "*.32.7.2.0.192",
    ] {
        let row = format!(
            "{owner}{}rpz-ip\tCNAME\t.",
            if owner.is_empty() { "" } else { "." }
        );
        assert!(RpzRow::parse(row.as_bytes()).is_err(), "{row}");
    }
}

#[test]
fn triggers_that_we_do_not_have_are_told_by_their_word() {
    reads(
        "ns.bad.example.rpz-nsdname\tCNAME\t.",
        "unsupported rpz-nsdname: nxdomain",
    );
    reads(
        "*.bad.example.rpz-nsdname\tCNAME\t.",
        "unsupported rpz-nsdname: nxdomain",
    );
    reads(
        "24.0.2.0.192.rpz-nsip\tCNAME\t.",
        "unsupported rpz-nsip: nxdomain",
    );
    reads(
        "24.0.2.0.192.rpz-client-ip\tCNAME\trpz-drop.",
        "unsupported rpz-client-ip: drop",
    );
    reads(
        "*.rpz-of-tomorrow\tCNAME\t.",
        "unsupported rpz-of-tomorrow: nxdomain",
    );
    reads("@\tTXT\t\"made today\"", "apex: TXT \"made today\"");
}

#[test]
fn what_is_no_rule_is_bad() {
    for row in [
        "",
        "bad.example",
        "bad.example\tCNAME",
        "bad.example\tCNAME\t",
        "bad.example\t\t.",
        "bad.example\tCNAME\trpz-of-tomorrow.",
    ] {
        assert!(RpzRow::parse(row.as_bytes()).is_err(), "{row}");
    }
    assert!(RpzRow::parse(b"b\xffd\tCNAME\t.").is_err());
}

#[test]
fn rules_become_entries_and_what_is_not_applied_is_counted() {
    check(
        Rpz,
        "bad.example\tCNAME\t.\n*.bad.example\tCNAME\t*.\nok.bad.example\tCNAME\trpz-passthru.\n*.ok.bad.example\tCNAME\trpz-passthru.\nlocal.example\tA\t192.0.2.7\n",
        "exact bad.example, descendants bad.example, allow exact ok.bad.example, allow descendants ok.bad.example, exact local.example",
        counts(5),
    );
    // An address is an entry under a name that no query can have. A prefix that ends between two
    // labels is one entry with several names.
    check(
        Rpz,
        "24.0.2.0.192.rpz-ip\tCNAME\t.\n",
        "subtree 2.0.192.\\042ip4",
        counts(1),
    );
    check(
        Rpz,
        "23.0.2.0.192.rpz-ip\tCNAME\t.\n",
        "subtree 2.0.192.\\042ip4, subtree 3.0.192.\\042ip4",
        counts(1),
    );
    check(
        Rpz,
        "32.7.2.0.192.rpz-ip\tCNAME\trpz-passthru.\n",
        "allow subtree 7.2.0.192.\\042ip4",
        counts(1),
    );
    check(
        Rpz,
        "32.zz.db8.2001.rpz-ip\tA\t192.0.2.7\n",
        "subtree 8.b.d.0.1.0.0.2.\\042ip6",
        counts(1),
    );
    let not_applied =
        "ns.example.rpz-nsdname\tCNAME\t.\n24.0.2.0.192.rpz-client-ip\tCNAME\t.\n@\tTXT\t\"x\"\n";
    check(Rpz, not_applied, "", counts(0).unsupported(2));
    check(
        Rpz,
        "*.com\tCNAME\t.\na\\.b.example\tCNAME\t.\n",
        "",
        counts(0).public_suffixes(1).bad(1),
    );
    check(
        Rpz,
        "a.example\tA\tno-address\nb.example\tNOTYPE\tx\n",
        "",
        counts(0).bad(2),
    );
}

/// The entries that the built lists have for each key of a zone, without the feed's name and
/// category.
fn built(feed: Feed, rows: &[&str]) -> Vec<String> {
    let world = World::of([feed]);
    world.publish(0, 1, rows);
    let (built, lists) = world.build(None);
    assert!(built.refused.is_empty(), "{:?}", built.refused);
    let plain = |mark: &String| {
        mark.splitn(3, ' ')
            .nth(2)
            .unwrap()
            .trim_end_matches(" 0")
            .to_owned()
    };
    let marks = |(key, marks): (String, Vec<String>)| {
        format!(
            "{key}: {}",
            marks.iter().map(plain).collect::<Vec<_>>().join(" + ")
        )
    };
    all_entries(&lists).into_iter().map(marks).collect()
}

#[test]
fn every_action_stands_in_the_lists_as_the_zone_wrote_it() {
    let rows = [
        "a.example\tCNAME\t.",
        "b.example\tCNAME\t*.",
        "c.example\tCNAME\trpz-passthru.",
        "d.example\tCNAME\trpz-drop.",
        "e.example\tCNAME\trpz-tcp-only.",
        "f.example\tCNAME\twalled.garden.",
        "*.f.example\tCNAME\t*.walled.garden.",
        "g.example\tTXT\t\"see why\"",
        "24.0.2.0.192.rpz-ip\tCNAME\trpz-drop.",
        "48.zz.1.db8.2001.rpz-ip\tA\t192.0.2.80",
    ];
    assert_eq!(
        built(World::zone("malware"), &rows),
        [
            "*ip4.192.0.2: subtree deny drop",
            "*ip6.2.0.0.1.0.d.b.8.0.0.0.1: subtree deny records 1 \\xc0\\x00\\x02p",
            "example.a: exact deny nxdomain",
            "example.b: exact deny nodata",
            "example.c: exact allow policy",
            "example.d: exact deny drop",
            "example.e: exact deny tcp-only",
            "example.f: descendants deny records 5 \\x01*\\x06walled\\x06garden\\x00 + exact deny records 5 \\x06walled\\x06garden\\x00",
            "example.g: exact deny records 16 \\x07see why",
        ]
    );
}

#[test]
fn a_name_and_what_is_below_it_may_have_different_rules() {
    let rows = [
        "a.example\tCNAME\trpz-passthru.",
        "*.a.example\tCNAME\t.",
        "x.a.example\tCNAME\trpz-drop.",
    ];
    let expected = [
        "example.a: descendants deny nxdomain + exact allow policy",
        "example.a.x: exact deny drop",
    ];
    assert_eq!(built(World::zone("malware"), &rows), expected);
}

#[test]
fn records_of_one_owner_are_one_answer() {
    let rows = [
        "a.example\tAAAA\t2001:db8::1",
        "a.example\tA\t192.0.2.2",
        "a.example\tA\t192.0.2.1",
        "b.example\tA\t192.0.2.1",
    ];
    assert_eq!(
        built(World::zone("malware"), &rows),
        [
            "example.a: exact deny records 1 \\xc0\\x00\\x02\\x01, 1 \\xc0\\x00\\x02\\x02, \
             28  \\x01\\r\\xb8\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01",
            "example.b: exact deny records 1 \\xc0\\x00\\x02\\x01",
        ]
    );
}

#[test]
fn in_a_feed_of_names_that_are_never_blocked_a_passthru_lists_its_name() {
    let feed = Feed {
        tier: Tier::NeverBlock,
        category: None,
        ..World::zone("malware")
    };
    let rows = [
        "a.example\tCNAME\trpz-passthru.",
        "*.a.example\tCNAME\t*.a.example.",
        "32.7.2.0.192.rpz-ip\tCNAME\trpz-passthru.",
    ];
    let expected = [
        "*ip4.192.0.2.7: subtree deny policy",
        "example.a: descendants deny policy + exact deny policy",
    ];
    assert_eq!(built(feed, &rows), expected);
}
