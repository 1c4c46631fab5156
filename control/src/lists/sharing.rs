//! Lists shared among nodes: a publisher builds them, and followers take them. A follower verifies
//! what it takes before it is live. A failure here does not change the live lists.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, bail};
use blocklist_loader::share::{
    Follower, PublishRequest, Publisher, ShareSettings, random_fraction,
};
use jiff::Timestamp;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use policy::lists::current::CurrentLists;
use tokio::sync::{Notify, mpsc, oneshot};

use super::command::ListCommand;
use crate::causes;

/// How long a follower without lists waits for its first ones.
const FIRST_OFFER_MAX: Duration = Duration::from_secs(60);
/// The wait after a failure to publish, doubled with each further failure up to a minute.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How often the publisher writes its state even if nothing changed, so that followers can tell an
/// idle publisher from a dead one.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// What is to be published: the live generation, and withdrawn ones.
#[derive(Default)]
pub struct Outbox {
    withdrawn: Mutex<BTreeSet<u64>>,
    news: Notify,
}

impl Outbox {
    /// Another generation is live.
    pub fn changed(&self) {
        self.news.notify_one();
    }

    /// These generations were rolled back: a follower leaves them at once.
    pub fn withdraw(&self, generations: impl IntoIterator<Item = u64>) {
        self.withdrawn
            .lock()
            .expect("no code panics while it holds the outbox")
            .extend(generations);
        self.news.notify_one();
    }
}

/// Publishes the live lists until the task is dropped. Fails only if it cannot begin.
pub async fn publish(
    settings: ShareSettings,
    directory: std::path::PathBuf,
    live: Arc<CurrentLists>,
    outbox: Arc<Outbox>,
) -> anyhow::Result<()> {
    describe();
    let mut publisher = tokio::task::spawn_blocking(move || Publisher::new(&settings, &directory))
        .await?
        .context("lists.share")?;
    let mut wait = RETRY_MIN;
    loop {
        let withdraw: Vec<u64> = outbox
            .withdrawn
            .lock()
            .expect("no code panics while it holds the outbox")
            .iter()
            .copied()
            .collect();
        let change = PublishRequest {
            withdraw: withdraw.clone(),
            ..PublishRequest::live(live.load().generation())
        };
        match publisher.publish(&change, Timestamp::now()).await {
            Ok(published) => {
                wait = RETRY_MIN;
                outbox
                    .withdrawn
                    .lock()
                    .expect("no code panics while it holds the outbox")
                    .retain(|generation| !withdraw.contains(generation));
                gauge!("ox_protect_share_sequence").set(published.sequence as f64);
                if published.changed {
                    tracing::info!(
                        generation = change.live,
                        sequence = published.sequence,
                        octets = published.octets,
                        "the lists are published"
                    );
                }
                let _ = tokio::time::timeout(HEARTBEAT, outbox.news.notified()).await;
            }
            Err(error) => {
                failed(
                    &error.gate().to_string(),
                    &causes(&error),
                    "the lists could not be published; the other nodes keep what they have",
                );
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY_MAX);
            }
        }
    }
}

/// Opens the shared store. A follower without lists waits for its first ones.
pub async fn follow_first(
    settings: &ShareSettings,
    directory: &Path,
    has_lists: bool,
) -> anyhow::Result<Follower> {
    let owned = settings.clone();
    let folder = directory.to_owned();
    let mut follower = tokio::task::spawn_blocking(move || Follower::new(&owned, &folder))
        .await?
        .context("lists.share")?;
    if has_lists {
        return Ok(follower);
    }
    let began = tokio::time::Instant::now();
    loop {
        let last = match follower.poll(None, Timestamp::now()).await {
            Ok(Some(_)) => return Ok(follower),
            Ok(None) => "nothing was published that this node may take yet".to_owned(),
            Err(error) => causes(&error),
        };
        if began.elapsed() > FIRST_OFFER_MAX {
            bail!("there are no lists to answer under: {last}");
        }
        tokio::time::sleep(follower.pause(random_fraction())).await;
    }
}

/// Takes what the publisher publishes, until the task is dropped.
pub async fn follow(
    mut follower: Follower,
    live: Arc<CurrentLists>,
    commands: mpsc::Sender<ListCommand>,
) {
    describe();
    loop {
        tokio::time::sleep(follower.pause(random_fraction())).await;
        match follower
            .poll(Some(live.load().generation()), Timestamp::now())
            .await
        {
            Ok(Some(offer)) => {
                let (reply, taken) = oneshot::channel();
                if commands
                    .send(ListCommand::Offer {
                        generation: offer.generation,
                        reply,
                    })
                    .await
                    .is_err()
                {
                    return;
                }
                if !taken.await.unwrap_or(false) {
                    follower.refuse(offer.generation);
                }
            }
            Ok(None) => {}
            Err(error) => failed(
                &error.gate().to_string(),
                &causes(&error),
                "the shared lists could not be fetched; what is live stays",
            ),
        }
        let status = follower.status();
        gauge!("ox_protect_share_sequence").set(status.sequence as f64);
        if let Some(published_at) = status.published_at {
            gauge!("ox_protect_share_age_seconds")
                .set((Timestamp::now().as_second() - published_at.as_second()) as f64);
        }
    }
}

fn failed(gate: &str, error: &str, what: &str) {
    counter!("ox_protect_share_failures_total", "gate" => gate.to_owned()).increment(1);
    tracing::error!(gate, error, "{what}");
}

fn describe() {
    describe_gauge!(
        "ox_protect_share_sequence",
        "Sequence of the shared manifest, published or installed"
    );
    describe_gauge!(
        "ox_protect_share_age_seconds",
        "Seconds since the publisher signed the manifest"
    );
    describe_counter!(
        "ox_protect_share_failures_total",
        "Failed uploads, downloads and verifications of shared lists, by gate"
    );
}
