//! What a refused version of a feed would change, and which of yesterday's queries it would have
//! touched.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use blocklist_loader::review;
use policy::name::Name;

use super::model::{ListError, ListedName, Touched, TouchedName, WhatIf};

/// Names of each kind in an answer.
const SHOWN_MAX: usize = 100;

/// Compares a refused version with what is live. `yesterday` are the names asked for, each with
/// its number of queries.
pub(super) fn what_if(
    directory: &Path,
    feed: &str,
    version: String,
    yesterday: &[(Name, u64)],
) -> Result<WhatIf, ListError> {
    let mut what_if = WhatIf {
        feed: feed.to_owned(),
        version,
        newly_blocked: BTreeMap::new(),
        newly_unblocked: BTreeMap::new(),
        sample_blocked: Vec::new(),
        sample_unblocked: Vec::new(),
        queries_yesterday: Touched {
            queries: 0,
            names: 0,
            top: Vec::new(),
        },
    };
    let mut changed: HashSet<String> = HashSet::new();
    let kept = review::changes(directory, feed, |change| {
        let review::NameDiff {
            blocked,
            category,
            name,
        } = change;
        let (counts, sample) = match blocked {
            true => (&mut what_if.newly_blocked, &mut what_if.sample_blocked),
            false => (&mut what_if.newly_unblocked, &mut what_if.sample_unblocked),
        };
        *counts
            .entry(category.clone().unwrap_or_else(|| "none".to_owned()))
            .or_default() += 1;
        if sample.len() < SHOWN_MAX {
            sample.push(ListedName {
                name: name.clone(),
                feed: feed.to_owned(),
                category,
            });
        }
        changed.insert(name);
    });
    match kept {
        Ok(Some(version)) if version == what_if.version => {}
        Ok(_) => {
            return Err(ListError::Failed(
                "what the version would change was not kept".to_owned(),
            ));
        }
        Err(error) => return Err(ListError::Failed(error.to_string())),
    }
    what_if.queries_yesterday = touched(&changed, yesterday);
    Ok(what_if)
}

/// The queries for names at or below a changed name.
fn touched(changed: &HashSet<String>, queried: &[(Name, u64)]) -> Touched {
    let is_touched = |name: &Name| {
        name.borrow()
            .ancestors()
            .any(|ancestor| changed.contains(&ancestor.to_string()))
    };
    let mut top: Vec<TouchedName> = queried
        .iter()
        .filter(|(name, _)| is_touched(name))
        .map(|(name, queries)| TouchedName {
            name: name.to_string(),
            queries: *queries,
        })
        .collect();
    top.sort_by(|a, b| b.queries.cmp(&a.queries).then_with(|| a.name.cmp(&b.name)));
    let queries = top.iter().map(|name| name.queries).sum();
    let names = top.len() as u64;
    top.truncate(SHOWN_MAX);
    Touched {
        queries,
        names,
        top,
    }
}
