//! The program: what can be asked of it on the command line. Everything else is in the rooms.

mod activity;
mod audit;
mod clock;
mod commands;
mod config;
mod daemon;
mod ending;
mod health;
mod http;
mod lists;
mod notices;
mod oidc;
mod orders;
mod sampling;
mod signals;
mod stores;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// A recursive DNS resolver that protects families.
#[derive(Parser)]
#[command(name = "ox-protect", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// The configuration to use.
#[derive(clap::Args, Clone)]
struct ConfigArgument {
    /// A TOML file; without it the embedded defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon.
    Serve {
        #[command(flatten)]
        config: ConfigArgument,
        /// Begin with an empty store on a node that had one, and lost it: without its households,
        /// keys and orders.
        #[arg(long)]
        new_store: bool,
    },
    /// Check the configuration and the definition of every feed.
    Check {
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Say what a query would be answered and why, by the function that answers queries.
    Explain {
        /// The name.
        name: String,
        /// The household that asks; nobody's line without it.
        #[arg(long)]
        household: Option<String>,
        /// Its device that asks.
        #[arg(long, requires = "household")]
        device: Option<String>,
        /// The record type, a mnemonic or a number.
        #[arg(long = "type", default_value = "A")]
        record_type: String,
        /// A past time, RFC 3339: by the household, the lists and the orders of that time.
        #[arg(long)]
        at: Option<jiff::Timestamp>,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Resolve a name as the recursor does, with empty caches and without anybody's rules.
    Resolve {
        /// The name.
        name: String,
        /// The record type, a mnemonic or a number.
        #[arg(long = "type", default_value = "A")]
        record_type: String,
        /// Print each step: server, zone, question, what came and how fast.
        #[arg(long)]
        trace: bool,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Build and look at compiled lists, without a running daemon.
    Lists {
        #[command(subcommand)]
        command: ListsCommand,
    },
    /// API keys.
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// The audit: whether it is as it was written.
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Compare all rows with each other and with the signed heads; the status is 1 where something
    /// does not fit.
    Verify {
        #[command(flatten)]
        config: ConfigArgument,
        /// A signed head that was kept elsewhere, or a file that holds some, such as a log. May be
        /// given several times.
        #[arg(long, value_name = "HEAD|FILE")]
        head: Vec<String>,
        /// The public key that heads must be signed with, hexadecimal; without it this node's own.
        #[arg(long)]
        key: Option<String>,
        /// Print the outcome as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the newest signed head, to keep it elsewhere.
    Head {
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Say why signed heads do not fit the rows, for example after a backup was restored. The audit
    /// keeps the note.
    Acknowledge {
        #[command(flatten)]
        config: ConfigArgument,
        /// Why.
        #[arg(long)]
        note: String,
    },
}

#[derive(Subcommand)]
enum ListsCommand {
    /// Compile the feeds into the next generation.
    Build {
        #[command(flatten)]
        config: ConfigArgument,
        /// Build even when nothing changed.
        #[arg(long)]
        force: bool,
        /// Print the outcome as JSON.
        #[arg(long)]
        json: bool,
        /// Read what to build from standard input, as the daemon says it to its builder.
        #[arg(long, hide = true, value_name = "-")]
        plan: Option<String>,
        /// The taxonomy of that plan.
        #[arg(long, hide = true, value_name = "FILE", requires = "plan")]
        taxonomy: Option<PathBuf>,
        /// Give way to everything else on this machine.
        #[arg(long, hide = true)]
        background: bool,
    },
    /// Show the newest generation: feeds, counts, what was not understood.
    Show {
        #[command(flatten)]
        config: ConfigArgument,
        /// Print the header as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make an earlier generation live again, as a new one: at once where a daemon runs on the same
    /// folder.
    Rollback {
        #[command(flatten)]
        config: ConfigArgument,
        /// Which one; the last one with other content where nothing is said.
        generation: Option<u64>,
    },
    /// What differs between two generations: by feed and category, and some of the names.
    Diff {
        #[command(flatten)]
        config: ConfigArgument,
        /// From which one.
        from: u64,
        /// To which one.
        to: u64,
        /// How many names each way.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Make the pair of keys with which nodes share lists: lists.key for the publisher, lists.pub
    /// for all others.
    Keygen {
        /// The folder for both.
        directory: PathBuf,
    },
    /// Write a generation and the deltas that it stands on as one artefact of the same content.
    #[command(hide = true)]
    Fold {
        /// The folder of the generations.
        #[arg(long)]
        directory: PathBuf,
        /// Which one.
        #[arg(long)]
        generation: u64,
        /// The taxonomy, if it is not the shipped one.
        #[arg(long, value_name = "FILE")]
        taxonomy: Option<PathBuf>,
        /// Give way to everything else on this machine.
        #[arg(long, hide = true)]
        background: bool,
    },
    /// Check artefacts from the first to the last octet.
    Verify {
        #[command(flatten)]
        config: ConfigArgument,
        /// Artefacts; all of the configured directory where none is named.
        files: Vec<PathBuf>,
    },
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Make a key; it is printed once and never again.
    Create {
        #[command(flatten)]
        config: ConfigArgument,
        /// operator, auditor, parent, second-parent or child.
        #[arg(long, default_value = "operator")]
        role: policy_store::Role,
        /// The household of a parent's, second parent's or child's key.
        #[arg(long)]
        household: Option<String>,
        /// The device of a child's key.
        #[arg(long, requires = "household")]
        device: Option<String>,
        /// What it is for.
        #[arg(long, default_value = "")]
        label: String,
    },
    /// List keys, never their secrets.
    List {
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Revoke a key; it opens nothing from the next request on.
    Revoke {
        #[command(flatten)]
        config: ConfigArgument,
        /// Its identifier.
        id: String,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match commands::run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ox-protect: {error:#}");
            ExitCode::FAILURE
        }
    }
}
