//! `ox-protect resolve`: resolves a name with empty caches and without rules, with the trust anchors
//! and negative trust anchors that the node has.

use std::{fmt::Write, process::ExitCode, sync::Arc};

use anyhow::{Context, anyhow};
use control::{causes, explain::record_type};
use policy::name::Name;
use policy_store::{Store, StoreError};
use resolver::upstream::Question;

use super::{
    arguments::ResolveArguments,
    common::{load, print, runtime, validate_as_node},
};
use crate::{config::Checked, daemon::data_path, memory::Budgets, stores};

impl ResolveArguments {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let checked = load(&self.config)?;
        runtime()?.block_on(self.resolve(&checked))
    }

    async fn resolve(&self, checked: &Checked) -> anyhow::Result<ExitCode> {
        let name = Name::parse(&self.name).with_context(|| format!("{:?}", self.name))?;
        let record_type = record_type(&self.record_type)
            .ok_or_else(|| anyhow!("{:?} is no record type", self.record_type))?;
        let budgets = Budgets::of_command(&checked.config);
        let recursor = Arc::new(data_path::recursor(checked, budgets.recursor)?);
        let store = open_store(checked).await;
        validate_as_node(checked, store.as_ref(), &recursor).await;
        let traced = recursor
            .trace(&Question::new(name, record_type.into()))
            .await;
        let mut text = String::new();
        for step in traced.steps.iter().filter(|_| self.trace) {
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
}

/// The node's store. None where there is none, or where it cannot be opened: a name can be resolved
/// without it.
async fn open_store(checked: &Checked) -> Option<Store> {
    let home = stores::home(checked);
    if !Store::is_there(home.url) {
        return None;
    }
    let opened = Store::open_existing(&home).await;
    let warn = |error: &StoreError| {
        eprintln!("warning: without negative trust anchors: {}", causes(error));
    };
    opened.inspect_err(warn).ok()
}
