//! The commands, one file each.

mod arguments;
mod audit;
mod check;
mod common;
mod explain;
mod keys;
mod lists;
mod resolve;
mod serve;

use std::process::ExitCode;

use clap::Parser;

use self::arguments::{Arguments, Command};

/// Reads the command line and runs its command to the end.
pub fn run() -> anyhow::Result<ExitCode> {
    let command = Arguments::parse().command;
    // Only the owner may read what a node keeps: rules, names that were asked for, licensed lists.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    match command {
        Command::Serve { config, new_store } => serve::run(config, new_store),
        Command::Check { config } => check::run(&config),
        Command::Explain(query) => query.run(),
        Command::Resolve(query) => query.run(),
        Command::Lists { command } => lists::run(command),
        Command::Keys { command } => keys::run(command),
        Command::Audit { command } => audit::run(command),
    }
}
