//! Rates of clients and networks, and what a limited query gets.

use super::*;
use crate::message::types::Transport;

const NOW: Duration = Duration::from_secs(1_000);

fn settings() -> RateSettings {
    RateSettings {
        queries_per_s: 10,
        queries_burst: 20,
        response_octets_per_s: 10_000,
        slip: 2,
        exempt_from: Vec::new(),
        exempt_households: Vec::new(),
    }
}

fn client(source: &str) -> Client {
    Client::new(source.parse().unwrap(), Transport::Udp)
}

fn proven(source: &str) -> Client {
    Client::new(source.parse().unwrap(), Transport::Tcp)
}

/// Sends queries of a client, with replies of so many octets. Returns how each was limited.
fn ask(
    rates: &Rates,
    counters: &mut SourceCounters,
    client: &Client,
    queries: usize,
    octets: usize,
    now: Duration,
) -> Vec<Option<OverRate>> {
    let key = || ClientKey::of_address(client.source);
    (0..queries)
        .map(|_| {
            let over = rates.count(client, None, counters, now, key);
            if over.is_none() {
                counters.replied(octets);
            }
            over
        })
        .collect()
}

fn answered(limited: &[Option<OverRate>]) -> usize {
    limited.iter().filter(|over| over.is_none()).count()
}

#[test]
fn a_client_has_its_burst_and_then_its_rate_whatever_the_thread() {
    let rates = Rates::new(settings());
    let mut threads = [rates.worker_counters(), rates.worker_counters()];
    let first = ask(&rates, &mut threads[0], &client("192.0.2.1"), 15, 50, NOW);
    let second = ask(&rates, &mut threads[1], &client("192.0.2.1"), 100, 50, NOW);
    let passed = answered(&first) + answered(&second);
    assert_eq!(passed, 21, "the one that is over is answered still");
    let later = NOW + Duration::from_secs(1);
    let then = ask(
        &rates,
        &mut threads[0],
        &client("192.0.2.1"),
        100,
        50,
        later,
    );
    assert!((9..=11).contains(&answered(&then)), "{}", answered(&then));
    let other = ask(&rates, &mut threads[0], &client("192.0.2.2"), 20, 50, later);
    assert_eq!(answered(&other), 20, "another client");
}

#[test]
fn one_of_two_limited_queries_is_slipped_and_proven_ones_are_refused() {
    let rates = Rates::new(settings());
    let mut counters = rates.worker_counters();
    let limited = ask(&rates, &mut counters, &client("192.0.2.1"), 120, 50, NOW);
    let count = |kind| limited.iter().filter(|over| **over == Some(kind)).count();
    assert_eq!((count(OverRate::Slip), count(OverRate::Drop)), (49, 50));
    // What was sent in its name does not count against the client that is proven.
    let limited = ask(&rates, &mut counters, &proven("192.0.2.1"), 25, 50, NOW);
    assert_eq!(answered(&limited), 21);
    assert!(
        limited[21..]
            .iter()
            .all(|over| *over == Some(OverRate::Refuse))
    );
    let shown = rates.limited(NOW);
    let shown: Vec<_> = shown
        .iter()
        .map(|(group, cause, limited)| (group.to_string(), *cause, limited.queries))
        .collect();
    assert_eq!(
        shown,
        [("client 192.0.2.1".to_owned(), LimitCause::Queries, 103)]
    );
}

#[test]
fn a_forged_network_gets_the_octets_of_its_share() {
    let rates = Rates::new(RateSettings {
        queries_per_s: 1_000_000,
        queries_burst: 64,
        ..settings()
    });
    let mut counters = rates.worker_counters();
    let mut passed = 0;
    for round in 0..50 {
        for last in 1..=200 {
            let forged = client(&format!("192.0.2.{last}"));
            let now = NOW + Duration::from_millis(round);
            passed += answered(&ask(&rates, &mut counters, &forged, 1, 1_000, now));
        }
    }
    // A burst of 20,000 octets; what one round sends is charged in the next.
    assert!((200..=450).contains(&passed), "{passed} of 10000");
    let now = NOW + Duration::from_millis(50);
    let other = ask(&rates, &mut counters, &client("192.0.3.1"), 5, 100, now);
    assert_eq!(answered(&other), 5, "another network");
    let proven = ask(&rates, &mut counters, &proven("192.0.2.1"), 60, 1_000, now);
    assert_eq!(answered(&proven), 60, "no one forges its address");
    let (group, cause, _) = &rates.limited(now)[0];
    assert_eq!(group.to_string(), "network 192.0.2.0/24");
    assert_eq!(*cause, LimitCause::Responses);
}

#[test]
fn exempt_networks_and_households_have_no_limit() {
    let rates = Rates::new(RateSettings {
        exempt_from: vec!["192.0.2.0/25".parse().unwrap()],
        exempt_households: vec!["school".to_owned()],
        ..settings()
    });
    let mut counters = rates.worker_counters();
    let passed = answered(&ask(
        &rates,
        &mut counters,
        &client("192.0.2.1"),
        500,
        50,
        NOW,
    ));
    assert_eq!(passed, 500);
    let source = client("192.0.2.200");
    let school = || ClientKey::Household("school".into());
    let limited = (0..100).filter(|_| {
        rates
            .count(&source, None, &mut counters, NOW, school)
            .is_some()
    });
    assert_eq!(limited.count(), 0);
    let home = || ClientKey::Household("home".into());
    let limited = (0..100).filter(|_| {
        rates
            .count(&source, None, &mut counters, NOW, home)
            .is_some()
    });
    assert_eq!(limited.count(), 79);
}

#[test]
fn the_addresses_of_a_household_share_its_rate() {
    let rates = Rates::new(settings());
    let mut counters = rates.worker_counters();
    let home = || ClientKey::Household("home".into());
    let sources = ["192.0.2.1", "2001:db8::1"].map(client);
    let passed = (0..100)
        .filter(|number| {
            let source = &sources[number % 2];
            rates
                .count(source, None, &mut counters, NOW, home)
                .is_none()
        })
        .count();
    assert_eq!(passed, 21);
}

#[test]
fn without_limits_nothing_is_limited() {
    let rates = Rates::new(RateSettings::default());
    let mut counters = rates.worker_counters();
    let passed = answered(&ask(
        &rates,
        &mut counters,
        &client("192.0.2.1"),
        9_999,
        1_000,
        NOW,
    ));
    assert_eq!(passed, 9_999);
}

/// Sends a load of so many queries a millisecond from some addresses of one /24 for ten seconds, and
/// returns the answered queries of the last five a second.
fn steady(rates: &Rates, sources: u32, per_ms: u32, octets: usize) -> u64 {
    let mut workers = [rates.worker_counters(), rates.worker_counters()];
    let mut answered = 0;
    let mut next = 0;
    for ms in 0..10_000 {
        let now = NOW + Duration::from_millis(ms);
        for _ in 0..per_ms {
            let source = client(&format!("192.0.2.{}", next % sources));
            let worker = &mut workers[(next / sources % 2) as usize];
            next += 1;
            let key = || ClientKey::of_address(source.source);
            if rates.count(&source, None, worker, now, key).is_none() {
                worker.replied(octets);
                answered += u64::from(ms >= 5_000);
            }
        }
    }
    answered / 5
}

#[test]
fn a_client_over_its_rate_gets_its_rate_however_much_it_asks() {
    for per_ms in [2, 5, 20] {
        let rates = Rates::new(RateSettings {
            queries_per_s: 1_000,
            queries_burst: 2_048,
            response_octets_per_s: 0,
            ..settings()
        });
        let passed = steady(&rates, 1, per_ms, 50);
        assert!((950..=1_050).contains(&passed), "{passed} of {per_ms}000/s");
    }
}

#[test]
fn a_network_gets_its_octets_however_many_addresses_are_forged() {
    for (sources, per_ms) in [(250, 10), (250, 25), (30, 20)] {
        let rates = Rates::new(RateSettings {
            queries_per_s: 10_000,
            queries_burst: 10_000,
            response_octets_per_s: 2 << 20,
            ..settings()
        });
        let octets = steady(&rates, sources, per_ms, 1_060) * 1_060;
        let allowed = 2 << 20;
        assert!(
            octets <= allowed * 11 / 10 && octets >= allowed * 8 / 10,
            "{octets} octets/s to {sources} addresses at {per_ms}000/s"
        );
    }
}

#[test]
fn an_address_has_an_eighth_of_the_octets_of_its_network() {
    let rates = Rates::new(RateSettings {
        queries_per_s: 10_000,
        queries_burst: 10_000,
        response_octets_per_s: 2 << 20,
        ..settings()
    });
    let octets = steady(&rates, 1, 10, 1_060) * 1_060;
    assert!(octets <= (2 << 20) / 8 * 11 / 10, "{octets} octets/s");
    let mut counters = rates.worker_counters();
    let now = NOW + Duration::from_secs(10);
    let neighbour = ask(&rates, &mut counters, &client("192.0.2.77"), 40, 1_060, now);
    assert_eq!(answered(&neighbour), 40);
}
