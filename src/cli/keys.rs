//! `ox-protect keys`: makes, lists and revokes API keys.

use std::process::ExitCode;

use anyhow::bail;
use control::notifications::text::of_key;
use policy::rules::household::{Household, Id};
use policy_store::{Key, NewKey, Store};

use super::{
    arguments::KeysCommand,
    common::{author, load, runtime},
};
use crate::stores;

pub fn run(command: KeysCommand) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(run_keys(command))
}

async fn run_keys(command: KeysCommand) -> anyhow::Result<ExitCode> {
    let (KeysCommand::Create { config, .. }
    | KeysCommand::List { config }
    | KeysCommand::Revoke { config, .. }) = &command;
    let checked = load(config)?;
    let store = Store::open_existing(&stores::home(&checked)).await?;
    let by = author();
    // The account holder gets a notice, as after a change over REST: the daemon delivers what is
    // queued here.
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
