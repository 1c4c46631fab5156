//! `ox-protect resolve`: resolves a name with empty caches and without rules.

use std::{fmt::Write, process::ExitCode};

use anyhow::{Context, anyhow};
use control::explain::record_type;
use policy::name::Name;
use resolver::upstream::Question;

use super::{
    arguments::ResolveArguments,
    common::{load, print, runtime},
};
use crate::{config::Checked, daemon::data_path, memory::Budgets};

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
        let traced = data_path::recursor(checked, budgets.recursor)?
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
