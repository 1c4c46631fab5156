//! Which feeds there are: those of the configuration, then those that were defined over the API, by
//! name.

use anyhow::Context;
use blocklist_loader::{Feed, OutOfBounds, Plan};
use policy_store::Store;

use crate::config::{Checked, causes};

/// What is to be built, and what was found on the way.
pub struct Defined {
    /// The plan.
    pub plan: Plan,
    /// Feeds of the API that are not read, because their definitions name what these must not.
    pub barred: Vec<(String, OutOfBounds)>,
}

/// Reads the definitions. One of the API that cannot be used is left out and named in the log.
pub async fn defined(checked: &Checked, store: &Store) -> anyhow::Result<Defined> {
    let mut plan = checked.plan();
    let bounds = checked.config.lists.bounds();
    let mut barred = Vec::new();
    for stored in store
        .feeds()
        .await
        .context("reading the feeds that were defined over the API")?
    {
        let read =
            |document| serde_json::from_value::<Feed>(document).map_err(|error| error.to_string());
        let usable = match stored {
            Ok(stored) => read(stored.document).and_then(|feed| {
                feed.check(&checked.taxonomy)
                    .map(|()| feed)
                    .map_err(|error| causes(&error))
            }),
            Err(error) => Err(error.to_string()),
        };
        match usable {
            // The configuration wins: it is what the operator sees first.
            Ok(feed)
                if plan
                    .feeds
                    .iter()
                    .any(|configured| configured.name == feed.name) =>
            {
                tracing::warn!(
                    feed = feed.name,
                    "a feed defined over the API has the name of one in the configuration, and is left out"
                );
            }
            Ok(feed) => {
                if let Err(error) = bounds.check(&feed) {
                    plan.barred.insert(feed.name.clone());
                    barred.push((feed.name.clone(), error));
                }
                plan.bounds.insert(feed.name.clone(), bounds.clone());
                plan.feeds.push(Feed {
                    bounds: Some(bounds.clone()),
                    ..feed
                });
            }
            Err(error) => tracing::error!(
                error,
                "a feed defined over the API cannot be used and is left out"
            ),
        }
    }
    Ok(Defined { plan, barred })
}
