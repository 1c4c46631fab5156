//! No cross-talk: ten thousand clients with rules of their own query the same thousand names
//! through one cache, while households toggle and lists are swapped. Every verdict is the one that
//! a reference model gives for that client at that moment.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use policy::rules::household::{Attributed, Filtering, Household, Switch as Stored, SwitchState};
use policy_store::Store;
use rand::{Rng, SeedableRng, rngs::StdRng};
use resolver::listener::udp::{UdpBatch, UdpPath};

use crate::world::{Feed, Switch, World, eventually, seed};

const LINES: u32 = 10_000;
const NAMES: u32 = 1_000;
const SLUGS: [&str; 8] = [
    "gambling", "violence", "social", "games", "adult", "ads", "dating", "vpn",
];
const ZONE: &str = "names.example";
/// The number of queries in `make test`; an environment variable raises it, up to ten million.
const QUERIES: u64 = 1_000_000;
const QUERIES_VARIABLE: &str = "WORLD_QUERIES";
const OUTSTANDING: usize = 64;
/// The least number of changes of rules during the test, and by how much the number of queries may
/// grow to reach it.
const TOGGLES_MIN: u64 = 50;
const MORE_MAX: u64 = 20;

/// The categories of a name in a version of the lists: a bit for each slug. Every third name is
/// unlisted.
fn listed(version: u64, name: u32) -> u8 {
    let bits = (version << 32 | u64::from(name)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    if bits >> 62 == 0 {
        0
    } else {
        (bits >> 40) as u8 & (bits >> 50) as u8
    }
}

fn list(version: u64, slug: usize) -> String {
    let mut text = format!("marker{version}-{slug}.{ZONE}\n");
    (0..NAMES)
        .filter(|name| listed(version, *name) & 1 << slug != 0)
        .for_each(|name| _ = writeln!(text, "n{name}.{ZONE}"));
    text
}

fn address(client: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x7f20_0000 + client)
}

fn household(client: u32, mask: u8) -> Household {
    let mut household = Household::new(format!("h{client}").parse().unwrap());
    household.filtering = Filtering::On;
    household.preset = Some("off".to_owned());
    household.networks = [IpAddr::from(address(client)).into()].into();
    for (bit, slug) in SLUGS.iter().enumerate() {
        let state = if mask & 1 << bit == 0 {
            SwitchState::Allow
        } else {
            SwitchState::Block
        };
        let set = Attributed {
            value: Stored { state },
            set_by: "model".to_owned(),
            set_at: Timestamp::UNIX_EPOCH,
        };
        household
            .settings
            .categories
            .insert((*slug).to_owned(), set);
    }
    household
}

/// A value that changes now and then: the old value, the new value, and the number of changes begun
/// or ended. During a change both values are right.
struct Changing(AtomicU64);

#[derive(Clone, Copy)]
struct Moment {
    before: u8,
    after: u8,
    steps: u64,
}

impl Changing {
    fn new(value: u8) -> Self {
        Self(AtomicU64::new(u64::from(value) << 8 | u64::from(value)))
    }

    fn moment(&self) -> Moment {
        let word = self.0.load(SeqCst);
        Moment {
            before: word as u8,
            after: (word >> 8) as u8,
            steps: word >> 16,
        }
    }

    fn begin(&self, next: u8) {
        let now = self.moment();
        self.0.store(
            (now.steps + 1) << 16 | u64::from(next) << 8 | u64::from(now.after),
            SeqCst,
        );
    }

    fn end(&self) {
        let now = self.moment();
        self.0.store(
            (now.steps + 1) << 16 | u64::from(now.after) << 8 | u64::from(now.after),
            SeqCst,
        );
    }
}

/// The state of the reference model.
struct Model {
    masks: Vec<Changing>,
    version: Changing,
    toggles: AtomicU64,
    swaps: AtomicU64,
    is_over: AtomicBool,
}

/// A query in flight: client, name, and the state when it was sent.
#[derive(Clone, Copy)]
struct Asked {
    client: u32,
    name: u32,
    mask: Moment,
    version: Moment,
}

impl Model {
    /// Whether rules and lists have changed often enough for the queries to be meaningful.
    fn has_changed_enough(&self) -> bool {
        self.toggles.load(SeqCst) >= TOGGLES_MIN && self.swaps.load(SeqCst) >= 1
    }

    /// The verdicts that are right for a query answered now: blocked, allowed; and whether only one
    /// of them is.
    fn right(&self, asked: Asked) -> (bool, bool) {
        let mask = self.masks[asked.client as usize].moment();
        let version = self.version.moment();
        // Two whole changes during one query: its rules may have been any of those between.
        if mask.steps - asked.mask.steps > 2 || version.steps - asked.version.steps > 2 {
            return (true, true);
        }
        let mut any_list = 0;
        let mut every_list = u8::MAX;
        for version in [
            asked.version.before,
            asked.version.after,
            version.before,
            version.after,
        ] {
            // Feeds change one after the other: between two versions a name may have any mixture of
            // both.
            let categories = listed(u64::from(version), asked.name);
            any_list |= categories;
            every_list &= categories;
        }
        let masks = [asked.mask.before, asked.mask.after, mask.before, mask.after];
        (
            masks.iter().any(|mask| mask & any_list != 0),
            masks.iter().any(|mask| mask & every_list == 0),
        )
    }
}

fn packet(id: u16, name: u32) -> Vec<u8> {
    let mut packet = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet[..2].copy_from_slice(&id.to_be_bytes());
    for label in format!("n{name}.{ZONE}").split('.') {
        packet.push(u8::try_from(label.len()).unwrap());
        packet.extend(label.as_bytes());
    }
    packet.extend([0, 0, 1, 0, 1]);
    packet
}

/// Sends queries until this many are answered, half of them had only one right verdict, and enough
/// has changed meanwhile; changes take long on a busy machine. Returns how many were wrong, how
/// many had only one right verdict, and how many were answered.
fn ask(
    model: &Model,
    server: SocketAddr,
    queries: u64,
    mut chance: StdRng,
) -> (Vec<String>, u64, u64) {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let mut inbox = UdpBatch::new(64);
    let mut outbox = UdpBatch::new(OUTSTANDING);
    let mut asked: Vec<Option<Asked>> = vec![None; OUTSTANDING];
    let mut answered = 0;
    let mut strict = 0;
    let mut wrong = Vec::new();
    let mut last = Instant::now();
    while answered < queries
        || answered < queries * MORE_MAX && (strict <= queries / 2 || !model.has_changed_enough())
    {
        let mut count = 0;
        for (id, place) in asked
            .iter_mut()
            .enumerate()
            .filter(|(_, place)| place.is_none())
        {
            let client = chance.random_range(0..LINES);
            let name = chance.random_range(0..NAMES);
            *place = Some(Asked {
                client,
                name,
                mask: model.masks[client as usize].moment(),
                version: model.version.moment(),
            });
            let slot = &mut outbox.slots_mut()[count];
            slot.set_path(UdpPath::new(server, Some(address(client).into())));
            slot.reply = packet(u16::try_from(id).unwrap(), name);
            count += 1;
        }
        assert_eq!(outbox.send(&socket, count).refused, 0);
        let Ok(count) = inbox.receive(&socket, false) else {
            assert!(
                last.elapsed() < Duration::from_secs(60),
                "{} queries were lost",
                asked.iter().flatten().count()
            );
            std::thread::yield_now();
            continue;
        };
        last = Instant::now();
        for slot in &inbox.slots()[..count] {
            let reply = slot.packet();
            let id = usize::from(u16::from_be_bytes([reply[0], reply[1]]));
            let asked = asked[id].take().expect("each reply is to a query");
            assert!(
                reply[12..].starts_with(&packet(0, asked.name)[12..]),
                "a reply to another question"
            );
            let (may_block, may_allow) = model.right(asked);
            let is_right = match reply[3] & 0x0f {
                0 => may_allow,
                3 => may_block,
                _ => false,
            };
            if !is_right && wrong.len() < 20 {
                wrong.push(format!(
                    "client {} asked n{}: code {}",
                    asked.client,
                    asked.name,
                    reply[3] & 0x0f
                ));
            }
            strict += u64::from(may_block != may_allow);
            answered += 1;
        }
    }
    (wrong, strict, answered)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verdict_is_the_models_while_rules_and_lists_change() {
    let seed = seed();
    let mut chance = StdRng::seed_from_u64(seed);
    let mut zone = format!("{ZONE}. 86400 A 192.0.2.1\n");
    (0..NAMES).for_each(|name| _ = writeln!(zone, "n{name} 86400 A 192.0.2.2"));
    let mut draft = World::with_zone(&zone).without_households();
    for (place, slug) in SLUGS.iter().enumerate() {
        draft = draft.feed(Feed::new(slug).text(&list(0, place)));
    }
    let world = draft.start().await;
    world.daemon.kill();
    let masks: Vec<u8> = (0..LINES).map(|_| chance.random()).collect();
    let store = Store::open(&format!(
        "sqlite:{}",
        world.folder().join("ox-protect.db").display()
    ))
    .await
    .unwrap();
    store
        .add_all(
            (0..LINES)
                .zip(&masks)
                .map(|(client, mask)| household(client, *mask)),
        )
        .await
        .unwrap();
    store.close().await;
    world.daemon.restart().await;

    let model = Arc::new(Model {
        masks: masks.into_iter().map(Changing::new).collect(),
        version: Changing::new(0),
        toggles: AtomicU64::new(0),
        swaps: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    });
    let queries = std::env::var(QUERIES_VARIABLE).map_or(QUERIES, |text| text.parse().unwrap());
    let asker = Arc::clone(&model);
    let server = world.daemon.addresses().dns();
    let began = Instant::now();
    let asking = std::thread::spawn(move || {
        let result = ask(&asker, server, queries, StdRng::seed_from_u64(seed + 1));
        asker.is_over.store(true, SeqCst);
        result
    });
    let is_over = || model.is_over.load(SeqCst) || asking.is_finished();
    let toggle = async {
        let mut chance = StdRng::seed_from_u64(seed + 2);
        while !is_over() {
            let client = chance.random_range(0..LINES);
            let bit = chance.random_range(0..SLUGS.len());
            let mask = &model.masks[client as usize];
            let next = mask.moment().after ^ 1 << bit;
            let switch = if next & 1 << bit == 0 {
                Switch::Allow
            } else {
                Switch::Block
            };
            mask.begin(next);
            world
                .toggle(&format!("h{client}"), SLUGS[bit], switch)
                .await;
            mask.end();
            model.toggles.fetch_add(1, SeqCst);
        }
    };
    let swap = async {
        while !is_over() {
            let next = model.version.moment().after + 1;
            model.version.begin(next);
            (0..SLUGS.len())
                .for_each(|slug| world.replace_feed_text(SLUGS[slug], &list(next.into(), slug)));
            for slug in 0..SLUGS.len() {
                let is_live = async || {
                    let said = world
                        .api
                        .get(&format!("/v1/explain?name=marker{next}-{slug}.{ZONE}"))
                        .await
                        .ok();
                    !said.json["matches"].as_array().unwrap().is_empty()
                };
                eventually("the new lists are live", Duration::from_secs(60), is_live).await;
            }
            model.version.end();
            // A version stays for most of the time, so that most verdicts have only one right
            // answer.
            let pause = tokio::time::Instant::now() + Duration::from_secs(2);
            while !is_over() && tokio::time::Instant::now() < pause {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            model.swaps.fetch_add(1, SeqCst);
        }
    };
    tokio::join!(toggle, swap);
    let (wrong, strict, answered) = asking.join().unwrap();
    let toggles = model.toggles.load(SeqCst);
    let swaps = model.swaps.load(SeqCst);
    println!(
        "{answered} queries in {:?}, {strict} with one right verdict, {toggles} toggles, {swaps} swaps",
        began.elapsed()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        strict > queries / 2 && model.has_changed_enough(),
        "{strict} of {answered}, {toggles} toggles, {swaps} swaps"
    );
}
