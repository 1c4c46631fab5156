//! The daemon: the only place that knows every crate. It puts the parts together, says when each is ready, and ends in order.

use std::{
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use async_trait::async_trait;
use metrics::gauge;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use policy::{decide::Asker, directory::Directory, explain::Explained, live::LiveLists, name::Name};
use policy_store::{Role, Store};
use resolver::{
    engine::{Engine, Parts},
    hickory::{HickoryForwarder, HickoryRecursor, RecursorSettings},
    listen::{self, Workers},
    local::LocalRecords,
    recurse::{Recursion, Routes},
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{config::Checked, lists::Keeper};

/// Histogram bounds for resolutions, in seconds: from a cached delegation to the longest patience.
const RESOLUTION_BUCKETS_S: [f64; 9] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0];

/// How often the workers' counters are added up. A worker's ring holds what it can block in this time.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// Runs until SIGTERM or SIGINT.
pub async fn serve(checked: Checked) -> anyhow::Result<()> {
    let metrics = install_metrics()?;
    for warning in &checked.warnings {
        tracing::warn!("{warning}");
    }
    let store = Store::open(&checked.config.store.url).await?;
    let directory = Arc::new(Directory::new(checked.defaults));
    let households = api::apply::load_all(&store, &directory, &checked.taxonomy, checked.defaults).await?;
    let taxonomy = Arc::new(checked.taxonomy.clone());
    let keeper =
        Keeper::start(checked.plan(), checked.config.lists.keep, checked.config.policy.taxonomy.clone(), Arc::clone(&taxonomy)).await?;
    let keeper = Arc::new(keeper);
    let engine = Arc::new(engine(&checked, &directory, &keeper.live)?);
    tracing::info!(households, generation = keeper.live.load().generation(), "rules and lists are in place");

    // All doors are bound before one is opened: what cannot be had is said before anything is promised.
    let api_listener = tokio::net::TcpListener::bind(checked.config.api.listen).await;
    let api_listener = api_listener.with_context(|| format!("listening on {} (API)", checked.config.api.listen))?;
    let workers = match checked.config.dns.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let bound = checked.config.dns.listen.iter().map(|address| listen::bind(*address, workers)).collect::<Result<Vec<_>, _>>()?;

    if store.has_no_key().await? {
        let (secret, _) = store.create_key(Role::Operator, "made at the first start", jiff::Timestamp::now()).await?;
        say(&format!("operator key: {secret}"))?;
    }
    let addresses: Vec<_> = bound.iter().map(|bound| bound.address).collect();
    let dns = &checked.config.dns;
    listen::serve(bound, &engine, Workers { count: workers, pinned: dns.pin_workers, batch: dns.batch }).context("starting the workers")?;
    for address in addresses {
        say(&format!("dns ready on {address}"))?;
    }
    tokio::spawn(publish(Arc::clone(&engine)));
    let is_ready = Arc::new(AtomicBool::new(true));
    let context = api_context(&checked, &store, &directory, &engine, &keeper, metrics, &is_ready);
    let address = api_listener.local_addr()?;
    let ended = Arc::new(tokio::sync::Notify::new());
    let end = Arc::clone(&ended);
    let serve = axum::serve(api_listener, api::router(context)).with_graceful_shutdown(async move { end.notified().await });
    let api = tokio::spawn(serve.into_future());
    tokio::spawn(async move {
        if let Err(error) = keeper.watch().await {
            tracing::error!(error = format!("{error:#}"), "list files are no longer watched");
        }
    });
    say(&format!("api ready on http://{address}"))?;

    wait_for_end().await?;
    is_ready.store(false, Ordering::Relaxed);
    ended.notify_one();
    // Requests under way are finished, but an idle connection does not hold the end up.
    let _ = tokio::time::timeout(Duration::from_secs(5), api).await;
    store.close().await;
    Ok(())
}

/// Adds up what the workers count, often enough that their rings do not fill.
async fn publish(engine: Arc<Engine>) {
    let mut tick = tokio::time::interval(PUBLISH_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        engine.recorder.publish();
    }
}

/// One line on standard output, at once: somebody waits for it.
fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

async fn wait_for_end() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.context("listening for SIGINT")?,
    }
    Ok(())
}

fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let buckets = PrometheusBuilder::new().set_buckets(&RESOLUTION_BUCKETS_S).context("bounds of histograms")?;
    buckets.install_recorder().context("installing the metrics")
}

/// The data path, without listeners: for the daemon, and for the command line's explanations.
pub fn engine(checked: &Checked, directory: &Arc<Directory>, lists: &Arc<LiveLists>) -> anyhow::Result<Engine> {
    let dns = &checked.config.dns;
    Ok(Engine::new(Parts {
        directory: Arc::clone(directory),
        lists: Arc::clone(lists),
        taxonomy: Arc::new(checked.taxonomy.clone()),
        recursion: recursion(checked)?,
        trusted_peers: dns.trusted_peers.clone(),
        blocked_answer: checked.blocked_answer(),
        server_id: Some(dns.server_id.clone()).filter(|id| !id.is_empty()),
        cache_octets: dns.cache_mib << 20,
        resolutions_max: dns.resolutions_max,
    }))
}

/// Local records in front of forwarded zones in front of recursion.
fn recursion(checked: &Checked) -> anyhow::Result<Arc<dyn Recursion>> {
    let config = &checked.config.recursion;
    let mut zones: Vec<(Name, Arc<dyn Recursion>)> = Vec::new();
    for forward in &config.forward {
        let forwarder = HickoryForwarder::new(&forward.to).with_context(|| format!("forwarding {}", forward.zone))?;
        zones.push((forward.zone.clone(), Arc::new(forwarder)));
    }
    let settings = RecursorSettings {
        roots: checked.roots.clone(),
        authority_port: config.authority_port,
        do_not_query: config.do_not_query.clone(),
        ipv4: config.ipv4,
        ipv6: config.ipv6,
    };
    let routes = Arc::new(Routes::new(zones, Arc::new(HickoryRecursor::new(&settings).context("recursion")?)));
    if config.local_records.as_os_str().is_empty() {
        return Ok(routes);
    }
    let read = |path: &Path| std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    match read(&config.local_records) {
        Ok(text) => Ok(Arc::new(
            LocalRecords::new(&text, routes).with_context(|| format!("recursion.local_records = {}", config.local_records.display()))?,
        )),
        // The embedded default names a file of the repository; elsewhere there is nothing to answer locally.
        Err(error) if checked.is_embedded => {
            tracing::warn!("{error:#}; its names are not answered here");
            Ok(routes)
        }
        Err(error) => Err(error),
    }
}

struct DataPath(Arc<Engine>);

#[async_trait]
impl api::Explainer for DataPath {
    async fn explain(&self, asker: Asker, name: Name, record_type: u16) -> Explained {
        self.0.explain(asker, name, record_type).await
    }
}

fn api_context(
    checked: &Checked,
    store: &Store,
    directory: &Arc<Directory>,
    engine: &Arc<Engine>,
    keeper: &Keeper,
    metrics: PrometheusHandle,
    is_ready: &Arc<AtomicBool>,
) -> Arc<api::Context> {
    let (counted, households, ready) = (Arc::clone(engine), Arc::clone(directory), Arc::clone(is_ready));
    let render_metrics = move || {
        counted.recorder.publish();
        let (octets, entries) = counted.cache_usage();
        gauge!("ox_protect_cache_bytes").set(octets as f64);
        gauge!("ox_protect_cache_entries").set(entries as f64);
        gauge!("ox_protect_households").set(households.len() as f64);
        metrics.run_upkeep();
        metrics.render()
    };
    Arc::new(api::Context {
        store: store.clone(),
        directory: Arc::clone(directory),
        taxonomy: Arc::new(checked.taxonomy.clone()),
        defaults: checked.defaults,
        lists: Arc::clone(&keeper.live),
        last_list_error: Arc::clone(&keeper.last_error),
        explainer: Arc::new(DataPath(Arc::clone(engine))),
        render_metrics: Box::new(render_metrics),
        is_ready: Box::new(move || ready.load(Ordering::Relaxed)),
        writes: tokio::sync::Mutex::new(()),
    })
}
