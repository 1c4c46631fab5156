//! The daemon: the only place that knows every crate. It puts the parts together, says when each is
//! ready, and ends in order.

pub mod api_listeners;
pub mod data_path;
mod settings;
mod signals;
mod sockets;
mod stdout;
mod web_listeners;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use api::{Context, event_streams::Streams, past_reads::PastReads};
use control::{
    Control,
    activity::{aggregate, retention, sample},
    audit_heads::HeadAnnouncer,
    audit_pruning::AuditPruning,
    bogus_zones,
    certificate::{CertificateWatch, ServerCertificate},
    demonstration, detection, disk,
    households::load::load_all,
    limit_watch,
    lists::{
        self,
        command::ListCommand,
        definitions,
        fetchers::Fetchers,
        handle::ManagerHandle,
        manager::{self, ListManager, ListSettings},
        status::ListStatus,
    },
    mandates,
    negative_anchors::{self, NegativeAnchorRegistry},
    notifications::{
        delivery::{self, Post},
        push::{self, Pusher},
    },
    schedules,
    shutdown::BackgroundTasks,
    store_health,
    trust_anchors::{self, AnchorWatch},
};
use ipnet::IpNet;
use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use policy::{
    category::Taxonomy,
    identity::directory::Directory,
    lists::{current::CurrentLists, mandate_registry::MandateRegistry},
};
use policy_store::{Author, NewKey, Store};
use resolver::{
    engine::Engine,
    listener::{network_set::NetworkSet, notify::OnNotify},
    recursor::{Recursor, SystemEnvironment},
    telemetry::query_sample::QuerySample,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use self::{
    data_path::DataPath,
    settings::{history_limits, limits, oidc_tokens, report_intake},
    signals::{SignalAction, Signals},
    sockets::{Sockets, workers},
    stdout::say,
};
use crate::{
    config::{self, Checked},
    login,
    memory::{self, Budgets, Governed, KnownAtStart},
    stores::{self, Stores},
};

/// Histogram bounds of resolutions, in seconds: from a cached delegation to the longest timeout.
const RESOLUTION_BUCKETS_S: [f64; 9] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0];

/// How often the workers' counters are added up. A worker's ring holds what it can block in this
/// time.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// How long a node that shuts down waits for each of: requests, tasks, writes.
const END_MAX: Duration = Duration::from_secs(5);

/// How the daemon was started.
pub struct Start {
    /// The configuration file, which SIGHUP checks again.
    pub config: Option<PathBuf>,
    /// Whether the daemon may begin with an empty store although this node had one.
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
            SignalAction::End(signal) => break signal,
            SignalAction::Reload => node.reload(&checked, how.config.as_deref()).await,
            SignalAction::Nothing(number) => {
                tracing::info!(number, "a signal that means nothing here")
            }
        }
    };
    tracing::info!(signal, "the node ends: what is under way is finished first");
    signals.end_at_once();
    node.end().await;
    tracing::info!("the node has ended in order");
    Ok(())
}

/// A running node, and what its shutdown needs.
struct ServingNode {
    context: Arc<Context>,
    engine: Arc<Engine>,
    sample: Arc<QuerySample>,
    status: Arc<ListStatus>,
    post: Arc<Post>,
    announcer: Arc<HeadAnnouncer>,
    fetchers: Arc<Fetchers>,
    commands: mpsc::Sender<ListCommand>,
    is_ready: Arc<AtomicBool>,
    /// The certificates of all listeners, by the listener's name.
    certificates: Vec<(&'static str, Arc<ServerCertificate>)>,
    /// Ends the HTTP listeners when it is dropped.
    api_ends: watch::Sender<()>,
    api: JoinHandle<()>,
    web: JoinHandle<()>,
    tasks: BackgroundTasks,
    _stores: Stores,
}

/// Puts the parts together and opens the listeners.
async fn start(checked: &Checked, how: &Start) -> anyhow::Result<ServingNode> {
    let metrics = install_metrics()?;
    api::panics::describe();
    raise_descriptors(checked.config.dns.resolutions_max);
    for warning in &checked.warnings {
        tracing::warn!("{warning}");
    }
    let mut stores = stores::open(checked, how.new_store).await?;
    let findings = std::mem::take(&mut stores.findings);
    let tasks = BackgroundTasks::default();
    let parts = Parts::assemble(checked, stores, &tasks).await?;
    let sockets = Sockets::bind(checked)?;
    make_first_key(parts.store()).await?;
    let (api_sockets, web_sockets) = sockets.serve_dns(checked, &parts.engine)?;

    tasks.spawn_endless(publish(Arc::clone(&parts.engine)));
    tasks.spawn_endless(mandates::run(Arc::clone(&parts.mandates)));
    tasks.spawn_endless(negative_anchors::run(
        Arc::clone(&parts.negative_anchors),
        Arc::clone(&parts.status),
        Arc::clone(&parts.live),
    ));
    tasks.spawn_endless(memory::run(Arc::clone(&parts.memory)));
    let sampled = &checked.config.lists;
    let sample = sample::open(&sampled.directory, sampled.query_sample)?;
    tasks.spawn_endless(sample::run(Arc::clone(&parts.engine), Arc::clone(&sample)));
    let is_ready = Arc::new(AtomicBool::new(true));
    let tokens = oidc_tokens(checked, &tasks)?;
    let control = Arc::new(parts.control(checked, &sample));
    let home_test = checked
        .config
        .home_test
        .described(web_sockets.home_test_ports());
    let pusher = pusher(checked, &control).await?;
    let context = Arc::new(Context {
        past_reads: PastReads::default(),
        streams: Streams::new(&control, tokens.clone()),
        render_metrics: parts.render_metrics(metrics),
        limited: {
            let engine = Arc::clone(&parts.engine);
            Box::new(move || control::limits::current(&engine, jiff::Timestamp::now()))
        },
        is_ready: {
            let is_ready = Arc::clone(&is_ready);
            Box::new(move || is_ready.load(Ordering::Relaxed))
        },
        reports: report_intake(&checked.config.reports),
        product_name: checked.config.app.name.clone(),
        app: checked.config.app.settings(home_test.clone()),
        pusher: pusher.clone(),
        login: login::login(&checked.config.app, checked.config.api.oidc.as_ref())?,
        home_test,
        limits: limits(&checked.config.api),
        tokens,
        control,
    });
    if let Some(pusher) = pusher {
        tasks.spawn_endless(push::run(Arc::clone(&context.control), pusher));
    }
    let announcer = Arc::new(parts.announcer(checked.config.store.audit_head_interval_s));
    parts.start_tasks(&tasks, &context.control, checked);
    let announcing = Arc::clone(&announcer);
    let shutdown = tasks.shutdown();
    tasks.spawn_finishing(async move { announcing.run(findings, shutdown).await });
    // The keys in force are known before the first request, so that the limits of an address do not
    // delay a request with a key.
    context.limits.learn(parts.store()).await?;
    let (api_ends, ended) = watch::channel(());
    let mut certificates = web_sockets.certificates();
    certificates.extend(api_sockets.certificate.clone().map(|pair| ("api", pair)));
    for (listener, certificate) in &certificates {
        let watch = parts.certificate_watch(listener, Arc::clone(certificate));
        tasks.spawn_endless(watch.run());
    }
    let demonstration = match checked.config.app.demonstration {
        true => demonstration_link(&context, &api_sockets.origin()?).await,
        false => None,
    };
    let affordable = parts.memory.budgets.api_connections;
    let fetchers = parts.manager.fetchers();
    let commands = parts.manager.sender();
    tasks.spawn_endless(parts.manager.run());
    let limited = parts.engine.limited_connections();
    let web = web_sockets.serve(&checked.config, &context, &limited, &ended)?;
    let api = api_sockets.serve(&checked.config.api, affordable, (&context, limited), ended)?;
    if let Some(link) = demonstration {
        say(&format!("app link: {link}"))?;
    }
    Ok(ServingNode {
        context,
        engine: parts.engine,
        sample,
        status: parts.status,
        post: parts.post,
        announcer,
        fetchers,
        commands,
        is_ready,
        certificates,
        api_ends,
        api,
        web,
        tasks,
        _stores: parts.stores,
    })
}

/// Sends notices to browsers, if the app is served.
async fn pusher(checked: &Checked, control: &Control) -> anyhow::Result<Option<Arc<Pusher>>> {
    let app = &checked.config.app;
    if !app.enabled {
        return Ok(None);
    }
    let pusher = Pusher::new(&control.store, &app.push_hosts, app.push_contact.clone());
    Ok(Some(Arc::new(pusher.await?)))
}

/// Makes the household of the demonstration and a link to it. A node works without it, too.
async fn demonstration_link(context: &Context, origin: &str) -> Option<String> {
    match demonstration::prepare(&context.control, jiff::Timestamp::now()).await {
        Ok(Some(secret)) => {
            let configured = context.app.as_ref().and_then(|app| app.origin.as_deref());
            let origin = configured.unwrap_or(origin);
            Some(format!("{origin}/app/#/link/{secret}"))
        }
        Ok(None) => {
            tracing::warn!("there is a household of that name already: no demonstration is made");
            None
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "the demonstration cannot be made");
            None
        }
    }
}

impl ServingNode {
    /// Checks the configuration file, says what a restart would change, looks at the certificate's
    /// files, and fetches all feeds. The running configuration stays.
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
        for (_, certificate) in &self.certificates {
            certificate.look_now();
        }
        let asked = self.fetchers.fetch_all_now();
        // A manager whose queue is full looks at the files later anyway.
        let _ = self.commands.try_send(ListCommand::Files);
        tracing::info!(
            asked,
            "SIGHUP: feeds are asked now, and list files looked at"
        );
    }

    /// Ends in order: no new request, then no task, then no write, then the stores are closed.
    async fn end(self) {
        let control = &self.context.control;
        self.is_ready.store(false, Ordering::Relaxed);
        self.status.close();
        control.events.close();
        self.context.streams.close();
        drop(self.api_ends);
        // Requests under way are finished, but an idle connection does not hold up the shutdown.
        let listeners = async { tokio::join!(self.api, self.web) };
        let _ = tokio::time::timeout(END_MAX, listeners).await;
        self.tasks.finish(END_MAX).await;
        // A write whose client is gone goes on by itself. No new one begins behind these locks,
        // which are held to the end.
        let writers = async {
            (
                control.turns.end().await,
                control.list_writes.lock().await,
                control.mandate_writes.lock().await,
                control.negative_anchors.writes.lock().await,
            )
        };
        let _no_writer_begins = tokio::time::timeout(END_MAX, writers).await;
        self.tasks.stop_endless().await;
        sample::end(&self.engine, &self.sample).await;
        aggregate::end(control, &self.engine).await;
        self.announcer.announce().await;
        self.post.end().await;
        control.store.close().await;
    }
}

/// The parts of a node, before a listener is open.
struct Parts {
    stores: Stores,
    post: Arc<Post>,
    directory: Arc<Directory>,
    taxonomy: Arc<Taxonomy>,
    status: Arc<ListStatus>,
    manager: ListManager,
    live: Arc<CurrentLists>,
    mandates: Arc<MandateRegistry>,
    negative_anchors: Arc<NegativeAnchorRegistry>,
    recursor: Arc<Recursor<SystemEnvironment>>,
    engine: Arc<Engine>,
    memory: Arc<Governed>,
}

impl Parts {
    /// Loads households, lists and mandates, and builds the data path.
    async fn assemble(
        checked: &Checked,
        stores: Stores,
        tasks: &BackgroundTasks,
    ) -> anyhow::Result<Self> {
        let store = &stores.store;
        let post = Arc::new(Post::new(
            store,
            &checked.config.notices,
            &checked.config.app.name,
        )?);
        let directory = Arc::new(Directory::new(checked.defaults));
        let households = load_all(store, &directory, &checked.taxonomy, checked.defaults).await?;
        let taxonomy = Arc::new(checked.taxonomy.clone());
        let status = ListStatus::new();
        let settings = list_settings(checked, &taxonomy, store, &status).await?;
        let (manager, live) = lists::start::start(settings, Arc::clone(&status), tasks).await?;
        let mandates = mandates::start(store, &live).await?;
        let limit = memory::find(checked.config.node.memory_mib);
        let known = KnownAtStart {
            workers: workers(checked),
            lists: live.load().octets() as u64,
            households,
        };
        let budgets = Budgets::derive(limit.octets, &checked.config, known);
        let recursor = Arc::new(data_path::recursor(checked, budgets.recursor)?);
        if let Some(file) = data_path::anchor_state(checked) {
            trust_anchors::restore(&recursor, file);
        }
        let engine = Arc::new(data_path::engine(
            checked,
            &budgets,
            &directory,
            &live,
            Arc::clone(&recursor),
            Some(on_notify(
                manager.fetchers(),
                &checked.config.dns.notify_from,
            )),
        )?);
        let negative_anchors =
            data_path::negative_anchors(checked, store, &recursor, &engine).await;
        tracing::info!(
            households,
            generation = live.load().generation(),
            "rules and lists are in place"
        );
        let memory = Governed {
            limit,
            budgets,
            engine: Arc::clone(&engine),
            recursor: Arc::clone(&recursor),
            lists: Arc::clone(&live),
            directory: Arc::clone(&directory),
            status: Arc::clone(&status),
        };
        memory.announce();
        Ok(Self {
            stores,
            post,
            directory,
            taxonomy,
            status,
            manager,
            live,
            mandates,
            negative_anchors,
            recursor,
            engine,
            memory: Arc::new(memory),
        })
    }

    fn store(&self) -> &Store {
        &self.stores.store
    }

    fn control(&self, checked: &Checked, sampled: &Arc<QuerySample>) -> Control {
        let lists = &checked.config.lists;
        let handle = ManagerHandle {
            commands: self.manager.sender(),
            status: Arc::clone(&self.status),
            live: Arc::clone(&self.live),
            fetchers: self.manager.fetchers(),
            directory: lists.directory.clone(),
            base: checked.base.clone(),
            bounds: lists.bounds(),
            taxonomy: Arc::clone(&self.taxonomy),
            yesterday: sample::yesterday(sampled),
            hits: sample::hits(&self.engine),
        };
        Control {
            store: self.store().clone(),
            activity: self.stores.activity.clone(),
            history: history_limits(&checked.config.history),
            directory: Arc::clone(&self.directory),
            taxonomy: Arc::clone(&self.taxonomy),
            defaults: checked.defaults,
            lists: Arc::clone(&self.live),
            mandates: Arc::clone(&self.mandates),
            negative_anchors: Arc::clone(&self.negative_anchors),
            own_names: blocklist_loader::gate::own_names(&lists.own_names),
            lists_control: Arc::new(handle),
            explainer: Arc::new(DataPath(Arc::clone(&self.engine))),
            events: Default::default(),
            mac_register: Arc::clone(&checked.mac_register),
            notices: self.post.channels(),
            default_preset: checked.config.policy.default_preset.clone(),
            turns: Default::default(),
            list_writes: Default::default(),
            mandate_writes: Default::default(),
        }
    }

    fn announcer(&self, interval_s: u32) -> HeadAnnouncer {
        HeadAnnouncer {
            store: self.store().clone(),
            status: Arc::clone(&self.status),
            lists: Arc::clone(&self.live),
            channel: self.post.channels().webhook.then_some("webhook"),
            every: Duration::from_secs(interval_s.into()),
        }
    }

    fn certificate_watch(
        &self,
        listener: &'static str,
        certificate: Arc<ServerCertificate>,
    ) -> CertificateWatch {
        CertificateWatch {
            listener,
            certificate,
            status: Arc::clone(&self.status),
            lists: Arc::clone(&self.live),
        }
    }

    /// Renders the metrics, after the gauges that are only set for that.
    fn render_metrics(&self, metrics: PrometheusHandle) -> Box<dyn Fn() -> String + Send + Sync> {
        let engine = Arc::clone(&self.engine);
        let directory = Arc::clone(&self.directory);
        let recursor = Arc::clone(&self.recursor);
        let mandates = Arc::clone(&self.mandates);
        let negative_anchors = Arc::clone(&self.negative_anchors);
        let memory = Arc::clone(&self.memory);
        describe_gauge!("ox_protect_cache_bytes", "Size of the answer cache");
        describe_gauge!("ox_protect_cache_entries", "Entries in the answer cache");
        describe_gauge!("ox_protect_households", "Households that are live");
        Box::new(move || {
            engine.metrics.publish();
            let (octets, entries) = engine.cache_usage();
            gauge!("ox_protect_cache_bytes").set(octets as f64);
            gauge!("ox_protect_cache_entries").set(entries as f64);
            gauge!("ox_protect_households").set(directory.len() as f64);
            recursor.show_sizes();
            memory.show();
            mandates::show(&mandates);
            negative_anchors::show(&negative_anchors);
            metrics.run_upkeep();
            metrics.render()
        })
    }

    /// Watches the keys of trust anchors.
    fn anchor_watch(&self, checked: &Checked) -> AnchorWatch<SystemEnvironment> {
        AnchorWatch {
            recursor: Arc::clone(&self.recursor),
            file: data_path::anchor_state(checked).map(Path::to_owned),
            status: Arc::clone(&self.status),
            lists: Arc::clone(&self.live),
        }
    }

    /// Starts the tasks that use the stores.
    fn start_tasks(&self, tasks: &BackgroundTasks, control: &Arc<Control>, checked: &Checked) {
        let shutdown = tasks.shutdown();
        let store = &checked.config.store;
        let recursor = Arc::clone(&self.recursor);
        tasks.spawn_finishing(bogus_zones::run(
            move || recursor.bogus_zones(),
            Arc::clone(&self.status),
            Arc::clone(&self.live),
            shutdown.clone(),
        ));
        let engine = Arc::clone(&self.engine);
        tasks.spawn_finishing(limit_watch::run(
            move || control::limits::current(&engine, jiff::Timestamp::now()),
            Arc::clone(&self.status),
            Arc::clone(&self.live),
            shutdown.clone(),
        ));
        if checked.config.recursion.dnssec {
            tasks.spawn_finishing(self.anchor_watch(checked).run(shutdown.clone()));
        }
        tasks.spawn_finishing(disk::run(
            stores::folders(checked),
            store.disk_alarm_percent,
            Arc::clone(&self.status),
            Arc::clone(&self.live),
            shutdown.clone(),
        ));
        let pruning = AuditPruning {
            store: control.store.clone(),
            keep_days: store.audit_keep_days,
            folder: store.audit_archive.clone(),
        };
        tasks.spawn_finishing(pruning.run(shutdown.clone()));
        let engine = Arc::clone(&self.engine);
        tasks.spawn_finishing(schedules::run(Arc::clone(control), shutdown.clone()));
        tasks.spawn_finishing(aggregate::run(
            Arc::clone(control),
            engine,
            shutdown.clone(),
        ));
        tasks.spawn_finishing(detection::run(
            Arc::clone(control),
            Arc::clone(&self.engine),
            shutdown.clone(),
        ));
        tasks.spawn_finishing(retention::run(Arc::clone(control), shutdown.clone()));
        tasks.spawn_finishing(delivery::run(Arc::clone(&self.post), shutdown.clone()));
        let history = control.activity.as_ref().map(|activity| activity.health());
        for (name, health) in [
            ("policy", Some(control.store.health())),
            ("history", history),
        ] {
            let Some(health) = health else { continue };
            tasks.spawn_finishing(store_health::run(
                name,
                health,
                Arc::clone(&self.status),
                Arc::clone(&self.live),
                shutdown.clone(),
            ));
        }
    }
}

/// Makes a key at the first start of a node, and prints it.
async fn make_first_key(store: &Store) -> anyhow::Result<()> {
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
    Ok(())
}

/// The feeds of the configuration and of the API, and what the list manager needs beside them.
async fn list_settings(
    checked: &Checked,
    taxonomy: &Arc<Taxonomy>,
    store: &Store,
    status: &ListStatus,
) -> anyhow::Result<ListSettings> {
    let lists = &checked.config.lists;
    let definitions = definitions::load(checked.plan(), lists.bounds(), taxonomy, store).await?;
    manager::define_all(status, &definitions.plan);
    for (feed, error) in &definitions.barred {
        status.bar(feed, &error.to_string(), jiff::Timestamp::now());
    }
    Ok(ListSettings {
        plan: definitions.plan,
        keep: lists.keep,
        taxonomy_path: checked.config.policy.taxonomy.clone(),
        taxonomy: Arc::clone(taxonomy),
        share: lists.share.clone(),
    })
}

/// Passes NOTIFY messages of primaries, and of the senders that the operator names, to the
/// fetchers.
fn on_notify(fetchers: Arc<Fetchers>, senders: &[IpNet]) -> OnNotify {
    let senders = NetworkSet::of(senders);
    Arc::new(move |zone, peer| fetchers.notified(&zone, peer, senders.contains(peer)))
}

/// Raises the limit of file descriptors to the hard limit: each resolution under way has a socket
/// or two, and the usual soft limit is 1,024.
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

/// Adds up the workers' counters, often enough that their rings do not fill.
async fn publish(engine: Arc<Engine>) {
    let mut tick = tokio::time::interval(PUBLISH_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        engine.metrics.publish();
    }
}

fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let buckets = PrometheusBuilder::new()
        .set_buckets(&RESOLUTION_BUCKETS_S)
        .context("bounds of histograms")?;
    buckets.install_recorder().context("installing the metrics")
}
