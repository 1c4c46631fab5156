//! How long a delegation lives, and the apex NS RRset beside it.

use hickory_proto::rr::{RData, Record, RecordType, rdata};

use crate::{
    message::types::Rtype, recursor::rrset::RrSet, upstream::proto_name, weighed::measured::check,
};

use super::*;

fn at(second: u64) -> Duration {
    Duration::from_secs(second)
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn server(text: &str, glue: &[&str]) -> NameServer {
    NameServer {
        name: name(text),
        glue: glue
            .iter()
            .map(|address| address.parse().unwrap())
            .collect(),
    }
}

fn referral(zone: &str, ttl_s: u32, servers: &[(&str, &[&str])]) -> Referral {
    let zone = if zone == "." {
        Name::root()
    } else {
        name(zone)
    };
    Referral {
        zone,
        servers: servers
            .iter()
            .map(|(name, glue)| server(name, glue))
            .collect(),
        ttl_s,
        ds: DelegationSigner::default(),
    }
}

fn hints() -> Delegation {
    Delegation::hints(Vec::new())
}

fn learned(servers: &[(&str, &[&str])], ds: DelegationSigner) -> Arc<Delegation> {
    let referral = Referral {
        ds,
        ..referral("example.com", 60, servers)
    };
    let (zone, learned) = Delegation::learned(referral, at(0));
    Arc::new(Delegation {
        zone,
        source: DelegationSource::Learned(learned),
    })
}

fn closest(delegations: &DelegationCache, of: &str, now: u64) -> Option<String> {
    delegations
        .closest(name(of).borrow(), at(now), false)
        .map(|delegation| delegation.zone.to_string())
}

#[test]
fn the_closest_zone_that_is_still_delegated_is_found() {
    let delegations = DelegationCache::new(1 << 20, &[]);
    assert_eq!(
        closest(&delegations, "www.example.com", 0),
        None,
        "not even the root is known"
    );
    let root = delegations.learn(referral(".", 100, &[("a.root", &[])]), &hints(), at(0));
    let com = delegations.learn(referral("com", 50, &[("a.gtld", &[])]), &root, at(0));
    delegations.learn(
        referral("example.com", 20, &[("ns.example.com", &[])]),
        &com,
        at(0),
    );
    assert_eq!(delegations.len(), 3);
    for (of, now, zone) in [
        ("www.example.com", 0, "example.com"),
        ("example.com", 19, "example.com"),
        ("www.example.com", 20, "com"),
        ("other.com", 49, "com"),
        ("www.example.com", 50, &Name::root().to_string()),
        ("example.net", 99, &Name::root().to_string()),
    ] {
        assert_eq!(
            closest(&delegations, of, now).as_deref(),
            Some(zone),
            "{of} after {now} s"
        );
    }
    assert_eq!(closest(&delegations, "www.example.com", 100), None);
    assert_eq!((root.expires(), com.expires()), (at(100), at(50)));
}

#[test]
fn configured_zones_go_first_and_forward_first_ones_can_be_skipped() {
    let configured = |zone: &str, then_recurse| ConfiguredZone {
        zone: name(zone),
        to: Vec::new(),
        role: ServerRole::Forwarder,
        tls: None,
        then_recurse,
    };
    let delegations = DelegationCache::new(
        1 << 20,
        &[
            configured("corp.test", false),
            configured("first.test", true),
        ],
    );
    let root = delegations.learn(referral(".", 100, &[("a.root", &[])]), &hints(), at(0));
    for zone in ["corp.test", "first.test"] {
        delegations.learn(referral(zone, 100, &[("ns.test", &[])]), &root, at(0));
    }
    let is_configured = |of: &str, skip_forward_first| {
        delegations
            .closest(name(of).borrow(), at(1), skip_forward_first)
            .unwrap()
            .is_configured()
    };
    assert!(is_configured("www.corp.test", false) && is_configured("www.corp.test", true));
    assert!(is_configured("www.first.test", false) && !is_configured("www.first.test", true));
    assert!(!is_configured("test", false));
    assert!(
        delegations
            .closest(name("www.corp.test").borrow(), at(1_000_000), false)
            .is_some(),
        "configured zones do not expire"
    );
}

#[test]
fn a_delegation_lives_a_second_at_least_and_a_day_at_most() {
    let delegations = DelegationCache::new(1 << 20, &[]);
    let lives = |ttl_s| {
        delegations
            .learn(referral("com", ttl_s, &[("a.gtld", &[])]), &hints(), at(10))
            .expires()
            .as_secs()
            - 10
    };
    assert_eq!(
        [0, 1, 2, 86_399, 86_400, 86_401, u32::MAX].map(lives),
        [1, 1, 2, 86_399, 86_400, 86_400, 86_400]
    );
}

#[test]
fn what_a_zone_below_the_top_level_delegates_ends_with_it() {
    let delegations = DelegationCache::new(1 << 20, &[]);
    let root = delegations.learn(referral(".", 10, &[("a.root", &[])]), &hints(), at(0));
    let com = delegations.learn(referral("com", 20, &[("a.gtld", &[])]), &root, at(0));
    let example = delegations.learn(
        referral("example.com", 30, &[("ns.example.com", &[])]),
        &com,
        at(0),
    );
    let sub = delegations.learn(
        referral("sub.example.com", 86_400, &[("ns.sub.example.com", &[])]),
        &example,
        at(29),
    );
    let deep = delegations.learn(
        referral(
            "deep.sub.example.com",
            86_400,
            &[("ns.sub.example.com", &[])],
        ),
        &sub,
        at(29),
    );
    let short = delegations.learn(
        referral("short.example.com", 3, &[("ns.sub.example.com", &[])]),
        &example,
        at(5),
    );
    let ends: Vec<u64> = [com, example, sub, deep, short]
        .iter()
        .map(|delegation| delegation.expires().as_secs())
        .collect();
    assert_eq!(ends, [20, 30, 30, 30, 8]);
}

#[test]
fn an_apex_ns_rrset_expires_with_the_delegation() {
    let delegations = DelegationCache::new(1 << 20, &[]);
    let delegation = delegations.learn(
        referral("example.com", 100, &[("ns.example.com", &[])]),
        &hints(),
        at(0),
    );
    let ends = |ttl_s| {
        delegations.learn_apex(
            referral(
                "example.com",
                ttl_s,
                &[("more.example.com", &["192.0.2.1"])],
            ),
            &delegation,
            at(10),
        );
        delegations
            .apex(&delegation.zone, at(10))
            .unwrap()
            .expires
            .as_secs()
    };
    assert_eq!([20, 90, 7_200].map(ends), [30, 100, 100]);
    assert!(
        delegations
            .apex(&delegation.zone, at(99))
            .is_some_and(|apex| apex.servers == [server("more.example.com", &["192.0.2.1"])])
    );
    assert!(delegations.apex(&delegation.zone, at(100)).is_none());
}

#[test]
fn a_new_delegation_removes_the_apex_ns_rrset() {
    let delegations = DelegationCache::new(1 << 20, &[]);
    let apex = || referral("example.com", 100, &[("more.example.com", &[])]);
    let first = delegations.learn(
        referral("example.com", 100, &[("old.example.com", &[])]),
        &hints(),
        at(0),
    );
    delegations.learn_apex(apex(), &first, at(1));
    assert!(delegations.apex(&first.zone, at(1)).is_some());
    let second = delegations.learn(
        referral("example.com", 100, &[("new.example.com", &[])]),
        &hints(),
        at(2),
    );
    assert!(
        delegations.apex(&first.zone, at(2)).is_none(),
        "there is a new delegation"
    );
    delegations.learn_apex(apex(), &first, at(3));
    assert!(
        delegations.apex(&first.zone, at(3)).is_none(),
        "the response belongs to the previous delegation"
    );
    delegations.learn_apex(apex(), &second, at(3));
    assert!(delegations.apex(&first.zone, at(3)).is_some());
    delegations.remove(&first.zone);
    assert!(
        delegations.apex(&first.zone, at(3)).is_none()
            && closest(&delegations, "example.com", 3).is_none()
    );
    delegations.learn_apex(apex(), &second, at(3));
    assert!(
        delegations.apex(&first.zone, at(3)).is_none(),
        "the zone was removed"
    );
}

#[test]
fn glue_is_found_in_each_delegation_above_the_name_of_a_server() {
    let delegations = DelegationCache::new(1 << 20, &[]);
    let com = delegations.learn(referral("com", 86_400, &[("a.gtld", &[])]), &hints(), at(0));
    let ns = "ns.sub.example.com";
    delegations.learn(
        referral(
            "example.com",
            20,
            &[(ns, &["192.0.2.1"]), ("other.example.com", &["192.0.2.9"])],
        ),
        &com,
        at(0),
    );
    delegations.learn(
        referral(
            "sub.example.com",
            10,
            &[
                ("else.example.com", &["192.0.2.8"]),
                (ns, &["192.0.2.2", "192.0.2.3"]),
            ],
        ),
        &com,
        at(0),
    );
    // Glue of a zone that the server is not in does not count.
    delegations.learn(
        referral("example.net", 100, &[(ns, &["192.0.2.66"])]),
        &hints(),
        at(0),
    );
    let glue = |now| -> Vec<String> {
        delegations
            .glue_of(&name(ns), at(now))
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    assert_eq!(glue(9), ["192.0.2.2", "192.0.2.3", "192.0.2.1"]);
    assert_eq!(glue(10), ["192.0.2.1"]);
    assert_eq!(glue(20), [""; 0]);
}

#[test]
fn delegations_weigh_what_the_allocator_gave() {
    let weigh = |(zone, delegation): &(Name, Arc<Delegation>)| {
        DelegationWeigher.heap_octets(zone, delegation)
    };
    let with_servers = |count: usize, glue: &'static [&'static str]| {
        move |number: usize| {
            let names: Vec<String> = (0..count)
                .map(|server| format!("ns{server}.zone{number}.example"))
                .collect();
            let servers: Vec<(&str, &[&str])> =
                names.iter().map(|name| (name.as_str(), glue)).collect();
            let (zone, servers) = Delegation::learned(
                referral(&format!("zone{number}.example"), 60, &servers),
                at(0),
            );
            let delegation = Delegation {
                zone: zone.clone(),
                source: DelegationSource::Learned(servers),
            };
            (zone, Arc::new(delegation))
        }
    };
    check("two servers without glue", with_servers(2, &[]), weigh);
    check(
        "two with an address",
        with_servers(2, &["192.0.2.1"]),
        weigh,
    );
    check(
        "13 with six addresses",
        with_servers(13, &["192.0.2.1"; 6]),
        weigh,
    );
    let signed = |number: usize| {
        let record = Record::from_rdata(
            proto_name(name(&format!("zone{number}.example")).borrow()),
            60,
            RData::Unknown {
                code: RecordType::DS,
                rdata: rdata::NULL::with(vec![0; 36]),
            },
        );
        let zone = name(&format!("zone{number}.example"));
        let ds = DelegationSigner {
            set: Some(RrSet::unsigned(zone.clone(), Rtype::DS, vec![record])),
            proofs: Vec::new(),
        };
        (zone, learned(&[("ns.example.com", &[])], ds))
    };
    check("with a DS RRset", signed, weigh);
    let apex = |number: usize| {
        let zone = name(&format!("zone{number}.example"));
        let (_, servers) = Delegation::learned(
            referral("zone.example", 60, &[("ns1.zone.example", &["192.0.2.1"])]),
            at(0),
        );
        let apex = ApexServers {
            servers: servers.servers,
            expires: at(60),
        };
        (zone, Arc::new(apex))
    };
    check("an apex", apex, |(zone, apex)| {
        DelegationWeigher.heap_octets(zone, apex)
    });
}

#[test]
fn the_budget_of_delegations_holds_for_all_that_is_learned() {
    const BUDGET: u64 = 2 << 20;
    let delegations = DelegationCache::new(BUDGET, &[]);
    let servers: [(&str, &[&str]); 5] =
        [("a.long.name.of.a.server.example.net", &["192.0.2.1"; 6]); 5];
    for number in 0..10_000 {
        let zone = format!("z{number}.com");
        let delegation = delegations.learn(referral(&zone, 60, &servers), &hints(), at(0));
        delegations.learn_apex(referral(&zone, 60, &servers), &delegation, at(0));
        assert!(delegations.octets() <= BUDGET, "after {number}");
    }
    assert!(
        delegations.octets() > BUDGET / 2 && delegations.len() < 2_000,
        "{} octets, {} zones",
        delegations.octets(),
        delegations.len()
    );
    delegations.resize(BUDGET / 4);
    assert!(delegations.octets() <= BUDGET / 4 + BUDGET / 20);
}
