//! `ox-protect serve`: runs the daemon.

use std::{io::IsTerminal, process::ExitCode, time::Duration};

use super::{
    arguments::ConfigArgument,
    common::{load, log_filter, runtime},
};
use crate::{
    config::{Checked, LogFormat},
    daemon::{self, Start},
};

/// How long work that cannot be interrupted may delay the end of the process.
const END_MAX: Duration = Duration::from_secs(2);

pub fn run(argument: ConfigArgument, new_store: bool) -> anyhow::Result<ExitCode> {
    let checked = load(&argument)?;
    start_log(&checked)?;
    let runtime = runtime()?;
    let how = Start {
        config: argument.config,
        new_store,
    };
    let served = runtime.block_on(daemon::serve(checked, how));
    runtime.shutdown_timeout(END_MAX);
    served.map(|()| ExitCode::SUCCESS)
}

fn start_log(checked: &Checked) -> anyhow::Result<()> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(log_filter(checked)?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match checked.config.log.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
