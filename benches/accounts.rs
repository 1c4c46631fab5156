//! What does a million stored households cost who starts the program, and a parent who taps?
//!
//! Each has an IPv4 address and four devices; one in ten has a bedtime, and one in ten of these
//! devices a person. The real program is started on them, and then switches are set over REST, one
//! after the other, as a phone does: a write is answered when it is on disk and live. Not measured:
//! the network between phone and program. Beside it, how many households a second are compiled anew
//! when a bedtime comes for all that have one.

use std::{
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use ipnet::IpNet;
use jiff::Timestamp;
use policy::{
    category::Taxonomy,
    rules::{
        compiled::HouseholdRules,
        household::{
            Attributed, Device, DeviceIdentifier, Filtering, Household, Mac, Person, Settings,
        },
        operator::OperatorDefaults,
        schedule::{DayOfWeek, Schedule},
    },
};
use policy_store::Store;

const HOUSEHOLDS: u32 = 1_000_000;
/// Put in at a time.
const CHUNK: u32 = 50_000;
const TOGGLES: usize = 3_000;

fn bedtime() -> Attributed<Schedule> {
    let (block, allow, except) = Default::default();
    let [from, to] = ["21:30", "06:30"].map(|text| text.parse().expect("a time of day"));
    let value = Schedule {
        days: DayOfWeek::ALL.into(),
        from,
        to,
        block,
        allow,
        pause: true,
        except,
    };
    Attributed {
        value,
        set_by: "bench".to_owned(),
        set_at: Timestamp::UNIX_EPOCH,
    }
}

fn household(line: u32) -> Household {
    let mut household = Household::new(format!("line-{line:08}").parse().expect("an identifier"));
    (household.filtering, household.preset) = (Filtering::On, Some("moderate".to_owned()));
    let address: IpAddr = Ipv4Addr::from_bits(0x0a00_0000 + line).into();
    household.networks = [IpNet::new(address, 32).expect("a network")].into();
    let has_bedtime = line.is_multiple_of(10);
    if has_bedtime {
        household.people.insert(
            "kid".parse().expect("an identifier"),
            Person {
                name: "Kid".to_owned(),
                settings: Settings::default(),
            },
        );
        household
            .settings
            .schedules
            .insert("bedtime".parse().expect("an identifier"), bedtime());
    }
    for place in 0..4 {
        let [a, b, c, d] = line.to_be_bytes();
        let identifiers = vec![DeviceIdentifier::Mac(Mac([2, place, a, b, c, d]))];
        let person = (has_bedtime && place == 0).then(|| "kid".parse().expect("an identifier"));
        let name = format!("device {place}");
        let kind = None;
        let settings = Settings::default();
        household.devices.insert(
            format!("device-{place}").parse().expect("an identifier"),
            Device {
                name,
                kind,
                person,
                identifiers,
                log: true,
                thing: None,
                settings,
            },
        );
    }
    household
}

/// The program, which ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _it_may_have_ended = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    how_soon_is_a_bedtime_compiled();
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite:{}", folder.path().join("ox.db").display());
    let store = Store::open(&url).await?;
    let began = Instant::now();
    for from in (0..HOUSEHOLDS).step_by(CHUNK as usize) {
        store.add_all((from..from + CHUNK).map(household)).await?;
    }
    store.close().await;
    println!("{HOUSEHOLDS} households put in, in {:.1?}", began.elapsed());

    let config = folder.path().join("config.toml");
    let text = format!(
        "[dns]\nlisten = [\"127.0.0.1:0\"]\n[api]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = \"{url}\"\n[lists]\ndirectory = \"{}\"\n",
        folder.path().join("lists").display()
    );
    std::fs::write(&config, text)?;
    let began = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ox-protect"));
    command
        .args(["serve", "--config"])
        .arg(&config)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut running = Running(command.spawn()?);
    let mut lines = BufReader::new(running.0.stdout.take().context("a pipe")?).lines();
    let mut key = String::new();
    let mut api = String::new();
    while api.is_empty() {
        let line = lines
            .next()
            .context("the program ended before it was ready")??;
        if let Some(secret) = line.strip_prefix("operator key: ") {
            key = secret.to_owned();
        } else if let Some(address) = line.strip_prefix("api ready on ") {
            address.clone_into(&mut api);
        }
    }
    println!(
        "How soon is it ready?\n    {:.1?}\n    bar: < 10 s",
        began.elapsed()
    );

    let client = reqwest::Client::new();
    let mut took = Vec::with_capacity(TOGGLES);
    for round in 0..TOGGLES {
        let line = (round as u64 * 7_919 * 104_729) % u64::from(HOUSEHOLDS);
        let path = format!("{api}/v1/households/line-{line:08}/devices/device-1/categories/games");
        let body = if round % 2 == 0 {
            r#"{"state":"block"}"#
        } else {
            r#"{"state":"allow"}"#
        };
        let request = client
            .put(path)
            .bearer_auth(&key)
            .header("content-type", "application/json")
            .body(body);
        let began = Instant::now();
        let answer = request.send().await?.error_for_status()?;
        drop(answer.bytes().await?);
        took.push(began.elapsed());
    }
    took.sort();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    println!(
        "How long does a tap take, from the request to the answer that it is live and on disk?\n    median {:.2?}, p99 {:.2?}, worst {:.2?} of \
         {TOGGLES}\n    bar: p99 < 10 ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.0.id()))?;
    println!(
        "    {}",
        status
            .lines()
            .find(|line| line.starts_with("VmRSS"))
            .unwrap_or_default()
    );
    Ok(())
}

fn how_soon_is_a_bedtime_compiled() {
    let taxonomy = Taxonomy::shipped();
    let defaults = OperatorDefaults::default();
    let now: Timestamp = "2026-06-08T20:30:00Z".parse().expect("an instant");
    for (what, line) in [("without a schedule", 1), ("with a bedtime", 10)] {
        let household = household(line);
        let began = Instant::now();
        let mut count = 0_u32;
        while began.elapsed() < Duration::from_secs(1) {
            std::hint::black_box(HouseholdRules::compile(
                std::hint::black_box(&household),
                &taxonomy,
                defaults,
                now,
            ));
            count += 1;
        }
        println!(
            "A household {what} is compiled in {:.2?}",
            began.elapsed() / count
        );
    }
}
