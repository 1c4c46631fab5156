//! `ox-protect lists`: builds and shows compiled lists without a running daemon.

mod build;
mod diff;
mod rollback;
mod show;
mod verify;

use std::process::ExitCode;

use blocklist_loader::{generations, share};
use control::lists::build_process::lower_priority;
use policy::lists::builder::fold;

use super::{
    arguments::ListsCommand,
    common::{load, print, read_taxonomy, runtime},
};

pub fn run(command: ListsCommand) -> anyhow::Result<ExitCode> {
    match command {
        ListsCommand::Build(arguments) => arguments.run(),
        ListsCommand::Show { config, json } => show::run(&load(&config)?, json),
        ListsCommand::Rollback { config, generation } => {
            runtime()?.block_on(rollback::run(&load(&config)?, generation))
        }
        ListsCommand::Diff {
            config,
            from,
            to,
            limit,
        } => diff::run(&load(&config)?, (from, to), limit),
        ListsCommand::Keygen { directory } => {
            let keys = share::generate_keys(&directory)?;
            print(&format!(
                "secret key, for the publisher alone: {}\npublic key, for all others: {}",
                keys.secret.display(),
                keys.public_key
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        ListsCommand::Fold {
            directory,
            generation,
            taxonomy,
            background,
        } => {
            if background {
                lower_priority();
            }
            let taxonomy = read_taxonomy(taxonomy)?;
            let lists = generations::open(&directory, generation, &taxonomy)?;
            let written = fold(&lists, &generations::path_of(&directory, generation))?;
            print(&show::table(&written.header, written.octets))?;
            Ok(ExitCode::SUCCESS)
        }
        ListsCommand::Verify { config, files } => verify::run(&load(&config)?, files),
    }
}
