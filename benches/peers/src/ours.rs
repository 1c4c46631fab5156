//! This project as a contestant: its configuration, and a store with as many households as a
//! measurement wants.

use std::{fs, net::IpAddr, path::Path};

use anyhow::Context;
use policy::rules::household::{Filtering, Household};
use policy_store::Store;

use crate::{
    blast::FIRST_LINE,
    reload::{Change, Tell},
    world::Anchor,
};

/// Households that are put in at a time.
const BATCH: u32 = 20_000;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Threads that answer.
    pub workers: usize,
    /// How many households there are; one has all lines, several have one line each.
    pub households: u32,
}

/// Writes configuration and store into `folder`; returns the command that starts the daemon. The
/// list's file is `list.txt`.
pub async fn set_up(
    program: &Path,
    folder: &Path,
    address: &str,
    (hints, anchor): (&str, Option<&Anchor>),
    list: Option<&str>,
    setting: Setting,
) -> anyhow::Result<Vec<String>> {
    // What an earlier run left must not be measured.
    let _it_may_not_be_there = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let write = |name: &str, text: &str| {
        fs::write(folder.join(name), text).with_context(|| format!("writing {name}"))
    };
    write("root.hints", hints)?;
    let feed = match list {
        None => String::new(),
        Some(list) => {
            write("list.txt", list)?;
            "[[feeds]]\nname = \"list\"\nsource = \"list.txt\"\nformat = \"domains\"\nscope = \"subtree\"\ncategory = \"gambling\"\n"
                .to_owned()
        }
    };
    // With households it is they who block; a line of none would be answered, and show.
    let preset = if setting.households == 0 && list.is_some() {
        "strict"
    } else {
        "off"
    };
    let workers = setting.workers;
    let dnssec = anchor.map_or("dnssec = false".to_owned(), |anchor| {
        format!("trust_anchors = [\"{}\"]", anchor.record())
    });
    write(
        "ox-protect.toml",
        &format!(
            "[dns]\nlisten = [\"{address}:53\"]\nworkers = {workers}\ncache_mib = 512\n[api]\nlisten = \"{address}:0\"\n[store]\nurl = \"sqlite:store.db\"\n\
         [lists]\ndirectory = \"lists\"\n[policy]\ndefault_preset = \"{preset}\"\n\
         [recursion]\nroot_hints = \"root.hints\"\ndo_not_query = []\nipv6 = false\n{dnssec}\n{feed}"
        ),
    )?;
    if setting.households > 0 {
        fill(&folder.join("store.db"), setting.households).await?;
    }
    let config = folder.join("ox-protect.toml").display().to_string();
    Ok(vec![
        program.display().to_string(),
        "serve".to_owned(),
        "--config".to_owned(),
        config,
    ])
}

/// Puts a new list beside the one in use. The daemon watches its file: it need not be told.
pub fn stage(folder: &Path, list: &str) -> anyhow::Result<Change> {
    let staged = folder.join("list.next");
    let target = folder.join("list.txt");
    fs::write(&staged, list).with_context(|| format!("writing {}", staged.display()))?;
    Ok(Change {
        staged,
        target,
        tell: Tell::Nothing,
    })
}

async fn fill(file: &Path, count: u32) -> anyhow::Result<()> {
    let store = Store::open(&format!("sqlite:{}", file.display())).await?;
    for first in (0..count).step_by(BATCH as usize) {
        let households = (first..count.min(first + BATCH)).map(|line| household(line, count));
        store
            .add_all(households)
            .await
            .context("putting households in")?;
    }
    store.close().await;
    Ok(())
}

fn household(line: u32, count: u32) -> Household {
    let mut household = Household::new(format!("line-{line}").parse().expect("an identifier"));
    household.preset = Some("strict".to_owned());
    household.filtering = Filtering::On;
    let address = IpAddr::from((FIRST_LINE + line).to_be_bytes());
    // One household has the whole block of lines, so that the queries are the same as with many.
    let length = if count == 1 { 9 } else { 32 };
    household.networks = [ipnet(address, length)].into();
    household
}

fn ipnet(address: IpAddr, length: u8) -> ipnet::IpNet {
    ipnet::IpNet::new(address, length)
        .expect("a length of IPv4")
        .trunc()
}
