//! How does OX Protect compare: with a bare echo of datagrams, and with its rivals, with lists off
//! and with a million names on?
//!
//! ```text
//! core 0: the contestants, one at work at a time        core 1: the generator, and the authorities (idle once caches are warm)
//! ```
//!
//! With two workers we have core 1, too, and what counts is CPU a query: throughput is the
//! generator's as much as ours.
//!
//! Everybody is started first and warmed; then each round measures everybody in turn, because a
//! shared machine's speed changes from one minute to the next. At last everybody's list is changed,
//! one after the other (`reload`). See `benches/README.md` for what came of it and what is not
//! measured.

mod blast;
mod contestant;
mod mix;
mod ours;
mod process;
mod reload;
mod report;
mod world;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use blast::{Load, Outcome, blast};
use clap::{Args, Parser, Subcommand};
use contestant::{Kind, Place};
use mix::Mix;
use ours::Setting;
use process::Server;
use reload::Reload;
use report::{Measured, Round};
use world::{SignedWorld, World};

/// With one worker a server has the first alone; with two it shares the second with the generator.
const SERVER_CORES: [usize; 2] = [0, 1];
const GENERATOR_CORE: usize = 1;
/// How long a server may take until it answers for the first time: the slowest reads a million
/// names for a quarter of a minute.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How long a probe waits: short, so that the time of a start is told to some milliseconds.
const PROBE_PATIENCE: Duration = Duration::from_millis(20);
/// How often a cache is warmed again before a contestant is given up.
const WARMINGS: usize = 6;
/// The share of queries for listed names in the filter mix.
const LISTED_SHARE: f64 = 0.2;
/// Queries outstanding for names that must be asked for: few enough that the authorities beside the
/// generator keep up.
const COLD_OUTSTANDING: usize = 64;
const NXDOMAIN: usize = 3;
const SERVFAIL: usize = 2;
/// The AD bit, in the fourth octet of a message.
const AD: u8 = 0x20;

/// Measures OX Protect beside its rivals.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start everybody, warm the caches, measure in rounds, print a table.
    Run(Run),
    /// Ask one server the mix.
    Blast(Blast),
    /// Send datagrams back as replies.
    Echo {
        /// Where to listen.
        address: SocketAddr,
    },
}

#[derive(Args)]
struct Run {
    /// Who is measured; all that are installed, if nothing is said.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds a contestant and round.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Queries outstanding.
    #[arg(long, default_value_t = 160)]
    outstanding: usize,
    /// Names a round that were not asked for before.
    #[arg(long, default_value_t = 10_000)]
    cold: usize,
    /// Signed names a round that were not asked for before, for contestants that validate. 0: none is
    /// measured.
    #[arg(long, default_value_t = 10_000)]
    cold_dnssec: usize,
    /// Names on the list.
    #[arg(long, default_value_t = 1_000_000)]
    names: usize,
    /// How many households OX Protect has, each number one contestant.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1, 100_000])]
    households: Vec<u32>,
    /// How many workers OX Protect has, one or two, each number a set of contestants.
    #[arg(long, value_delimiter = ',', default_values_t = [1], value_parser = clap::value_parser!(u8).range(1..=2))]
    workers: Vec<u8>,
    /// Our program.
    #[arg(long, default_value = "target/release/ox-protect")]
    ox: PathBuf,
    /// A newer Debian in a folder, whose rivals are measured instead of this machine's; `newer.sh`
    /// makes one.
    #[arg(long, env = "PEERS_ROOT")]
    root: Option<PathBuf>,
    /// Where files and results go.
    #[arg(long, default_value = "target/bench")]
    output: PathBuf,
}

#[derive(Args)]
struct Blast {
    /// The server.
    server: SocketAddr,
    /// Queries outstanding.
    #[arg(long, default_value_t = 160)]
    outstanding: usize,
    /// Queries a second; as many as come back, if nothing is said.
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds; 0 asks each distinct question once.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How many source addresses ask, from 127.128.0.0 on.
    #[arg(long, default_value_t = 0)]
    lines: u32,
    /// Names on the list; 0 asks for no listed ones.
    #[arg(long, default_value_t = 0)]
    names: usize,
}

/// One contestant, running.
struct Contestant {
    kind: Kind,
    /// Its folder.
    folder: String,
    address: SocketAddr,
    server: Server,
    /// When it gave its first right answer.
    ready: Instant,
    resident_fresh: u64,
    /// Expects what is listed to be blocked.
    blocks: bool,
    /// Also asked for names that were not asked for before.
    resolves: bool,
    measured: Measured,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Echo { address } => blast::echo(address),
        Command::Blast(options) => by_hand(&options),
        Command::Run(options) => run(&options),
    }
}

fn by_hand(options: &Blast) -> anyhow::Result<()> {
    let list = mix::listed(options.names);
    let mix = Mix::new(&list, if list.is_empty() { 0.0 } else { LISTED_SHARE });
    let duration = (options.seconds > 0.0).then(|| Duration::from_secs_f64(options.seconds));
    let load = Load {
        outstanding: options.outstanding,
        rate: options.rate,
        duration,
        lines: options.lines,
    };
    let outcome = blast(
        options.server,
        &if duration.is_some() {
            mix
        } else {
            mix.distinct()
        },
        load,
    )?;
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| outcome.latency_us(quantile));
    println!(
        "{} replies, {:.0} qps, {} lost, p50 {p50:.0} us, p99 {p99:.0} us, p99.9 {p999:.0} us, NXDOMAIN {:.3}, SERVFAIL {:.4}",
        outcome.replies,
        outcome.qps(),
        outcome.lost,
        outcome.share(NXDOMAIN),
        outcome.share(SERVFAIL),
    );
    Ok(())
}

/// Keeps this process, and so the generator, on its own core.
fn pin_here() -> anyhow::Result<()> {
    let mut core = rustix::thread::CpuSet::new();
    core.set(GENERATOR_CORE);
    rustix::thread::sched_setaffinity(None, &core)
        .context("pinning the generator: two cores are needed")
}

fn run(options: &Run) -> anyhow::Result<()> {
    pin_here()?;
    fs::create_dir_all(&options.output)
        .with_context(|| format!("creating {}", options.output.display()))?;
    let output = options.output.canonicalize().context("it was just made")?;
    println!("generating {} names and the queries", options.names);
    let list = mix::listed(options.names);
    let mixes = Mixes {
        plain: Mix::new(&list, 0.0),
        filter: Mix::new(&list, LISTED_SHARE),
        dnssec: Mix::signed_zones(),
    };
    let _world = World::start(&output.join("world"), GENERATOR_CORE)?;
    let signed = (options.cold_dnssec > 0)
        .then(|| {
            let names = options.rounds * options.cold_dnssec;
            println!("signing {names} names");
            SignedWorld::start(&output.join("signed"), GENERATOR_CORE, names)
        })
        .transpose()?;
    let mut contestants = Vec::new();
    let lines = options
        .households
        .iter()
        .copied()
        .max()
        .unwrap_or_default()
        .max(1);
    let place = Place::new(options.root.clone(), output.join("peers"))?;
    for (number, setting) in settings(options).into_iter().enumerate() {
        let label = setting.label();
        match start(&setting, number, options, &place, (&list, signed.as_ref())) {
            Ok(mut contestant) => match warm(&mut contestant, mixes.of(setting.mix), lines) {
                Ok(()) => {
                    println!(
                        "{label}: ready in {:.0} ms, warm",
                        contestant.measured.start_ms
                    );
                    contestants.push(contestant);
                }
                Err(error) => println!("{label}: not measured: {error:#}"),
            },
            Err(error) => println!("{label}: not measured: {error:#}"),
        }
    }
    weigh_lists(&mut contestants, list.len());
    let load = Load {
        outstanding: options.outstanding,
        rate: None,
        duration: Some(Duration::from_secs_f64(options.seconds)),
        lines,
    };
    for number in 0..options.rounds {
        println!("round {} of {}", number + 1, options.rounds);
        let cold = Mix::cold(number, options.cold);
        let cold_signed = Mix::cold_signed(number, options.cold_dnssec);
        // Who fails one round is out with all of them: the others go on.
        contestants.retain_mut(|contestant| {
            let mix = contestant.measured.mix;
            let cold = if mix == "dnssec" { &cold_signed } else { &cold };
            let result = contestant.round(mixes.of(mix), cold, load);
            result
                .inspect_err(|error| {
                    println!("{}: not measured: {error:#}", contestant.measured.name)
                })
                .is_ok()
        });
    }
    change_lists(&mut contestants, &place, &output, &list);
    let measured: Vec<Measured> = contestants
        .into_iter()
        .map(|contestant| contestant.measured)
        .collect();
    println!("\n{}", report::table(&measured));
    let write = |name: &str, text: String| {
        fs::write(output.join(name), text).with_context(|| format!("writing {name}"))
    };
    write(
        "peers.json",
        serde_json::to_string_pretty(&report::json(&measured)).context("our own values")?,
    )?;
    write("peers-rounds.jsonl", report::rounds(&measured))
}

/// What is asked for, by the name of the mix.
struct Mixes {
    plain: Mix,
    filter: Mix,
    dnssec: Mix,
}

impl Mixes {
    fn of(&self, name: &str) -> &Mix {
        match name {
            "plain" => &self.plain,
            "dnssec" => &self.dnssec,
            _ => &self.filter,
        }
    }
}

/// Who is measured, and how.
struct Wanted {
    kind: Kind,
    lists: bool,
    mix: &'static str,
    setting: Setting,
}

impl Wanted {
    fn label(&self) -> String {
        let lists = if self.lists { ", lists on" } else { "" };
        format!(
            "{}{lists}, {} households, {} mix",
            self.name(),
            self.setting.households,
            self.mix
        )
    }

    /// The name in the table; a search for the bare name finds the contestant with one worker.
    fn name(&self) -> String {
        match self.setting.workers {
            1 => self.kind.name().to_owned(),
            workers => format!("{}, {workers} workers", self.kind.name()),
        }
    }
}

fn settings(options: &Run) -> Vec<Wanted> {
    let is_wanted = |kind: &Kind| {
        options.only.is_empty() || options.only.iter().any(|name| name == kind.name())
    };
    let mut all = Vec::new();
    for kind in Kind::ALL.into_iter().filter(is_wanted) {
        let mut add_with = |workers, lists, mix, households| {
            all.push(Wanted {
                kind,
                lists,
                mix,
                setting: Setting {
                    workers,
                    households,
                },
            })
        };
        let mut add = |lists, mix, households| add_with(1, lists, mix, households);
        match kind {
            Kind::Echo => add(false, "plain", 0),
            Kind::Ox => {
                for &workers in &options.workers {
                    let mut add = |lists, mix, households| {
                        add_with(usize::from(workers), lists, mix, households)
                    };
                    add(false, "plain", 0);
                    // The same queries with nothing on: what filtering costs is the difference.
                    add(false, "filter", 0);
                    options
                        .households
                        .iter()
                        .for_each(|&households| add(true, "filter", households));
                }
            }
            // Without a list it is the same as Unbound.
            Kind::UnboundRpz => add(true, "filter", 0),
            _ => {
                add(false, "plain", 0);
                add(true, "filter", 0);
            }
        }
    }
    let validates = |kind: &Kind| {
        let does_not = [Kind::Echo, Kind::Dnsdist, Kind::UnboundRpz];
        options.cold_dnssec > 0 && !does_not.contains(kind)
    };
    let wanted = Kind::ALL.into_iter().filter(is_wanted).filter(validates);
    all.extend(wanted.map(|kind| Wanted {
        kind,
        lists: false,
        mix: "dnssec",
        setting: Setting {
            workers: 1,
            households: 0,
        },
    }));
    all
}

fn start(
    wanted: &Wanted,
    number: usize,
    options: &Run,
    place: &Place,
    (list, signed): (&[String], Option<&SignedWorld>),
) -> anyhow::Result<Contestant> {
    let address = format!("127.0.3.{}", number + 1);
    let name = format!("{number}-{}", wanted.kind.name());
    let on = wanted.lists.then_some(list);
    let signed = signed.filter(|_| wanted.mix == "dnssec");
    let hints = signed.map_or_else(world::root_hints, |signed| signed.hints.clone());
    let root = (&*hints, signed.map(|signed| &signed.anchor));
    let command = match wanted.kind {
        Kind::Echo => {
            vec![
                std::env::current_exe()
                    .context("this program")?
                    .display()
                    .to_string(),
                "echo".to_owned(),
                format!("{address}:53"),
            ]
        }
        Kind::Ox => {
            let text = on.map(|list| list.join("\n") + "\n");
            let folder = options
                .output
                .canonicalize()
                .context("it was just made")?
                .join(&name);
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .worker_threads(1)
                .build()
                .context("a runtime")?;
            runtime.block_on(ours::set_up(
                &options.ox,
                &folder,
                &address,
                root,
                text.as_deref(),
                wanted.setting,
            ))?
        }
        // dnsdist stands in front of the Unbound without a list, which was started before it.
        kind => place.set_up(kind, &name, &address, &unbound_address(options), root, on)?,
    };
    let version = place.version(wanted.kind);
    let began = Instant::now();
    let mut server = Server::start(
        &command,
        &SERVER_CORES[..wanted.setting.workers],
        &options.output.join(format!("{name}.log")),
    )?;
    let address = wanted
        .kind
        .door(address.parse().context("our own address")?);
    // Listed where the list is on: only then is it sure that it is in force.
    let probe = match signed {
        Some(_) => mix::signed_packet(&("ns.".to_owned() + &mix::signed_zone(0))),
        None => mix::packet(&list[0], 1),
    };
    while !is_right(address, &probe, wanted.lists, signed.is_some()) {
        ensure!(!server.has_ended(), "it ended by itself; see {name}.log");
        ensure!(
            began.elapsed() < READY_WITHIN,
            "no right answer within {READY_WITHIN:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let start_ms = began.elapsed().as_secs_f64() * 1e3;
    let resident_fresh = server.resident();
    let measured = Measured {
        name: wanted.name(),
        version,
        lists: wanted.lists,
        households: wanted.setting.households,
        workers: wanted.setting.workers,
        mix: wanted.mix,
        rounds: Vec::new(),
        start_ms,
        octets_a_name: None,
        reload: None,
    };
    let kind = wanted.kind;
    let ready = Instant::now();
    let resolves = wanted.mix != "filter" && !matches!(wanted.kind, Kind::Echo | Kind::Dnsdist);
    Ok(Contestant {
        kind,
        folder: name,
        address,
        server,
        ready,
        resident_fresh,
        blocks: wanted.lists,
        resolves,
        measured,
    })
}

/// The address of the Unbound without a list: contestants have theirs in the order in which they
/// are wanted.
fn unbound_address(options: &Run) -> String {
    let place = settings(options)
        .iter()
        .position(|wanted| wanted.kind == Kind::Unbound && !wanted.lists);
    format!("127.0.3.{}", place.map_or(0, |place| place + 1))
}

/// Whether a probe from the first line is answered, and as it must be: an answer that is validated has
/// AD.
fn is_right(address: SocketAddr, probe: &[u8], blocked: bool, validated: bool) -> bool {
    let ask = || {
        let socket = UdpSocket::bind((Ipv4Addr::from(blast::FIRST_LINE), 0))?;
        socket.set_read_timeout(Some(PROBE_PATIENCE))?;
        socket.send_to(probe, address)?;
        let mut reply = [0; 512];
        socket
            .recv(&mut reply)
            .map(|_| (usize::from(reply[3] & 0x0f), reply[3] & AD != 0))
    };
    let expected = if blocked { NXDOMAIN } else { 0 };
    ask().is_ok_and(|(rcode, ad)| rcode == expected && (ad || !validated))
}

/// Has every question answered once, and goes on until all are.
fn warm(contestant: &mut Contestant, mix: &Mix, lines: u32) -> anyhow::Result<()> {
    let distinct = mix.distinct();
    let load = Load {
        outstanding: 96,
        rate: None,
        duration: None,
        lines,
    };
    for _ in 0..WARMINGS {
        let outcome = blast(contestant.address, &distinct, load)?;
        if outcome.lost == 0 && outcome.rcodes[SERVFAIL] == 0 {
            return Ok(());
        }
    }
    bail!("questions stay without an answer")
}

/// What a list weighs: the same program, freshly started, with it and without it.
fn weigh_lists(contestants: &mut [Contestant], names: usize) {
    let without: Vec<(String, u64)> = contestants
        .iter()
        .filter(|one| !one.blocks)
        .map(|one| (one.measured.name.clone(), one.resident_fresh))
        .collect();
    for contestant in contestants
        .iter_mut()
        .filter(|one| one.blocks && one.measured.households <= 1)
    {
        let own = contestant.measured.name.trim_end_matches("-rpz");
        if let Some((_, without)) = without.iter().find(|(name, _)| name == own) {
            contestant.measured.octets_a_name =
                Some(contestant.resident_fresh.saturating_sub(*without) as f64 / names as f64);
        }
    }
}

/// Changes the list of each contestant, one after the other. A contestant that cannot reload keeps
/// its other figures.
fn change_lists(contestants: &mut [Contestant], place: &Place, output: &Path, list: &[String]) {
    let (next, new) = mix::changed(list, reload::CHANGED);
    for contestant in contestants.iter_mut().filter(|one| one.blocks) {
        let label = format!(
            "{}, {} households",
            contestant.measured.name, contestant.measured.households
        );
        match contestant.change_list(place, output, &next, &new) {
            Ok(reload) => contestant.measured.reload = Some(reload),
            Err(error) => println!("{label}: reload not measured: {error:#}"),
        }
    }
}

impl Contestant {
    fn change_list(
        &self,
        place: &Place,
        output: &Path,
        list: &[String],
        new: &[String],
    ) -> anyhow::Result<Reload> {
        let began = Instant::now();
        let change = match self.kind {
            Kind::Ox => ours::stage(&output.join(&self.folder), &(list.join("\n") + "\n"))?,
            kind => place.stage(kind, &self.folder, list, new)?,
        };
        let written = began.elapsed();
        std::thread::sleep(self.kind.rest().saturating_sub(self.ready.elapsed()));
        let reload = reload::measure(
            self.address,
            &self.server,
            &change,
            &mix::unlisted(),
            &new[0],
        )?;
        let name = &self.measured.name;
        let households = self.measured.households;
        let tell = change.tell.label();
        println!(
            "{name}, {households} households: reloaded in {:.0} ms, worst reply {:.1} ms, {} lost, {} wrong; its file written in {written:.1?} before; {tell}",
            reload.ms, reload.worst_ms, reload.lost, reload.wrong
        );
        Ok(reload)
    }

    fn round(&mut self, mix: &Mix, cold: &Mix, load: Load) -> anyhow::Result<()> {
        let stolen = process::stolen();
        let (outcome, cpu_us) = self.ask(mix, load)?;
        self.check(&outcome, mix)?;
        let cold_us = if self.resolves && !cold.packets.is_empty() {
            let load = Load {
                outstanding: COLD_OUTSTANDING,
                rate: None,
                duration: None,
                ..load
            };
            let (outcome, cold_us) = self.ask(cold, load)?;
            let failed = outcome.share(SERVFAIL);
            if failed >= 0.001 {
                println!(
                    "{}: no figure for cold names, it failed {failed:.4} of them",
                    self.measured.name
                );
            }
            (failed < 0.001).then_some(cold_us)
        } else {
            None
        };
        let is_signed = self.measured.mix == "dnssec";
        self.measured.rounds.push(Round {
            cpu_us,
            cold_us: cold_us.filter(|_| !is_signed),
            cold_dnssec_us: cold_us.filter(|_| is_signed),
            qps: outcome.qps(),
            p50_us: outcome.latency_us(0.5),
            p99_us: outcome.latency_us(0.99),
            lost: outcome.lost,
            resident: self.server.resident(),
            stolen: process::stolen() - stolen,
        });
        Ok(())
    }

    /// What came of asking, and microseconds of the server's CPU a reply.
    fn ask(&self, mix: &Mix, load: Load) -> anyhow::Result<(Outcome, f64)> {
        let cpu = self.server.cpu_time();
        let outcome = blast(self.address, mix, load)?;
        let cpu_us =
            self.server.cpu_time().since(&cpu) as f64 / 1e3 / outcome.replies.max(1) as f64;
        Ok((outcome, cpu_us))
    }

    /// A contestant that filters wrongly gets no figure.
    fn check(&self, outcome: &Outcome, mix: &Mix) -> anyhow::Result<()> {
        let expected = if self.blocks { mix.listed_share } else { 0.0 };
        let blocked = outcome.share(NXDOMAIN);
        let name = &self.measured.name;
        ensure!(
            (blocked - expected).abs() < 0.01,
            "{name} blocked {blocked:.3} of the queries and not {expected:.3}"
        );
        ensure!(
            outcome.share(SERVFAIL) < 0.001,
            "{name} failed {:.4} of the queries",
            outcome.share(SERVFAIL)
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_wanted_unless_somebody_is_named() {
        let options = |only: &[&str]| {
            let mut arguments = vec!["peers", "run"];
            only.iter()
                .for_each(|name| arguments.extend(["--only", name]));
            let Command::Run(options) = Cli::parse_from(arguments).command else {
                unreachable!("it says run")
            };
            options
        };
        let labels: Vec<String> = settings(&options(&[])).iter().map(Wanted::label).collect();
        for expected in [
            "echo, 0 households, plain mix",
            "ox-protect, lists on, 100000 households, filter mix",
            "dnsdist-cdb, lists on, 0 households, filter mix",
        ] {
            assert!(labels.iter().any(|label| label == expected), "{labels:?}");
        }
        assert_eq!(settings(&options(&["bind"])).len(), 3);
        let signed: Vec<&str> = labels
            .iter()
            .filter_map(|label| label.strip_suffix(", 0 households, dnssec mix"))
            .collect();
        let validators = [
            "ox-protect",
            "unbound",
            "pdns-recursor",
            "knot-resolver",
            "bind",
        ];
        assert_eq!(signed, validators);
        assert!(
            labels.iter().all(|label| !label.contains("workers")),
            "one worker, unless more are wanted"
        );
        let Command::Run(both) = Cli::parse_from(["peers", "run", "--workers", "1,2"]).command
        else {
            unreachable!("it says run")
        };
        let labels: Vec<String> = settings(&both).iter().map(Wanted::label).collect();
        assert_eq!(
            labels
                .iter()
                .filter(|label| label.starts_with("ox-protect, 2 workers, lists on"))
                .count(),
            3,
            "{labels:?}"
        );
        assert!(
            Cli::try_parse_from(["peers", "run", "--workers", "3"]).is_err(),
            "there are two cores"
        );
        assert_eq!(
            unbound_address(&options(&[])),
            "127.0.3.7",
            "echo, five of ours, then Unbound"
        );
    }
}
