//! Whole dialogues between the recursor and the servers of an Internet that exists in memory, under a clock that jumps. A run
//! takes milliseconds and is the same each time its seed is.

#![allow(clippy::unwrap_used)] // A script that does not hold is a failed test.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{DNSClass, Name as ProtoName, RData, Record, RecordType, rdata::opt::EdnsOption},
    serialize::txt::Parser,
};
use policy::name::Name;
use rand::{Rng, SeedableRng, rngs::StdRng};
use resolver::{
    recurse::Question,
    recursor::{
        Failure, Recursor, Settings,
        surroundings::{Reception, Surroundings},
        wire::{Expected, Likeness},
    },
};
use tokio::time::{Instant, sleep};

/// What a server does with a query.
enum Play {
    Reply(Box<Message>),
    Silence,
}

type Server = Box<dyn Fn(&Message, bool) -> Play + Send + Sync>;

/// An Internet in memory.
struct Script {
    started: Instant,
    chance: Mutex<StdRng>,
    servers: Mutex<HashMap<IpAddr, Server>>,
    /// Share of datagrams that are lost, each way.
    loss: f64,
    latency: Duration,
    asked: Mutex<Vec<String>>,
}

impl Script {
    fn new(seed: u64) -> Self {
        Self {
            started: Instant::now(),
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            servers: Mutex::default(),
            loss: 0.0,
            latency: Duration::from_millis(5),
            asked: Mutex::default(),
        }
    }

    fn serve(&self, address: &str, server: impl Fn(&Message, bool) -> Play + Send + Sync + 'static) {
        self.servers.lock().unwrap().insert(address.parse().unwrap(), Box::new(server));
    }

    fn is_lost(&self) -> bool {
        self.loss > 0.0 && self.chance.lock().unwrap().random_bool(self.loss)
    }

    fn play(&self, server: SocketAddr, query: &[u8], over_tcp: bool) -> Play {
        let message = Message::from_vec(query).unwrap();
        let question = &message.queries[0];
        let way = if over_tcp { " tcp" } else { "" };
        let line = format!("{} {} {}{way}", server.ip(), question.name.to_lowercase(), question.query_type);
        self.asked.lock().unwrap().push(line);
        self.servers.lock().unwrap().get(&server.ip()).map_or(Play::Silence, |play| play(&message, over_tcp))
    }

    /// What was asked since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    async fn exchange(&self, server: SocketAddr, query: &[u8], expected: &Expected, patience: Duration, over_tcp: bool) -> Reception {
        let reply = match self.play(server, query, over_tcp) {
            Play::Reply(_) if !over_tcp && (self.is_lost() || self.is_lost()) => None,
            Play::Reply(reply) => Some(reply.to_vec().unwrap()),
            Play::Silence => None,
        };
        match reply {
            None => sleep(patience).await,
            Some(_) => sleep(self.latency.min(patience)).await,
        }
        match reply {
            None => Reception::Silent,
            Some(reply) => match expected.compare(&reply) {
                Likeness::Right => Reception::Reply(reply),
                Likeness::Near if over_tcp && expected.is_same_but_for_case(&reply) => Reception::Reply(reply),
                Likeness::Near => Reception::NearMiss { is_case: expected.is_same_but_for_case(&reply) },
                Likeness::Noise => {
                    sleep(patience.saturating_sub(self.latency)).await;
                    Reception::Silent
                }
            },
        }
    }
}

#[async_trait]
impl Surroundings for Script {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn random(&self) -> u64 {
        self.chance.lock().unwrap().random()
    }

    async fn sleep(&self, duration: Duration) {
        sleep(duration).await;
    }

    async fn udp(&self, server: SocketAddr, query: &[u8], expected: &Expected, patience: Duration) -> Reception {
        self.exchange(server, query, expected, patience, false).await
    }

    async fn tcp(&self, server: SocketAddr, query: &[u8], expected: &Expected, patience: Duration) -> Reception {
        self.exchange(server, query, expected, patience, true).await
    }

    async fn tls(&self, server: SocketAddr, _: &str, query: &[u8], expected: &Expected, patience: Duration) -> Reception {
        self.exchange(server, query, expected, patience, true).await
    }
}

/// Records of one zone, by owner.
type Records = BTreeMap<ProtoName, Vec<Record>>;

/// An honest server of zones in master-file form; `NS` below a zone's name is a cut, and addresses below that are glue.
fn authority(zones: &[(&str, &str)]) -> impl Fn(&Message, bool) -> Play + Send + Sync + 'static {
    let zones: Vec<(ProtoName, Records)> =
        zones.iter().map(|(apex, text)| (ProtoName::from_ascii(apex).unwrap(), parse(apex, text))).collect();
    move |query, _| Play::Reply(Box::new(truth(&zones, query)))
}

fn parse(apex: &str, text: &str) -> Records {
    let mut records = Records::new();
    // The record library reads no DNAME, so that one comes as its octets.
    let (plain, dnames): (Vec<&str>, Vec<&str>) = text.lines().map(str::trim).partition(|line| !line.contains(" DNAME "));
    let origin = ProtoName::from_ascii(apex).unwrap();
    let text = format!("@ 3600 SOA ns. host. 1 2 3 4 60\n{}\n", plain.join("\n"));
    let (_, sets) = Parser::new(text, None, Some(origin)).parse().unwrap();
    for record in sets.values().flat_map(|set| set.records_without_rrsigs()) {
        records.entry(record.name.clone()).or_default().push(record.clone());
    }
    for line in dnames {
        let words: Vec<&str> = line.split_whitespace().collect();
        let owner = ProtoName::from_ascii(words[0]).unwrap();
        let rdata = Name::parse(words[3]).unwrap().borrow().wire().to_vec();
        let data = RData::Unknown { code: RecordType::DNAME, rdata: hickory_proto::rr::rdata::NULL::with(rdata) };
        records.entry(owner.clone()).or_default().push(Record::from_rdata(owner, words[1].parse().unwrap(), data));
    }
    records
}

fn reply_to(query: &Message, code: ResponseCode) -> Message {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.response_code = code;
    reply.queries = query.queries.clone();
    reply.edns = query.edns.as_ref().map(|_| hickory_proto::op::Edns::new());
    reply
}

fn truth(zones: &[(ProtoName, Records)], query: &Message) -> Message {
    let (name, kind) = (query.queries[0].name.to_lowercase(), query.queries[0].query_type);
    let zone = zones.iter().filter(|(apex, _)| apex.zone_of(&name)).max_by_key(|(apex, _)| apex.num_labels());
    let Some((apex, records)) = zone else { return reply_to(query, ResponseCode::Refused) };
    let mut reply = reply_to(query, ResponseCode::NoError);
    let of = |owner: &ProtoName, kind: RecordType| -> Vec<Record> {
        records.get(owner).into_iter().flatten().filter(|record| record.record_type() == kind).cloned().collect()
    };
    let mut above = name.clone();
    while above != *apex {
        let servers = of(&above, RecordType::NS);
        if !servers.is_empty() {
            let targets = servers.iter().filter_map(|record| if let RData::NS(name) = &record.data { Some(name.0.clone()) } else { None });
            reply.additionals = targets.flat_map(|target| of(&target, RecordType::A)).collect();
            reply.authorities = servers;
            return reply;
        }
        above = above.base_name();
    }
    reply.metadata.authoritative = true;
    let dname = records.keys().find(|owner| **owner != name && owner.zone_of(&name) && !of(owner, RecordType::DNAME).is_empty());
    if let Some(owner) = dname {
        reply.answers = of(owner, RecordType::DNAME);
        return reply;
    }
    let found = of(&name, kind);
    reply.answers = if found.is_empty() && kind != RecordType::CNAME { of(&name, RecordType::CNAME) } else { found };
    if reply.answers.is_empty() {
        let exists = records.keys().any(|owner| name.zone_of(owner));
        reply.metadata.response_code = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
        reply.authorities = of(apex, RecordType::SOA);
    } else if name == *apex && kind == RecordType::NS {
        let targets: Vec<ProtoName> = reply
            .answers
            .iter()
            .filter_map(|record| if let RData::NS(name) = &record.data { Some(name.0.clone()) } else { None })
            .collect();
        reply.additionals = targets.iter().flat_map(|target| of(target, RecordType::A)).collect();
    }
    reply
}

const ROOT: &str = "10.0.0.1";
const TLD: &str = "10.0.0.2";
const FIRST: &str = "10.0.0.3";
const SECOND: &str = "10.0.0.4";

const ROOT_ZONE: &str = ". 3600 NS a.root.\na.root. 3600 A 10.0.0.1\ncom. 3600 NS a.gtld.com.\na.gtld.com. 3600 A 10.0.0.2\n";
const TLD_ZONE: &str = "com. 3600 NS a.gtld.com.\na.gtld.com. 3600 A 10.0.0.2\n\
    example.com. 60 NS ns1.example.com.\nexample.com. 60 NS ns2.example.com.\nns1.example.com. 60 A 10.0.0.3\nns2.example.com. 60 A 10.0.0.4\n\
    other.com. 60 NS ns1.example.com.\n";
const EXAMPLE: &str = "example.com. 60 NS ns1.example.com.\nexample.com. 60 NS ns2.example.com.\nns1.example.com. 60 A 10.0.0.3\n\
    ns2.example.com. 60 A 10.0.0.4\nwww.example.com. 60 A 192.0.2.1\nalias.example.com. 60 CNAME www.example.com.\n\
    far.example.com. 60 CNAME www.other.com.\nlost.example.com. 60 CNAME none.other.com.\nloop.example.com. 60 CNAME pool.example.com.\n\
    pool.example.com. 60 CNAME loop.example.com.\nmoved.example.com. 60 DNAME other.com\nshort.example.com. 10 A 192.0.2.9\n";
const OTHER: &str = "www.other.com. 60 A 192.0.2.2\ndeep.www.other.com. 60 TXT \"x\"\n";

/// The usual Internet: a root, `com`, and two servers for `example.com` and `other.com`.
fn usual(seed: u64) -> Script {
    let script = Script::new(seed);
    script.serve(ROOT, authority(&[(".", ROOT_ZONE)]));
    script.serve(TLD, authority(&[("com.", TLD_ZONE)]));
    for server in [FIRST, SECOND] {
        script.serve(server, authority(&[("example.com.", EXAMPLE), ("other.com.", OTHER)]));
    }
    script
}

fn recursor(script: Script) -> (Recursor<Arc<Script>>, Arc<Script>) {
    let script = Arc::new(script);
    let mut settings = Settings::with_roots(vec![ROOT.parse().unwrap()]);
    settings.ipv6 = false;
    (Recursor::new(settings, Arc::clone(&script)).unwrap(), script)
}

async fn ask(recursor: &Recursor<Arc<Script>>, name: &str, kind: RecordType) -> String {
    let traced = recursor.trace(&Question::new(Name::parse(name).unwrap(), kind.into())).await;
    match traced.result {
        Err(failure) => format!("{failure:?}"),
        Ok(answer) => {
            let data: Vec<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
            format!("{:?} {}", answer.rcode, data.join(" ")).trim().to_owned()
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_is_found_from_the_root_down_and_no_zone_sees_more_of_it_than_it_must() {
    let (recursor, script) = recursor(usual(1));
    assert_eq!(ask(&recursor, "www.example.com", RecordType::A).await, "NoError 192.0.2.1");
    let asked: Vec<String> = script.asked().iter().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect();
    assert_eq!(asked, [". NS", "com. A", "example.com. A", "www.example.com. A"]);
    assert_eq!(ask(&recursor, "www.example.com", RecordType::A).await, "NoError 192.0.2.1");
    assert_eq!(script.asked(), [""; 0], "it is known by now");
    assert_eq!(ask(&recursor, "www.example.com", RecordType::MX).await, "NoError");
    assert_eq!(ask(&recursor, "none.example.com", RecordType::A).await, "NXDomain");
    assert_eq!(script.asked().len(), 2, "where the zone is served is known, too");
}

#[tokio::test(start_paused = true)]
async fn aliases_are_followed_within_bounds() {
    let (recursor, _) = recursor(usual(2));
    assert_eq!(ask(&recursor, "alias.example.com", RecordType::A).await, "NoError www.example.com. 192.0.2.1");
    assert_eq!(ask(&recursor, "far.example.com", RecordType::A).await, "NoError www.other.com. 192.0.2.2");
    assert_eq!(ask(&recursor, "far.example.com", RecordType::AAAA).await, "NoError www.other.com.");
    assert_eq!(ask(&recursor, "lost.example.com", RecordType::A).await, "NXDomain none.other.com.");
    assert_eq!(ask(&recursor, "loop.example.com", RecordType::A).await, format!("{:?}", Failure::Circular));
    let dname = ask(&recursor, "www.moved.example.com", RecordType::A).await;
    assert!(dname.ends_with("www.other.com. 192.0.2.2"), "{dname}");
    let again = ask(&recursor, "deep.www.moved.example.com", RecordType::TXT).await;
    assert!(again.contains("deep.www.other.com."), "{again}");
}

#[tokio::test(start_paused = true)]
async fn one_good_server_is_enough() {
    type Bad = (&'static str, fn(&Message) -> Play);
    let bad: [Bad; 6] = [
        ("refuses", |query| Play::Reply(Box::new(reply_to(query, ResponseCode::Refused)))),
        ("fails", |query| Play::Reply(Box::new(reply_to(query, ResponseCode::ServFail)))),
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
            assert_eq!(ask(&recursor, "www.example.com", RecordType::A).await, "NoError 192.0.2.1", "one server {what}");
            assert!(script.now() - began < Duration::from_secs(1), "one server {what}: {:?}", script.now() - began);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_do_something_is_asked_in_another_way() {
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
            let cookie = query.edns.as_ref().and_then(|edns| match edns.option(10.into()) {
                Some(EdnsOption::Unknown(_, cookie)) => Some(cookie.clone()),
                _ => None,
            });
            let cookie = cookie.expect("every query with EDNS has a cookie");
            let mut reply = if cookie.len() == 16 || tcp {
                let Play::Reply(reply) = honest(query, tcp) else { unreachable!("it is honest") };
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
        script.servers.lock().unwrap().insert(FIRST.parse().unwrap(), server);
        script.serve(TLD, authority(&[("com.", "example.com. 3600 NS ns1.example.com.\nns1.example.com. 3600 A 10.0.0.3\n")]));
        let (recursor, script) = recursor(script);
        let at_first = |script: &Script| script.asked().iter().filter(|line| line.starts_with(FIRST)).count();
        assert_eq!(ask(&recursor, "www.example.com", RecordType::A).await, "NoError 192.0.2.1", "{what}");
        assert_eq!(at_first(&script), first, "{what}");
        assert_eq!(ask(&recursor, "ns2.example.com", RecordType::A).await, "NoError 10.0.0.4", "{what}");
        assert_eq!(at_first(&script), later, "{what}: it is remembered");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_believed_that_is_not_the_servers_to_say() {
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
    script.serve(FIRST, authority(&[("other.com.", OTHER), ("example.com.", EXAMPLE)]));
    assert_eq!(ask(&recursor, "www.other.com", RecordType::A).await, "NoError 192.0.2.2");
    assert!(!script.asked().iter().any(|line| line.starts_with("6.6.6.6")));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_taken_away_is_gone_when_its_delegation_ends() {
    let (recursor, script) = recursor(usual(5));
    assert_eq!(ask(&recursor, "www.example.com", RecordType::A).await, "NoError 192.0.2.1");
    script.serve(TLD, authority(&[("com.", "a.gtld.com. 3600 A 10.0.0.2\n")]));
    for second in (5..60).step_by(5) {
        sleep(Duration::from_secs(5)).await;
        // Each answer of the child repeats its NS records with their full TTL.
        let host = format!("host{second}.example.com");
        assert_eq!(ask(&recursor, &host, RecordType::A).await, "NXDomain", "after {second} s");
    }
    script.asked();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(ask(&recursor, "www.example.com", RecordType::A).await, "NXDomain");
    assert!(script.asked().iter().all(|line| line.starts_with(TLD)), "the old servers are not asked any more");
}

#[tokio::test(start_paused = true)]
async fn what_a_zone_that_was_taken_away_delegated_goes_with_it() {
    const DEEPER: &str = "10.0.0.5";
    let script = usual(15);
    let deeper = "sub.example.com. 86400 NS ns.sub.example.com.\nns.sub.example.com. 86400 A 10.0.0.5\n";
    for server in [FIRST, SECOND] {
        script.serve(server, authority(&[("example.com.", &format!("{EXAMPLE}{deeper}"))]));
    }
    script.serve(DEEPER, authority(&[("sub.example.com.", "a.sub.example.com. 60 A 192.0.2.5\nb.sub.example.com. 60 A 192.0.2.6\n")]));
    let (recursor, script) = recursor(script);
    assert_eq!(ask(&recursor, "a.sub.example.com", RecordType::A).await, "NoError 192.0.2.5");
    script.serve(TLD, authority(&[("com.", "a.gtld.com. 3600 A 10.0.0.2\n")]));
    sleep(Duration::from_secs(61)).await;
    assert_eq!(ask(&recursor, "b.sub.example.com", RecordType::A).await, "NXDomain");
}

#[tokio::test(start_paused = true)]
async fn a_zone_further_down_cannot_deny_what_is_beside_it() {
    const EVIL: &str = "10.0.0.6";
    let script = usual(16);
    let evil =
        "evil.b.example.com. 3600 NS ns.evil.b.example.com.\nns.evil.b.example.com. 3600 A 10.0.0.6\ngood.b.example.com. 60 A 192.0.2.8\n";
    for server in [FIRST, SECOND] {
        let honest = authority(&[("example.com.", &format!("{EXAMPLE}{evil}"))]);
        // As many servers do: a name that only has names below it is denied.
        script.serve(server, move |query, tcp| match honest(query, tcp) {
            Play::Reply(mut reply) if query.queries[0].name.to_lowercase().to_ascii() == "b.example.com." => {
                reply.metadata.response_code = ResponseCode::NXDomain;
                Play::Reply(reply)
            }
            play => play,
        });
    }
    script.serve(EVIL, authority(&[("evil.b.example.com.", "")]));
    let (recursor, _) = recursor(script);
    assert_eq!(ask(&recursor, "nx.evil.b.example.com", RecordType::A).await, "NXDomain");
    assert_eq!(ask(&recursor, "good.b.example.com", RecordType::A).await, "NoError 192.0.2.8");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_folds_letter_case_and_has_no_tcp_is_used_all_the_same() {
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
    assert_eq!(ask(&recursor, "www.example.com", RecordType::A).await, "NoError 192.0.2.1");
}

#[tokio::test(start_paused = true)]
async fn names_on_the_way_are_not_asked_about_again() {
    let script = usual(18);
    for server in [FIRST, SECOND] {
        script.serve(
            server,
            authority(&[("example.com.", &format!("{EXAMPLE}one.a.b.example.com. 60 A 192.0.2.1\ntwo.a.b.example.com. 60 A 192.0.2.2\n"))]),
        );
    }
    let (recursor, script) = recursor(script);
    assert_eq!(ask(&recursor, "one.a.b.example.com", RecordType::A).await, "NoError 192.0.2.1");
    script.asked();
    assert_eq!(ask(&recursor, "two.a.b.example.com", RecordType::A).await, "NoError 192.0.2.2");
    assert_eq!(script.asked().len(), 1, "that the names between are no zones is known");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_below_a_name_that_does_not_exist() {
    let (recursor, script) = recursor(usual(6));
    assert_eq!(ask(&recursor, "a.none.example.com", RecordType::A).await, "NXDomain");
    script.asked();
    assert_eq!(ask(&recursor, "b.none.example.com", RecordType::A).await, "NXDomain");
    assert_eq!(script.asked(), [""; 0]);
    sleep(Duration::from_secs(61)).await;
    assert_eq!(ask(&recursor, "b.none.example.com", RecordType::A).await, "NXDomain");
    assert!(!script.asked().is_empty(), "a denial has an end");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_remembered_for_seconds_and_then_tried_again() {
    let script = usual(7);
    script.serve(FIRST, |_, _| Play::Silence);
    script.serve(SECOND, |_, _| Play::Silence);
    let (recursor, script) = recursor(script);
    let began = script.now();
    assert_eq!(ask(&recursor, "www.example.com", RecordType::A).await, format!("{:?}", Failure::Unreachable));
    assert!(script.now() - began < Duration::from_secs(10), "{:?}", script.now() - began);
    script.asked();
    assert_eq!(ask(&recursor, "www.example.com", RecordType::A).await, format!("{:?}", Failure::Unreachable));
    assert_eq!(script.asked(), [""; 0]);
    for server in [FIRST, SECOND] {
        script.serve(server, authority(&[("example.com.", EXAMPLE)]));
    }
    sleep(Duration::from_secs(5)).await;
    assert_eq!(ask(&recursor, "www.example.com", RecordType::A).await, "NoError 192.0.2.1");
}

#[tokio::test(start_paused = true)]
async fn what_is_old_is_asked_again_before_its_end_where_that_is_wanted() {
    let (recursor, script) = recursor(usual(8));
    assert_eq!(ask(&recursor, "www.example.com", RecordType::A).await, "NoError 192.0.2.1");
    sleep(Duration::from_secs(56)).await;
    script.asked();
    let renewed = Question { renews: true, ..Question::new(Name::parse("www.example.com").unwrap(), 1) };
    let answer = recursor.trace(&renewed).await.result.unwrap();
    assert_eq!((answer.answers[0].ttl, script.asked().len()), (60, 1));
}

/// A root and `com` with a zone that refers to many servers of a victim without their addresses.
#[tokio::test(start_paused = true)]
async fn a_referral_to_a_hundred_names_of_a_victim_does_it_no_harm() {
    let script = usual(9);
    let servers: String = (0..100).map(|number| format!("evil.com. 60 NS ns{number}.example.com.\n")).collect();
    script.serve(TLD, authority(&[("com.", &format!("{TLD_ZONE}{servers}"))]));
    let (recursor, script) = recursor(script);
    let failed = ask(&recursor, "www.evil.com", RecordType::A).await;
    assert!(!failed.contains("NoError"), "{failed}");
    let asked = script.asked();
    let at_victim = asked.iter().filter(|line| line.starts_with(FIRST) || line.starts_with(SECOND)).count();
    assert!(at_victim <= 16, "{at_victim} queries at the victim: {asked:#?}");
}

#[tokio::test(start_paused = true)]
async fn servers_that_are_found_only_through_each_other_end_soon() {
    let script = usual(10);
    script.serve(TLD, authority(&[("com.", &format!("{TLD_ZONE}a.com. 60 NS ns.b.com.\nb.com. 60 NS ns.a.com.\n"))]));
    let (recursor, script) = recursor(script);
    for number in 0..50 {
        let failed = ask(&recursor, &format!("www{}.a.com", number % 5), RecordType::A).await;
        assert!(!failed.starts_with("NoError"), "{failed}");
    }
    let asked = script.asked().len();
    assert!(asked <= 25, "{asked} queries");
}

/// Zones of their own for many names, behind one lossy network.
fn lossy(seed: u64, zones: usize) -> Script {
    let mut script = Script::new(seed);
    script.loss = 0.3;
    let delegations: String = (0..zones)
        .map(|number| {
            format!("z{number}.com. 3600 NS ns.z{number}.com.\nns.z{number}.com. 3600 A 10.1.{}.{}\n", number / 250, number % 250 + 1)
        })
        .collect();
    script.serve(ROOT, authority(&[(".", ROOT_ZONE)]));
    script.serve(TLD, authority(&[("com.", &format!("a.gtld.com. 3600 A 10.0.0.2\n{delegations}"))]));
    for number in 0..zones {
        let text = format!(
            "ns.z{number}.com. 3600 A 10.1.{}.{}\nwww.z{number}.com. 60 A {}\n",
            number / 250,
            number % 250 + 1,
            Ipv4Addr::from(number as u32)
        );
        script.serve(&format!("10.1.{}.{}", number / 250, number % 250 + 1), authority(&[(&format!("z{number}.com."), &text)]));
    }
    script
}

#[tokio::test(start_paused = true)]
async fn with_a_third_of_all_datagrams_lost_nearly_every_name_is_found_and_none_wrongly() {
    const ZONES: usize = 1_000;
    let (recursor, script) = recursor(lossy(11, ZONES));
    let (recursor, mut found) = (Arc::new(recursor), 0);
    for first in (0..ZONES).step_by(50) {
        let all = (first..first + 50).map(|number| {
            let recursor = Arc::clone(&recursor);
            tokio::spawn(async move { (number, ask(&recursor, &format!("www.z{number}.com"), RecordType::A).await) })
        });
        for one in all.collect::<Vec<_>>() {
            let (number, said) = one.await.unwrap();
            if said.starts_with("NoError") {
                assert_eq!(said, format!("NoError {}", Ipv4Addr::from(number as u32)));
                found += 1;
            }
        }
    }
    println!("{found} of {ZONES} names, {} queries", script.asked().len());
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
        runs.push((script.now(), script.asked()));
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test(start_paused = true)]
async fn records_of_another_class_are_none() {
    let script = usual(14);
    script.serve(FIRST, |query, _| {
        let mut reply = reply_to(query, ResponseCode::NoError);
        reply.metadata.authoritative = true;
        let mut record = Record::from_rdata(query.queries[0].name.clone(), 60, RData::A(Ipv4Addr::new(6, 6, 6, 6).into()));
        record.dns_class = DNSClass::CH;
        reply.answers.push(record);
        reply.metadata.message_type = MessageType::Response;
        Play::Reply(Box::new(reply))
    });
    let (recursor, _) = recursor(script);
    assert_eq!(ask(&recursor, "www.example.com", RecordType::A).await, "NoError 192.0.2.1");
}
