//! Servers with restrictions: lower case only, or no reply within a second; and how often a fallback
//! is tried. EDNS and its options: `edns.rs`.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name as ProtoName, RecordType},
};
use policy::name::Name;
use resolver::{message::types::Rtype, upstream::Question};
use tokio::time::sleep;

use super::script::*;

/// The features of a query.
#[derive(Debug, Clone, Copy)]
pub struct QueryFeatures {
    pub capitals: bool,
    pub edns: bool,
    pub options: bool,
    pub tcp: bool,
}

impl QueryFeatures {
    fn by(query: &Message, tcp: bool) -> Self {
        let capitals = query.queries[0]
            .name
            .iter()
            .any(|label| label.iter().any(u8::is_ascii_uppercase));
        let options = query
            .edns
            .as_ref()
            .is_some_and(|edns| !edns.options().as_ref().is_empty());
        Self {
            capitals,
            edns: query.edns.is_some(),
            options,
            tcp,
        }
    }
}

/// One server for `example.com`, which has long names, and `other.com`. `play` alters its correct
/// responses.
pub fn world(
    seed: u64,
    play: impl Fn(QueryFeatures, &Message, Message) -> Play + Send + Sync + 'static,
) -> (Script, Arc<Mutex<Vec<QueryFeatures>>>) {
    let script = usual(seed);
    script.serve(
        TLD,
        authority(&[(
            "com.",
            "com. 3600 NS a.gtld.com.\na.gtld.com. 3600 A 10.0.0.2\n\
        example.com. 3600 NS ns1.example.com.\nns1.example.com. 3600 A 10.0.0.3\nother.com. 3600 NS ns1.example.com.\n",
        )]),
    );
    let names = "wonderful.example.com. 60 A 192.0.2.1\nmarvellous.example.com. 60 A 192.0.2.2\nns1.example.com. 60 A 10.0.0.3\n\
        alphabetical.example.com. 60 A 192.0.2.3\n";
    let honest = authority(&[
        ("example.com.", names),
        ("other.com.", "wonderful.other.com. 60 A 192.0.2.4\n"),
    ]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    script.serve(FIRST, move |query, tcp| {
        let sent = QueryFeatures::by(query, tcp);
        log.lock().unwrap().push(sent);
        let Play::Reply(truth) = honest(query, tcp) else {
            unreachable!("it is honest")
        };
        play(sent, query, *truth)
    });
    (script, seen)
}

pub fn taken(seen: &Mutex<Vec<QueryFeatures>>) -> Vec<QueryFeatures> {
    std::mem::take(&mut *seen.lock().unwrap())
}

pub fn say(message: Message) -> Play {
    Play::Reply(Box::new(message))
}

/// The correct response without its records, with another code.
pub fn denial(truth: &Message, code: ResponseCode) -> Message {
    let mut reply = truth.clone();
    (reply.answers, reply.authorities, reply.additionals) = Default::default();
    reply.metadata.response_code = code;
    reply
}

/// A denial with SOA.
pub fn with_soa(mut reply: Message) -> Message {
    let apex = ProtoName::from_ascii("example.com.").unwrap();
    reply.authorities = parse("example.com.", "").remove(&apex).unwrap();
    reply
}

fn upwards(truth: &Message) -> Message {
    let mut reply = denial(truth, ResponseCode::NoError);
    reply.metadata.authoritative = false;
    reply.authorities = parse(".", ROOT_ZONE).remove(&ProtoName::root()).unwrap();
    reply
}

pub fn without_opt(mut reply: Message) -> Message {
    reply.edns = None;
    reply
}

pub const NAMES: [(&str, &str); 2] = [
    ("wonderful.example.com", "NoError 192.0.2.1"),
    ("marvellous.example.com", "NoError 192.0.2.2"),
];

/// Queries two names. The second one must cost one query with these features.
pub async fn found_and_remembered(
    what: &str,
    world: (Script, Arc<Mutex<Vec<QueryFeatures>>>),
    is_right: impl Fn(&QueryFeatures) -> bool,
) {
    let (script, seen) = world;
    let (recursor, _) = recursor(script);
    let [first, second] = NAMES;
    assert_eq!(
        ask(&recursor, first.0, RecordType::A).await,
        first.1,
        "{what}"
    );
    taken(&seen);
    assert_eq!(
        ask(&recursor, second.0, RecordType::A).await,
        second.1,
        "{what}"
    );
    let again = taken(&seen);
    assert!(
        again.len() == 1 && is_right(&again[0]),
        "{what}: it is remembered: {again:?}"
    );
}

/// A message whose octets are altered.
pub fn altered(message: &Message, alter: impl Fn(&mut Vec<u8>)) -> Play {
    let mut octets = message.to_vec().unwrap();
    alter(&mut octets);
    Play::Octets(octets)
}

#[tokio::test(start_paused = true)]
async fn a_server_that_needs_lower_case_is_queried_in_lower_case() {
    type Wrong = (&'static str, fn(&Message) -> Play);
    let wrong: [Wrong; 10] = [
        ("denies the name", |truth| {
            say(with_soa(denial(truth, ResponseCode::NXDomain)))
        }),
        ("denies the type", |truth| {
            say(with_soa(denial(truth, ResponseCode::NoError)))
        }),
        ("denies without a SOA", |truth| {
            say(denial(truth, ResponseCode::NXDomain))
        }),
        ("says nothing", |truth| {
            say(denial(truth, ResponseCode::NoError))
        }),
        ("refuses", |truth| say(denial(truth, ResponseCode::Refused))),
        ("fails", |truth| say(denial(truth, ResponseCode::ServFail))),
        ("does not understand", |truth| {
            say(denial(truth, ResponseCode::FormErr))
        }),
        ("cannot do that", |truth| {
            say(without_opt(denial(truth, ResponseCode::NotImp)))
        }),
        ("refers upwards", |truth| say(upwards(truth))),
        ("is silent", |_| Play::Silence),
    ];
    for seed in 0..4 {
        for (what, play) in wrong {
            let world = world(seed, move |sent, _, truth| {
                if sent.capitals {
                    play(&truth)
                } else {
                    say(truth)
                }
            });
            found_and_remembered(what, world, |sent| !sent.capitals).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn mixed_case_is_tried_again_after_an_hour() {
    let is_fixed = Arc::new(Mutex::new(false));
    let fixed = Arc::clone(&is_fixed);
    let (script, seen) = world(1, move |sent, _, truth| {
        say(if sent.capitals && !*fixed.lock().unwrap() {
            with_soa(denial(&truth, ResponseCode::NXDomain))
        } else {
            truth
        })
    });
    let (recursor, _) = recursor(script);
    assert_eq!(ask(&recursor, NAMES[0].0, RecordType::A).await, NAMES[0].1);
    *is_fixed.lock().unwrap() = true;
    sleep(Duration::from_secs(3_590)).await;
    assert_eq!(ask(&recursor, NAMES[1].0, RecordType::A).await, NAMES[1].1);
    sleep(Duration::from_secs(61)).await;
    taken(&seen);
    assert_eq!(ask(&recursor, NAMES[0].0, RecordType::A).await, NAMES[0].1);
    assert!(
        taken(&seen).iter().all(|sent| sent.capitals),
        "it is tried again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_correct_server_gets_one_query_for_each_name_that_does_not_exist() {
    let (script, seen) = world(2, |_, _, truth| say(truth));
    let (recursor, _) = recursor(script);
    assert_eq!(ask(&recursor, NAMES[0].0, RecordType::A).await, NAMES[0].1);
    taken(&seen);
    for number in 0..50 {
        assert_eq!(
            ask(
                &recursor,
                &format!("nowhere-at-all-{number}.example.com"),
                RecordType::A
            )
            .await,
            "NXDomain"
        );
    }
    assert_eq!(ask(&recursor, NAMES[0].0, RecordType::MX).await, "NoError");
    let asked = taken(&seen);
    assert_eq!(asked.len(), 51);
    assert!(
        asked.iter().all(|sent| sent.capitals && sent.options),
        "no feature is left out"
    );
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_names_that_do_not_exist_costs_few_comparisons() {
    let (script, seen) = world(3, |_, _, truth| say(truth));
    let (recursor, script) = recursor(script);
    let began = script.started.elapsed();
    for number in 0..200 {
        assert_eq!(
            ask(
                &recursor,
                &format!("nowhere-at-all-{number}.example.com"),
                RecordType::A
            )
            .await,
            "NXDomain"
        );
    }
    let seconds = usize::try_from((script.started.elapsed() - began).as_secs()).unwrap();
    let asked = taken(&seen).len();
    assert!(
        (201..=200 + 16 + seconds + 1).contains(&asked),
        "{asked} queries in {seconds} s"
    );
}

#[tokio::test(start_paused = true)]
async fn the_quirks_of_one_zone_do_not_affect_another_at_the_same_server() {
    let (script, seen) = world(4, |sent, query, truth| {
        let is_other = query.queries[0]
            .name
            .to_lowercase()
            .to_ascii()
            .ends_with("other.com.");
        say(if is_other && sent.capitals {
            with_soa(denial(&truth, ResponseCode::NXDomain))
        } else {
            truth
        })
    });
    let (recursor, _) = recursor(script);
    assert_eq!(ask(&recursor, NAMES[0].0, RecordType::A).await, NAMES[0].1);
    // The SOA is out of bailiwick, so the denial counts as one without SOA.
    assert_eq!(
        ask(&recursor, "wonderful.other.com", RecordType::A).await,
        "NoError 192.0.2.4"
    );
    taken(&seen);
    assert_eq!(ask(&recursor, NAMES[1].0, RecordType::A).await, NAMES[1].1);
    assert!(taken(&seen).iter().all(|sent| sent.capitals));
}

#[tokio::test(start_paused = true)]
async fn a_comparison_without_reply_costs_no_answer() {
    let (script, _) = world(5, |sent, _, truth| {
        if sent.capitals {
            say(truth)
        } else {
            Play::Silence
        }
    });
    let (recursor, script) = recursor(script);
    let began = script.started.elapsed();
    assert_eq!(
        ask(&recursor, "nowhere-at-all.example.com", RecordType::A).await,
        "NXDomain"
    );
    assert!(script.started.elapsed() - began < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_fallback_that_helps_is_tried_in_each_zone_of_a_server() {
    let script = usual(18);
    let delegations: String = (0..12)
        .map(|number| format!("zone{number}.com. 3600 NS ns1.example.com.\n"))
        .collect();
    script.serve(
        TLD,
        authority(&[(
            "com.",
            &format!(
                "a.gtld.com. 3600 A 10.0.0.2\nns1.example.com. 3600 A 10.0.0.3\n{delegations}"
            ),
        )]),
    );
    let zones: Vec<(String, String)> = (0..12)
        .map(|number| {
            (
                format!("zone{number}.com."),
                format!("wonderful.zone{number}.com. 60 A 192.0.2.{number}\n"),
            )
        })
        .collect();
    let zones: Vec<(&str, &str)> = zones
        .iter()
        .map(|(apex, text)| (apex.as_str(), text.as_str()))
        .collect();
    let honest = authority(&zones);
    script.serve(FIRST, move |query, tcp| match honest(query, tcp) {
        Play::Reply(truth) if QueryFeatures::by(query, tcp).capitals => {
            say(denial(&truth, ResponseCode::Refused))
        }
        play => play,
    });
    let (recursor, _) = recursor(script);
    for number in 0..12 {
        assert_eq!(
            ask(
                &recursor,
                &format!("wonderful.zone{number}.com"),
                RecordType::A
            )
            .await,
            format!("NoError 192.0.2.{number}")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_everything_gets_few_fallback_queries() {
    let (script, seen) = world(14, |_, _, truth| say(denial(&truth, ResponseCode::Refused)));
    let (recursor, _) = recursor(script);
    for number in 0..40 {
        let said = ask(
            &recursor,
            &format!("name-{number}.example.com"),
            RecordType::A,
        )
        .await;
        assert_eq!(said, "Useless");
    }
    let asked = taken(&seen);
    let fallbacks = asked
        .iter()
        .filter(|sent| !sent.options || !sent.capitals)
        .count();
    assert!(fallbacks <= 8, "{fallbacks} of {} queries", asked.len());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_folds_case_without_tcp_is_remembered() {
    let world = world(15, |sent, _, mut truth| {
        truth.queries[0].name = truth.queries[0].name.to_lowercase();
        if sent.tcp { Play::Silence } else { say(truth) }
    });
    found_and_remembered("folds letters", world, |sent| !sent.capitals && !sent.tcp).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_needs_seconds_is_waited_for() {
    for (seconds, seed) in [(2, 1), (2, 2), (4, 1), (4, 2)] {
        let late = move |_: QueryFeatures, _: &Message, truth: Message| {
            Play::Late(Duration::from_secs(seconds), Box::new(say(truth)))
        };
        let (script, _) = world(seed, late);
        let (recursor, _) = recursor(script);
        let first = ask(&recursor, NAMES[0].0, RecordType::A).await;
        sleep(Duration::from_secs(4)).await;
        let again = ask(&recursor, NAMES[0].0, RecordType::A).await;
        assert!(
            [&first, &again].contains(&&NAMES[0].1.to_owned()),
            "{seconds} s: {first}, then {again}"
        );
        assert_eq!(
            ask(&recursor, NAMES[1].0, RecordType::A).await,
            NAMES[1].1,
            "{seconds} s: another name"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn of_several_slow_servers_one_answers_the_first_query() {
    let script = usual(3);
    for server in [FIRST, SECOND] {
        let honest = authority(&[("example.com.", EXAMPLE)]);
        script.serve(server, move |query, tcp| {
            Play::Late(Duration::from_secs(3), Box::new(honest(query, tcp)))
        });
    }
    let (recursor, _) = recursor(script);
    assert_eq!(
        ask(&recursor, "www.example.com", RecordType::A).await,
        "NoError 192.0.2.1"
    );
}

#[tokio::test(start_paused = true)]
async fn each_line_of_a_trace_names_zone_and_query() {
    type Bad = fn(&Message) -> Play;
    let bad: [Bad; 5] = [
        |_| Play::Silence,
        |truth| say(denial(truth, ResponseCode::Refused)),
        |truth| altered(truth, |octets| octets.truncate(20)),
        |truth| say(upwards(truth)),
        |truth| say(denial(truth, ResponseCode::NoError)),
    ];
    for play in bad {
        let (script, _) = world(16, move |_, _, truth| play(&truth));
        let (recursor, _) = recursor(script);
        let traced = recursor
            .trace(&Question::new(
                Name::parse("www.example.com").unwrap(),
                Rtype::A,
            ))
            .await;
        let lines: Vec<&String> = traced
            .steps
            .iter()
            .map(|step| &step.text)
            .filter(|line| line.starts_with(FIRST))
            .collect();
        assert!(!lines.is_empty(), "{:?}", traced.steps);
        for line in lines {
            assert!(
                line.starts_with("10.0.0.3:53 (example.com): www.example.com A"),
                "{line}"
            );
        }
    }
}
