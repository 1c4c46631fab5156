//! The command line: what `--help` says.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// A recursive DNS resolver that protects families.
#[derive(Parser)]
#[command(name = "ox-protect", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

/// The configuration to use.
#[derive(clap::Args, Clone)]
pub struct ConfigArgument {
    /// A TOML file. Default: the embedded configuration.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Subcommand)]
pub enum Command {
    /// Run the daemon.
    Serve {
        #[command(flatten)]
        config: ConfigArgument,
        /// Begin with an empty store on a node that had one and lost it, without its households,
        /// keys and mandates.
        #[arg(long)]
        new_store: bool,
    },
    /// Check the configuration and the definition of every feed.
    Check {
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Say how a query would be answered and why, by the function that answers queries.
    Explain(ExplainArguments),
    /// Resolve a name as the recursor does, with empty caches and without rules.
    Resolve(ResolveArguments),
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
    /// Verify the audit log.
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
}

#[derive(clap::Args)]
pub struct ExplainArguments {
    /// The name to look up.
    pub name: String,
    /// The household that asks. Default: a line without a household.
    #[arg(long)]
    pub household: Option<String>,
    /// The device of the household that asks.
    #[arg(long, requires = "household")]
    pub device: Option<String>,
    /// The record type, a mnemonic or a number.
    #[arg(long = "type", default_value = "A")]
    pub record_type: String,
    /// A past time, RFC 3339: use the household, the lists and the orders of that time.
    #[arg(long)]
    pub at: Option<jiff::Timestamp>,
    #[command(flatten)]
    pub config: ConfigArgument,
}

#[derive(clap::Args)]
pub struct ResolveArguments {
    /// The name to look up.
    pub name: String,
    /// The record type, a mnemonic or a number.
    #[arg(long = "type", default_value = "A")]
    pub record_type: String,
    /// Print each step: server, zone, question, answer and time.
    #[arg(long)]
    pub trace: bool,
    #[command(flatten)]
    pub config: ConfigArgument,
}

#[derive(Subcommand)]
pub enum AuditCommand {
    /// Compare all rows with each other and with the signed heads. The exit status is 1 if one does
    /// not fit.
    Verify {
        #[command(flatten)]
        config: ConfigArgument,
        /// A signed head that was kept elsewhere, or a file that contains some, such as a log. May be
        /// given several times.
        #[arg(long, value_name = "HEAD|FILE")]
        head: Vec<String>,
        /// An archive of older rows, verified as well, with the head at its end. May be given several
        /// times.
        #[arg(long, value_name = "FILE")]
        archive: Vec<PathBuf>,
        /// The public key of the heads, hexadecimal. Default: this node's own key.
        #[arg(long)]
        key: Option<String>,
        /// Print the outcome as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Export rows that are older than a time to a new file, and remove them from the store. Prints
    /// the signed head of the last one.
    Prune {
        #[command(flatten)]
        config: ConfigArgument,
        /// Rows before this time, RFC 3339: `2026-01-01T00:00:00Z`.
        #[arg(long)]
        before: jiff::Timestamp,
        /// The file, which must not exist.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Print the newest signed head, to be kept on another machine.
    Head {
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Record why signed heads do not fit the rows, for example after a backup was restored. The
    /// audit keeps the note.
    Acknowledge {
        #[command(flatten)]
        config: ConfigArgument,
        /// The reason.
        #[arg(long)]
        note: String,
    },
}

#[derive(Subcommand)]
pub enum ListsCommand {
    /// Compile the feeds into the next generation.
    Build(BuildArguments),
    /// Show the newest generation: feeds, counts, and lines that could not be parsed.
    Show {
        #[command(flatten)]
        config: ConfigArgument,
        /// Print the header as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make an earlier generation live again, as a new one. A daemon on the same folder takes it at
    /// once.
    Rollback {
        #[command(flatten)]
        config: ConfigArgument,
        /// Generation to restore. Default: the latest one whose content differs from the live one.
        generation: Option<u64>,
    },
    /// Show the difference between two generations: counts by feed and category, and some names.
    Diff {
        #[command(flatten)]
        config: ConfigArgument,
        /// The earlier generation.
        from: u64,
        /// The later generation.
        to: u64,
        /// The most names to show, added and removed each.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Make the key pair with which nodes share lists: lists.key for the publisher, lists.pub for
    /// the followers.
    Keygen {
        /// The folder for both keys.
        directory: PathBuf,
    },
    /// Write a generation and the deltas before it as one artefact of the same content.
    #[command(hide = true)]
    Fold {
        /// The folder of the generations.
        #[arg(long)]
        directory: PathBuf,
        /// The generation to fold.
        #[arg(long)]
        generation: u64,
        /// The taxonomy. Default: the shipped one.
        #[arg(long, value_name = "FILE")]
        taxonomy: Option<PathBuf>,
        /// Run at the lowest priority.
        #[arg(long, hide = true)]
        background: bool,
    },
    /// Check artefacts from the first octet to the last.
    Verify {
        #[command(flatten)]
        config: ConfigArgument,
        /// The artefacts. Default: all in the configured directory.
        files: Vec<PathBuf>,
    },
}

#[derive(clap::Args)]
pub struct BuildArguments {
    #[command(flatten)]
    pub config: ConfigArgument,
    /// Build even if nothing changed.
    #[arg(long)]
    pub force: bool,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub json: bool,
    /// Read the plan from standard input, as the daemon writes it for its build process.
    #[arg(long, hide = true, value_name = "-")]
    pub plan: Option<String>,
    /// The taxonomy of the plan.
    #[arg(long, hide = true, value_name = "FILE", requires = "plan")]
    pub taxonomy: Option<PathBuf>,
    /// Run at the lowest priority.
    #[arg(long, hide = true)]
    pub background: bool,
}

#[derive(Subcommand)]
pub enum KeysCommand {
    /// Make a key. It is printed once and cannot be shown again.
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
        /// A note on the use of the key.
        #[arg(long, default_value = "")]
        label: String,
    },
    /// List keys, never their secrets.
    List {
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Revoke a key. It is refused from the next request on.
    Revoke {
        #[command(flatten)]
        config: ConfigArgument,
        /// The identifier of the key.
        id: String,
    },
}
