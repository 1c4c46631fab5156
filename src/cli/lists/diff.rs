//! `ox-protect lists diff`: the difference between two generations.

use std::{fmt::Write, process::ExitCode};

use blocklist_loader::{diff, generations};

use super::super::common::print;
use crate::config::Checked;

pub fn run(checked: &Checked, (from, to): (u64, u64), limit: usize) -> anyhow::Result<ExitCode> {
    let directory = &checked.config.lists.directory;
    let before = generations::open(directory, from, &checked.taxonomy)?;
    let after = generations::open(directory, to, &checked.taxonomy)?;
    let diff::Diff {
        counts,
        added,
        removed,
    } = diff::diff(&before, &after, limit);
    let mut text = format!(
        "{:<24} {:<20} {:>9} {:>9}\n",
        "feed", "category", "added", "removed"
    );
    for ((feed, category), counts) in counts {
        writeln!(
            text,
            "{feed:<24} {:<20} {:>9} {:>9}",
            category.unwrap_or_default(),
            counts.added,
            counts.removed
        )?;
    }
    for (sign, names) in [('+', added), ('-', removed)] {
        for diff::DiffName {
            name,
            feed,
            category,
        } in names
        {
            writeln!(
                text,
                "{sign} {name}  {feed} {}",
                category.unwrap_or_default()
            )?;
        }
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}
