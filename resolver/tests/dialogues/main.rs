//! Whole dialogues between the recursor and the name servers of an Internet in memory, under a paused
//! clock. A run takes milliseconds, and one seed gives one dialogue.

#![allow(clippy::unwrap_used)] // A script that is wrong is a failed test.

mod aliases;
mod denials;
mod edns;
mod forwarding;
mod ghosts;
mod iteration;
mod name_servers;
mod odd_data;
mod odd_servers;
mod script;
mod signed;
mod validation;

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{DNSClass, Name as ProtoName, RData, Record, RecordType, rdata::opt::EdnsOption},
};
use policy::name::Name;
use resolver::{
    message::types::Rtype,
    recursor::{Environment as _, ResolutionFailure},
    upstream::{Question, Recursion as _},
};
use tokio::time::sleep;

use self::script::*;

#[tokio::test(start_paused = true)]
async fn a_name_is_found_from_the_root_down_and_each_zone_sees_only_its_part() {
    let (recursor, script) = recursor(usual(1));
    assert_eq!(
        ask(&recursor, "www.example.com", RecordType::A).await,
        "NoError 192.0.2.1"
    );
    let asked: Vec<String> = script
        .queries()
        .iter()
        .map(|line| line.split_once(' ').unwrap().1.to_owned())
        .collect();
    assert_eq!(
        asked,
        [". NS", "com. A", "example.com. A", "www.example.com. A"]
    );
    assert_eq!(
        ask(&recursor, "www.example.com", RecordType::A).await,
        "NoError 192.0.2.1"
    );
    assert_eq!(script.queries(), [""; 0], "the answer is cached");
    assert_eq!(
        ask(&recursor, "www.example.com", RecordType::MX).await,
        "NoError"
    );
    assert_eq!(
        ask(&recursor, "none.example.com", RecordType::A).await,
        "NXDomain"
    );
    assert_eq!(script.queries().len(), 2, "the delegation is cached, too");
}

#[tokio::test(start_paused = true)]
async fn aliases_are_followed_within_bounds() {
    let (recursor, _) = recursor(usual(2));
    assert_eq!(
        ask(&recursor, "alias.example.com", RecordType::A).await,
        "NoError www.example.com. 192.0.2.1"
    );
    assert_eq!(
        ask(&recursor, "far.example.com", RecordType::A).await,
        "NoError www.other.com. 192.0.2.2"
    );
    assert_eq!(
        ask(&recursor, "far.example.com", RecordType::AAAA).await,
        "NoError www.other.com."
    );
    assert_eq!(
        ask(&recursor, "lost.example.com", RecordType::A).await,
        "NXDomain none.other.com."
    );
    assert_eq!(
        ask(&recursor, "loop.example.com", RecordType::A).await,
        format!("{:?}", ResolutionFailure::Circular)
    );
    let dname = ask(&recursor, "www.moved.example.com", RecordType::A).await;
    assert!(dname.ends_with("www.other.com. 192.0.2.2"), "{dname}");
    let again = ask(&recursor, "deep.www.moved.example.com", RecordType::TXT).await;
    assert!(again.contains("deep.www.other.com."), "{again}");
}

#[tokio::test(start_paused = true)]
async fn one_good_server_is_enough() {
    type Bad = (&'static str, fn(&Message) -> Play);
    let bad: [Bad; 6] = [
        ("refuses", |query| {
            Play::Reply(Box::new(reply_to(query, ResponseCode::Refused)))
        }),
        ("fails", |query| {
            Play::Reply(Box::new(reply_to(query, ResponseCode::ServFail)))
        }),
        ("is silent", |_| Play::Silence),
        ("refers upwards", |query| {
            let mut reply = reply_to(query, ResponseCode::NoError);
            reply.authorities = parse(".", ROOT_ZONE).remove(&ProtoName::root()).unwrap();
            Play::Reply(Box::new(reply))
        }),
        ("answers another question", |query| {
            let mut reply = reply_to(query, ResponseCode::NXDomain);
            reply.queries[0].name = ProtoName::from_ascii("never.asked.").unwrap();
            Play::Reply(Box::new(reply))
        }),
        ("says nothing", |query| {
            let mut reply = reply_to(query, ResponseCode::NoError);
            reply.metadata.authoritative = true;
            Play::Reply(Box::new(reply))
        }),
    ];
    for seed in 0..8 {
        for (what, play) in bad {
            let script = usual(seed);
            script.serve(FIRST, move |query, _| play(query));
            let (recursor, script) = recursor(script);
            let began = script.now();
            assert_eq!(
                ask(&recursor, "www.example.com", RecordType::A).await,
                "NoError 192.0.2.1",
                "one server {what}"
            );
            assert!(
                script.now() - began < Duration::from_secs(1),
                "one server {what}: {:?}",
                script.now() - began
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lacks_a_feature_is_queried_without_it() {
    let honest = || authority(&[("example.com.", EXAMPLE)]);
    let hates_edns: Server = {
        let honest = honest();
        Box::new(move |query, tcp| match query.edns {
            Some(_) => {
                let mut reply = reply_to(query, ResponseCode::FormErr);
                reply.edns = None;
                Play::Reply(Box::new(reply))
            }
            None => honest(query, tcp),
        })
    };
    let truncates: Server = {
        let honest = honest();
        Box::new(move |query, tcp| match honest(query, tcp) {
            Play::Reply(mut reply) if !tcp => {
                reply.answers.clear();
                reply.metadata.truncation = true;
                Play::Reply(reply)
            }
            play => play,
        })
    };
    let folds_case: Server = {
        let honest = honest();
        Box::new(move |query, tcp| match honest(query, tcp) {
            Play::Reply(mut reply) => {
                reply.queries[0].name = reply.queries[0].name.to_lowercase();
                Play::Reply(reply)
            }
            play => play,
        })
    };
    let wants_cookies: Server = {
        let honest = honest();
        Box::new(move |query, tcp| {
            let cookie = query
                .edns
                .as_ref()
                .and_then(|edns| match edns.option(10.into()) {
                    Some(EdnsOption::Unknown(_, cookie)) => Some(cookie.clone()),
                    _ => None,
                });
            let cookie = cookie.expect("every query with EDNS has a cookie");
            let mut reply = if cookie.len() == 16 || tcp {
                let Play::Reply(reply) = honest(query, tcp) else {
                    unreachable!("it is honest")
                };
                *reply
            } else {
                reply_to(query, ResponseCode::BADCOOKIE)
            };
            let option = EdnsOption::Unknown(10, [&cookie[..8], b"server!!"].concat());
            reply.edns.as_mut().unwrap().options_mut().insert(option);
            Play::Reply(Box::new(reply))
        })
    };
    for (what, server, first, later) in [
        ("hates EDNS", hates_edns, 2, 1),
        ("truncates", truncates, 2, 2),
        ("folds case", folds_case, 2, 1),
        ("wants cookies", wants_cookies, 2, 1),
    ] {
        let script = usual(3);
        script
            .servers
            .lock()
            .unwrap()
            .insert(FIRST.parse().unwrap(), server);
        script.serve(
            TLD,
            authority(&[(
                "com.",
                "example.com. 3600 NS ns1.example.com.\nns1.example.com. 3600 A 10.0.0.3\n",
            )]),
        );
        let (recursor, script) = recursor(script);
        let at_first = |script: &Script| {
            script
                .queries()
                .iter()
                .filter(|line| line.starts_with(FIRST))
                .count()
        };
        assert_eq!(
            ask(&recursor, "www.example.com", RecordType::A).await,
            "NoError 192.0.2.1",
            "{what}"
        );
        assert_eq!(at_first(&script), first, "{what}");
        assert_eq!(
            ask(&recursor, "ns2.example.com", RecordType::A).await,
            "NoError 10.0.0.4",
            "{what}"
        );
        assert_eq!(at_first(&script), later, "{what}: it is remembered");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_out_of_bailiwick_is_believed() {
    let script = usual(4);
    let honest = authority(&[("example.com.", EXAMPLE)]);
    script.serve(SECOND, |_, _| Play::Silence);
    script.serve(FIRST, move |query, tcp| {
        let Play::Reply(mut reply) = honest(query, tcp) else { unreachable!("it is honest") };
        if query.queries[0].name.to_lowercase().to_ascii().starts_with("evil.") {
            let forged = parse(".", "www.other.com. 999 A 6.6.6.6\nother.com. 999 NS evil.example.com.\ncom. 999 NS evil.example.com.\nevil.example.com. 999 A 6.6.6.6\n");
            let forged: Vec<Record> = forged.into_values().flatten().collect();
            reply.answers.extend(forged.clone());
            reply.authorities.extend(forged.clone());
            reply.additionals.extend(forged);
        }
        Play::Reply(reply)
    });
    let (recursor, script) = recursor(script);
    let evil = ask(&recursor, "evil.example.com", RecordType::MX).await;
    assert!(!evil.contains("6.6.6.6"), "{evil}");
    script.serve(SECOND, authority(&[("other.com.", OTHER)]));
    script.serve(
        FIRST,
        authority(&[("other.com.", OTHER), ("example.com.", EXAMPLE)]),
    );
    assert_eq!(
        ask(&recursor, "www.other.com", RecordType::A).await,
        "NoError 192.0.2.2"
    );
    assert!(
        !script
            .queries()
            .iter()
            .any(|line| line.starts_with("6.6.6.6"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_removed_name_is_gone_when_its_delegation_expires() {
    let (recursor, script) = recursor(usual(5));
    assert_eq!(
        ask(&recursor, "www.example.com", RecordType::A).await,
        "NoError 192.0.2.1"
    );
    script.serve(TLD, authority(&[("com.", "a.gtld.com. 3600 A 10.0.0.2\n")]));
    for second in (5..60).step_by(5) {
        sleep(Duration::from_secs(5)).await;
        // Each response of the child repeats its NS records with their full TTL.
        let host = format!("host{second}.example.com");
        assert_eq!(
            ask(&recursor, &host, RecordType::A).await,
            "NXDomain",
            "after {second} s"
        );
    }
    script.queries();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(
        ask(&recursor, "www.example.com", RecordType::A).await,
        "NXDomain"
    );
    assert!(
        script.queries().iter().all(|line| line.starts_with(TLD)),
        "the old servers are not queried any more"
    );
}

#[tokio::test(start_paused = true)]
async fn the_delegations_of_a_removed_zone_go_with_it() {
    const DEEPER: &str = "10.0.0.5";
    let script = usual(15);
    let deeper =
        "sub.example.com. 86400 NS ns.sub.example.com.\nns.sub.example.com. 86400 A 10.0.0.5\n";
    for server in [FIRST, SECOND] {
        script.serve(
            server,
            authority(&[("example.com.", &format!("{EXAMPLE}{deeper}"))]),
        );
    }
    script.serve(
        DEEPER,
        authority(&[(
            "sub.example.com.",
            "a.sub.example.com. 60 A 192.0.2.5\nb.sub.example.com. 60 A 192.0.2.6\n",
        )]),
    );
    let (recursor, script) = recursor(script);
    assert_eq!(
        ask(&recursor, "a.sub.example.com", RecordType::A).await,
        "NoError 192.0.2.5"
    );
    script.serve(TLD, authority(&[("com.", "a.gtld.com. 3600 A 10.0.0.2\n")]));
    sleep(Duration::from_secs(61)).await;
    assert_eq!(
        ask(&recursor, "b.sub.example.com", RecordType::A).await,
        "NXDomain"
    );
}

#[tokio::test(start_paused = true)]
async fn a_zone_further_down_cannot_deny_names_beside_it() {
    const EVIL: &str = "10.0.0.6";
    let script = usual(16);
    let evil = "evil.b.example.com. 3600 NS ns.evil.b.example.com.\nns.evil.b.example.com. 3600 A 10.0.0.6\ngood.b.example.com. 60 A 192.0.2.8\n";
    for server in [FIRST, SECOND] {
        let honest = authority(&[("example.com.", &format!("{EXAMPLE}{evil}"))]);
        // Many servers deny empty non-terminals.
        script.serve(server, move |query, tcp| match honest(query, tcp) {
            Play::Reply(mut reply)
                if query.queries[0].name.to_lowercase().to_ascii() == "b.example.com." =>
            {
                reply.metadata.response_code = ResponseCode::NXDomain;
                Play::Reply(reply)
            }
            play => play,
        });
    }
    script.serve(EVIL, authority(&[("evil.b.example.com.", "")]));
    let (recursor, _) = recursor(script);
    assert_eq!(
        ask(&recursor, "nx.evil.b.example.com", RecordType::A).await,
        "NXDomain"
    );
    assert_eq!(
        ask(&recursor, "good.b.example.com", RecordType::A).await,
        "NoError 192.0.2.8"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_folds_letter_case_and_has_no_tcp_is_used() {
    let script = usual(17);
    for server in [FIRST, SECOND] {
        let honest = authority(&[("example.com.", EXAMPLE)]);
        script.serve(server, move |query, tcp| match honest(query, tcp) {
            Play::Reply(mut reply) if !tcp => {
                reply.queries[0].name = reply.queries[0].name.to_lowercase();
                Play::Reply(reply)
            }
            _ => Play::Silence,
        });
    }
    let (recursor, _) = recursor(script);
    assert_eq!(
        ask(&recursor, "www.example.com", RecordType::A).await,
        "NoError 192.0.2.1"
    );
}

#[tokio::test(start_paused = true)]
async fn names_on_the_way_are_not_queried_again() {
    let script = usual(18);
    for server in [FIRST, SECOND] {
        script.serve(
            server,
            authority(&[("example.com.", &format!("{EXAMPLE}one.a.b.example.com. 60 A 192.0.2.1\ntwo.a.b.example.com. 60 A 192.0.2.2\n"))]),
        );
    }
    let (recursor, script) = recursor(script);
    assert_eq!(
        ask(&recursor, "one.a.b.example.com", RecordType::A).await,
        "NoError 192.0.2.1"
    );
    script.queries();
    assert_eq!(
        ask(&recursor, "two.a.b.example.com", RecordType::A).await,
        "NoError 192.0.2.2"
    );
    assert_eq!(
        script.queries().len(),
        1,
        "NODATA of the names between is cached"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_cached_for_seconds_and_then_tried_again() {
    let script = usual(7);
    script.serve(FIRST, |_, _| Play::Silence);
    script.serve(SECOND, |_, _| Play::Silence);
    let (recursor, script) = recursor(script);
    let began = script.now();
    assert_eq!(
        ask(&recursor, "www.example.com", RecordType::A).await,
        format!("{:?}", ResolutionFailure::Unreachable)
    );
    assert!(
        script.now() - began < Duration::from_secs(10),
        "{:?}",
        script.now() - began
    );
    script.queries();
    assert_eq!(
        ask(&recursor, "www.example.com", RecordType::A).await,
        format!("{:?}", ResolutionFailure::Unreachable)
    );
    let known = |name| recursor.known_failure(&Question::new(Name::parse(name).unwrap(), Rtype::A));
    assert_eq!(known("www.example.com"), Some(22), "for queries without RD");
    assert_eq!(known("other.example.com"), None);
    assert_eq!(script.queries(), [""; 0]);
    for server in [FIRST, SECOND] {
        script.serve(server, authority(&[("example.com.", EXAMPLE)]));
    }
    sleep(Duration::from_secs(5)).await;
    assert_eq!(
        ask(&recursor, "www.example.com", RecordType::A).await,
        "NoError 192.0.2.1"
    );
}

#[tokio::test(start_paused = true)]
async fn a_prefetch_queries_again_before_the_ttl_ends() {
    let (recursor, script) = recursor(usual(8));
    assert_eq!(
        ask(&recursor, "www.example.com", RecordType::A).await,
        "NoError 192.0.2.1"
    );
    sleep(Duration::from_secs(56)).await;
    script.queries();
    let prefetch = Question {
        prefetch: true,
        ..Question::new(Name::parse("www.example.com").unwrap(), Rtype::A)
    };
    let answer = recursor.trace(&prefetch).await.result.unwrap();
    assert_eq!((answer.answers[0].ttl, script.queries().len()), (60, 1));
}

/// `com` delegates a zone to many names in a victim's zone, without addresses (NXNSAttack).
#[tokio::test(start_paused = true)]
async fn a_referral_to_a_hundred_names_of_a_victim_does_it_no_harm() {
    let script = usual(9);
    let servers: String = (0..100)
        .map(|number| format!("evil.com. 60 NS ns{number}.example.com.\n"))
        .collect();
    script.serve(TLD, authority(&[("com.", &format!("{TLD_ZONE}{servers}"))]));
    let (recursor, script) = recursor(script);
    let failed = ask(&recursor, "www.evil.com", RecordType::A).await;
    assert!(!failed.contains("NoError"), "{failed}");
    let asked = script.queries();
    let at_victim = asked
        .iter()
        .filter(|line| line.starts_with(FIRST) || line.starts_with(SECOND))
        .count();
    assert!(
        at_victim <= 16,
        "{at_victim} queries at the victim: {asked:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn servers_that_are_found_only_through_each_other_fail_soon() {
    let script = usual(10);
    script.serve(
        TLD,
        authority(&[(
            "com.",
            &format!("{TLD_ZONE}a.com. 60 NS ns.b.com.\nb.com. 60 NS ns.a.com.\n"),
        )]),
    );
    let (recursor, script) = recursor(script);
    for number in 0..50 {
        let failed = ask(
            &recursor,
            &format!("www{}.a.com", number % 5),
            RecordType::A,
        )
        .await;
        assert!(!failed.starts_with("NoError"), "{failed}");
    }
    let asked = script.queries().len();
    assert!(asked <= 25, "{asked} queries");
}

/// Many zones, each with a server of its own, behind a lossy network.
fn lossy(seed: u64, zones: usize) -> Script {
    let mut script = Script::new(seed);
    script.loss = 0.3;
    let delegations: String = (0..zones)
        .map(|number| {
            format!(
                "z{number}.com. 3600 NS ns.z{number}.com.\nns.z{number}.com. 3600 A 10.1.{}.{}\n",
                number / 250,
                number % 250 + 1
            )
        })
        .collect();
    script.serve(ROOT, authority(&[(".", ROOT_ZONE)]));
    script.serve(
        TLD,
        authority(&[(
            "com.",
            &format!("a.gtld.com. 3600 A 10.0.0.2\n{delegations}"),
        )]),
    );
    for number in 0..zones {
        let text = format!(
            "ns.z{number}.com. 3600 A 10.1.{}.{}\nwww.z{number}.com. 60 A {}\n",
            number / 250,
            number % 250 + 1,
            Ipv4Addr::from(number as u32)
        );
        script.serve(
            &format!("10.1.{}.{}", number / 250, number % 250 + 1),
            authority(&[(&format!("z{number}.com."), &text)]),
        );
    }
    script
}

#[tokio::test(start_paused = true)]
async fn with_a_third_of_datagrams_lost_nearly_every_name_is_found() {
    const ZONES: usize = 1_000;
    let (recursor, script) = recursor(lossy(11, ZONES));
    let recursor = Arc::new(recursor);
    let mut found = 0;
    for first in (0..ZONES).step_by(50) {
        let all = (first..first + 50).map(|number| {
            let recursor = Arc::clone(&recursor);
            tokio::spawn(async move {
                (
                    number,
                    ask(&recursor, &format!("www.z{number}.com"), RecordType::A).await,
                )
            })
        });
        for one in all.collect::<Vec<_>>() {
            let (number, said) = one.await.unwrap();
            if said.starts_with("NoError") {
                assert_eq!(said, format!("NoError {}", Ipv4Addr::from(number as u32)));
                found += 1;
            }
        }
    }
    println!(
        "{found} of {ZONES} names, {} queries",
        script.queries().len()
    );
    assert!(found * 1_000 >= ZONES * 999, "{found} of {ZONES}");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_is_the_same_dialogue() {
    let mut runs = Vec::new();
    for seed in [12, 12, 13] {
        let (recursor, script) = recursor(lossy(seed, 20));
        for number in 0..20 {
            ask(&recursor, &format!("www.z{number}.com"), RecordType::A).await;
        }
        runs.push((script.now(), script.queries()));
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test(start_paused = true)]
async fn records_of_another_class_are_ignored() {
    let script = usual(14);
    script.serve(FIRST, |query, _| {
        let mut reply = reply_to(query, ResponseCode::NoError);
        reply.metadata.authoritative = true;
        let mut record = Record::from_rdata(
            query.queries[0].name.clone(),
            60,
            RData::A(Ipv4Addr::new(6, 6, 6, 6).into()),
        );
        record.dns_class = DNSClass::CH;
        reply.answers.push(record);
        reply.metadata.message_type = MessageType::Response;
        Play::Reply(Box::new(reply))
    });
    let (recursor, _) = recursor(script);
    assert_eq!(
        ask(&recursor, "www.example.com", RecordType::A).await,
        "NoError 192.0.2.1"
    );
}
