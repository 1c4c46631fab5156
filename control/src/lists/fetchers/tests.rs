//! When a NOTIFY makes a fetcher fetch.

use futures_util::FutureExt as _;

use super::*;

fn fetchers(host: &str) -> (Fetchers, Arc<Primary>, Arc<Notify>) {
    let primary = Arc::new(Primary::of(host));
    let wake = Arc::new(Notify::new());
    let zone = Some(Name::parse("rpz.example").unwrap());
    let running = Running {
        zone,
        primary: Arc::clone(&primary),
        wake: Arc::clone(&wake),
        stop: CancellationToken::new(),
    };
    let (commands, _) = mpsc::channel(1);
    let tasks = BackgroundTasks::default();
    let fetchers = Fetchers::new(Path::new(""), &commands, &ListStatus::new(), &tasks);
    fetchers.running().insert("feed".to_owned(), running);
    (fetchers, primary, wake)
}

fn notified(fetchers: &Fetchers, peer: &str) -> bool {
    fetchers.notified(
        &Name::parse("rpz.example").unwrap(),
        peer.parse().unwrap(),
        false,
    )
}

#[tokio::test]
async fn a_notify_is_taken_from_the_address_of_the_primary_alone() {
    for host in [
        "192.0.2.53",
        "192.0.2.53:5353",
        "[::ffff:192.0.2.53]:53",
        "[2001:db8::53]",
        "[2001:db8::53]:5353",
    ] {
        let (fetchers, ..) = fetchers(host);
        let is_v4 = host.contains("192");
        for (peer, of_v4) in [
            ("192.0.2.53", true),
            ("::ffff:192.0.2.53", true),
            ("2001:db8::53", false),
        ] {
            assert_eq!(notified(&fetchers, peer), of_v4 == is_v4, "{host} {peer}");
        }
        for stranger in ["192.0.2.54", "2001:db8::54", "::", "0.0.0.0", "127.0.0.1"] {
            assert!(!notified(&fetchers, stranger), "{host} {stranger}");
        }
        let other = Name::parse("other.example").unwrap();
        assert!(
            !fetchers.notified(&other, "192.0.2.53".parse().unwrap(), true),
            "a zone that no feed has"
        );
    }
}

#[tokio::test]
async fn a_primary_with_a_host_name_is_known_by_what_that_leads_to() {
    let (fetchers, primary, _) = fetchers("localhost:53");
    assert!(
        !notified(&fetchers, "127.0.0.1"),
        "it was not looked up yet"
    );
    let looking = tokio::spawn(async move { primary.look_up().await });
    while !notified(&fetchers, "127.0.0.1") {
        tokio::task::yield_now().await;
    }
    for stranger in ["127.0.7.9", "192.0.2.53", "2001:db8::53"] {
        assert!(!notified(&fetchers, stranger), "{stranger}");
    }
    looking.abort();
}

#[tokio::test]
async fn a_named_sender_is_taken_for_each_zone_that_is_followed() {
    let of_a_list = fetchers("").0;
    assert!(
        !notified(&of_a_list, "127.0.0.1"),
        "a source without a host has no primary"
    );
    let (fetchers, ..) = fetchers("192.0.2.53");
    let zone = Name::parse("RPZ.example").unwrap();
    assert!(fetchers.notified(&zone, "198.51.100.1".parse().unwrap(), true));
}

#[tokio::test]
async fn notifies_that_come_together_ask_the_primary_once_more() {
    let (fetchers, _, wake) = fetchers("192.0.2.53");
    for _ in 0..100 {
        assert!(notified(&fetchers, "192.0.2.53"));
    }
    assert!(!notified(&fetchers, "192.0.2.54"));
    let is_woken = || wake.notified().now_or_never().is_some();
    assert_eq!((is_woken(), is_woken()), (true, false));
    assert!(
        !notified(&fetchers, "192.0.2.54") && !is_woken(),
        "a stranger fetchers nobody"
    );
}
