//! The commands, one function each.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Read, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use api::{
    explain::{Line, Sight},
    notices::of_key,
};
use blocklist_loader::{
    BuildOutcome, Gate, Plan, build, diff, generations, last_check, newest, rollback, share,
};
use jiff::Timestamp;
use policy::{
    category::Taxonomy,
    identity::directory::Directory,
    lists::{
        artefact::{ArtefactError, Header},
        blocklist::Blocklist,
        builder::fold,
        current::CurrentLists,
        delta::Delta,
    },
    name::Name,
    rules::{
        compiled::HouseholdRules,
        household::{Household, Id},
    },
};
use policy_store::{AuditEntry, Author, Key, NewKey, Store};
use resolver::upstream::Question;
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use crate::{
    AuditCommand, Command, ConfigArgument, KeysCommand, ListsCommand, audit,
    config::{self, Checked, LogFormat},
    daemon, lists, oidc, orders, stores,
};

/// Names each way in the audit of a rollback, as many as the API writes.
const AUDITED_NAMES_MAX: usize = 1_000;

/// How long work that cannot be interrupted may hold up the end of a daemon.
const END_MAX: Duration = Duration::from_secs(2);

/// Runs a command to its end.
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    // What a node keeps is its owner's alone: rules, names that were asked for, licensed lists.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    match command {
        Command::Serve { config, new_store } => {
            let checked = load(&config)?;
            start_log(&checked)?;
            let runtime = runtime()?;
            let served = runtime.block_on(daemon::serve(
                checked,
                daemon::Start {
                    config: config.config,
                    new_store,
                },
            ));
            runtime.shutdown_timeout(END_MAX);
            served.map(|()| ExitCode::SUCCESS)
        }
        Command::Check { config } => check(&config),
        Command::Explain {
            name,
            household,
            device,
            record_type,
            at,
            config,
        } => {
            let checked = load(&config)?;
            runtime()?.block_on(explain(
                &checked,
                &name,
                household.as_deref(),
                device.as_deref(),
                &record_type,
                at,
            ))
        }
        Command::Resolve {
            name,
            record_type,
            trace,
            config,
        } => {
            let checked = load(&config)?;
            runtime()?.block_on(resolve(&checked, &name, &record_type, trace))
        }
        Command::Lists { command } => run_lists(command),
        Command::Keys { command } => runtime()?.block_on(run_keys(command)),
        Command::Audit { command } => {
            let (AuditCommand::Verify { config, .. }
            | AuditCommand::Head { config }
            | AuditCommand::Acknowledge { config, .. }) = &command;
            let checked = load(config)?;
            runtime()?.block_on(audit::run_command(command, &checked))
        }
    }
}

fn load(argument: &ConfigArgument) -> anyhow::Result<Checked> {
    Ok(config::load(argument.config.as_deref(), std::env::vars())?)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}

fn log_filter(checked: &Checked) -> anyhow::Result<EnvFilter> {
    let level = &checked.config.log.level;
    EnvFilter::try_new(level).with_context(|| format!("log.level = {level:?}"))
}

fn start_log(checked: &Checked) -> anyhow::Result<()> {
    let log = &checked.config.log;
    let filter = log_filter(checked)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match log.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

fn check(argument: &ConfigArgument) -> anyhow::Result<ExitCode> {
    let checked = load(argument)?;
    log_filter(&checked)?;
    // What the daemon reads at its start: records, certificates, the provider's keys.
    daemon::recursion(&checked, Arc::new(daemon::recursor(&checked)?))?;
    checked
        .config
        .api
        .oidc
        .as_ref()
        .map(oidc::tokens)
        .transpose()?;
    let missing: Vec<_> = checked
        .config
        .feeds
        .iter()
        .filter(|feed| !feed.is_fetched() && !PathBuf::from(&feed.source).exists())
        .collect();
    for feed in &missing {
        eprintln!(
            "feeds {:?}: source {} does not exist",
            feed.name, feed.source
        );
    }
    for warning in &checked.warnings {
        eprintln!("warning: {warning}");
    }
    if !missing.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    println!(
        "ok: {} feeds, {} categories",
        checked.config.feeds.len(),
        checked.taxonomy.categories().len()
    );
    Ok(ExitCode::SUCCESS)
}

async fn explain(
    checked: &Checked,
    name: &str,
    household: Option<&str>,
    device: Option<&str>,
    record_type: &str,
    past: Option<Timestamp>,
) -> anyhow::Result<ExitCode> {
    let name = Name::parse(name).with_context(|| format!("{name:?}"))?;
    let record_type = api::explain::record_type(record_type)
        .ok_or_else(|| anyhow!("{record_type:?} is no record type"))?;
    let at = past.unwrap_or_else(Timestamp::now);
    let plan = checked.plan();
    let mut lists = match past {
        None => lists::open_newest(&plan, &checked.taxonomy)?
            .context("no lists were built yet: ox-protect lists build")?,
        Some(at) => lists::open_at(&plan.directory, &checked.taxonomy, at)?
            .with_context(|| format!("no lists are kept that were live at {at}"))?,
    };
    let home = stores::home(checked);
    let store = if household.is_some() || Store::is_there(home.url) {
        Some(Store::open_existing(&home).await?)
    } else {
        None
    };
    if let Some(store) = &store {
        lists = orders::on(lists, store, past).await?;
    }
    let lists = Arc::new(CurrentLists::new(lists));
    let directory = Arc::new(Directory::new(checked.defaults));
    let mut line = None;
    if let Some((household, store)) = household.zip(store.as_ref()) {
        let id: Id = household.parse()?;
        let found = match past {
            None => store.household(&id).await?,
            Some(at) => store.household_at(&id, at).await?,
        };
        let found = found.ok_or_else(|| anyhow!("there is no household {id}"))?;
        let rules = Arc::new(HouseholdRules::compile(
            &found,
            &checked.taxonomy,
            checked.defaults,
            at,
        ));
        let device = match device {
            Some(device) => Some(
                rules
                    .device_by_id(&device.parse()?)
                    .ok_or_else(|| anyhow!("household {id} has no device {device}"))?,
            ),
            None => None,
        };
        line = Some(Line {
            household: found,
            rules,
            device,
            at,
        });
    }
    let recursor = Arc::new(daemon::recursor(checked)?);
    let engine = Arc::new(daemon::engine(checked, &directory, &lists, recursor, None)?);
    let asker = line
        .as_ref()
        .map_or_else(|| directory.unknown_line(), Line::asker);
    let explained = engine.explain(asker, name, record_type, None).await;
    let explanation = api::explain::compose(
        &explained,
        record_type,
        line.as_ref(),
        &checked.taxonomy,
        Sight::Whole,
    );
    print_json(&explanation)
}

/// Resolves with empty caches and without rules, and says how.
async fn resolve(
    checked: &Checked,
    name: &str,
    record_type: &str,
    is_traced: bool,
) -> anyhow::Result<ExitCode> {
    let name = Name::parse(name).with_context(|| format!("{name:?}"))?;
    let record_type = api::explain::record_type(record_type)
        .ok_or_else(|| anyhow!("{record_type:?} is no record type"))?;
    let traced = daemon::recursor(checked)?
        .trace(&Question::new(name, record_type.into()))
        .await;
    let mut text = String::new();
    for step in traced.steps.iter().filter(|_| is_traced) {
        writeln!(
            text,
            "{:8.1} ms  {}",
            step.at.as_secs_f64() * 1e3,
            step.text
        )?;
    }
    let code = match &traced.result {
        Ok(answer) => {
            writeln!(
                text,
                "{}",
                resolver::message::reply::rcode_name(answer.rcode)
            )?;
            let mut records = answer.answers.iter().chain(&answer.authorities);
            records.try_for_each(|record| {
                writeln!(text, "{}", resolver::message::reader::presentation(record))
            })?;
            ExitCode::SUCCESS
        }
        Err(failure) => {
            writeln!(text, "SERVFAIL (EDE {}): {failure}", failure.code())?;
            ExitCode::FAILURE
        }
    };
    print(&text)?;
    Ok(code)
}

fn print_json(value: &impl serde::Serialize) -> anyhow::Result<ExitCode> {
    print(&serde_json::to_string_pretty(value)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes to standard output. A reader that has seen enough, such as `head`, is no error.
pub fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("writing to standard output"),
    }
}

fn run_lists(command: ListsCommand) -> anyhow::Result<ExitCode> {
    match command {
        ListsCommand::Build {
            config,
            force,
            json,
            plan,
            taxonomy,
            background,
        } => {
            if background {
                lists::lower_priority();
            }
            if plan.is_some() {
                let (plan, taxonomy) = read_plan(taxonomy)?;
                return build_lists(&plan, &taxonomy, json);
            }
            let checked = load(&config)?;
            let is_ahead = stores::is_before_first_start(&checked)?;
            let built = build_lists(
                &Plan {
                    force,
                    ..checked.plan()
                },
                &checked.taxonomy,
                json,
            )?;
            if is_ahead {
                stores::note_built_ahead(&checked)?;
            }
            Ok(built)
        }
        ListsCommand::Show { config, json } => {
            let checked = load(&config)?;
            let lists = lists::open_newest(&checked.plan(), &checked.taxonomy)?;
            let lists = lists.context("no lists were built yet: ox-protect lists build")?;
            if json {
                return print_json(lists.header());
            }
            print(&show(lists.header(), lists.octets() as u64))?;
            for refused in last_check::refusals(&checked.plan(), lists.header()) {
                print(&format!(
                    "{}: version {} was refused ({}): {}",
                    refused.feed, refused.version, refused.gate, refused.reason
                ))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        ListsCommand::Rollback { config, generation } => {
            runtime()?.block_on(roll_back(&load(&config)?, generation))
        }
        ListsCommand::Diff {
            config,
            from,
            to,
            limit,
        } => diff(&load(&config)?, (from, to), limit),
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
                lists::lower_priority();
            }
            let taxonomy = read_taxonomy(taxonomy)?;
            let lists = generations::open(&directory, generation, &taxonomy)?;
            let written = fold(&lists, &generations::path_of(&directory, generation))?;
            print(&show(&written.header, written.octets))?;
            Ok(ExitCode::SUCCESS)
        }
        ListsCommand::Verify { config, files } => {
            let checked = load(&config)?;
            let files = match files.is_empty() {
                true => newest(&checked.config.lists.directory)?
                    .into_iter()
                    .map(|artefact| artefact.path)
                    .collect(),
                false => files,
            };
            verify(&files, &checked.taxonomy)
        }
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

fn read_taxonomy(path: Option<PathBuf>) -> anyhow::Result<Taxonomy> {
    Ok(match path {
        Some(path) => Taxonomy::parse(
            &std::fs::read_to_string(&path)
                .with_context(|| format!("reading {}", path.display()))?,
        )?,
        None => Taxonomy::shipped(),
    })
}

/// Makes an earlier generation live again: a new one that repeats it. A daemon on the same folder
/// finds it within a second. The audit has it before it is done, as it has what the API does.
async fn roll_back(checked: &Checked, to: Option<u64>) -> anyhow::Result<ExitCode> {
    let store = Store::open_existing(&stores::home(checked)).await?;
    let plan = lists::defined(checked, &store).await?.plan;
    // A build under way would take the number that comes next.
    let _lock = generations::lock(&plan.directory).context("waiting for a build to end")?;
    let live = lists::open_newest(&plan, &checked.taxonomy)?
        .context("no lists were built yet: ox-protect lists build")?;
    let to = match to {
        Some(to) => to,
        None => rollback::previous_generation(&plan.directory, live.header())?
            .context("no generation with other content is kept")?,
    };
    let then = generations::open(&plan.directory, to, &checked.taxonomy)?;
    let by = Author {
        actor: "command line".to_owned(),
        role: "operator".to_owned(),
    };
    let tell = async |action: &str, before: Value, after: Value| {
        store
            .append_audit(
                &by,
                AuditEntry {
                    action,
                    subject: "lists",
                    before: Some(&before),
                    after: Some(&after),
                },
            )
            .await
    };
    tell(
        "rollback",
        json!({ "generation": live.generation() }),
        json!({ "generation": to }),
    )
    .await?;
    let generation = newest(&plan.directory)?
        .first()
        .map_or(0, |artefact| artefact.generation)
        + 1;
    let mut delta = rollback::repeat_generation(
        &plan.directory,
        (&live, &then),
        &plan.feeds,
        generation,
        Timestamp::now(),
    );
    delta.write()?;
    let repeated = then.with(std::slice::from_ref(&delta), &checked.taxonomy)?;
    let difference = json!(lists::difference(
        live.generation(),
        generation,
        diff::diff(&live, &repeated, AUDITED_NAMES_MAX)
    ));
    let after = json!({ "generation": generation, "content_of": to, "difference": difference });
    tell(
        "rollback_done",
        json!({ "generation": live.generation() }),
        after,
    )
    .await?;
    store.close().await;
    let held = delta
        .header
        .feeds
        .iter()
        .filter(|feed| feed.held)
        .map(|feed| feed.name.as_str());
    let held: Vec<&str> = held
        .chain(delta.header.held_back.iter().map(String::as_str))
        .collect();
    print(&format!(
        "generation {generation} repeats {to}; held until they are approved to go on: {}",
        held.join(", ")
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn diff(checked: &Checked, (from, to): (u64, u64), limit: usize) -> anyhow::Result<ExitCode> {
    let directory = &checked.config.lists.directory;
    let before = generations::open(directory, from, &checked.taxonomy)?;
    let after = generations::open(directory, to, &checked.taxonomy)?;
    let diff::Diff {
        counts: moved,
        added,
        removed,
    } = diff::diff(&before, &after, limit);
    let mut text = format!(
        "{:<24} {:<20} {:>9} {:>9}\n",
        "feed", "category", "added", "removed"
    );
    for ((feed, category), moved) in moved {
        writeln!(
            text,
            "{feed:<24} {:<20} {:>9} {:>9}",
            category.unwrap_or_default(),
            moved.added,
            moved.removed
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

fn build_lists(plan: &Plan, taxonomy: &Taxonomy, json: bool) -> anyhow::Result<ExitCode> {
    let built = lists::open_newest(plan, taxonomy).and_then(|previous| {
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
            print(&show(&built.written.header, built.written.octets))?;
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

fn show(header: &Header, octets: u64) -> String {
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

fn verify(files: &[PathBuf], taxonomy: &Taxonomy) -> anyhow::Result<ExitCode> {
    if files.is_empty() {
        bail!("there is no artefact to verify");
    }
    let mut code = ExitCode::SUCCESS;
    for file in files {
        let verified = match file.extension().is_some_and(|extension| extension == "oxd") {
            true => Delta::read(file).map(|delta| (delta.header, delta.sha256)),
            false => Blocklist::open(file, taxonomy)
                .map(|lists| (lists.header().clone(), lists.sha256().to_string())),
        };
        match verified {
            Ok((header, sha256)) => {
                println!(
                    "{}: ok, generation {}, {} names, sha256 {sha256}",
                    file.display(),
                    header.generation,
                    header.names
                );
            }
            Err(error) => {
                eprintln!("{}", config::causes(&error));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

async fn run_keys(command: KeysCommand) -> anyhow::Result<ExitCode> {
    let (KeysCommand::Create { config, .. }
    | KeysCommand::List { config }
    | KeysCommand::Revoke { config, .. }) = &command;
    let checked = load(config)?;
    let store = Store::open_existing(&stores::home(&checked)).await?;
    let by = Author {
        actor: "command line".to_owned(),
        role: "operator".to_owned(),
    };
    // The holder of an account is told as over REST: the daemon delivers what is queued here.
    let channels = checked.config.notices.channels();
    match command {
        KeysCommand::Create {
            role,
            household,
            device,
            label,
            ..
        } => {
            let id = |text: Option<String>| text.map(|text| text.parse::<Id>()).transpose();
            let new = NewKey::new(role, id(household)?, id(device)?, label)?;
            let tell =
                |key: &Key, household: &Household| of_key(channels, &by, None, household, key);
            let (secret, key) = store.create_key_and_tell(&by, new, tell).await?;
            println!("{}: {secret}", key.id);
        }
        KeysCommand::List { .. } => {
            for key in store.keys(None).await? {
                let end = key
                    .revoked_at
                    .map(|at| format!("revoked {at}"))
                    .unwrap_or_default();
                let place: Vec<&str> = key
                    .household
                    .iter()
                    .chain(&key.device)
                    .map(Id::as_str)
                    .collect();
                let place = place.join("/");
                println!(
                    "{}  {:<13}  {}  {place}  {}  {end}",
                    key.id,
                    key.role.as_str(),
                    key.created_at,
                    key.label
                );
            }
        }
        KeysCommand::Revoke { id, .. } => {
            let tell =
                |key: &Key, household: &Household| of_key(channels, &by, None, household, key);
            if store
                .revoke_key_and_tell(&by, None, &id, tell)
                .await?
                .is_none()
            {
                bail!("no key {id} is in force");
            }
            println!("{id} is revoked");
        }
    }
    store.close().await;
    Ok(ExitCode::SUCCESS)
}
