//! What do deltas cost: until one is live, on every lookup while there are many, in memory, and
//! when all is built anew?
//!
//! Five million generated names are the base; a delta has 10,000 entries: half of them new names, a
//! quarter names that are listed no more, a quarter names that are listed otherwise. Building and
//! folding are done by children, and a fold begins when the program would begin it and is live when
//! the next delta has come meanwhile, so that this process is one that serves. Each line says what
//! it must be. Not measured: fetching, and making a delta of a provider's rows.

use std::{
    fmt::Display,
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use blocklist_loader::{BuildOutcome, Feed, Plan, build, generations};
use policy::{
    category::Taxonomy,
    lists::{
        artefact::Header,
        blocklist::Blocklist,
        builder::fold,
        current::CurrentLists,
        delta::Delta,
        entry::{ListEntry, Scope},
    },
    name::Name,
};

const BASE: u64 = 5_000_000;
const LARGE: u64 = 10_000_000;
const DELTAS: u64 = 100;
const ENTRIES: u64 = 10_000;
/// The part of the base's names beyond which an overlay is folded: the program's
/// (`src/lists/keeper.rs`).
const FOLD_PART: u64 = 50;
/// Names asked in a round, and rounds.
const ASKED: u64 = 100_000;
const ROUNDS: usize = 31;

const TLDS: [&str; 6] = ["com", "net", "org", "co.uk", "de", "info"];

/// A name that looks like one: syllables by a multiplicative hash of its number. The same as in
/// `lists.rs`.
fn name(number: u64) -> Name {
    const SYLLABLES: [&str; 16] = [
        "ba", "cor", "de", "fin", "ga", "hol", "ki", "lam", "mo", "net", "pra", "qu", "rus", "sel",
        "ti", "win",
    ];
    let mut bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut text = String::new();
    for _ in 0..4 {
        text += SYLLABLES[(bits & 15) as usize];
        bits >>= 4;
    }
    Name::parse(&format!("{text}{number}.{}", TLDS[(bits % 6) as usize])).expect("a name")
}

/// A listed name that no delta touches, one that some delta touches, and one that is nowhere, by
/// their numbers.
fn untouched(number: u64) -> Name {
    name(number * (BASE / ASKED) / 10 * 10)
}

fn touched(number: u64) -> Name {
    name(number * 10 + 3)
}

fn unlisted(number: u64) -> Name {
    name(BASE * 2 + number * 7)
}

/// A figure, and what it must be.
fn say(question: &str, figures: impl Display, bar: &str) {
    println!("{question}\n    {figures}\n    bar: {bar}");
}

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["build", count, folder] => {
            build_in_child(count.parse().expect("a number"), Path::new(folder))
        }
        ["fold", folder, generation] => {
            fold_in_child(Path::new(folder), generation.parse().expect("a number"))
        }
        _ => ask_all(),
    }
}

fn ask_all() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let large = tempfile::tempdir().expect("another");
    child(&["build", &BASE.to_string()], folder.path());
    let lists = folder.path().join("lists");
    let fullest = how_soon_and_how_much_memory(&lists);
    how_fast_are_lookups(&lists, fullest);
    let built = child(&["build", &LARGE.to_string()], large.path());
    say(
        &format!("How long are {LARGE} names built anew?"),
        built,
        "< 60 s of one core",
    );
}

/// What a delta takes until it is live, by the clock and by the scheduler.
type Cost = (Duration, Duration);

/// What this process had most of, in octets beyond what it had before the first delta.
#[derive(Default)]
struct Memory {
    overlaid: u64,
    /// And what the artefact has that is swapped in.
    at_swap: (u64, u64),
    after: u64,
}

/// Says also to which generation the first overlay grew that a fold replaced.
fn how_soon_and_how_much_memory(folder: &Path) -> u64 {
    let taxonomy = Taxonomy::shipped();
    let empty = resident();
    let live = CurrentLists::new(open(folder, 1, &taxonomy));
    let before = resident();
    let more = || resident().saturating_sub(before);
    let (mut alone, mut beside): (Vec<Cost>, Vec<Cost>) = Default::default();
    let mut most = Memory::default();
    let mut fullest = (0, 0, 0);
    let mut folds = Vec::new();
    let mut fold: Option<Child> = None;
    for generation in 2..2 + DELTAS {
        let mut delta = delta(&live.current(), folder, generation);
        let began = Instant::now();
        let cpu = cpu();
        delta.write().expect("the folder is ours");
        let next = live
            .current()
            .with_deltas(&[delta], &taxonomy)
            .expect("our own delta fits");
        drop(live.install(next));
        let costs = if fold.is_some() {
            &mut beside
        } else {
            &mut alone
        };
        costs.push((began.elapsed(), self::cpu() - cpu));
        let (names, octets) = live.load().overlay_size();
        most.overlaid = most.overlaid.max(more());
        if names > fullest.0 {
            fullest = (names, octets, generation);
        }
        if let Some(child) = fold.take() {
            // What was folded, and over it what came meanwhile.
            folds.push(end(child));
            let next = open(folder, generation, &taxonomy);
            assert_eq!(next.base_generation(), generation - 1);
            most.at_swap = most.at_swap.max((more(), size(folder, generation - 1)));
            drop(live.install(next));
            most.after = most.after.max(more());
        } else if names as u64 > live.load().header().names / FOLD_PART {
            fold = Some(spawn(
                &[
                    "fold",
                    &folder.display().to_string(),
                    &generation.to_string(),
                ],
                Path::new(""),
            ));
        }
    }
    let after = more();
    let first = alone[0];
    let alone = ordered(alone);
    let beside = ordered(beside);
    say(
        &format!(
            "How soon is a delta of {ENTRIES} on {BASE} names live, written to disk, applied and swapped in?"
        ),
        format!(
            "wall and CPU: the first {first:.1?}, of {DELTAS} on end the median {:.1?}, the worst {:.1?}; of {} while a fold was under way the median {:.1?}, the worst {:.1?}",
            alone[alone.len() / 2],
            alone[alone.len() - 1],
            beside.len(),
            beside[beside.len() / 2],
            beside[beside.len() - 1],
        ),
        "< 1 s; < 600 ms of CPU",
    );
    let part = |octets: u64, artefact: u64| {
        format!(
            "{} MiB ({:.2} x)",
            mib(octets),
            octets as f64 / artefact as f64
        )
    };
    let first_artefact = size(folder, 1);
    let last_artefact = size(folder, live.load().base_generation());
    let (names, octets, generation) = fullest;
    say(
        &format!(
            "How much memory do {DELTAS} deltas take, and {} folds? The first artefact has {} MiB, the last {} MiB.",
            folds.len(),
            mib(first_artefact),
            mib(last_artefact)
        ),
        format!(
            "the lists {} MiB. More than before the deltas, and as a part of the artefact, the most each: overlaid {}; at a swap {}; after one {}; \
             at the end {}. The fullest overlay had {names} names in {} MiB. A fold by a child: {}",
            mib(before - empty),
            part(most.overlaid, first_artefact),
            part(most.at_swap.0, most.at_swap.1),
            part(most.after, last_artefact),
            part(after, last_artefact),
            mib(octets as u64),
            folds[folds.len() / 2],
        ),
        "at a swap < 1.5 x the artefact that comes; after one, all but what the new lists have more is given back",
    );
    generation
}

fn how_fast_are_lookups(folder: &Path, fullest: u64) {
    let taxonomy = Taxonomy::shipped();
    let before = open(folder, 1, &taxonomy);
    let deltas: Vec<Delta> = (2..=fullest)
        .map(|at| Delta::read(&generations::delta_path(folder, at)).expect("just written"))
        .collect();
    let overlaid = before
        .with_deltas(&deltas, &taxonomy)
        .expect("our own deltas fit");
    drop(deltas);
    let last = open(folder, 1 + DELTAS, &taxonomy);
    let folded = open(folder, last.base_generation(), &taxonomy);
    let [overlaid_names, last_names] = [&overlaid, &last].map(|lists| lists.overlay_size().0);
    const BAR: &str = "both < 1.05 x their bases";
    type Kind = (&'static str, fn(u64) -> Name, &'static str);
    let kinds: [Kind; 3] = [
        ("listed, and no delta touched", untouched, BAR),
        ("nowhere", unlisted, BAR),
        ("touched by a delta", touched, "none: these are few"),
    ];
    for (what, make, bar) in kinds {
        let asked: Vec<Name> = (0..ASKED).map(make).collect();
        let mut rounds: [Vec<f64>; 4] = Default::default();
        for round in 0..ROUNDS {
            for place in 0..4 {
                // The second of the two finds more in the processor's caches.
                let place = (place + round) % 4;
                let lists = [&before, &overlaid, &folded, &last][place];
                let began = Instant::now();
                let listed = asked
                    .iter()
                    .filter(|name| !lists.classify(name.borrow()).choice.is_empty())
                    .count();
                rounds[place].push(began.elapsed().as_nanos() as f64 / asked.len() as f64);
                std::hint::black_box(listed);
            }
        }
        let [before, overlaid, folded, last] = &rounds;
        say(
            &format!("How fast is a lookup of names that are {what}?"),
            format!(
                "without deltas {:.0} ns; the fullest overlay, {overlaid_names} names, {:.0} ns ({:.3} x); after {DELTAS} deltas, the last fold alone \
                 {:.0} ns, with the {last_names} names that came since {:.0} ns ({:.3} x)",
                median(before.clone()),
                median(overlaid.clone()),
                ratio(overlaid, before),
                median(folded.clone()),
                median(last.clone()),
                ratio(last, folded),
            ),
            bar,
        );
    }
}

fn ordered(mut costs: Vec<Cost>) -> Vec<Cost> {
    costs.sort();
    costs
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The median of what each round says.
fn ratio(of: &[f64], to: &[f64]) -> f64 {
    median(of.iter().zip(to).map(|(of, to)| of / to).collect())
}

/// The delta that leads to a generation.
fn delta(lists: &Blocklist, folder: &Path, generation: u64) -> Delta {
    let now = jiff::Timestamp::now();
    let mut arrivals = lists.header().arrivals.clone();
    arrivals.push(now);
    let arrival = u16::try_from(arrivals.len() - 1).expect("few deltas");
    let new = ENTRIES / 2;
    let old = ENTRIES / 4;
    let place = generation - 2;
    let change = |name: Name, marks: &[ListEntry]| {
        let mut key = Vec::new();
        name.borrow().write_key(&mut key);
        (key.into_boxed_slice(), marks.to_vec())
    };
    let listed = ListEntry::deny(0, 0, Scope::Subtree);
    let otherwise = ListEntry::deny(0, 0, Scope::Exact);
    let [listed, otherwise] = [listed, otherwise].map(|mark| [ListEntry { arrival, ..mark }]);
    let mut changes: Vec<_> = (place * new..(place + 1) * new)
        .map(|number| change(name(BASE + number), &listed))
        .collect();
    changes.extend(
        (place * old * 2..(place * 2 + 1) * old).map(|number| change(touched(number), &[])),
    );
    changes.extend(
        ((place * 2 + 1) * old..(place * 2 + 2) * old)
            .map(|number| change(touched(number), &otherwise)),
    );
    changes.sort_unstable();
    let header = Header {
        generation,
        parent: Some(generation - 1),
        built_at: now,
        arrivals,
        ..lists.header().clone()
    };
    Delta {
        path: generations::delta_path(folder, generation),
        header,
        changes,
        sha256: String::new(),
    }
}

/// Of an artefact, in octets.
fn size(folder: &Path, generation: u64) -> u64 {
    std::fs::metadata(generations::path_of(folder, generation))
        .expect("just written")
        .len()
}

fn open(folder: &Path, generation: u64, taxonomy: &Taxonomy) -> Arc<Blocklist> {
    generations::open(folder, generation, taxonomy).expect("just written")
}

/// Runs this program with other arguments, and gives back what it printed.
fn child(arguments: &[&str], folder: &Path) -> String {
    end(spawn(arguments, folder))
}

/// Starts it at a lower priority than the serving process.
fn spawn(arguments: &[&str], folder: &Path) -> Child {
    let mut command = Command::new("nice");
    command
        .args(["-n", "19"])
        .arg(std::env::current_exe().expect("this program"))
        .args(arguments);
    if folder != Path::new("") {
        command.arg(folder);
    }
    command
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child of this program")
}

fn end(child: Child) -> String {
    let output = child.wait_with_output().expect("a child of this program");
    assert!(output.status.success(), "a child of this program failed");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn build_in_child(count: u64, folder: &Path) {
    let source = folder.join("names.txt");
    let mut file = BufWriter::new(File::create(&source).expect("the folder is ours"));
    (0..count)
        .try_for_each(|number| writeln!(file, "{}", name(number)))
        .expect("the folder is ours");
    drop(file);
    let feed = format!(
        "name = \"f\"\nsource = \"{}\"\nformat = \"domains\"\nscope = \"subtree\"\ncategory = \"ads\"",
        source.display()
    );
    let feed: Feed = toml::from_str(&feed).expect("a feed of ours");
    let plan = Plan {
        feeds: vec![feed],
        directory: folder.join("lists"),
        force: true,
        ..Plan::default()
    };
    let began = Instant::now();
    let cpu = cpu();
    let Ok(BuildOutcome::Built(built)) =
        build(&plan, &Taxonomy::shipped(), None, jiff::Timestamp::now())
    else {
        panic!("our own list is built");
    };
    assert_eq!(built.written.path, generations::path_of(&plan.directory, 1));
    tell(began, cpu, built.written.octets);
}

fn fold_in_child(folder: &Path, generation: u64) {
    let began = Instant::now();
    let cpu = cpu();
    let written = fold(
        &open(folder, generation, &Taxonomy::shipped()),
        &generations::path_of(folder, generation),
    );
    tell(began, cpu, written.expect("the folder is ours").octets);
}

fn tell(began: Instant, since: Duration, artefact: u64) {
    let took = began.elapsed();
    let cpu = cpu() - since;
    let peak = memory("VmHWM:");
    println!(
        "{took:.2?}, {cpu:.2?} of CPU, {} MiB at most, for an artefact of {} MiB",
        mib(peak),
        mib(artefact)
    );
}

/// What the scheduler has given to this thread, which does all the work.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    Duration::from_nanos(
        text.split(' ')
            .next()
            .and_then(|first| first.parse().ok())
            .expect("it begins with nanoseconds"),
    )
}

fn resident() -> u64 {
    memory("VmRSS:")
}

/// In octets.
fn memory(what: &str) -> u64 {
    let text = std::fs::read_to_string(PathBuf::from("/proc/self/status")).expect("Linux tells it");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(what))
        .expect("Linux tells it");
    line.split_whitespace()
        .next()
        .and_then(|number| number.parse::<u64>().ok())
        .expect("a number")
        << 10
}

fn mib(octets: u64) -> u64 {
    octets >> 20
}
