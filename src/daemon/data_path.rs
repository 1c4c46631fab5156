//! The data path out of the configuration: the recursor, what answers in front of it, and the
//! engine. The daemon and the command line build it alike.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use async_trait::async_trait;
use control::{
    explain::Explainer,
    negative_anchors::{self, NegativeAnchorRegistry, NegativeAnchorSettings},
};
use policy::{
    decide::EffectivePolicy,
    explain::QueryExplanation,
    identity::directory::Directory,
    lists::{blocklist::Blocklist, current::CurrentLists},
    name::Name,
    rules::household::Id,
};
use policy_store::Store;
use resolver::{
    admission::{AdmissionSettings, ClientKey},
    engine::{Engine, EngineConfig, ServeStale},
    listener::notify::OnNotify,
    recursor::{
        CacheBudgets, ConfiguredZone, NegativeTrustAnchor, Recursor, ServerRole, Settings,
        SystemEnvironment, TtlBounds, ValidationSettings,
    },
    time::SystemClock,
    upstream::{Recursion, local_records::LocalRecords, special_names::SpecialNames},
};

use crate::{
    config::{self, Checked, Zone},
    memory::Budgets,
};

/// The engine, without listeners.
pub fn engine(
    checked: &Checked,
    budgets: &Budgets,
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
        contact: dns.block_contact(),
        blocked: dns.blocked_answers(),
        url_proxy: dns.url_proxy.clone(),
        server_id: Some(dns.server_id.clone()).filter(|id| !id.is_empty()),
        cache_octets: budgets.answers,
        local_cache_octets: budgets.worker_answers,
        admission: AdmissionSettings {
            places_max: budgets.places,
            per_client_max: dns.waiting_per_client_max as usize,
        },
        rates: checked.config.limits.settings(),
        cookie_secrets: dns.cookie_secrets(),
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

/// Forward and stub zones: they may have private addresses. The root is left out, because it
/// belongs to the Internet.
fn own_zones(config: &config::RecursionConfig) -> impl Iterator<Item = Name> {
    config
        .forward
        .iter()
        .chain(&config.stub)
        .map(|zone| zone.zone.clone())
        .filter(|zone| *zone != Name::root())
}

/// The recursor. It sends no query yet.
pub fn recursor(
    checked: &Checked,
    caches: CacheBudgets,
) -> anyhow::Result<Recursor<SystemEnvironment>> {
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
        anchors: checked.anchors.clone(),
        validation: ValidationSettings {
            accepts_rsa_sha1: config.dnssec_rsa_sha1,
            skew_max_s: config.signature_skew_max_s,
            nsec3_iterations_max: config.nsec3_iterations_max,
        },
        aggressive_nsec: config.aggressive_nsec,
        harden_below_nxdomain: config.harden_below_nxdomain,
        caches,
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
    let recursor = Recursor::new(settings, environment).context("recursion")?;
    let configured = config.negative_trust_anchors.iter();
    recursor.set_negative_anchors(
        configured
            .map(|name| NegativeTrustAnchor {
                name: name.clone(),
                until_unix_s: None,
            })
            .collect(),
    );
    Ok(recursor)
}

/// The negative trust anchors in force: those of the configuration and of the store. What is cached
/// below one that comes or goes is forgotten: first by the recursor, so that the answer cache gets
/// nothing old from it. Answers below one that comes were validated, and may still be served stale.
pub async fn negative_anchors(
    checked: &Checked,
    store: &Store,
    recursor: &Arc<Recursor<SystemEnvironment>>,
    engine: &Arc<Engine>,
) -> Arc<NegativeAnchorRegistry> {
    let (recursor, engine) = (Arc::clone(recursor), Arc::clone(engine));
    let put_in_force = move |anchors| {
        let changed = recursor.set_negative_anchors(anchors);
        if !changed.begun.is_empty() {
            engine.expire_below(&changed.begun);
        }
        if !changed.ended.is_empty() {
            engine.forget_below(&changed.ended);
        }
    };
    negative_anchors::start(store, anchor_settings(checked), Box::new(put_in_force)).await
}

/// What the configuration says of negative trust anchors.
pub fn anchor_settings(checked: &Checked) -> NegativeAnchorSettings {
    let config = &checked.config.recursion;
    NegativeAnchorSettings {
        configured: config.negative_trust_anchors.clone(),
        days_max: config.nta_days_max,
        validates: config.dnssec,
    }
}

/// The file of what is known of the keys of trust anchors; none where it is not kept.
pub fn anchor_state(checked: &Checked) -> Option<&Path> {
    let config = &checked.config.recursion;
    let file = Some(config.trust_anchor_state.as_path());
    file.filter(|file| config.dnssec && !file.as_os_str().is_empty())
}

/// Local records before special names before recursion.
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
    if let Some(records) = checked.config.home_test.records() {
        let local = LocalRecords::new(&records, routes).context("the names of home_test")?;
        routes = Arc::new(local);
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
        // The embedded default names a file of the repository. Without it, nothing is answered
        // locally.
        Err(error) if checked.is_embedded => {
            tracing::warn!("{error:#}; its names are not answered here");
            Ok(routes)
        }
        Err(error) => Err(error),
    }
}

/// Explains queries by the engine that answers them.
pub struct DataPath(pub Arc<Engine>);

#[async_trait]
impl Explainer for DataPath {
    async fn explain(
        &self,
        asker: EffectivePolicy,
        household: Option<&Id>,
        name: Name,
        record_type: u16,
        lists: Option<Arc<Blocklist>>,
    ) -> QueryExplanation {
        let client = household.map_or(ClientKey::Operator, |household| {
            ClientKey::Household(household.as_str().into())
        });
        self.0
            .explain(asker, client, (name, record_type), lists)
            .await
    }
}
