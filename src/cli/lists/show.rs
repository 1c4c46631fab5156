//! `ox-protect lists show`: feeds, counts, and lines that could not be parsed.

use std::process::ExitCode;

use anyhow::Context;
use blocklist_loader::last_check;
use control::lists::generations::open_newest;
use policy::lists::artefact::Header;

use super::super::common::{print, print_json};
use crate::config::Checked;

pub fn run(checked: &Checked, json: bool) -> anyhow::Result<ExitCode> {
    let lists = open_newest(&checked.plan(), &checked.taxonomy)?
        .context("no lists were built yet: ox-protect lists build")?;
    if json {
        return print_json(lists.header());
    }
    print(&table(lists.header(), lists.octets() as u64))?;
    for refused in last_check::refusals(&checked.plan(), lists.header()) {
        print(&format!(
            "{}: version {} was refused ({}): {}",
            refused.feed, refused.version, refused.gate, refused.reason
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A generation as text: one line for each feed, then lines of it that could not be parsed.
pub fn table(header: &Header, octets: u64) -> String {
    let per_name = octets as f64 / header.names.max(1) as f64;
    let Header {
        generation,
        built_at,
        names,
        entries,
        ..
    } = header;
    let mut text = format!(
        "generation {generation}, built {built_at}: {names} names, {entries} entries, {octets} bytes, {per_name:.2} bytes a name\n"
    );
    let row = |cells: [&str; 8]| {
        let [feed, format, rest @ ..] = cells;
        let rest: Vec<String> = rest.iter().map(|cell| format!("{cell:>9}")).collect();
        format!("{feed:<24} {format:<11}{}", rest.concat())
    };
    text += &row([
        "feed", "format", "entries", "paths", "bad", "unsupp.", "suffixes", "unmapped",
    ]);
    text += "\n";
    for feed in &header.feeds {
        let report = &feed.report;
        let counts = [
            report.entries,
            report.paths,
            report.bad,
            report.unsupported,
            report.public_suffixes,
            report.unmapped,
        ];
        let [entries, paths, bad, unsupported, suffixes, unmapped] =
            counts.map(|count| count.to_string());
        text += &row([
            &feed.name,
            &feed.format,
            &entries,
            &paths,
            &bad,
            &unsupported,
            &suffixes,
            &unmapped,
        ]);
        text += "\n";
        for complaint in &report.samples {
            text += &format!(
                "    {}:{}: {}: {}\n",
                complaint.file, complaint.line, complaint.reason, complaint.text
            );
        }
    }
    text
}
