//! The feeds of a node: those of the configuration, then those that were defined over the API, by
//! name.

use anyhow::Context;
use blocklist_loader::{Bounds, Feed, OutOfBounds, Plan};
use policy::category::Taxonomy;
use policy_store::Store;

use crate::causes;

/// All feeds of a node.
pub struct Definitions {
    pub plan: Plan,
    /// Feeds of the API that are not read, because their sources are out of bounds.
    pub barred: Vec<(String, OutOfBounds)>,
}

/// Adds the feeds of the API to a plan with those of the configuration. A definition of the API
/// that cannot be used is logged and left out. `bounds` limits where feeds of the API may come
/// from.
pub async fn load(
    mut plan: Plan,
    bounds: Bounds,
    taxonomy: &Taxonomy,
    store: &Store,
) -> anyhow::Result<Definitions> {
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
                feed.check(taxonomy)
                    .map(|()| feed)
                    .map_err(|error| causes(&error))
            }),
            Err(error) => Err(error.to_string()),
        };
        match usable {
            // The configuration wins: the operator reads it first.
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
    Ok(Definitions { plan, barred })
}
