//! How many instructions does a query cost, stage by stage? Counted by valgrind and so the same on
//! a noisy machine; each has a limit, so that a regression fails.
//!
//! Needs valgrind and gungraun-runner: `make bench-counts` installs them.
//!
//! Not measured: the kernel, cache misses, and contention between cores. Those are
//! `benches/peers/`.

// The harness makes public functions of the benches, and these have no readers.
#![allow(missing_docs)]

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use blocklist_loader::{Feed, Outcome, Plan, build};
use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
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
    engine::{Desk, Engine, Parts, Stale, Step},
    message::{
        ede::Contact,
        query::Query,
        reply::{BlockedAnswer, Transport},
    },
    upstream::{Answer, Question, Recursion, RecursionError, local_records::LocalRecords},
};

/// Enough that every table has its usual depth, few enough that valgrind builds them in seconds.
const LISTED: u32 = 20_000;
const HOUSEHOLDS: u32 = 2_000;
/// The line that asks: that of a household in the middle.
const LINE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 3, 232));
/// The line of the next household, which has its queries counted.
const COUNTED: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 3, 233));
/// A name with an answer, one that is listed and blocked, and one that a walk leaves soon.
const ANSWERED: &str = "www.shop.example";
const BLOCKED: &str = "cdn.name7777.example";
const UNLISTED: &str = "www.somewhere.test";

/// A fail-safe for names that have no local record: nothing here may go out.
struct Nowhere;

#[async_trait]
impl Recursion for Nowhere {
    async fn resolve(&self, question: &Question) -> Result<Answer, RecursionError> {
        panic!("{question:?} is not answered here")
    }
}

/// An engine with lists, households and a warm cache, the packets to ask it, and the buffer it
/// writes into.
struct Bed {
    engine: Arc<Engine>,
    desk: Desk,
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
        let engine = Arc::new(Engine::new(Parts {
            directory: Arc::clone(&directory),
            lists: Arc::new(CurrentLists::new(Arc::clone(&lists))),
            taxonomy,
            recursion: Arc::new(
                LocalRecords::new(&records, Arc::new(Nowhere)).expect("records of ours"),
            ),
            allow_from: Vec::new(),
            trusted_peers: Vec::new(),
            snoop_from: Vec::new(),
            contact: Contact::default(),
            blocked: BlockedAnswer::NxDomain.into(),
            url_proxy: Vec::new(),
            server_id: None,
            cache_octets: 1 << 20,
            resolutions_max: 16,
            waiting_per_client_max: 16,
            stale: Stale {
                longer: Duration::ZERO,
                client_patience: Duration::ZERO,
            },
            renews: false,
            sample_every: 64,
            on_notify: None,
        }));
        let desk = engine.desk();
        let mut bed = Self {
            engine,
            desk,
            directory,
            lists,
            reply: Vec::with_capacity(4096),
        };
        for packet in [packet(ANSWERED), packet(BLOCKED)] {
            bed.warm(&packet);
        }
        bed
    }

    /// Resolves what is not in the cache yet; the second round also settles what is done once a
    /// thread.
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
        let turn = self.engine.turn();
        self.engine.answer(
            &turn,
            packet,
            line,
            Transport::Udp,
            &mut self.desk,
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
    .expect("the folder is ours");
    let feed = format!(
        "name = \"f\"\nsource = \"{}\"\nformat = \"domains\"\nscope = \"subtree\"\ncategory = \"gambling\"",
        source.display()
    );
    let feed: Feed = toml::from_str(&feed).expect("a feed of ours");
    let plan = Plan {
        feeds: vec![feed],
        directory: folder.path().join("lists"),
        force: true,
        ..Plan::default()
    };
    let Ok(Outcome::Built(built)) = build(&plan, taxonomy, None, jiff::Timestamp::UNIX_EPOCH)
    else {
        panic!("our own list is built");
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

fn asked(name: &str) -> (Bed, Vec<u8>) {
    (Bed::new(), packet(name))
}

fn named(name: &str) -> (Bed, Name) {
    (Bed::new(), Name::parse(name).expect("a name"))
}

/// Instructions above which a bench fails: about a tenth more than was counted when it was last
/// set. The index of the households has a new seed in each run, and so another way to the one that
/// asks: some fifty instructions up or down.
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
    let asker = bed
        .directory
        .identify(LINE, None, false, UnixSeconds::FIRST)
        .policy;
    std::hint::black_box(decide(&asker, name.borrow(), &Classification::NOTHING));
    (bed, name)
}

#[library_benchmark(config = limit(4_000))]
#[bench::listed(named(BLOCKED))]
#[bench::not_listed(named(UNLISTED))]
fn walk_the_lists((bed, name): (Bed, Name)) -> (Bed, Name) {
    std::hint::black_box(bed.lists.classify(name.borrow()));
    (bed, name)
}

#[library_benchmark(config = limit(2_450))]
#[bench::hit(asked(ANSWERED))]
#[bench::block(asked(BLOCKED))]
fn answer((mut bed, packet): (Bed, Vec<u8>)) -> (Bed, Vec<u8>) {
    assert!(matches!(bed.answer(&packet, LINE), Step::Reply));
    (bed, packet)
}

#[library_benchmark(config = limit(3_350))]
#[bench::hit(asked(ANSWERED))]
#[bench::block(asked(BLOCKED))]
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
