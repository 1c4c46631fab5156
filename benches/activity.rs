//! For how many homes can a node keep what they ask for?
//!
//! Each home has five devices and fifty names that were blocked. Their counts are written, written
//! once more into the rows that are there, and taken away when they are over, in the store's own
//! batches, with everything overwritten. Beside it, what memory a home takes that waits. Not
//! measured: the counting of queries, readers meanwhile, and a disk that is slower than this one.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use jiff::Timestamp;
use policy::{name::Name, rules::household::Id};
use policy_store::{
    ActivityStore,
    activity::{BlockedQuery, CountedQuery, WRITE_AFTER},
};

const HOMES: usize = 50_000;
/// Homes that wait at a time.
const PORTION: usize = 10_000;
const DEVICES: usize = 5;
const NAMES: usize = 50;
/// In the middle of an hour.
const NOW: i64 = 500_000 * 3_600 + 1_800;

/// What a home asks for: each name by one device, and half as much again that is not blocked.
fn told(
    home: usize,
    devices: usize,
    names: usize,
    slugs: &[Arc<str>],
) -> impl Iterator<Item = CountedQuery> {
    let household: Id = format!("line-{home:08}").parse().expect("an identifier");
    (0..names.max(devices) * 3 / 2).map(move |query| {
        let name = format!("tracker-{}.of-some.example", (home + query) % 5_000);
        let categories = vec![slugs[query % slugs.len()].clone()];
        let name = (query < names).then(|| Name::parse(&name).expect("a name"));
        let blocked = name.map(|name| BlockedQuery {
            layer: "category",
            categories: categories.clone(),
            name: Some(name),
        });
        let device = Some(
            format!("device-{}", query % devices)
                .parse()
                .expect("an identifier"),
        );
        let at = Timestamp::from_second(NOW).expect("an instant");
        CountedQuery {
            household: household.clone(),
            device,
            at,
            days: 7,
            categories,
            blocked,
            sign: None,
        }
    })
}

fn resident() -> anyhow::Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("what is resident")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? * 1_024)
}

fn rate(what: &str, rows: usize, took: Duration) {
    let rate = rows as f64 / took.as_secs_f64();
    println!(
        "{what}: {rate:.0} rows/s, {:.1} million homes in {} s",
        rate * WRITE_AFTER.as_secs_f64() / 1e6,
        WRITE_AFTER.as_secs()
    );
}

fn weigh(
    what: &str,
    activity: &ActivityStore,
    now: Timestamp,
    homes: usize,
    told: impl Iterator<Item = CountedQuery>,
) -> anyhow::Result<()> {
    let before = resident()?;
    activity.note(told, |_| true, now);
    println!(
        "A home that waits, {what}: {} octets",
        resident()?.saturating_sub(before) / homes
    );
    Ok(())
}

fn octets(folder: &Path) -> anyhow::Result<u64> {
    std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.metadata()?.len()))
        .sum()
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let activity = ActivityStore::open(&format!(
        "sqlite:{}",
        folder.path().join("activity.db").display()
    ))
    .await?;
    let slugs: Vec<Arc<str>> = ["ads", "games", "social"].map(Into::into).to_vec();
    let now = Timestamp::from_second(NOW)?;

    let scale = ActivityStore::open(&format!(
        "sqlite:{}",
        folder.path().join("scale.db").display()
    ))
    .await?;
    weigh(
        "with one device and one query",
        &scale,
        now,
        HOMES,
        (PORTION..PORTION + HOMES).flat_map(|home| told(home, 1, 0, &slugs)),
    )?;
    weigh(
        "with five devices and fifty names",
        &scale,
        now,
        PORTION,
        (0..PORTION).flat_map(|home| told(home, DEVICES, NAMES, &slugs)),
    )?;
    drop(scale);

    for what in ["New rows", "Rows that are there"] {
        let mut took = Duration::ZERO;
        for from in (0..HOMES).step_by(PORTION) {
            activity.note(
                (from..from + PORTION).flat_map(|home| told(home, DEVICES, NAMES, &slugs)),
                |_| true,
                now,
            );
            let began = Instant::now();
            anyhow::ensure!(
                activity.write_all(now).await? == PORTION,
                "a row for each home"
            );
            took += began.elapsed();
        }
        rate(what, HOMES, took);
    }
    println!(
        "    {} octets a row in the file",
        octets(folder.path())? / HOMES as u64
    );
    let began = Instant::now();
    anyhow::ensure!(activity.expire(now).await? == 0, "nothing is over");
    println!(
        "Nothing is over, and a look for hours to come, as after a start: {HOMES} homes in {:.1?}",
        began.elapsed()
    );
    let began = Instant::now();
    let later = Timestamp::from_second(NOW + 9 * 86_400)?;
    anyhow::ensure!(
        activity.expire(later).await? == HOMES as u64,
        "each row is over"
    );
    rate("Rows that are over", HOMES, began.elapsed());
    anyhow::ensure!(activity.dropped() == 0, "there is room");
    Ok(())
}
