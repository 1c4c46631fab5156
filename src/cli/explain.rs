//! `ox-protect explain`: how a query would be answered, and why.

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context, anyhow};
use control::{
    explain::{Sight, compose, record_type},
    households::subscriber::Subscriber,
    lists::generations::{open_at, open_newest},
    mandates,
};
use jiff::Timestamp;
use policy::{
    identity::directory::Directory,
    lists::{blocklist::Blocklist, current::CurrentLists},
    name::Name,
    rules::{compiled::HouseholdRules, household::Id},
};
use policy_store::Store;
use resolver::admission::ClientKey;

use super::{
    arguments::ExplainArguments,
    common::{load, print_json, runtime, validate_as_node},
};
use crate::{config::Checked, daemon::data_path, memory::Budgets, stores};

impl ExplainArguments {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let checked = load(&self.config)?;
        runtime()?.block_on(self.explain(&checked))
    }

    async fn explain(&self, checked: &Checked) -> anyhow::Result<ExitCode> {
        let name = Name::parse(&self.name).with_context(|| format!("{:?}", self.name))?;
        let record_type = record_type(&self.record_type)
            .ok_or_else(|| anyhow!("{:?} is no record type", self.record_type))?;
        let mut lists = self.open_lists(checked)?;
        let home = stores::home(checked);
        let store = if self.household.is_some() || Store::is_there(home.url) {
            Some(Store::open_existing(&home).await?)
        } else {
            None
        };
        let mut subscriber = None;
        if let Some(store) = &store {
            lists = mandates::applied(lists, store, self.at).await?;
            subscriber = self.subscriber(checked, store).await?;
        }
        let lists = Arc::new(CurrentLists::new(lists));
        let directory = Arc::new(Directory::new(checked.defaults));
        let budgets = Budgets::of_command(&checked.config);
        let recursor = Arc::new(data_path::recursor(checked, budgets.recursor)?);
        validate_as_node(checked, store.as_ref(), &recursor).await;
        let engine = data_path::engine(checked, &budgets, &directory, &lists, recursor, None)?;
        let asker = subscriber
            .as_ref()
            .map_or_else(|| directory.unknown_line(), Subscriber::asker);
        let explained = Arc::new(engine)
            .explain(asker, ClientKey::Operator, (name, record_type), None)
            .await;
        print_json(&compose(
            &explained,
            record_type,
            subscriber.as_ref(),
            &checked.taxonomy,
            Sight::Whole,
        ))
    }

    /// The lists that are live now, or that were live at the past time.
    fn open_lists(&self, checked: &Checked) -> anyhow::Result<Arc<Blocklist>> {
        let plan = checked.plan();
        match self.at {
            None => open_newest(&plan, &checked.taxonomy)?
                .context("no lists were built yet: ox-protect lists build"),
            Some(at) => open_at(&plan.directory, &checked.taxonomy, at)?
                .with_context(|| format!("no lists are kept that were live at {at}")),
        }
    }

    /// The household and the device that ask, if they are named.
    async fn subscriber(
        &self,
        checked: &Checked,
        store: &Store,
    ) -> anyhow::Result<Option<Subscriber>> {
        let Some(household) = &self.household else {
            return Ok(None);
        };
        let id: Id = household.parse()?;
        let found = match self.at {
            None => store.household(&id).await?,
            Some(at) => store.household_at(&id, at).await?,
        };
        let household = found.ok_or_else(|| anyhow!("there is no household {id}"))?;
        let at = self.at.unwrap_or_else(Timestamp::now);
        let rules = Arc::new(HouseholdRules::compile(
            &household,
            &checked.taxonomy,
            checked.defaults,
            at,
        ));
        let device = match &self.device {
            Some(device) => Some(
                rules
                    .device_by_id(&device.parse()?)
                    .ok_or_else(|| anyhow!("household {id} has no device {device}"))?,
            ),
            None => None,
        };
        Ok(Some(Subscriber {
            household: Arc::new(household),
            rules,
            device,
            at,
        }))
    }
}
