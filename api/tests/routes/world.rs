//! The words these tests are written in: a router without a socket, a store in a folder of its own,
//! three listed names.
//!
//! ```text
//! bets.example   gambling   choice      leads.example is an alias of bets.example
//! evil.example   malware    security
//! ordered.example           mandatory
//! ```

use std::sync::{Arc, Mutex};

use api::{
    Context,
    app::settings::AppSettings,
    auth::{limits::Limits, oidc::Tokens},
    event_streams::Streams,
    report_intake::ReportIntake,
};
use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode, header},
};
use control::{
    Control,
    activity::limits::HistoryLimits,
    explain::Explainer,
    negative_anchors::{NegativeAnchorRegistry, NegativeAnchorSettings, NegativeTrustAnchor},
    notifications::{push::Pusher, settings::Channels},
};
use jiff::Timestamp;
use policy::{
    category::Taxonomy,
    decide::{EffectivePolicy, decide, review},
    explain::{AnswerSummary, QueryExplanation},
    identity::directory::Directory,
    lists::{
        artefact::{FeedReport, FeedSummary, Header},
        blocklist::Blocklist,
        builder::ArtefactBuilder,
        current::CurrentLists,
        entry::{ListEntry, Scope, Tier},
        mandate_registry::MandateRegistry,
    },
    name::Name,
    rules::{bypass::BypassPrevention, compiled::HouseholdRules, operator::OperatorDefaults},
};
use policy_store::{ActivityStore, Author, NewKey, Role, Store};
use serde_json::Value;
use tower::ServiceExt;

use crate::fake_lists::FakeLists;

/// Longest answer a test reads, in octets.
const ANSWER_OCTETS_MAX: usize = 64 << 20;

const FEEDS: [(&str, &str, Tier, &str); 3] = [
    ("bets.example", "gambling", Tier::Choice, "bets-feed"),
    ("evil.example", "malware", Tier::Security, "evil-feed"),
    ("ordered.example", "adult", Tier::Mandatory, "court-feed"),
];

/// A node without DNS.
pub struct World {
    pub context: Arc<Context>,
    pub router: Router,
    pub fake_lists: Arc<FakeLists>,
    pub key: String,
    pub key_id: String,
    pub unvalidated: Unvalidated,
    folder: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: axum::http::HeaderMap,
    pub text: String,
    pub json: Value,
}

impl Answer {
    pub fn ok(self) -> Self {
        assert!(
            StatusCode::from_u16(self.status).unwrap().is_success(),
            "{} {}",
            self.status,
            self.text
        );
        self
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub fn version(&self) -> u64 {
        let version = self.json["version"]
            .as_u64()
            .unwrap_or_else(|| panic!("no version in {}", self.text));
        assert_eq!(self.header("etag"), format!("\"{version}\""));
        version
    }

    pub fn is_problem(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status, self.json["code"].as_str()),
            (status, Some(code)),
            "{}",
            self.text
        );
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.json["status"], status);
        assert!(
            self.json["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty())
        );
    }
}

/// Who makes keys for tests.
pub fn author() -> Author {
    Author {
        actor: "tests".to_owned(),
        role: "operator".to_owned(),
    }
}

/// The names that the data path was told not to validate.
pub type Unvalidated = Arc<Mutex<Vec<String>>>;

/// `corp.example` is one of the configuration.
fn negative_anchors(unvalidated: &Unvalidated) -> NegativeAnchorRegistry {
    let settings = NegativeAnchorSettings {
        configured: vec![Name::parse("corp.example").unwrap()],
        days_max: 7,
        validates: true,
    };
    let told = Arc::clone(unvalidated);
    let note = move |anchors: Vec<NegativeTrustAnchor>| {
        let names = anchors.iter().map(|anchor| anchor.name.to_string());
        *told.lock().unwrap() = names.collect();
    };
    NegativeAnchorRegistry::new(settings, Box::new(note))
}

/// Answers as the data path would, without resolving anything.
struct DataPath(Arc<CurrentLists>);

#[async_trait]
impl Explainer for DataPath {
    async fn explain(
        &self,
        asker: EffectivePolicy,
        _: Option<&policy::rules::household::Id>,
        name: Name,
        _: u16,
        lists: Option<Arc<Blocklist>>,
    ) -> QueryExplanation {
        assert_ne!(
            name.to_string(),
            "panic.example",
            "what the caller must not see"
        );
        let lists = lists.unwrap_or_else(|| self.0.current());
        let mut names = vec![name.clone()];
        if name.to_string() == "leads.example" {
            names.push(Name::parse("bets.example").unwrap());
        }
        let own = decide(&asker, name.borrow(), &lists.classify(name.borrow()));
        let classes: Vec<_> = names[1..]
            .iter()
            .map(|name| lists.classify(name.borrow()))
            .collect();
        let (verdict, hop) = review(
            &asker,
            own,
            names[1..].iter().map(Name::borrow).zip(&classes),
        );
        let rcode = if verdict.is_block() || name.to_string().starts_with("missing.") {
            "NXDOMAIN"
        } else {
            "NOERROR"
        };
        let error = verdict.is_block().then(|| (17, "(gambling)".to_owned()));
        QueryExplanation {
            names,
            hop,
            verdict,
            lists,
            answer: AnswerSummary {
                rcode: rcode.to_owned(),
                records: Vec::new(),
                error,
            },
        }
    }
}

fn lists(folder: &std::path::Path, taxonomy: &Taxonomy) -> Arc<Blocklist> {
    let mut builder = ArtefactBuilder::new();
    let mut feeds = Vec::new();
    let mut categories = Vec::new();
    for (place, (name, category, tier, feed)) in (0..).zip(FEEDS) {
        let mark = ListEntry::deny(place, place as u8, Scope::Subtree);
        builder
            .push(Name::parse(name).unwrap().borrow(), mark)
            .unwrap();
        categories.push(category.to_owned());
        let report = FeedReport {
            lines: 1,
            entries: 1,
            ..FeedReport::default()
        };
        feeds.push(FeedSummary {
            format: "domains".to_owned(),
            scope: Some(Scope::Subtree),
            report,
            ..FeedSummary::new(feed, tier)
        });
    }
    let generation = 7;
    let built_at = Timestamp::UNIX_EPOCH;
    let header = Header {
        feeds,
        categories,
        ..Header::of(generation, built_at)
    };
    let path = folder.join("lists");
    builder.write(header, None, &path).unwrap();
    Blocklist::open(&path, taxonomy).unwrap()
}

impl World {
    pub async fn new() -> Self {
        Self::admitting(Limits::default(), None).await
    }

    /// A world in which so many requests are answered, and those tokens are taken.
    pub async fn admitting(limits: Limits, tokens: Option<Tokens>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let taxonomy = Taxonomy::shipped();
        let defaults = OperatorDefaults {
            preset: taxonomy.preset("light").unwrap(),
            bypass: BypassPrevention {
                canary: true,
                relay: true,
            },
        };
        let lists = Arc::new(CurrentLists::new(lists(folder.path(), &taxonomy)));
        let store = Store::open(&format!("sqlite:{}/store.db", folder.path().display()))
            .await
            .unwrap();
        let activity =
            ActivityStore::open(&format!("sqlite:{}/history.db", folder.path().display()))
                .await
                .unwrap();
        let (key, made) = store
            .create_key(&author(), NewKey::operator("tests"))
            .await
            .unwrap();
        let fake_lists = Arc::new(FakeLists::new());
        let unvalidated = Unvalidated::default();
        let control = Arc::new(Control {
            store,
            activity: Some(Arc::new(activity)),
            history: HistoryLimits {
                days_max: 90,
                silent_after: jiff::SignedDuration::from_mins(10),
            },
            directory: Arc::new(Directory::new(defaults)),
            taxonomy: Arc::new(taxonomy),
            defaults,
            lists: Arc::clone(&lists),
            mandates: Arc::new(MandateRegistry::new(Arc::clone(&lists))),
            negative_anchors: Arc::new(negative_anchors(&unvalidated)),
            own_names: vec![Name::parse("portal.isp.example").unwrap()],
            lists_control: Arc::clone(&fake_lists) as _,
            explainer: Arc::new(DataPath(lists)),
            events: Default::default(),
            mac_register: Default::default(),
            notices: Channels {
                webhook: true,
                email: true,
            },
            default_preset: "light".to_owned(),
            turns: Default::default(),
            list_writes: Default::default(),
            mandate_writes: Default::default(),
        });
        let pusher = Pusher::new(&control.store, &["push.example".to_owned()], None).await;
        let pusher = Some(Arc::new(pusher.unwrap()));
        let context = Arc::new(Context {
            streams: Streams::new(&control, tokens.clone()),
            control,
            past_reads: api::past_reads::PastReads::default(),
            limited: Box::new(Vec::new),
            render_metrics: Box::new(|| "ox_protect_queries_total 1\n".to_owned()),
            is_ready: Box::new(|| true),
            reports: ReportIntake::new(
                std::time::Duration::from_secs(3_600),
                std::num::NonZeroU32::new(1_000).unwrap(),
            ),
            home_test: Some(api::home_test::HomeTest {
                zone: Name::parse("test.isp.example").unwrap(),
                http_port: Some(80),
                https_port: None,
            }),
            limits,
            tokens,
            product_name: control::product_name::ProductName::default(),
            app: Some(AppSettings::default()),
            login: None,
            pusher,
        });
        Self {
            router: api::router(Arc::clone(&context)),
            context,
            fake_lists,
            key,
            key_id: made.id,
            unvalidated,
            folder,
        }
    }

    /// The file of the store.
    pub fn store_file(&self) -> std::path::PathBuf {
        self.folder.path().join("store.db")
    }

    /// A world with a household `home` on 192.0.2.0/24 and its device `phone` on 192.0.2.7.
    pub async fn with_home() -> Self {
        Self::new().await.and_home().await
    }

    /// The same world with that household.
    pub async fn and_home(self) -> Self {
        let world = self;
        world.put("/v1/households/home", "{}").await.ok();
        world
            .put("/v1/households/home/networks/192.0.2.0%2F24", "")
            .await
            .ok();
        world
            .put(
                "/v1/households/home/devices/phone",
                r#"{"name":"Ella's","identifiers":[{"address":"192.0.2.7"}]}"#,
            )
            .await
            .ok();
        world
    }

    /// A request as text: method, path, headers, body. Says nothing that is not given here.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self
            .router
            .clone()
            .oneshot(request.body(body.into()).unwrap())
            .await
            .unwrap();
        let (parts, body) = response.into_parts();
        // A stream of events has no end to wait for.
        let is_stream = parts
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind == "text/event-stream");
        let body = if is_stream { Body::empty() } else { body };
        let text =
            String::from_utf8(to_bytes(body, ANSWER_OCTETS_MAX).await.unwrap().to_vec()).unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            json: serde_json::from_str(&text).unwrap_or_default(),
            text,
        }
    }

    /// A request with the key and more headers.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let key = format!("Bearer {}", self.key);
        let mut all = vec![(header::AUTHORIZATION.as_str(), key.as_str())];
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
            all.push(("content-type", "application/json"));
        }
        all.extend(headers);
        self.send(method, path, &all, body.to_owned()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.ask(Method::POST, path, &[], body).await
    }

    pub async fn put(&self, path: &str, body: &str) -> Answer {
        self.ask(Method::PUT, path, &[], body).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, &[], "").await
    }

    /// A key of another role; a family's is one of `home`, a child's of its `phone`.
    pub async fn key_of(&self, role: Role) -> String {
        self.key_in(role, "home").await.0
    }

    /// A key of a role, in this household where the role is a family's, as a header and by its
    /// identifier.
    pub async fn key_in(&self, role: Role, household: &str) -> (String, String) {
        let household = role.is_of_household().then(|| household.parse().unwrap());
        let device = (role == Role::Child).then(|| "phone".parse().unwrap());
        let new = NewKey::new(role, household, device, "").unwrap();
        let (secret, key) = self
            .context
            .control
            .store
            .create_key(&author(), new)
            .await
            .unwrap();
        (format!("Bearer {secret}"), key.id)
    }

    /// A request as the bearer of a key.
    pub async fn as_key(&self, key: &str, method: Method, path: &str, body: &str) -> Answer {
        self.send(
            method,
            path,
            &[("authorization", key), ("content-type", "application/json")],
            body.to_owned(),
        )
        .await
    }

    /// Whether a query for a name from an address would be blocked now.
    pub fn blocks(&self, address: &str, name: &str) -> bool {
        let asker = self
            .context
            .control
            .directory
            .identify(
                address.parse().unwrap(),
                None,
                false,
                policy::unix_seconds::UnixSeconds::FIRST,
            )
            .policy;
        let name = Name::parse(name).unwrap();
        decide(
            &asker,
            name.borrow(),
            &self.context.control.lists.current().classify(name.borrow()),
        )
        .is_block()
    }

    /// Fails where what is live is not what is stored.
    pub async fn assert_live_is_stored(&self) {
        let stored = self
            .context
            .control
            .store
            .households(None, None, 1_000)
            .await
            .unwrap()
            .households;
        assert_eq!(self.context.control.directory.len(), stored.len());
        for household in stored {
            let live = self
                .context
                .control
                .directory
                .household(&household.id)
                .expect("what is stored is live");
            assert_eq!(
                *live,
                HouseholdRules::compile(
                    &household,
                    &self.context.control.taxonomy,
                    self.context.control.defaults,
                    Timestamp::now()
                )
            );
            for network in &household.networks {
                let found = self
                    .context
                    .control
                    .directory
                    .household_of(network.addr())
                    .expect("its network leads to it");
                assert_eq!(found.id(), household.id.as_str());
            }
        }
    }

    /// Closes the store and damages one document in the file, as nothing of ours would.
    pub async fn break_document(&self, household: &str) {
        self.context.control.store.close().await;
        let file = self.folder.path().join("store.db");
        let whole = format!("{{\"id\":\"{household}\"");
        let mut octets = std::fs::read(&file).unwrap();
        let place = octets
            .windows(whole.len())
            .position(|window| window == whole.as_bytes())
            .expect("the document is in the file");
        octets[place] = b'[';
        std::fs::write(file, octets).unwrap();
    }

    /// Whether these octets are anywhere in the store's files.
    pub fn holds(&self, octets: &[u8]) -> bool {
        let files = std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|file| file.unwrap().path())
            .filter(|path| path.is_file());
        files
            .map(|path| std::fs::read(path).unwrap())
            .any(|file| file.windows(octets.len()).any(|window| window == octets))
    }

    /// Another store on the same file, as another process has it.
    pub async fn other_process(&self) -> Store {
        Store::open(&format!("sqlite:{}/store.db", self.folder.path().display()))
            .await
            .unwrap()
    }
}
