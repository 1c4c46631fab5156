//! The age of answers: TTLs, prefetch before they end, and stale answers after that (RFC 8767), alike
//! for all clients.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use policy::{
    lists::entry::{EntryAction::OperatorPolicy, Tier::Choice},
    unix_seconds::UnixSeconds,
};
use resolver::{message::types::Transport, time::Clock};
use tokio::time::advance;

use crate::world::{Lists, Setup, World};

const INTERNET: &str = "\
w.st.own. 20 IN A 5.6.7.8
slow.own. 100 IN A 5.6.7.9
alias.own. 20 IN CNAME w.st.own.
";
const HOME: &str = "127.0.7.9";

fn world() -> World {
    World::with(
        INTERNET,
        Lists::default(),
        Setup {
            stale_s: 3_600,
            snoop_from: &["127.0.7.0/24"],
            ..Setup::default()
        },
    )
}

async fn pass(seconds: u64) {
    advance(Duration::from_secs(seconds)).await;
}

async fn ttl(world: &World, question: &str) -> u32 {
    world
        .reply(HOME, Transport::Udp, question)
        .await
        .unwrap()
        .answers[0]
        .ttl
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_served_whatever_do_and_cd_say() {
    let world = world();
    assert_eq!(
        (
            world.ask("w.st.own. A").await,
            ttl(&world, "w.st.own. A").await
        ),
        ("5.6.7.8".into(), 20)
    );
    // With each of them an answer is cached by itself.
    for flags in [" +do", " +cd", " +do +cd"] {
        world.ask(&format!("w.st.own. A{flags}")).await;
    }
    world.go_down(true);
    pass(100).await;
    for flags in [
        "",
        " +do",
        " +cd",
        " +do +cd",
        " +noedns",
        " +norecurse",
        " +norecurse +do",
    ] {
        let question = format!("w.st.own. A{flags}");
        let code = if flags == " +noedns" { "" } else { " (3)" };
        assert_eq!(
            world.ask(&question).await,
            format!("5.6.7.8{code}"),
            "{flags}"
        );
        assert_eq!(ttl(&world, &question).await, 30, "{flags}");
    }
    let reply = world
        .reply(HOME, Transport::Udp, "w.st.own. A +do +cd")
        .await
        .unwrap();
    assert!(
        reply.metadata.checking_disabled && reply.edns.unwrap().flags().dnssec_ok,
        "the flags are the client's"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_cached_for_each_choice_of_do_and_cd() {
    let world = world();
    for (flags, resolutions) in [
        ("", 1),
        (" +noedns", 1),
        (" +norecurse", 1),
        (" +do", 2),
        (" +do +norecurse", 2),
        (" +cd", 3),
        (" +do +cd", 4),
        ("", 4),
    ] {
        assert_eq!(
            world.ask(&format!("w.st.own. A{flags}")).await,
            "5.6.7.8",
            "{flags}"
        );
        assert_eq!(world.resolutions("w.st.own"), resolutions, "{flags}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_stale_bound_a_query_fails() {
    let world = world();
    world.ask("w.st.own. A").await;
    world.go_down(true);
    pass(20 + 3_599).await;
    assert_eq!(world.ask("w.st.own. A").await, "5.6.7.8 (3)");
    pass(1).await;
    assert_eq!(world.ask("w.st.own. A").await, "SERVFAIL (22)");
    assert_eq!(
        world.ask("w.st.own. A +norecurse").await,
        "nothing",
        "nor is it shown to those who only look"
    );
    let never = World::new(INTERNET, Lists::default());
    never.ask("w.st.own. A").await;
    never.go_down(true);
    pass(21).await;
    assert_eq!(never.ask("w.st.own. A").await, "SERVFAIL (22)");
}

#[tokio::test(start_paused = true)]
async fn the_ttl_of_a_cached_answer_falls_until_a_new_resolution() {
    let world = world();
    let mut seen = Vec::new();
    for _ in 0..22 {
        seen.push(ttl(&world, "w.st.own. A").await);
        pass(1).await;
    }
    let expected: Vec<u32> = (1..=20).rev().chain([20, 19]).collect();
    assert_eq!((seen, world.resolutions("w.st.own")), (expected, 2));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_prefetched_once_near_the_end_of_its_ttl() {
    let world = World::with(
        INTERNET,
        Lists::default(),
        Setup {
            prefetch: true,
            ..Setup::default()
        },
    );
    world.ask("slow.own. A").await;
    for (seconds, due, resolutions) in [
        (0, 0, 1),
        (50, 0, 1),
        (39, 0, 1),
        (1, 1, 2),
        (1, 0, 2),
        (88, 0, 2),
        (1, 1, 3),
    ] {
        pass(seconds).await;
        assert_eq!(
            (
                world.prefetch("slow.own. A").await,
                world.resolutions("slow.own")
            ),
            (due, resolutions),
            "after {seconds} s more"
        );
    }
    let idle = World::new(INTERNET, Lists::default());
    idle.ask("slow.own. A").await;
    pass(95).await;
    assert_eq!(
        idle.prefetch("slow.own. A").await,
        0,
        "where renewal is off"
    );
}

#[tokio::test(start_paused = true)]
async fn a_blocked_name_is_never_prefetched() {
    let lists = Lists::default().name("bets", Choice, "slow.own", OperatorPolicy);
    let world = World::with(
        INTERNET,
        lists,
        Setup {
            prefetch: true,
            ..Setup::default()
        },
    );
    assert_eq!(
        world.ask_from("127.0.8.9", "slow.own. A").await,
        "5.6.7.9",
        "a line that blocks nothing"
    );
    pass(95).await;
    assert_eq!(world.prefetch("slow.own. A").await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_explanation_shows_the_stale_answer_that_a_query_gets() {
    let world = world();
    for question in [
        "w.st.own. A",
        "alias.own. A",
        "nothing.own. A",
        "w.st.own. ANY",
    ] {
        world.ask(question).await;
    }
    world.go_down(true);
    pass(30).await;
    for (question, rcode, records, error) in [
        ("w.st.own A", "NOERROR", 1, Some(3)),
        ("alias.own A", "NOERROR", 2, Some(3)),
        ("w.st.own ANY", "NOERROR", 1, Some(3)),
    ] {
        let explained = world.explain(question).await;
        let shown = (
            explained.answer.rcode.as_str(),
            explained.answer.records.len(),
            explained.answer.error.map(|(code, _)| code),
        );
        assert_eq!(shown, (rcode, records, error), "{question}");
    }
    assert_eq!(
        world.explain("w.st.own A").await.answer.records,
        ["w.st.own. 30 IN A 5.6.7.8"]
    );
    let failed = world.explain("other.own A").await.answer;
    assert_eq!(
        (failed.rcode.as_str(), failed.error.map(|(code, _)| code)),
        ("SERVFAIL", Some(22)),
        "nothing is known of it"
    );
    assert_eq!(world.ask("other.own. A").await, "SERVFAIL (22)");
    pass(3_600).await;
    assert_eq!(world.explain("w.st.own A").await.answer.rcode, "SERVFAIL");
}

#[tokio::test(start_paused = true)]
async fn a_stale_denial_has_its_code_and_is_explained_as_answered() {
    let world = world();
    for question in ["x.denied.example. A", "x.denied.example. A +do"] {
        assert_eq!(world.ask(question).await, "NXDOMAIN", "{question}");
    }
    world.go_down(true);
    pass(61).await;
    for question in [
        "x.denied.example. A",
        "x.denied.example. A +do",
        "x.denied.example. ANY",
    ] {
        assert_eq!(world.ask(question).await, "NXDOMAIN (19)", "{question}");
    }
    for question in ["x.denied.example A", "x.denied.example ANY"] {
        let explained = world.explain(question).await.answer;
        assert_eq!(
            (
                explained.rcode.as_str(),
                explained.error.map(|(code, _)| code)
            ),
            ("NXDOMAIN", Some(19)),
            "{question}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_for_a_bogus_one_says_why() {
    let world = world();
    for question in ["w.st.own. A", "x.denied.example. A"] {
        world.ask(question).await;
    }
    world.fail_with(7);
    pass(61).await;
    assert_eq!(world.ask("w.st.own. A").await, "5.6.7.8 (3 7)");
    assert_eq!(world.ask("w.st.own. A +noedns").await, "5.6.7.8");
    assert!(world.ask("w.st.own. ANY").await.ends_with("(3 7)"));
    assert_eq!(world.ask("x.denied.example. A").await, "NXDOMAIN (19 7)");
    assert_eq!(world.ask("never.own. A").await, "SERVFAIL (7)");
    // A query without RD causes no resolution, which could be bogus.
    assert_eq!(world.ask("w.st.own. A +norecurse").await, "5.6.7.8 (3)");
    world.fail_with(0);
    assert_eq!(world.ask("w.st.own. A").await, "5.6.7.8");
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_judged_with_its_chain_also_without_rd() {
    let world = World::with(
        INTERNET,
        Lists::default().name("bets", Choice, "w.st.own", OperatorPolicy),
        Setup {
            stale_s: 3_600,
            snoop_from: &["127.0.0.0/8"],
            ..Setup::default()
        },
    );
    assert_eq!(
        world.ask_from("127.0.8.9", "alias.own. A").await,
        "-> w.st.own. 5.6.7.8",
        "a line that blocks nothing"
    );
    world.go_down(true);
    pass(30).await;
    for flags in ["", " +norecurse"] {
        assert_eq!(
            world
                .ask_from("127.0.8.9", &format!("alias.own. A{flags}"))
                .await,
            "-> w.st.own. 5.6.7.8 (3)"
        );
        assert_eq!(
            world.ask(&format!("alias.own. A{flags}")).await,
            "NXDOMAIN (17)",
            "the family blocks what it leads to{flags}"
        );
    }
    let explained = world.explain("alias.own A").await;
    assert!(explained.verdict.is_block() && explained.hop == 1);
}

#[tokio::test(start_paused = true)]
async fn an_explanation_takes_a_permit_for_a_resolution() {
    let world = World::with(
        INTERNET,
        Lists::default(),
        Setup {
            resolutions_max: 0,
            ..Setup::default()
        },
    );
    let explained = world.explain("w.st.own A").await.answer;
    assert_eq!(
        (explained.rcode.as_str(), explained.error),
        ("SERVFAIL", None)
    );
    assert_eq!(
        (
            world.ask("w.st.own. A").await,
            world.resolutions("w.st.own")
        ),
        ("SERVFAIL".into(), 0)
    );
}

/// A clock that shows the seconds that a test sets.
#[derive(Default)]
struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn elapsed(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }

    fn moment(&self) -> UnixSeconds {
        UnixSeconds::from_unix(self.0.load(Ordering::Relaxed))
    }
}

#[tokio::test]
async fn prefetch_and_stale_answers_follow_the_clock_that_the_engine_gets() {
    let clock = Arc::new(TestClock::default());
    let world = World::with(
        INTERNET,
        Lists::default(),
        Setup {
            prefetch: true,
            stale_s: 3_600,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ..Setup::default()
        },
    );
    assert_eq!(ttl(&world, "slow.own. A").await, 100);
    clock.0.store(89, Ordering::Relaxed);
    assert_eq!(world.prefetch("slow.own. A").await, 0);
    clock.0.store(90, Ordering::Relaxed);
    assert_eq!(world.prefetch("slow.own. A").await, 1);
    assert_eq!(ttl(&world, "slow.own. A").await, 100);
    world.go_down(true);
    clock.0.store(189, Ordering::Relaxed);
    assert_eq!(world.ask("slow.own. A").await, "5.6.7.9");
    clock.0.store(190, Ordering::Relaxed);
    assert_eq!(world.ask("slow.own. A").await, "5.6.7.9 (3)");
}
