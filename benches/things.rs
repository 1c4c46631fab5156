//! What do things cost the other homes, and is a question of a thing lost?
//!
//! 100,000 homes on an address each. On one engine none has a thing; on the other every hundredth
//! home is a camera's line, limited to one domain. The same lines query the same cached name on both,
//! in turns. Then each camera asks for twenty new names, with rings that are emptied in time and with
//! rings that are not. Not measured: the network, other cores, and the store behind the rings.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use jiff::Timestamp;
use policy::{
    category::Taxonomy,
    identity::directory::Directory,
    lists::{blocklist::Blocklist, current::CurrentLists},
    name::Name,
    rules::{
        compiled::HouseholdRules,
        household::{Attributed, Device, DeviceIdentifier, Household, Settings},
        operator::OperatorDefaults,
        thing::{Thing, ThingDomain, ThingMode, ThingSetting},
    },
};
use resolver::{
    admission::AdmissionSettings,
    engine::{Engine, EngineConfig, ServeStale, Step, WorkerState},
    listener::client::Client,
    message::{blocked::BlockedAnswer, ede::BlockContact, types::Transport},
    rates::RateSettings,
    time::SystemClock,
    upstream::{Answer, Question, Recursion, RecursionError, local_records::LocalRecords},
};

const HOMES: u32 = 100_000;
/// One home of so many is a thing's.
const THING_EVERY: u32 = 100;
/// Names that each thing newly asks for.
const NEW_NAMES: u32 = 20;
/// Queries of one round, and rounds. The medians are compared.
const QUERIES: u32 = 1_000_000;
const ROUNDS: usize = 9;
const ANSWERED: &str = "www.shop.example";
/// Queries between two times that the rings are emptied: a quarter of a second of 16,000 signs/s.
const BETWEEN: u32 = 4_000;

/// Fails: every name of the bench has a local record, or is blocked.
struct Nowhere;

#[async_trait]
impl Recursion for Nowhere {
    async fn resolve(&self, _question: &Question) -> Result<Answer, RecursionError> {
        unreachable!("the bench resolves nothing")
    }
}

fn line(home: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + home).into()
}

fn attributed<T>(value: T) -> Attributed<T> {
    Attributed {
        value,
        set_by: String::new(),
        set_at: Timestamp::UNIX_EPOCH,
    }
}

/// A camera on its home's line, limited to the domain of [`ANSWERED`].
fn camera(home: u32) -> Device {
    let shop = Name::parse("shop.example").expect("a name");
    let mode = ThingMode::Asking;
    Device {
        name: "Camera".to_owned(),
        kind: None,
        person: None,
        identifiers: vec![DeviceIdentifier::Address(line(home))],
        log: true,
        thing: Some(Thing {
            allowed: [(shop, attributed(ThingDomain {}))].into(),
            ..Thing::new(attributed(ThingSetting { mode }))
        }),
        settings: Settings::default(),
    }
}

/// An engine with all homes, the state of its one worker, and its reply.
struct Bed {
    engine: Arc<Engine>,
    state: WorkerState,
    reply: Vec<u8>,
}

impl Bed {
    fn new(has_things: bool) -> Self {
        let taxonomy = Arc::new(Taxonomy::shipped());
        let defaults = OperatorDefaults::default();
        let directory = Arc::new(Directory::new(defaults));
        for home in 0..HOMES {
            let id = format!("line-{home:08}").parse().expect("an identifier");
            let mut household = Household::new(id);
            household.preset = Some("strict".to_owned());
            household.networks = [line(home).into()].into();
            if has_things && home.is_multiple_of(THING_EVERY) {
                let id = "camera".parse().expect("an identifier");
                household.devices = BTreeMap::from([(id, camera(home))]);
            }
            let now = Timestamp::UNIX_EPOCH;
            directory.install(HouseholdRules::compile(
                &household, &taxonomy, defaults, now,
            ));
        }
        let records = format!("{ANSWERED}. 3600 IN A 192.0.2.1\n");
        let lists = Arc::new(Blocklist::empty(&taxonomy));
        let engine = Arc::new(Engine::new(EngineConfig {
            directory,
            lists: Arc::new(CurrentLists::new(lists)),
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
            cache_octets: 64 << 20,
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
        let reply = Vec::with_capacity(4_096);
        let mut bed = Self {
            engine,
            state,
            reply,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        for _ in 0..2 {
            if let Step::Miss(miss) = bed.answer(&packet(ANSWERED), line(1)) {
                runtime.block_on(bed.engine.finish(miss, &mut bed.reply));
            }
        }
        bed
    }

    fn answer(&mut self, packet: &[u8], line: IpAddr) -> Step {
        let batch = self.engine.snapshot();
        let client = Client::new(line, Transport::Udp);
        self.engine
            .answer(&batch, packet, client, &mut self.state, &mut self.reply)
    }

    /// Nanoseconds a query.
    fn round(&mut self, packet: &[u8], seed: u32) -> f64 {
        let begun = Instant::now();
        for number in 0..QUERIES {
            let home = number.wrapping_add(seed).wrapping_mul(0x9e37_79b9) % HOMES;
            assert!(matches!(self.answer(packet, line(home)), Step::Reply));
        }
        begun.elapsed().as_nanos() as f64 / f64::from(QUERIES)
    }

    /// Signs that are waiting in the rings.
    fn drain(&self) -> u32 {
        let signs = std::cell::Cell::new(0);
        self.engine.metrics.drain_detection(
            |_| signs.set(signs.get() + 1),
            |_| signs.set(signs.get() + 1),
        );
        signs.get()
    }

    /// Lets each thing ask for new names, and empties the rings after so many queries. Returns how
    /// many signs arrived.
    fn ask_for_new_names(&mut self, label: &str, between: u32) -> u32 {
        let mut signs = 0;
        let mut asked = 0;
        for number in 0..NEW_NAMES {
            let packet = packet(&format!("{label}{number}.new{}.example", number % 3));
            for home in (0..HOMES).step_by(THING_EVERY as usize) {
                assert!(matches!(self.answer(&packet, line(home)), Step::Reply));
                asked += 1;
                if asked % between == 0 {
                    signs += self.drain();
                }
            }
        }
        signs + self.drain()
    }
}

/// A query for an address.
fn packet(name: &str) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend(Name::parse(name).expect("a name").borrow().wire());
    packet.extend([0, 1, 0, 1]);
    packet
}

/// The memory of this process, in MiB.
fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<f64>().ok());
    pages.expect("the second field is resident pages") * 4_096.0 / f64::from(1 << 20)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let empty = resident_mib();
    let mut plain = Bed::new(false);
    let without = resident_mib();
    let mut things = Bed::new(true);
    let with = resident_mib();
    println!("memory without things: {:.1} MiB", without - empty);
    println!("memory with 1 % things: {:.1} MiB", with - without);
    let packet = packet(ANSWERED);
    let (mut of_plain, mut of_things, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS as u32 {
        // Each is first in every other round.
        let (ns, other) = if round % 2 == 0 {
            (plain.round(&packet, round), things.round(&packet, round))
        } else {
            let other = things.round(&packet, round);
            (plain.round(&packet, round), other)
        };
        of_plain.push(ns);
        of_things.push(other);
        ratios.push(other / ns);
    }
    println!("without things: {:.1} ns/query", median(of_plain));
    println!("with 1 % things: {:.1} ns/query", median(of_things));
    println!("ratio of one round, median: {:.3}", median(ratios));
    let all = HOMES / THING_EVERY * NEW_NAMES;
    let in_time = things.ask_for_new_names("a", BETWEEN);
    println!("new names asked for: {all}, signs with rings emptied in time: {in_time}");
    let late = things.ask_for_new_names("b", u32::MAX);
    println!(
        "signs with rings never emptied: {late}, dropped and counted: {}",
        all - late
    );
    println!("memory after that: {:.1} MiB more", resident_mib() - with);
}
