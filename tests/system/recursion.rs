//! Answers from the simulated Internet, as a client sees them.

use hickory_proto::rr::RecordType;

use crate::world::{Behaviour, Internet, TlsProxy, World};

#[tokio::test]
async fn existing_names_are_answered_and_others_denied_with_the_soa() {
    let zone = "a.example. 60 A 192.0.2.1\nwww 60 CNAME a.example.\ntext 60 TXT \"hello\"\nout 60 CNAME b.test.";
    let world = World::with_zone(zone)
        .zone("b.test. 60 A 192.0.2.2\nb.test. 60 AAAA 2001:db8::2")
        .start()
        .await;
    let home = world.client("127.0.7.9");
    assert_eq!(home.ask("a.example. A").await, "192.0.2.1");
    assert_eq!(home.over_tcp().ask("a.example. A").await, "192.0.2.1");
    assert_eq!(home.ask("www.a.example. A").await, "192.0.2.1");
    assert_eq!(home.ask("out.a.example. AAAA").await, "2001:db8::2");
    assert_eq!(home.ask("a.example. AAAA").await, "NODATA");
    let absent = home.reply("absent.a.example. A").await.unwrap();
    assert_eq!(absent.to_string(), "NXDOMAIN");
    assert!(
        absent.authority_lines()[0].contains("SOA"),
        "{:?}",
        absent.authority_lines()
    );
}

#[tokio::test]
async fn a_denial_does_not_hide_names_below() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1").start().await;
    let home = world.client("127.0.7.9");
    for denied in ["b.a.example. A", "typo.b.a.example. A"] {
        assert_eq!(home.ask(denied).await, "NXDOMAIN");
    }
    world.internet.replace(
        "a.example.",
        "a.example. 60 A 192.0.2.1\nwww.b 60 A 192.0.2.2",
    );
    assert_eq!(home.ask("www.b.a.example. A").await, "192.0.2.2");
    assert_eq!(
        home.ask("typo.b.a.example. A").await,
        "NXDOMAIN",
        "which holds for the name it was said of"
    );
}

#[tokio::test]
async fn a_second_question_in_any_letter_case_is_answered_from_the_cache() {
    let world = World::with_zone("a.example. 300 A 192.0.2.1").start().await;
    let home = world.client("127.0.7.9");
    assert_eq!(home.ask("a.example. A").await, "192.0.2.1");
    world.internet.reset_counts();
    let reply = home.reply("A.eXample. A").await.unwrap();
    assert_eq!(reply.to_string(), "192.0.2.1");
    assert_eq!(
        reply.message.queries[0].name.to_string(),
        "A.eXample.",
        "the client's letter case comes back"
    );
    assert!(reply.answer_ttl_s().unwrap() <= 300);
    assert_eq!(
        world
            .client("127.0.9.9")
            .over_tcp()
            .ask("a.example. A")
            .await,
        "192.0.2.1"
    );
    assert_eq!(world.internet.asked("a.example.", RecordType::A), 0);
}

#[tokio::test]
async fn a_herd_with_one_question_asks_the_authority_once() {
    let world = World::with_zone("a.example. 300 A 192.0.2.9\nwww 300 A 192.0.2.1")
        .start()
        .await;
    world.internet.set_behaviour(
        "a.example.",
        &Behaviour::Delays(std::time::Duration::from_millis(150)),
    );
    let herd: Vec<_> = (1..60)
        .map(|host| {
            let client = world.client(&format!("127.0.7.{host}"));
            tokio::spawn(async move { client.ask("www.a.example. A").await })
        })
        .collect();
    for asker in herd {
        assert_eq!(asker.await.unwrap(), "192.0.2.1");
    }
    // On a very busy machine the server seems silent and gets a retry, but only from one of the
    // clients.
    let queries = world.internet.asked("www.a.example.", RecordType::A);
    assert!(
        (1..=5).contains(&queries),
        "{queries} queries for 59 clients"
    );
}

#[tokio::test]
async fn a_long_answer_is_truncated_over_udp_and_whole_over_tcp() {
    let many: String = (0..120)
        .map(|host| format!("big.example. 60 A 192.0.2.{host}\n"))
        .collect();
    let world = World::with_zone(&many).start().await;
    let home = world.client("127.0.7.9");
    for client in [home.clone(), home.without_edns()] {
        let reply = client.reply("big.example. A").await.unwrap();
        assert!(
            reply.is_truncated() && reply.wire.len() <= 1232,
            "{} octets",
            reply.wire.len()
        );
    }
    assert_eq!(
        home.over_tcp()
            .reply("big.example. A")
            .await
            .unwrap()
            .answer_lines()
            .len(),
        120
    );
}

#[tokio::test]
async fn a_forwarded_zone_is_answered_by_its_resolver_and_the_rest_by_recursion() {
    let internet = Internet::new().zone("a.example", "a.example. 60 A 192.0.2.1");
    let elsewhere = Internet::new();
    elsewhere
        .root()
        .set_behaviour(Behaviour::AnswersEverything("192.0.2.77".parse().unwrap()));
    let forward = format!(
        "[recursion]\nforward = [{{ zone = \"corp.test\", to = [\"{}\"] }}]\n",
        elsewhere.root().address()
    );
    let world = World::builder(internet).config(&forward).start().await;
    let home = world.client("127.0.7.9");
    assert_eq!(home.ask("intranet.corp.test. A").await, "192.0.2.77");
    assert_eq!(home.ask("a.example. A").await, "192.0.2.1");
    assert_eq!(elsewhere.asked("a.example.", RecordType::A), 0);
}

#[tokio::test]
async fn questions_that_no_resolver_answers_get_their_code() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1")
        .config("[dns]\nserver_id = \"node-7\"\n")
        .start()
        .await;
    let home = world.client("127.0.7.9");
    assert_eq!(home.ask("version.bind. CH TXT").await, "REFUSED");
    let id = home.reply("id.server. CH TXT").await.unwrap();
    assert!(
        id.answer_lines()[0].contains("node-7"),
        "{:?}",
        id.answer_lines()
    );
    assert_eq!(home.ask("a.example. AXFR").await, "NOTIMP");
    assert_eq!(home.iterative().ask("a.example. A").await, "REFUSED");
    assert!(home.reply("a.example. ANY").await.unwrap().answer_lines()[0].contains("RFC8482"));
}

#[tokio::test]
async fn an_authority_that_is_gone_is_a_servfail_and_nothing_worse() {
    let world = World::with_zone("a.example. 60 A 192.0.2.1")
        .zone("b.example. 60 A 192.0.2.2")
        .start()
        .await;
    world
        .internet
        .set_behaviour("a.example.", &Behaviour::Refuses);
    let home = world.client("127.0.7.9");
    assert_eq!(home.ask("a.example. A").await, "SERVFAIL");
    assert_eq!(home.ask("b.example. A").await, "192.0.2.2");
    world
        .internet
        .set_behaviour("a.example.", &Behaviour::Answers);
    assert_eq!(home.ask("www.a.example. A").await, "NXDOMAIN");
}

#[tokio::test]
async fn a_servfail_says_why_and_an_old_answer_is_better_than_none() {
    let world = World::with_zone("a.example. 1 A 192.0.2.1\ngone 60 A 192.0.2.2")
        .config("[recursion]\nstale_client_timeout_ms = 300\n")
        .start()
        .await;
    let home = world.client("127.0.7.9");
    assert_eq!(home.ask("a.example. A").await, "192.0.2.1");
    world
        .internet
        .set_behaviour("a.example.", &Behaviour::Silent);
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    let stale = home.reply("a.example. A").await.unwrap();
    assert_eq!(
        (stale.to_string(), stale.answer_ttl_s()),
        ("192.0.2.1".to_owned(), Some(30))
    );
    assert_eq!(stale.extended_errors()[0].code, 3, "RFC 8914: stale answer");
    let explained = world
        .api
        .get("/v1/explain?name=a.example&type=A&household=home")
        .await
        .ok()
        .json;
    assert_eq!(
        (
            &explained["answer"]["rcode"],
            &explained["answer"]["ede"]["code"]
        ),
        (&"NOERROR".into(), &3.into()),
        "{explained:#}"
    );
    let failed = home.reply("gone.a.example. A").await.unwrap();
    assert_eq!(
        (failed.to_string(), failed.extended_errors()[0].code),
        ("SERVFAIL".to_owned(), 22)
    );
    world
        .internet
        .set_behaviour("a.example.", &Behaviour::Answers);
    let fresh = async || {
        home.reply("a.example. A")
            .await
            .is_some_and(|reply| reply.extended_errors().is_empty())
    };
    crate::world::eventually(
        "the new answer is there",
        std::time::Duration::from_secs(10),
        fresh,
    )
    .await;
}

#[tokio::test]
async fn a_popular_answer_is_renewed_before_its_end() {
    let world = World::with_zone("a.example. 60 A 192.0.2.9\nwww 10 A 192.0.2.1")
        .start()
        .await;
    let home = world.client("127.0.7.9");
    assert_eq!(home.ask("www.a.example. A").await, "192.0.2.1");
    tokio::time::sleep(std::time::Duration::from_millis(9_100)).await;
    assert_eq!(
        home.ask("www.a.example. A").await,
        "192.0.2.1",
        "the last second of the old one"
    );
    let renewed = async || world.internet.asked("www.a.example.", RecordType::A) >= 2;
    crate::world::eventually(
        "it is asked again",
        std::time::Duration::from_secs(60),
        renewed,
    )
    .await;
    let is_new = async || home.reply("www.a.example. A").await.unwrap().answer_ttl_s() > Some(5);
    crate::world::eventually(
        "the new answer is given",
        std::time::Duration::from_secs(60),
        is_new,
    )
    .await;
}

#[tokio::test]
async fn a_stub_zone_is_asked_where_it_says_and_special_names_nowhere() {
    let elsewhere = Internet::new().zone(
        "corp.test.",
        "corp.test. 60 A 192.0.2.9\nwww 60 A 192.0.2.7",
    );
    let to = elsewhere.servers_of("corp.test.").swap_remove(0).address();
    let stub = format!("[recursion]\nstub = [{{ zone = \"corp.test\", to = [\"{to}\"] }}]\n");
    let world = World::builder(Internet::new().zone("a.example", "a.example. 60 A 192.0.2.1"))
        .config(&stub)
        .start()
        .await;
    let home = world.client("127.0.7.9");
    assert_eq!(home.ask("www.corp.test. A").await, "192.0.2.7");
    assert_eq!(home.ask("localhost. A").await, "127.0.0.1");
    assert_eq!(home.ask("7.1.168.192.in-addr.arpa. PTR").await, "NXDOMAIN");
    assert_eq!(
        world.internet.counts().queries(),
        0,
        "no other server was queried"
    );
}

#[tokio::test]
async fn a_zone_forwarded_over_tls_is_asked_on_one_connection() {
    let elsewhere = Internet::new();
    elsewhere
        .root()
        .set_behaviour(Behaviour::AnswersEverything("192.0.2.77".parse().unwrap()));
    let door = TlsProxy::open("dns.test", elsewhere.root().address()).await;
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("authority.pem");
    std::fs::write(&certificate, door.certificate()).unwrap();
    let zone = |zone: &str, name: &str| {
        format!(
            "{{ zone = \"{zone}\", to = [\"{}\"], tls = \"{name}\" }}",
            door.address()
        )
    };
    let config = format!(
        "[recursion]\ntls_authorities = \"{}\"\nforward = [{}, {}]\n",
        certificate.display(),
        zone("good.test", "dns.test"),
        zone("bad.test", "somebody-else.test")
    );
    let world = World::builder(Internet::new())
        .config(&config)
        .start()
        .await;
    let home = world.client("127.0.7.9");
    for host in 0..3 {
        assert_eq!(
            home.ask(&format!("h{host}.good.test. A")).await,
            "192.0.2.77"
        );
    }
    assert_eq!(door.connections(), 1, "a connection is used again");
    let refused = home.reply("www.bad.test. A").await.unwrap();
    assert_eq!(refused.to_string(), "SERVFAIL");
    assert_eq!(refused.extended_errors()[0].code, 23);
    assert_eq!(
        elsewhere.counts().over_udp(),
        0,
        "nothing goes out in the clear"
    );
}

#[tokio::test]
async fn a_client_waits_for_so_many_questions_and_others_for_theirs() {
    let zones = World::with_zone("good.example. 60 A 192.0.2.9\nwww 60 A 192.0.2.1")
        .zone("silent.example. 60 A 192.0.2.2");
    let world = zones
        .config("[dns]\nwaiting_per_client_max = 20\n")
        .start()
        .await;
    let greedy = world.client("127.0.7.9");
    let other = world.client("127.0.8.9");
    assert_eq!(greedy.ask("silent.example. A").await, "192.0.2.2");
    world
        .internet
        .set_behaviour("silent.example.", &Behaviour::Silent);
    let ask = |number: usize| {
        let client = greedy.clone();
        tokio::spawn(async move { client.ask(&format!("n{number}.silent.example. A")).await })
    };
    let asked: Vec<_> = (0..100).map(ask).collect();
    for one in asked {
        assert_eq!(one.await.unwrap(), "SERVFAIL");
    }
    // A slot may be free again before the last of the hundred arrives, on a machine so busy that
    // this takes seconds.
    let refused = world.api.metric("ox_protect_clients_limited_total").await;
    assert!(
        (41.0..=80.0).contains(&refused),
        "twenty wait at a time, and {refused} of a hundred are refused"
    );
    assert_eq!(other.ask("www.good.example. A").await, "192.0.2.1");
    assert_eq!(
        greedy.ask("www.good.example. A").await,
        "192.0.2.1",
        "what is known costs no place"
    );
}
