//! Answers that are forgotten because validation changed below a name: in the shared cache, in a
//! worker's own, and where they are still being resolved.

use std::{sync::Arc, time::Duration};

use tokio::time::advance;

use crate::world::{Lists, Setup, World, name};

const INTERNET: &str = "\
w.st.own. 20 IN A 5.6.7.8
alias.own. 20 IN CNAME w.st.own.
other.own. 20 IN A 5.6.7.10
";

/// A world in which one worker, with its own cache, answers all queries.
fn world() -> World {
    let setup = Setup {
        one_worker: true,
        stale_s: 3_600,
        ..Setup::default()
    };
    World::with(INTERNET, Lists::default(), setup)
}

#[tokio::test(start_paused = true)]
async fn answers_below_a_name_and_aliases_to_them_are_asked_anew() {
    let world = world();
    let names = ["w.st.own", "alias.own", "other.own"];
    let ask_all = async || {
        for of in names {
            for flags in ["", " +do", " +cd"] {
                world.ask(&format!("{of}. A{flags}")).await;
            }
        }
    };
    let resolutions = || names.map(|of| world.resolutions(of));
    ask_all().await;
    ask_all().await;
    assert_eq!(resolutions(), [3, 3, 3], "the second time from the cache");
    world.engine.forget_below(&[name("elsewhere.own")]);
    ask_all().await;
    assert_eq!(resolutions(), [3, 3, 3]);
    world
        .engine
        .forget_below(&[name("elsewhere.own"), name("st.own")]);
    ask_all().await;
    assert_eq!(resolutions(), [6, 6, 3]);
    // Nor is a forgotten answer served stale.
    world.engine.forget_below(&[name("st.own")]);
    world.go_down(true);
    for of in ["w.st.own. A", "alias.own. A"] {
        assert_eq!(world.ask(of).await, "SERVFAIL (22)", "{of}");
    }
    assert_eq!(world.ask("other.own. A").await, "5.6.7.10");
}

#[tokio::test(start_paused = true)]
async fn an_expired_answer_is_asked_anew_and_served_where_that_fails() {
    let world = world();
    let names = ["w.st.own. A", "alias.own. A", "other.own. A"];
    let ask_all = async || {
        let mut answers = Vec::new();
        for of in names {
            answers.push(world.ask(of).await);
        }
        answers
    };
    let fresh = ask_all().await;
    advance(Duration::from_secs(5)).await;
    world.engine.expire_below(&[name("st.own")]);
    assert_eq!(ask_all().await, fresh);
    let resolutions = names.map(|of| world.resolutions(of.split_once(". ").unwrap().0));
    assert_eq!(resolutions, [2, 2, 1], "asked anew");
    // Those are of this second, and nothing fresh is left.
    world.engine.expire_below(&[name("w.st.own")]);
    advance(Duration::from_secs(5)).await;
    world.go_down(true);
    assert_eq!(world.ask("w.st.own. A").await, "SERVFAIL (22)");
    world.go_down(false);
    world.ask("w.st.own. A").await;
    advance(Duration::from_secs(5)).await;
    world.engine.expire_below(&[name("w.st.own")]);
    world.go_down(true);
    assert_eq!(world.ask("w.st.own. A").await, "5.6.7.8 (3)");
}

#[tokio::test(start_paused = true)]
async fn what_was_being_resolved_is_neither_shared_nor_cached() {
    let world = Arc::new(world());
    let ask = || {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.ask("other.own. A").await })
    };
    let begun = async |resolutions: usize| {
        while world.resolutions("other.own") < resolutions {
            tokio::task::yield_now().await;
        }
    };
    let before = ask();
    begun(1).await;
    assert!(!before.is_finished(), "it is under way");
    world.engine.forget_below(&[name("own")]);
    let after = ask();
    begun(2).await;
    for asked in [before, after] {
        assert_eq!(asked.await.unwrap(), "5.6.7.10");
    }
    world.ask("other.own. A").await;
    assert_eq!(world.resolutions("other.own"), 2, "the second is cached");
    world.engine.forget_below(&[name("own")]);
    let before = ask();
    begun(3).await;
    assert!(!before.is_finished());
    world.engine.forget_below(&[name("own")]);
    before.await.unwrap();
    world.ask("other.own. A").await;
    assert_eq!(
        world.resolutions("other.own"),
        4,
        "what began before is not"
    );
}
