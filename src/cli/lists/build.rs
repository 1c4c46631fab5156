//! `ox-protect lists build`: compiles the feeds into the next generation.

use std::{io::Read, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use blocklist_loader::{BuildOutcome, Gate, Plan, build};
use control::lists::{build_process::lower_priority, generations::open_newest};
use jiff::Timestamp;
use policy::{category::Taxonomy, lists::artefact::ArtefactError};

use super::{
    super::{
        arguments::BuildArguments,
        common::{load, print, print_json, read_taxonomy},
    },
    show,
};
use crate::stores;

impl BuildArguments {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if self.background {
            lower_priority();
        }
        if self.plan.is_some() {
            let (plan, taxonomy) = read_plan(self.taxonomy)?;
            return build_lists(&plan, &taxonomy, self.json);
        }
        let checked = load(&self.config)?;
        let is_ahead = stores::is_before_first_start(&checked)?;
        let plan = Plan {
            force: self.force,
            ..checked.plan()
        };
        let built = build_lists(&plan, &checked.taxonomy, self.json)?;
        if is_ahead {
            stores::note_built_ahead(&checked)?;
        }
        Ok(built)
    }
}

fn read_plan(taxonomy: Option<PathBuf>) -> anyhow::Result<(Plan, Taxonomy)> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .context("reading the plan")?;
    Ok((
        serde_json::from_str(&text).context("reading the plan")?,
        read_taxonomy(taxonomy)?,
    ))
}

fn build_lists(plan: &Plan, taxonomy: &Taxonomy, json: bool) -> anyhow::Result<ExitCode> {
    let built = open_newest(plan, taxonomy).and_then(|previous| {
        Ok(build(
            plan,
            taxonomy,
            previous.as_deref(),
            Timestamp::now(),
        )?)
    });
    if json {
        // Who reads this is another process, which has to know why.
        let failed = |error: anyhow::Error| BuildOutcome::Failed {
            gate: gate_of(&error),
            detail: format!("{error:#}"),
        };
        let outcome = built.unwrap_or_else(failed);
        let printed = print_json(&outcome)?;
        return Ok(if matches!(outcome, BuildOutcome::Failed { .. }) {
            ExitCode::FAILURE
        } else {
            printed
        });
    }
    let refused = match built? {
        BuildOutcome::Unchanged {
            generation,
            refused,
        } => {
            println!("nothing changed; generation {generation} stays");
            refused
        }
        BuildOutcome::Built(built) => {
            print(&show::table(&built.written.header, built.written.octets))?;
            built.refused
        }
        BuildOutcome::Failed { detail, .. } => bail!("{detail}"),
    };
    for refused in &refused {
        eprintln!(
            "feed {:?} was refused: {}; it goes on with {} entries",
            refused.feed, refused.reason, refused.carried
        );
    }
    Ok(if refused.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether it was the disk that refused.
fn gate_of(error: &anyhow::Error) -> Gate {
    let is_disk = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<std::io::Error>()
            || matches!(cause.downcast_ref(), Some(ArtefactError::Fst { .. }))
    };
    if error.chain().any(is_disk) {
        Gate::Disk
    } else {
        Gate::Build
    }
}
