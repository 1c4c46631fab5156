//! How many instructions does a query cost, stage by stage? Counted by valgrind, and so the same on a
//! busy machine. Each stage has a limit, so that a regression fails.
//!
//! Needs valgrind and gungraun-runner: `make bench-counts` installs them.
//!
//! Not measured: the kernel, cache misses, and contention between cores. Those are
//! `benches/peers/`.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use blocklist_loader::{BuildOutcome, Feed, Plan, build};
use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use hickory_proto::{
    op::ResponseCode,
    rr::{RData, Record},
};
use policy::{
    category::Taxonomy,
    decide::decide,
    identity::directory::Directory,
    lists::{
        blocklist::{Blocklist, Classification},
        current::CurrentLists,
    },
    name::{Name, WireName},
    rules::{
        compiled::HouseholdRules,
        household::{Attributed, HistorySettings, Household},
        operator::OperatorDefaults,
    },
    unix_seconds::UnixSeconds,
};
use resolver::{
    admission::AdmissionSettings,
    engine::{Engine, EngineConfig, ServeStale, Step, WorkerState},
    listener::client::Client,
    message::{blocked::BlockedAnswer, ede::BlockContact, query::Query, types::Transport},
    rates::RateSettings,
    time::SystemClock,
    upstream::{Answer, Question, Recursion, RecursionError, local_records::LocalRecords},
};

/// Enough that every table has its usual depth, few enough that valgrind builds them in seconds.
const LISTED: u32 = 20_000;
const HOUSEHOLDS: u32 = 2_000;
/// The address of a household in the middle.
const LINE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 3, 232));
/// The address of the next household, which keeps a history.
const COUNTED: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 3, 233));
/// A name with an answer.
const ANSWERED: &str = "www.shop.example";
/// A name of the same length in a signed zone.
const SECURE: &str = "www.safe.example";
/// A name that is listed and blocked, and one whose search of the lists ends early.
const BLOCKED: &str = "cdn.name7777.example";
const UNLISTED: &str = "www.somewhere.test";

/// Has a secure answer, and fails for all other names without a local record: the bench sends
/// nothing to a network.
struct Nowhere;

#[async_trait]
impl Recursion for Nowhere {
    async fn resolve(&self, question: &Question) -> Result<Answer, RecursionError> {
        assert_eq!(question.name.to_string(), SECURE, "has no local record");
        let owner = format!("{SECURE}.").parse().expect("a name");
        let data = RData::A(Ipv4Addr::new(192, 0, 2, 3).into());
        Ok(Answer {
            answers: vec![Record::from_rdata(owner, 3_600, data)],
            is_secure: true,
            ..Answer::empty(ResponseCode::NoError)
        })
    }
}

/// An engine with lists, households and a warm cache, and the buffer that it writes into.
struct Bed {
    engine: Arc<Engine>,
    state: WorkerState,
    directory: Arc<Directory>,
    lists: Arc<Blocklist>,
    reply: Vec<u8>,
}

impl Bed {
    fn new() -> Self {
        let taxonomy = Arc::new(Taxonomy::shipped());
        let lists = lists(&taxonomy);
        let defaults = OperatorDefaults::default();
        let directory = Arc::new(Directory::new(defaults));
        for number in 0..HOUSEHOLDS {
            let mut household =
                Household::new(format!("home-{number}").parse().expect("an identifier"));
            household.preset = Some("strict".to_owned());
            let line = IpAddr::from((0x0a00_0000 + number).to_be_bytes());
            household.networks = [line.into()].into();
            let value = HistorySettings {
                days: 7,
                names: true,
                unknown_devices: true,
            };
            household.history = (line == COUNTED).then(|| Attributed {
                value,
                set_by: String::new(),
                set_at: jiff::Timestamp::UNIX_EPOCH,
            });
            directory.install(HouseholdRules::compile(
                &household,
                &taxonomy,
                defaults,
                jiff::Timestamp::UNIX_EPOCH,
            ));
        }
        let records = format!("{ANSWERED}. 3600 IN A 192.0.2.1\n{BLOCKED}. 3600 IN A 192.0.2.2\n");
        let engine = Arc::new(Engine::new(EngineConfig {
            directory: Arc::clone(&directory),
            lists: Arc::new(CurrentLists::new(Arc::clone(&lists))),
            taxonomy,
            recursion: Arc::new(
                LocalRecords::new(&records, Arc::new(Nowhere)).expect("valid records"),
            ),
            allow_from: Vec::new(),
            trusted_peers: Vec::new(),
            snoop_from: Vec::new(),
            contact: BlockContact::default(),
            blocked: BlockedAnswer::NxDomain.into(),
            url_proxy: Vec::new(),
            server_id: None,
            cache_octets: 1 << 20,
            local_cache_octets: 64 << 20,
            admission: AdmissionSettings {
                places_max: 16,
                per_client_max: 16,
            },
            rates: RateSettings::default(),
            cookie_secrets: Vec::new(),
            stale: ServeStale {
                stale_max: Duration::ZERO,
                client_timeout: Duration::ZERO,
            },
            prefetch: false,
            sample_every: 64,
            on_notify: None,
            clock: Arc::new(SystemClock::start()),
        }));
        let state = engine.worker_state();
        let mut bed = Self {
            engine,
            state,
            directory,
            lists,
            reply: Vec::with_capacity(4096),
        };
        for packet in [packet(ANSWERED), packet(BLOCKED), understanding_ad(SECURE)] {
            bed.warm(&packet);
        }
        bed
    }

    /// Fills the cache. The second round also does the work that is done once for each thread.
    fn warm(&mut self, packet: &[u8]) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        for _ in 0..2 {
            if let Step::Miss(miss) = self.answer(packet, LINE) {
                runtime.block_on(self.engine.finish(miss, &mut self.reply));
            }
        }
    }

    fn answer(&mut self, packet: &[u8], line: IpAddr) -> Step {
        let batch = self.engine.snapshot();
        self.engine.answer(
            &batch,
            packet,
            Client::new(line, Transport::Udp),
            &mut self.state,
            &mut self.reply,
        )
    }
}

fn lists(taxonomy: &Taxonomy) -> Arc<Blocklist> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = folder.path().join("names.txt");
    std::fs::write(
        &source,
        (0..LISTED)
            .map(|number| format!("name{number}.example\n"))
            .collect::<String>(),
    )
    .expect("the folder is writable");
    let feed = format!(
        "name = \"f\"\nsource = \"{}\"\nformat = \"domains\"\nscope = \"subtree\"\ncategory = \"gambling\"",
        source.display()
    );
    let feed: Feed = toml::from_str(&feed).expect("a valid feed");
    let plan = Plan {
        feeds: vec![feed],
        directory: folder.path().join("lists"),
        force: true,
        ..Plan::default()
    };
    let Ok(BuildOutcome::Built(built)) = build(&plan, taxonomy, None, jiff::Timestamp::UNIX_EPOCH)
    else {
        panic!("the list is built");
    };
    Blocklist::open(&built.written.path, taxonomy).expect("just built")
}

/// A query for A with EDNS, as stub resolvers send it.
fn packet(name: &str) -> Vec<u8> {
    let name = Name::parse(name).expect("a name");
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend_from_slice(name.borrow().wire());
    packet.extend([0, 1, 0, 1, 0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
    packet
}

/// The same with AD, so that a secure answer says so (RFC 6840 section 5.7).
fn understanding_ad(name: &str) -> Vec<u8> {
    let mut packet = packet(name);
    packet[3] |= 0x20;
    packet
}

fn asked_with_ad(name: &str) -> (Bed, Vec<u8>) {
    (Bed::new(), understanding_ad(name))
}

fn asked(name: &str) -> (Bed, Vec<u8>) {
    (Bed::new(), packet(name))
}

fn named(name: &str) -> (Bed, Name) {
    (Bed::new(), Name::parse(name).expect("a name"))
}

/// Instructions above which a bench fails: about 10 % above the count when the limit was set. The
/// index of households has a new seed in each run, and each probe of it that is one longer costs 27
/// instructions: runs of the same program differ by 0 to 110.
fn limit(instructions: u64) -> LibraryBenchmarkConfig {
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(Callgrind::default().hard_limits([(EventKind::Ir, instructions)]));
    config
}

#[library_benchmark(config = limit(350))]
#[bench::with_edns(packet(ANSWERED))]
fn parse(packet: Vec<u8>) -> Vec<u8> {
    assert!(Query::parse(&packet, &mut WireName::default()).is_ok());
    packet
}

#[library_benchmark(config = limit(560))]
#[bench::a_household_by_its_address(Bed::new())]
fn identify(bed: Bed) -> Bed {
    std::hint::black_box(
        bed.directory
            .identify(LINE, None, false, UnixSeconds::FIRST)
            .source,
    );
    bed
}

#[library_benchmark(config = limit(620))]
#[bench::a_mask(named(BLOCKED))]
fn judge((bed, name): (Bed, Name)) -> (Bed, Name) {
    let policy = bed
        .directory
        .identify(LINE, None, false, UnixSeconds::FIRST)
        .policy;
    std::hint::black_box(decide(&policy, name.borrow(), &Classification::NOTHING));
    (bed, name)
}

#[library_benchmark(config = limit(4_000))]
#[bench::listed(named(BLOCKED))]
#[bench::not_listed(named(UNLISTED))]
fn walk_the_lists((bed, name): (Bed, Name)) -> (Bed, Name) {
    std::hint::black_box(bed.lists.classify(name.borrow()));
    (bed, name)
}

#[library_benchmark]
#[bench::hit(args = (asked(ANSWERED)), config = limit(2_430))]
#[bench::block(args = (asked(BLOCKED)), config = limit(2_970))]
#[bench::secure(args = (asked_with_ad(SECURE)), config = limit(2_430))]
fn answer((mut bed, packet): (Bed, Vec<u8>)) -> (Bed, Vec<u8>) {
    assert!(matches!(bed.answer(&packet, LINE), Step::Reply));
    (bed, packet)
}

#[library_benchmark]
#[bench::hit(args = (asked(ANSWERED)), config = limit(3_110))]
#[bench::block(args = (asked(BLOCKED)), config = limit(3_650))]
fn answer_and_count((mut bed, packet): (Bed, Vec<u8>)) -> (Bed, Vec<u8>) {
    assert!(matches!(bed.answer(&packet, COUNTED), Step::Reply));
    (bed, packet)
}

library_benchmark_group!(
    name = hot_path,
    benchmarks = [
        parse,
        identify,
        judge,
        walk_the_lists,
        answer,
        answer_and_count
    ]
);
main!(library_benchmark_groups = hot_path);
