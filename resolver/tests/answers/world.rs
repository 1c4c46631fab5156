//! The vocabulary of these tests: an engine without sockets, an Internet of some records, lists built
//! entry by entry, and a family on 127.0.7.0/24 with the strict preset.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hickory_proto::{
    op::{Edns, Message, Query, ResponseCode},
    rr::{
        DNSClass, Name as ProtoName, RData, Record as ProtoRecord, RecordType,
        rdata::{SOA, opt::EdnsOption},
    },
    serialize::{
        binary::{BinEncodable, BinEncoder},
        txt::Parser,
    },
};
use ipnet::IpNet;
use policy::{
    category::Taxonomy,
    decide::EffectivePolicy,
    explain::QueryExplanation,
    identity::directory::Directory,
    lists::{
        artefact::{FeedSummary, Header},
        blocklist::Blocklist,
        builder::ArtefactBuilder,
        current::CurrentLists,
        entry::{EntryAction, ListEntry, LocalData, LocalRecord, Scope, Tier},
        index_key::names_of_prefix,
    },
    name::Name,
    rules::{
        compiled::HouseholdRules,
        household::{Attributed, CustomName, Household, SwitchState},
        operator::OperatorDefaults,
    },
};
use resolver::{
    admission::{AdmissionSettings, ClientKey},
    engine::{Engine, EngineConfig, ServeStale, Step, WorkerState},
    listener::{client::Client, notify::OnNotify},
    message::{
        blocked::{BlockedAnswer, BlockedAnswers},
        ede::BlockContact,
        types::Transport,
    },
    rates::RateSettings,
    time::{Clock, SystemClock},
    upstream::{Answer, Question, Recursion, RecursionError, local_records::LocalRecords},
};

/// The zone data of most tests.
pub const INTERNET: &str = "\
bets.example. 300 IN A 192.0.2.7
bets.example. 300 IN AAAA 2001:db8::7
bets.example. 300 IN TXT \"dice\"
sneaky.example. 300 IN CNAME bets.example.
news.example. 300 IN A 192.0.2.80
news.example. 300 IN AAAA 2001:db8::80
";

/// The block page of the operator.
pub const LANDING: BlockedAnswer = BlockedAnswer::Landing {
    v4: Some(std::net::Ipv4Addr::new(192, 0, 2, 99)),
    v6: None,
};

/// The source address of a device of the family.
const HOME: &str = "127.0.7.9";

/// Answers NXDOMAIN, with a SOA record below `denied.example`, after three seconds below
/// `slow.example`, and fails below `broken.example`.
struct Nothing;

#[async_trait]
impl Recursion for Nothing {
    async fn resolve(&self, question: &Question) -> Result<Answer, RecursionError> {
        if question
            .name
            .borrow()
            .is_within(name("broken.example").borrow())
        {
            return Err(failed(question, 22));
        }
        if question
            .name
            .borrow()
            .is_within(name("slow.example").borrow())
        {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        let mut denial = Answer::empty(ResponseCode::NXDomain);
        if question
            .name
            .borrow()
            .is_within(name("denied.example").borrow())
        {
            let soa = SOA::new(
                proto("denied.example."),
                proto("nobody.invalid."),
                1,
                3_600,
                600,
                86_400,
                60,
            );
            denial.authorities = vec![ProtoRecord::from_rdata(
                proto("denied.example."),
                60,
                RData::SOA(soa),
            )];
        }
        Ok(denial)
    }
}

fn proto(name: &str) -> ProtoName {
    ProtoName::from_ascii(name).unwrap()
}

fn failed(question: &Question, code: u16) -> RecursionError {
    RecursionError {
        name: question.name.clone(),
        rtype: question.rtype,
        code: Some(code),
        source: "no server answers".into(),
    }
}

/// An Internet that counts its queries by name.
struct Counted {
    records: LocalRecords,
    asked: Asked,
    failing: Failing,
}

/// The info-code with which all resolutions fail; 0 if they do not.
type Failing = Arc<AtomicU16>;
type Asked = Arc<Mutex<HashMap<Name, usize>>>;

#[async_trait]
impl Recursion for Counted {
    async fn resolve(&self, question: &Question) -> Result<Answer, RecursionError> {
        *self
            .asked
            .lock()
            .unwrap()
            .entry(question.name.clone())
            .or_default() += 1;
        // Lets tasks that ask at the same time meet in one flight.
        tokio::task::yield_now().await;
        match self.failing.load(Ordering::Relaxed) {
            0 => {}
            code => return Err(failed(question, code)),
        }
        self.records.resolve(question).await
    }
}

/// Lists under construction: feeds in order, with their entries.
#[derive(Default)]
pub struct Lists {
    builder: ArtefactBuilder,
    feeds: Vec<FeedSummary>,
    categories: Vec<String>,
}

impl Lists {
    fn mark(&mut self, feed: &str, tier: Tier, category: &str, action: EntryAction) -> ListEntry {
        let place = self
            .feeds
            .iter()
            .position(|known| known.name == feed)
            .unwrap_or_else(|| {
                self.feeds.push(FeedSummary::new(feed, tier));
                self.feeds.len() - 1
            });
        let slug = self
            .categories
            .iter()
            .position(|known| known == category)
            .unwrap_or_else(|| {
                self.categories.push(category.to_owned());
                self.categories.len() - 1
            });
        ListEntry {
            action,
            ..ListEntry::deny(
                u16::try_from(place).unwrap(),
                u8::try_from(slug).unwrap(),
                Scope::Subtree,
            )
        }
    }

    /// An entry for a name and all names below it.
    pub fn name(mut self, feed: &str, tier: Tier, name: &str, action: EntryAction) -> Self {
        let mark = self.mark(feed, tier, category(tier), action);
        self.builder.push(self::name(name).borrow(), mark).unwrap();
        self
    }

    /// The same with a category.
    pub fn named(mut self, feed: &str, category: &str, name: &str, action: EntryAction) -> Self {
        let mark = self.mark(feed, Tier::Choice, category, action);
        self.builder.push(self::name(name).borrow(), mark).unwrap();
        self
    }

    /// A name with local data, one record a line: `3600 IN A 192.0.2.1`.
    pub fn records(mut self, feed: &str, tier: Tier, name: &str, lines: &str) -> Self {
        let data = self
            .builder
            .answer(LocalData(lines.lines().map(record).collect()))
            .unwrap();
        let mark = ListEntry {
            data,
            ..self.mark(feed, tier, category(tier), EntryAction::LocalData)
        };
        self.builder.push(self::name(name).borrow(), mark).unwrap();
        self
    }

    /// An entry for a network.
    pub fn network(mut self, feed: &str, tier: Tier, network: &str, action: EntryAction) -> Self {
        let mark = self.mark(feed, tier, category(tier), action);
        for name in names_of_prefix(network.parse().unwrap()) {
            self.builder.push(name.borrow(), mark).unwrap();
        }
        self
    }

    /// An entry for a path of a host.
    pub fn path(mut self, feed: &str, tier: Tier, host: &str, path: &str) -> Self {
        let mark = self.mark(feed, tier, category(tier), EntryAction::Path);
        self.builder
            .push_path(name(host).borrow(), path.as_bytes(), mark)
            .unwrap();
        self
    }

    fn open(self, generation: u64) -> Arc<Blocklist> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lists");
        let header = Header {
            feeds: self.feeds,
            categories: self.categories,
            ..Header::of(generation, jiff::Timestamp::UNIX_EPOCH)
        };
        self.builder.write(header, None, &path).unwrap();
        Blocklist::open(&path, &Taxonomy::shipped()).unwrap()
    }
}

fn category(tier: Tier) -> &'static str {
    match tier {
        Tier::Mandatory => "piracy",
        Tier::Security => "malware",
        Tier::Choice | Tier::NeverBlock => "gambling",
    }
}

fn record(line: &str) -> LocalRecord {
    let (_, sets) = Parser::new(format!("here. {line}\n"), None, Some(ProtoName::root()))
        .parse()
        .unwrap();
    let record = sets
        .values()
        .flat_map(|set| set.records_without_rrsigs())
        .next()
        .unwrap()
        .clone();
    let mut rdata = Vec::new();
    record.data.emit(&mut BinEncoder::new(&mut rdata)).unwrap();
    LocalRecord {
        record_type: record.record_type().into(),
        ttl_s: record.ttl,
        rdata,
    }
}

pub fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// An engine and its surroundings.
pub struct World {
    pub engine: Arc<Engine>,
    pub lists: Arc<CurrentLists>,
    directory: Arc<Directory>,
    /// Zones and sources of NOTIFY messages that were handled.
    pub notified: Arc<Mutex<Vec<(String, IpAddr)>>>,
    asked: Asked,
    failing: Failing,
    /// The worker of all queries, where each does not have its own.
    worker: Option<Mutex<WorkerState>>,
}

/// Settings of a node, beside its lists.
pub struct Setup {
    pub blocked: BlockedAnswers,
    pub contact: BlockContact,
    pub proxy: &'static [&'static str],
    /// Names that the family allows.
    pub allowed: &'static [&'static str],
    pub sample_every: u32,
    pub handles_notify: bool,
    pub allow_from: &'static [&'static str],
    pub trusted_peers: &'static [&'static str],
    pub snoop_from: &'static [&'static str],
    pub resolutions_max: usize,
    /// How long a stale answer may be served, in seconds.
    pub stale_s: u64,
    pub prefetch: bool,
    pub clock: Arc<dyn Clock>,
    pub server_id: Option<&'static str>,
    pub rates: RateSettings,
    /// Whether one worker answers all queries.
    pub one_worker: bool,
    /// Changes the settings of the family.
    pub family: fn(&mut Household),
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            blocked: BlockedAnswers::default(),
            contact: BlockContact::default(),
            proxy: &[],
            allowed: &[],
            sample_every: 0,
            handles_notify: false,
            allow_from: &["127.0.0.0/8"],
            trusted_peers: &[],
            snoop_from: &[],
            resolutions_max: 16,
            stale_s: 0,
            prefetch: false,
            clock: Arc::new(SystemClock::start()),
            server_id: None,
            rates: RateSettings::default(),
            one_worker: false,
            family: |_| {},
        }
    }
}

impl World {
    pub fn new(internet: &str, lists: Lists) -> Self {
        Self::with(internet, lists, Setup::default())
    }

    pub fn with(internet: &str, lists: Lists, setup: Setup) -> Self {
        let taxonomy = Arc::new(Taxonomy::shipped());
        let defaults = OperatorDefaults::default();
        let directory = Arc::new(Directory::new(defaults));
        let mut household = Household::new("home".parse().unwrap());
        household.preset = Some("strict".to_owned());
        household.networks = [
            "127.0.7.0/24".parse().unwrap(),
            "2001:db8:7::/48".parse().unwrap(),
        ]
        .into();
        for allowed in setup.allowed {
            let value = CustomName {
                state: SwitchState::Allow,
                scope: Scope::Subtree,
            };
            household.settings.names.insert(
                name(allowed),
                Attributed {
                    value,
                    set_by: "tests".to_owned(),
                    set_at: jiff::Timestamp::UNIX_EPOCH,
                },
            );
        }
        (setup.family)(&mut household);
        directory.install(HouseholdRules::compile(
            &household,
            &taxonomy,
            defaults,
            jiff::Timestamp::UNIX_EPOCH,
        ));
        let lists = Arc::new(CurrentLists::new(lists.open(1)));
        let notified: Arc<Mutex<Vec<(String, IpAddr)>>> = Arc::default();
        let log = Arc::clone(&notified);
        let on_notify: OnNotify = Arc::new(move |zone, peer| {
            log.lock().unwrap().push((zone.to_string(), peer));
            zone == name("rpz.example")
        });
        let asked = Asked::default();
        let failing = Failing::default();
        let records = LocalRecords::new(internet, Arc::new(Nothing)).unwrap();
        let internet = Counted {
            records,
            asked: Arc::clone(&asked),
            failing: Arc::clone(&failing),
        };
        let engine = Arc::new(Engine::new(EngineConfig {
            directory: Arc::clone(&directory),
            lists: Arc::clone(&lists),
            taxonomy,
            recursion: Arc::new(internet),
            allow_from: networks(setup.allow_from),
            trusted_peers: networks(setup.trusted_peers),
            snoop_from: networks(setup.snoop_from),
            contact: setup.contact,
            blocked: setup.blocked,
            url_proxy: setup
                .proxy
                .iter()
                .map(|address| address.parse().unwrap())
                .collect(),
            server_id: setup.server_id.map(str::to_owned),
            cache_octets: 1 << 20,
            local_cache_octets: 1 << 20,
            admission: AdmissionSettings {
                places_max: setup.resolutions_max,
                per_client_max: 16,
            },
            rates: setup.rates,
            cookie_secrets: Vec::new(),
            stale: ServeStale {
                stale_max: Duration::from_secs(setup.stale_s),
                client_timeout: Duration::from_millis(1_800),
            },
            prefetch: setup.prefetch,
            sample_every: setup.sample_every,
            on_notify: setup.handles_notify.then_some(on_notify),
            clock: setup.clock,
        }));
        Self {
            worker: setup.one_worker.then(|| Mutex::new(engine.worker_state())),
            engine,
            lists,
            directory,
            notified,
            asked,
            failing,
        }
    }

    /// Makes all resolutions fail, or succeed again.
    pub fn go_down(&self, is_down: bool) {
        self.fail_with(if is_down { 22 } else { 0 });
    }

    /// Makes all resolutions fail with this info-code.
    pub fn fail_with(&self, code: u16) {
        self.failing.store(code, Ordering::Relaxed);
    }

    /// Installs other lists.
    pub fn relist(&self, lists: Lists) {
        self.lists
            .install(lists.open(self.lists.load().generation() + 1));
    }

    /// The answer to the family over UDP, in words.
    pub async fn ask(&self, question: &str) -> String {
        self.ask_over(Transport::Udp, question).await
    }

    /// The answer to the family over TCP, in words.
    pub async fn ask_tcp(&self, question: &str) -> String {
        self.ask_over(Transport::Tcp, question).await
    }

    async fn ask_over(&self, transport: Transport, question: &str) -> String {
        self.reply(HOME, transport, question)
            .await
            .map_or_else(|| "silence".to_owned(), |reply| in_words(&reply))
    }

    /// The reply to a source address, if one is sent. For the question see [`query`].
    pub async fn reply(&self, from: &str, transport: Transport, question: &str) -> Option<Message> {
        let wire = self
            .answer(from, transport, &query(question).to_vec().unwrap())
            .await;
        (!wire.is_empty()).then(|| Message::from_vec(&wire).unwrap())
    }

    /// The answer to a source address over UDP, in words.
    pub async fn ask_from(&self, from: &str, question: &str) -> String {
        self.reply(from, Transport::Udp, question)
            .await
            .map_or_else(|| "silence".to_owned(), |reply| in_words(&reply))
    }

    /// Asks once and runs the prefetches that this makes due; returns their number.
    pub async fn prefetch(&self, question: &str) -> usize {
        let mut state = self.engine.worker_state();
        let packet = query(question).to_vec().unwrap();
        self.engine.answer(
            &self.engine.snapshot(),
            &packet,
            Client::new(HOME.parse().unwrap(), Transport::Udp),
            &mut state,
            &mut Vec::new(),
        );
        let due = state.prefetches.len();
        for prefetch in state.prefetches.drain(..) {
            self.engine.prefetch(prefetch).await;
        }
        due
    }

    /// The reply to a packet, in octets.
    pub async fn answer(&self, from: &str, transport: Transport, packet: &[u8]) -> Vec<u8> {
        // Old content of the buffer must not be sent.
        let mut reply = vec![0xff; 3];
        let client = Client::new(from.parse().unwrap(), transport);
        let batch = self.engine.snapshot();
        let mut answer = |state: &mut WorkerState| {
            self.engine
                .answer(&batch, packet, client, state, &mut reply)
        };
        let step = match &self.worker {
            Some(worker) => answer(&mut worker.lock().unwrap()),
            None => answer(&mut self.engine.worker_state()),
        };
        drop(batch);
        match step {
            Step::Ignored | Step::Dropped => reply.clear(),
            Step::Reply => assert!(!reply.is_empty()),
            Step::Miss(miss) => self.engine.finish(miss, &mut reply).await,
        }
        reply
    }

    /// The explanation of a question for the family.
    pub async fn explain(&self, question: &str) -> QueryExplanation {
        let (asked, record_type) = question.split_once(' ').unwrap();
        let record_type: RecordType = record_type.parse().unwrap();
        let policy: EffectivePolicy = self
            .directory
            .identify(
                HOME.parse().unwrap(),
                None,
                false,
                policy::unix_seconds::UnixSeconds::FIRST,
            )
            .policy;
        self.engine
            .explain(
                policy,
                ClientKey::Operator,
                (name(asked), record_type.into()),
                None,
            )
            .await
    }

    /// Number of resolutions of a name.
    pub fn resolutions(&self, of: &str) -> usize {
        self.asked
            .lock()
            .unwrap()
            .get(&name(of))
            .copied()
            .unwrap_or_default()
    }

    /// Number of queries that a feed blocked.
    pub fn hits(&self, feed: &str) -> Option<u64> {
        self.engine.metrics.publish();
        self.engine.metrics.feed_hits().get(feed).copied()
    }
}

/// A query from a text such as `bets.example. A`, with the flags `+norecurse`, `+do`, `+cd`,
/// `+noedns`, `+ch`, and `mac=` with a MAC address, which may come twice.
pub fn query(question: &str) -> Message {
    let words: Vec<&str> = question.split(' ').collect();
    let mut message = Message::query();
    message.metadata.recursion_desired = !words.contains(&"+norecurse");
    message.metadata.checking_disabled = words.contains(&"+cd");
    let rtype = match words[1].strip_prefix("TYPE") {
        Some(number) => RecordType::from(number.parse::<u16>().unwrap()),
        None => words[1].parse().unwrap(),
    };
    let mut asked = Query::query(ProtoName::from_ascii(words[0]).unwrap(), rtype);
    if words.contains(&"+ch") {
        asked.set_query_class(DNSClass::CH);
    }
    message.add_query(asked);
    let mut edns = Edns::new();
    edns.set_dnssec_ok(words.contains(&"+do"));
    for mac in words.iter().filter_map(|word| word.strip_prefix("mac=")) {
        edns.options_mut()
            .insert(EdnsOption::Unknown(65_001, mac.as_bytes().to_vec()));
    }
    if !words.contains(&"+noedns") {
        message.set_edns(edns);
    }
    message
}

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts
        .iter()
        .map(|network| network.parse().unwrap())
        .collect()
}

/// An answer as `192.0.2.1`, `NXDOMAIN`, `nothing` or `truncated`, then the code of the Extended DNS
/// Errors if there are some.
pub fn in_words(reply: &Message) -> String {
    let data: Vec<String> = reply
        .answers
        .iter()
        .map(|record| words_of(&record.data))
        .collect();
    let what = match reply.metadata.response_code {
        ResponseCode::NoError if reply.metadata.truncation => "truncated".to_owned(),
        ResponseCode::NoError if data.is_empty() => "nothing".to_owned(),
        ResponseCode::NoError => data.join(" "),
        code => format!("{code:?}").to_uppercase(),
    };
    let options = reply.edns.iter().flat_map(|edns| &edns.options().options);
    let codes: Vec<String> = options.filter_map(|(_, option)| code_of(option)).collect();
    if codes.is_empty() {
        what
    } else {
        format!("{what} ({})", codes.join(" "))
    }
}

/// The info-code of an Extended DNS Error.
fn code_of(option: &EdnsOption) -> Option<String> {
    match option {
        EdnsOption::Unknown(15, data) => {
            let (code, _) = data.split_first_chunk::<2>()?;
            Some(u16::from_be_bytes(*code).to_string())
        }
        _ => None,
    }
}

fn words_of(data: &RData) -> String {
    match data {
        RData::CNAME(target) => format!("-> {}", target.0),
        other => other.to_string(),
    }
}
