//! The daemon: the only place that knows every crate. It puts the parts together, says when each is
//! ready, and ends in order.

use std::{
    io::Write,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use api::{
    Context,
    limits::{Limits, Rate},
    tokens::Tokens,
};
use async_trait::async_trait;
use ipnet::IpNet;
use jiff::SignedDuration;
use metrics::gauge;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use policy::{
    category::Taxonomy,
    decide::EffectivePolicy,
    explain::QueryExplanation,
    identity::directory::Directory,
    lists::{blocklist::Blocklist, current::CurrentLists, mandate_registry::MandateRegistry},
    name::Name,
};
use policy_store::{Activity, Author, NewKey, Store};
use resolver::{
    engine::{Engine, EngineConfig, ServeStale},
    listener::{self, WorkerSettings, access::NetworkSet, notify::OnNotify},
    recursor::{ConfiguredZone, Recursor, ServerRole, Settings, SystemEnvironment, TtlBounds},
    telemetry::query_sample::QuerySample,
    time::SystemClock,
    upstream::{Recursion, local_records::LocalRecords, special_names::SpecialNames},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
};

use crate::{
    activity,
    audit::Announcer,
    clock,
    config::{self, Checked, Reports, Zone},
    ending, health, http,
    lists::{self, Board, Keeper},
    notices::{self, Post},
    oidc, orders, sampling,
    signals::{Asked, Signals},
    stores::{self, Stores},
};

/// Histogram bounds for resolutions, in seconds: from a cached delegation to the longest patience.
const RESOLUTION_BUCKETS_S: [f64; 9] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0];

/// How often the workers' counters are added up. A worker's ring holds what it can block in this
/// time.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// How long a daemon that ends waits for what is under way: requests, tasks, writes.
const END_MAX: Duration = Duration::from_secs(5);

/// How a daemon was started.
pub struct Start {
    /// The configuration file, to be looked at again.
    pub config: Option<PathBuf>,
    /// Whether it may begin with an empty store although this node had one.
    pub new_store: bool,
}

/// Runs until a signal ends it.
pub async fn serve(checked: Checked, how: Start) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("listening for signals")?;
    let node = tokio::select! {
        node = start(&checked, &how) => node?,
        signal = signals.end() => {
            tracing::info!(signal, "ended during the start");
            return Ok(());
        }
    };
    let signal = loop {
        match signals.next().await {
            Asked::End(signal) => break signal,
            Asked::Reload => node.reload(&checked, how.config.as_deref()).await,
            Asked::Nothing(number) => tracing::info!(number, "a signal that means nothing here"),
        }
    };
    tracing::info!(signal, "the node ends: what is under way is finished first");
    signals.end_at_once();
    node.end().await;
    tracing::info!("the node has ended in order");
    Ok(())
}

/// A running node, and what must end with it.
struct Node {
    context: Arc<Context>,
    engine: Arc<Engine>,
    sample: Arc<QuerySample>,
    board: Arc<Board>,
    post: Arc<Post>,
    announcer: Arc<Announcer>,
    wakes: Arc<lists::Wakes>,
    acts: mpsc::Sender<lists::Act>,
    is_ready: Arc<AtomicBool>,
    /// Ends the API's listener when it is dropped.
    api_ends: watch::Sender<()>,
    api: JoinHandle<()>,
    /// Ends the tasks that use the stores.
    trigger: ending::Trigger,
    tasks: JoinSet<()>,
    _stores: Stores,
}

/// Puts the parts together and opens the doors.
async fn start(checked: &Checked, how: &Start) -> anyhow::Result<Node> {
    let metrics = install_metrics()?;
    api::panics::describe();
    raise_descriptors(checked.config.dns.resolutions_max);
    for warning in &checked.warnings {
        tracing::warn!("{warning}");
    }
    let mut stores = stores::open(checked, how.new_store).await?;
    let store = stores.store.clone();
    let activity = stores.activity.clone();
    let post = Arc::new(Post::new(&store, &checked.config.notices)?);
    let directory = Arc::new(Directory::new(checked.defaults));
    let households =
        api::apply::load_all(&store, &directory, &checked.taxonomy, checked.defaults).await?;
    let taxonomy = Arc::new(checked.taxonomy.clone());
    let board = Board::new();
    let settings = list_settings(checked, &taxonomy, &store, &board).await?;
    let (keeper, live) = lists::start(settings, Arc::clone(&board)).await?;
    let mandates = orders::start(&store, &live).await?;
    let recursor = Arc::new(recursor(checked)?);
    let engine = Arc::new(engine(
        checked,
        &directory,
        &live,
        Arc::clone(&recursor),
        Some(on_notify(&keeper, &checked.config.dns.notify_from)),
    )?);
    tracing::info!(
        households,
        generation = live.load().generation(),
        "rules and lists are in place"
    );

    // All doors are bound before one is opened: what cannot be had is said before anything is
    // promised.
    let api_listener = tokio::net::TcpListener::bind(checked.config.api.listen).await;
    let api_listener = api_listener
        .with_context(|| format!("listening on {} (API)", checked.config.api.listen))?;
    let workers = match checked.config.dns.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let bound = checked
        .config
        .dns
        .listen
        .iter()
        .map(|address| listener::bind(*address, workers))
        .collect::<Result<Vec<_>, _>>()?;

    if store.has_no_key().await? {
        let by = Author {
            actor: "first start".to_owned(),
            role: "operator".to_owned(),
        };
        let (secret, _) = store
            .create_key(&by, NewKey::operator("made at the first start"))
            .await?;
        say(&format!("operator key: {secret}"))?;
    }
    let addresses: Vec<_> = bound.iter().map(|bound| bound.address).collect();
    let dns = &checked.config.dns;
    listener::serve(
        bound,
        &engine,
        WorkerSettings {
            count: workers,
            pinned: dns.pin_workers,
            batch: dns.batch,
        },
    )
    .context("starting the workers")?;
    for address in addresses {
        say(&format!("dns ready on {address}"))?;
    }
    tokio::spawn(publish(Arc::clone(&engine)));
    tokio::spawn(orders::run(Arc::clone(&mandates)));
    let sample = sampling::open(checked)?;
    tokio::spawn(sampling::run(Arc::clone(&engine), Arc::clone(&sample)));
    let is_ready = Arc::new(AtomicBool::new(true));
    let wakes = keeper.wakes();
    let acts = keeper.sender.clone();
    let control = lists::Control {
        acts: acts.clone(),
        board: Arc::clone(&board),
        live: Arc::clone(&live),
        wakes: Arc::clone(&wakes),
        directory: checked.config.lists.directory.clone(),
        base: checked.base.clone(),
        bounds: checked.config.lists.bounds(),
        taxonomy: Arc::clone(&taxonomy),
        yesterday: sampling::yesterday(&sample),
        hits: sampling::hits(&engine),
    };
    let running = Running {
        checked,
        store: &store,
        activity,
        directory: &directory,
        engine: &engine,
        recursor: &recursor,
        lists: &live,
        mandates: &mandates,
        control: Arc::new(control),
        post: Arc::clone(&post),
    };
    let context = api_context(&running, metrics, &is_ready, oidc_tokens(checked)?);
    let announcer = Arc::new(Announcer {
        store: store.clone(),
        board: Arc::clone(&board),
        lists: Arc::clone(&live),
        channel: post.channels().webhook.then_some("webhook"),
        every: Duration::from_secs(checked.config.store.audit_head_interval_s.into()),
    });
    let (trigger, ending) = ending::pair();
    let mut tasks = JoinSet::new();
    tasks.spawn(clock::run(Arc::clone(&context), ending.clone()));
    tasks.spawn(activity::run(
        Arc::clone(&context),
        Arc::clone(&engine),
        ending.clone(),
    ));
    tasks.spawn(activity::keep(Arc::clone(&context), ending.clone()));
    tasks.spawn(notices::run(Arc::clone(&post), ending.clone()));
    let healths = [
        ("policy", Some(store.health())),
        (
            "history",
            context.activity.as_ref().map(|activity| activity.health()),
        ),
    ];
    for (name, health) in healths {
        if let Some(health) = health {
            tasks.spawn(health::run(
                name,
                health,
                Arc::clone(&board),
                Arc::clone(&live),
                ending.clone(),
            ));
        }
    }
    let announcing = Arc::clone(&announcer);
    let findings = std::mem::take(&mut stores.findings);
    tasks.spawn(async move { announcing.run(findings, ending).await });
    let address = api_listener.local_addr()?;
    // Keys in force are known before the first request, so that none of them waits for what its
    // address did.
    context.limits.learn(&store).await?;
    let (api_ends, ended) = watch::channel(());
    let api = tokio::spawn(http::serve(
        api_listener,
        api::router(Arc::clone(&context)),
        ended,
    ));
    tokio::spawn(keeper.run());
    say(&format!("api ready on http://{address}"))?;
    Ok(Node {
        context,
        engine,
        sample,
        board,
        post,
        announcer,
        wakes,
        acts,
        is_ready,
        api_ends,
        api,
        trigger,
        tasks,
        _stores: stores,
    })
}

impl Node {
    /// Looks at the configuration file, says what a restart would change, and has all feeds asked.
    /// What runs goes on as it is.
    async fn reload(&self, running: &Checked, path: Option<&Path>) {
        match config::load(path, std::env::vars()) {
            Err(error) => {
                tracing::error!(%error, "SIGHUP: the configuration cannot be used; the node goes on with the one that it has")
            }
            Ok(new) => {
                let changed = config::differences(&running.config, &new.config).join(", ");
                if changed.is_empty() {
                    tracing::info!("SIGHUP: the configuration is the one that runs");
                } else {
                    tracing::warn!(
                        changed,
                        "SIGHUP: the configuration is sound; these keys differ from what runs, and need a restart"
                    );
                }
            }
        }
        let asked = self.wakes.wake_all();
        // The keeper is busy when its queue is full, and looks at the files after that anyway.
        let _ = self.acts.try_send(lists::Act::Files);
        tracing::info!(
            asked,
            "SIGHUP: feeds are asked now, and list files looked at"
        );
    }

    /// Ends in order: no new request, then no task, then no write, then the stores are closed.
    async fn end(mut self) {
        self.is_ready.store(false, Ordering::Relaxed);
        self.board.close();
        self.context.happenings.close();
        drop(self.api_ends);
        // Requests under way are finished, but an idle connection does not hold the end up.
        let _ = tokio::time::timeout(END_MAX, self.api).await;
        self.trigger.begin();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(END_MAX, ended).await;
        self.tasks.shutdown().await;
        // A write whose client is gone goes on by itself. None begins behind these locks, which are
        // held to the end.
        let Context {
            writes,
            list_writes,
            mandate_writes,
            ..
        } = &*self.context;
        let writers = async {
            (
                writes.lock().await,
                list_writes.lock().await,
                mandate_writes.lock().await,
            )
        };
        let _none_begins = tokio::time::timeout(END_MAX, writers).await;
        sampling::end(&self.engine, &self.sample).await;
        activity::end(&self.context, &self.engine).await;
        self.announcer.announce().await;
        self.post.end().await;
        self.context.store.close().await;
    }
}

/// What lists are to be kept: the feeds of the configuration, and those that were defined over the
/// API.
async fn list_settings(
    checked: &Checked,
    taxonomy: &Arc<Taxonomy>,
    store: &Store,
    board: &Board,
) -> anyhow::Result<lists::Settings> {
    let defined = lists::defined(checked, store).await?;
    Keeper::define_all(board, &defined.plan);
    for (feed, error) in &defined.barred {
        board.bar(feed, &error.to_string(), jiff::Timestamp::now());
    }
    let keep = checked.config.lists.keep;
    let taxonomy_path = checked.config.policy.taxonomy.clone();
    let share = checked.config.lists.share.clone();
    Ok(lists::Settings {
        plan: defined.plan,
        keep,
        taxonomy_path,
        taxonomy: Arc::clone(taxonomy),
        share,
    })
}

/// Tells the feeds of the NOTIFY of a primary, or of one of these senders.
fn on_notify(keeper: &Keeper, senders: &[IpNet]) -> OnNotify {
    let wakes = keeper.wakes();
    let senders = NetworkSet::of(senders);
    Arc::new(move |zone, peer| wakes.notified(&zone, peer, senders.contains(peer)))
}

/// Takes as many file descriptors as this process may have: each resolution under way holds a
/// socket or two, and the usual soft limit of 1,024 is for programs of another age.
fn raise_descriptors(resolutions_max: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let is_raised = setrlimit(Resource::Nofile, raised).is_ok();
    let available = if is_raised {
        limit.maximum
    } else {
        limit.current
    };
    let wanted = 2 * resolutions_max as u64;
    if available.is_some_and(|available| available < wanted) {
        tracing::warn!(
            available,
            wanted,
            "few file descriptors: resolutions will fail under load; raise the limit (ulimit -n)"
        );
    }
}

/// Adds up what the workers count, often enough that their rings do not fill.
async fn publish(engine: Arc<Engine>) {
    let mut tick = tokio::time::interval(PUBLISH_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        engine.metrics.publish();
    }
}

/// One line on standard output, at once: somebody waits for it.
fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let buckets = PrometheusBuilder::new()
        .set_buckets(&RESOLUTION_BUCKETS_S)
        .context("bounds of histograms")?;
    buckets.install_recorder().context("installing the metrics")
}

/// The data path, without listeners: for the daemon, and for the command line's explanations.
pub fn engine(
    checked: &Checked,
    directory: &Arc<Directory>,
    lists: &Arc<CurrentLists>,
    recursor: Arc<Recursor<SystemEnvironment>>,
    on_notify: Option<OnNotify>,
) -> anyhow::Result<Engine> {
    let dns = &checked.config.dns;
    let recursive = &checked.config.recursion;
    Ok(Engine::new(EngineConfig {
        directory: Arc::clone(directory),
        lists: Arc::clone(lists),
        taxonomy: Arc::new(checked.taxonomy.clone()),
        recursion: recursion(checked, recursor)?,
        allow_from: dns.allow_from.clone(),
        trusted_peers: dns.trusted_peers.clone(),
        snoop_from: dns.snoop_from.clone(),
        contact: checked.contact(),
        blocked: checked.blocked_answers(),
        url_proxy: dns.url_proxy.clone(),
        server_id: Some(dns.server_id.clone()).filter(|id| !id.is_empty()),
        cache_octets: dns.cache_mib << 20,
        resolutions_max: dns.resolutions_max,
        waiting_per_client_max: dns.waiting_per_client_max,
        stale: ServeStale {
            stale_max: Duration::from_secs(recursive.serve_stale_s.into()),
            client_timeout: Duration::from_millis(recursive.stale_client_timeout_ms.into()),
        },
        prefetch: recursive.prefetch,
        sample_every: checked.config.lists.query_sample,
        on_notify,
        clock: Arc::new(SystemClock::start()),
    }))
}

/// Zones that the operator sends to servers of the operator's choice: they may lead into private
/// networks. The root is none of them, because it is the Internet's.
fn own_zones(config: &config::Recursion) -> impl Iterator<Item = Name> {
    config
        .forward
        .iter()
        .chain(&config.stub)
        .map(|zone| zone.zone.clone())
        .filter(|zone| *zone != Name::root())
}

/// The recursor, set up but not asked yet.
pub fn recursor(checked: &Checked) -> anyhow::Result<Recursor<SystemEnvironment>> {
    let config = &checked.config.recursion;
    let configured = |role| {
        move |zone: &Zone| ConfiguredZone {
            zone: zone.zone.clone(),
            to: zone.to.clone(),
            role,
            tls: zone.tls.clone(),
            then_recurse: zone.first,
        }
    };
    let forward = config.forward.iter().map(configured(ServerRole::Forwarder));
    let settings = Settings {
        authority_port: config.authority_port,
        do_not_query: config.do_not_query.clone(),
        ipv4: config.ipv4,
        ipv6: config.ipv6,
        prime: config.prime,
        qname_minimisation: config.qname_minimisation,
        case_randomisation: config.case_randomisation,
        cookies: config.cookies,
        private_addresses: config.private_addresses.clone(),
        private_domains: config
            .private_domains
            .iter()
            .cloned()
            .chain(own_zones(config))
            .collect(),
        harden_glue: config.harden_glue,
        configured_zones: forward
            .chain(config.stub.iter().map(configured(ServerRole::Authority)))
            .collect(),
        cache_octets: config.cache_mib << 20,
        ttl: TtlBounds {
            min_s: config.ttl_min_s,
            max_s: config.ttl_max_s,
            negative_max_s: config.ttl_negative_max_s,
        },
        waiting_per_zone_max: config.waiting_per_zone_max,
        queries_per_server_max: config.queries_per_server_max,
        ..Settings::with_roots(checked.roots.clone())
    };
    let authorities =
        Some(config.tls_authorities.as_path()).filter(|path| !path.as_os_str().is_empty());
    let environment = SystemEnvironment::new(authorities).context("recursion.tls_authorities")?;
    Recursor::new(settings, environment).context("recursion")
}

/// Local records in front of special names in front of recursion.
pub fn recursion(
    checked: &Checked,
    recursor: Arc<Recursor<SystemEnvironment>>,
) -> anyhow::Result<Arc<dyn Recursion>> {
    let config = &checked.config.recursion;
    let mut routes: Arc<dyn Recursion> = recursor;
    if config.special_zones {
        let fixed: Vec<Name> = config
            .forward
            .iter()
            .chain(&config.stub)
            .map(|zone| zone.zone.clone())
            .collect();
        routes = Arc::new(SpecialNames::new(routes, &fixed));
    }
    if config.local_records.as_os_str().is_empty() {
        return Ok(routes);
    }
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
    };
    match read(&config.local_records) {
        Ok(text) => Ok(Arc::new(LocalRecords::new(&text, routes).with_context(
            || {
                format!(
                    "recursion.local_records = {}",
                    config.local_records.display()
                )
            },
        )?)),
        // The embedded default names a file of the repository; elsewhere there is nothing to answer
        // locally.
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
    async fn explain(
        &self,
        asker: EffectivePolicy,
        name: Name,
        record_type: u16,
        lists: Option<Arc<Blocklist>>,
    ) -> QueryExplanation {
        self.0.explain(asker, name, record_type, lists).await
    }
}

/// Where the public asks.
fn desk(reports: &Reports) -> api::reports::Desk {
    let answer_within = Duration::from_secs(3_600 * u64::from(reports.answer_within_hours));
    api::reports::Desk::new(
        answer_within,
        NonZeroU32::new(reports.per_minute).unwrap_or(NonZeroU32::MIN),
    )
}

/// What a running daemon consists of.
struct Running<'d> {
    checked: &'d Checked,
    store: &'d Store,
    activity: Option<Arc<Activity>>,
    directory: &'d Arc<Directory>,
    engine: &'d Arc<Engine>,
    recursor: &'d Arc<Recursor<SystemEnvironment>>,
    lists: &'d Arc<CurrentLists>,
    mandates: &'d Arc<MandateRegistry>,
    control: Arc<lists::Control>,
    post: Arc<Post>,
}

/// Whoever reads the tokens of the OIDC provider. Its keys are read beside the start: who has a key
/// of ours need not wait for them.
fn oidc_tokens(checked: &Checked) -> anyhow::Result<Option<Tokens>> {
    let tokens = checked
        .config
        .api
        .oidc
        .as_ref()
        .map(oidc::tokens)
        .transpose()?;
    if let Some(tokens) = tokens.clone() {
        tokio::spawn(async move { tokens.refresh().await });
    }
    Ok(tokens)
}

fn history_limits(history: &config::History) -> api::history::Limits {
    let silent_after = SignedDuration::from_mins(history.silent_after_min.into());
    api::history::Limits {
        days_max: history.days_max,
        silent_after,
    }
}

fn limits(api: &config::Api) -> Limits {
    let rate = |per_s, burst| Rate { per_s, burst };
    Limits::new(
        rate(api.rate_per_s, api.rate_burst),
        rate(api.operator_rate_per_s, api.operator_rate_burst),
        rate(api.failed_per_s, api.failed_burst),
    )
    .with_open(rate(api.open_per_s, api.open_burst))
}

fn api_context(
    running: &Running<'_>,
    metrics: PrometheusHandle,
    is_ready: &Arc<AtomicBool>,
    tokens: Option<Tokens>,
) -> Arc<Context> {
    let Running {
        checked,
        store,
        activity,
        directory,
        engine,
        recursor,
        lists,
        mandates,
        control,
        post,
    } = running;
    let counted = Arc::clone(engine);
    let households = Arc::clone(directory);
    let ready = Arc::clone(is_ready);
    let recursor = Arc::clone(recursor);
    let ordered = Arc::clone(mandates);
    let render_metrics = move || {
        counted.metrics.publish();
        let (octets, entries) = counted.cache_usage();
        gauge!("ox_protect_cache_bytes").set(octets as f64);
        gauge!("ox_protect_cache_entries").set(entries as f64);
        gauge!("ox_protect_households").set(households.len() as f64);
        recursor.show_sizes();
        orders::show(&ordered);
        metrics.run_upkeep();
        metrics.render()
    };
    Arc::new(Context {
        store: (*store).clone(),
        activity: activity.clone(),
        activity_seats: tokio::sync::Semaphore::new(api::activity::SEATS),
        history: history_limits(&checked.config.history),
        directory: Arc::clone(directory),
        taxonomy: Arc::new(checked.taxonomy.clone()),
        defaults: checked.defaults,
        lists: Arc::clone(lists),
        mandates: Arc::clone(mandates),
        own_names: blocklist_loader::gate::own_names(&checked.config.lists.own_names),
        lists_control: Arc::clone(control) as Arc<dyn api::control::ListControl>,
        explainer: Arc::new(DataPath(Arc::clone(engine))),
        render_metrics: Box::new(render_metrics),
        is_ready: Box::new(move || ready.load(Ordering::Relaxed)),
        happenings: Default::default(),
        notices: post.channels(),
        default_preset: checked.config.policy.default_preset.clone(),
        desk: desk(&checked.config.reports),
        limits: limits(&checked.config.api),
        tokens,
        writes: tokio::sync::Mutex::new(()),
        list_writes: tokio::sync::Mutex::new(()),
        mandate_writes: tokio::sync::Mutex::new(()),
    })
}
