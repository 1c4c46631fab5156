//! Detection of new devices, and of what things newly want to reach.
//!
//! ```text
//! workers' rings -> devices -> sightings in the store -> event `new_device`
//!                -> things  -> prompts in the store   -> event `prompt`
//!                           -> learned domains in the household's document
//! ```
//!
//! - `devices`: unnamed devices; `guess`: what one may be, by [`makers`] and [`mac_register`].
//! - `things`: devices that are limited to domains; [`mud`]: what a maker says. [`prompt_groups`]: a
//!   prompt as a family reads it.
//!
//! No query waits for this. What is too much is dropped and counted.

mod devices;
mod guess;
pub mod mac_register;
pub mod makers;
pub mod mud;
pub mod new_device;
pub mod prompt_groups;
mod things;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use policy_store::StoreError;
use resolver::engine::Engine;

use self::{devices::DeviceDetection, things::DomainDetection};
use crate::{Control, shutdown::Shutdown};

/// How often the workers' rings are emptied.
const TAKE_EVERY: Duration = Duration::from_millis(250);
/// How often old sightings and prompts are removed.
const EXPIRE_EVERY: Duration = Duration::from_secs(600);

/// Detects until the node shuts down.
pub async fn run(control: Arc<Control>, engine: Arc<Engine>, shutdown: Shutdown) {
    let mut tick = tokio::time::interval(TAKE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut devices = DeviceDetection::default();
    let mut domains = DomainDetection::default();
    let mut expired: Option<Instant> = None;
    while shutdown.tick(&mut tick).await {
        engine.metrics.drain_detection(
            |device| devices.hear(device),
            |domain| domains.hear(&control, &domain),
        );
        log_failure(devices.process(&control).await);
        log_failure(domains.process(&control).await);
        if expired.is_none_or(|expired| expired.elapsed() >= EXPIRE_EVERY) {
            expired = Some(Instant::now());
            log_failure(expire(&control).await);
        }
    }
}

async fn expire(control: &Control) -> Result<(), StoreError> {
    let now = Timestamp::now();
    control.store.expire_sightings(now).await?;
    control.store.expire_device_hints(now).await?;
    control.store.expire_prompts(now).await
}

fn log_failure(done: Result<(), StoreError>) {
    if let Err(error) = done
        && !error.is_closed()
    {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "new devices and prompts could not be stored yet"
        );
    }
}
