//! One authoritative server: its zones, its behaviour, and the counts of its queries.
//!
//! ```text
//! bytes -> Request -> count -> behaviour -> { truth = referral, or hickory's Catalog } -> forge, truncate -> bytes
//! ```
//!
//! Answers come from hickory-server's `Catalog`. Referrals are made here, because hickory 0.26.3
//! sets the AA bit in them, omits the glue, and puts the name servers into the answer section of a
//! response to NS; a resolver tested against that would be tested against a wrong Internet. The
//! sockets are in `sockets.rs`.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use hickory_proto::{
    op::{Message, MessageType, Metadata, OpCode, ResponseCode},
    rr::{LowerName, Name, RData, Record, RecordType, rdata},
    serialize::binary::{BinEncodable, BinEncoder},
};
use hickory_server::{
    net::{NetError, runtime::TokioTime, xfer::Protocol},
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    store::in_memory::InMemoryZoneHandler,
    zone_handler::{AxfrPolicy, Catalog, MessageResponse, ZoneHandler, ZoneType},
};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    attack::Position,
    behaviour::{Behaviour, Lie},
    query_counts::QueryCounts,
    spoofer::Packet,
    zone::{self, Records},
};

/// The largest UDP response to a query without EDNS (RFC 1035 section 4.2.1).
const PLAIN_UDP_LIMIT: u16 = 512;

/// TTL of records that a server makes up, in seconds.
pub(super) const INVENTED_TTL_S: u32 = 60;

/// An authoritative server with an address of its own.
pub struct Authority {
    name: Name,
    address: SocketAddr,
    zones: Mutex<Arc<Zones>>,
    conduct: Mutex<Conduct>,
    tally: Mutex<QueryCounts>,
}

/// The zones of a server; replaced as a whole when a zone changes.
#[derive(Default)]
struct Zones {
    catalog: Catalog,
    records: BTreeMap<LowerName, Arc<(LowerName, Records)>>,
}

struct Conduct {
    behaviour: Behaviour,
    chance: StdRng,
    /// The number of queries for each child of a zone, while the server runs an attack.
    turns: HashMap<LowerName, usize>,
}

impl Authority {
    pub(super) fn new(name: Name, address: SocketAddr) -> Self {
        let conduct = Conduct {
            behaviour: Behaviour::Answers,
            chance: StdRng::seed_from_u64(0),
            turns: HashMap::new(),
        };
        Self {
            name,
            address,
            zones: Mutex::default(),
            conduct: Mutex::new(conduct),
            tally: Mutex::default(),
        }
    }

    /// The server's name in NS records.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The address for UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the server's behaviour from the next query on.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        let mut conduct = lock(&self.conduct);
        if let Behaviour::Loses { seed, share } | Behaviour::LosesBothWays { seed, share } =
            &behaviour
        {
            println!("{} loses {share} of its packets, seed {seed}", self.name);
            conduct.chance = StdRng::seed_from_u64(*seed);
        }
        conduct.behaviour = behaviour;
    }

    /// The counts of the queries so far.
    pub fn counts(&self) -> QueryCounts {
        lock(&self.tally).clone()
    }

    /// The number of queries.
    pub fn queries(&self) -> u64 {
        lock(&self.tally).queries()
    }

    /// Resets the counts.
    pub fn reset_counts(&self) {
        *lock(&self.tally) = QueryCounts::default();
    }

    pub(super) fn publish(&self, served: BTreeMap<LowerName, Records>) {
        let mut zones = Zones::default();
        for (apex, records) in served {
            let zone: InMemoryZoneHandler = InMemoryZoneHandler::new(
                Name::from(&apex),
                records.clone(),
                ZoneType::Primary,
                AxfrPolicy::Deny,
            )
            .expect("a completed zone has an SOA and no clashing records");
            let handler: Arc<dyn ZoneHandler> = Arc::new(zone);
            zones.catalog.upsert(apex.clone(), vec![handler]);
            zones
                .records
                .insert(apex.clone(), Arc::new((apex, records)));
        }
        *lock(&self.zones) = Arc::new(zones);
    }

    /// The delay before each octet over TCP.
    pub(super) fn pace(&self) -> Option<Duration> {
        match lock(&self.conduct).behaviour {
            Behaviour::Drips(pace) => Some(pace),
            _ => None,
        }
    }

    /// The packets to send back; none if the server is silent.
    pub(super) async fn respond(
        &self,
        packet: Vec<u8>,
        from: SocketAddr,
        protocol: Protocol,
    ) -> Vec<Packet> {
        let Ok(request) = Request::from_bytes(packet, from, protocol) else {
            return Vec::new();
        };
        if request.metadata.message_type == MessageType::Response
            || request.metadata.op_code != OpCode::Query
        {
            return Vec::new();
        }
        lock(&self.tally).note(&request);
        let (behaviour, fates) = {
            let mut conduct = lock(&self.conduct);
            // One for the query, one for the response.
            let fates: [f64; 2] = conduct.chance.random();
            (conduct.behaviour.clone(), fates)
        };
        let udp = protocol == Protocol::Udp;
        let reply = match behaviour {
            Behaviour::Answers => self.truth(&request).await,
            Behaviour::Silent => return Vec::new(),
            Behaviour::Delays(time) => {
                tokio::time::sleep(time).await;
                self.truth(&request).await
            }
            Behaviour::Loses { share, .. } if udp && fates[0] < share => return Vec::new(),
            Behaviour::LosesBothWays { share, .. }
                if udp && fates.iter().any(|fate| *fate < share) =>
            {
                return Vec::new();
            }
            Behaviour::Loses { .. } | Behaviour::LosesBothWays { .. } => self.truth(&request).await,
            Behaviour::Refuses => failure(&request, ResponseCode::Refused),
            Behaviour::Fails => failure(&request, ResponseCode::ServFail),
            Behaviour::RefersUpwards => upward_referral(&request),
            Behaviour::Truncates | Behaviour::TruncatesAndHangs | Behaviour::Drips(_) if udp => {
                truncated(&request)
            }
            Behaviour::TruncatesAndHangs => return Vec::new(),
            Behaviour::Truncates | Behaviour::Drips(_) => self.truth(&request).await,
            Behaviour::RejectsEdns if request.edns.is_some() => {
                let mut reply = failure(&request, ResponseCode::FormErr);
                reply.edns = None;
                reply
            }
            Behaviour::RejectsEdns => self.truth(&request).await,
            Behaviour::DeniesCapitals if has_capitals(&request) => {
                failure(&request, ResponseCode::NXDomain)
            }
            Behaviour::FailsOnOptions if has_options(&request) => {
                failure(&request, ResponseCode::ServFail)
            }
            Behaviour::DeniesCapitals | Behaviour::FailsOnOptions => self.truth(&request).await,
            Behaviour::AnswersEverything(address) => everything(&request, rdata::A(address)),
            Behaviour::Lies(lie) => {
                return vec![Packet::own(told(
                    &lie,
                    self.truth(&request).await,
                    &request,
                ))];
            }
            Behaviour::LiesFirst(lies) if udp => {
                let truth = self.truth(&request).await;
                let lies = lies.iter().map(|lie| told(lie, truth.clone(), &request));
                return lies
                    .chain([encode(&truth, &request)])
                    .map(Packet::own)
                    .collect();
            }
            Behaviour::Spoofed(spoofer) if udp => {
                let truth = self.truth(&request).await;
                let mut packets = spoofer.forge(|lie| told(lie, truth.clone(), &request));
                packets.push(Packet::own(encode(&truth, &request)));
                return packets;
            }
            Behaviour::LiesFirst(_) | Behaviour::Spoofed(_) => self.truth(&request).await,
            Behaviour::Plays(game) => match self.position(&request) {
                Some(position) => game.play(&position, blank(&request)),
                None => self.truth(&request).await,
            },
        };
        vec![Packet::own(encode(&reply, &request))]
    }

    /// The position in an attack; `None` for a query that the zone answers itself.
    fn position(&self, request: &Request) -> Option<Position> {
        let zones = Arc::clone(&lock(&self.zones));
        let question = request.queries.queries().first()?.name();
        let (apex, records) = &**zone::closest(&zones.records, question)?;
        if records.keys().any(|key| key.name() == question) {
            return None;
        }
        let apex = Name::from(apex);
        let question = Name::from(question);
        let child = question.trim_to(usize::from(apex.num_labels()) + 1);
        let mut conduct = lock(&self.conduct);
        let turn = conduct.turns.entry(LowerName::from(&child)).or_default();
        *turn += 1;
        Some(Position {
            server: self.name.clone(),
            address: self.ipv4(),
            apex,
            child,
            question,
            turn: *turn,
        })
    }

    fn ipv4(&self) -> Ipv4Addr {
        match self.address.ip() {
            IpAddr::V4(address) => address,
            IpAddr::V6(address) => panic!("{address}: authorities have IPv4 addresses"),
        }
    }

    /// The response of a well-behaved server.
    async fn truth(&self, request: &Request) -> Message {
        let zones = Arc::clone(&lock(&self.zones));
        let Some(question) = request.queries.queries().first() else {
            return failure(request, ResponseCode::FormErr);
        };
        let Some(zone) = zone::closest(&zones.records, question.name()) else {
            return failure(request, ResponseCode::Refused);
        };
        let (apex, records) = &**zone;
        if let Some(cut) = zone::cut_above(records, apex, question.name(), question.query_type()) {
            let mut referral = blank(request);
            referral.authorities = cut.records_without_rrsigs().cloned().collect();
            referral.additionals = zone::glue(records, &referral.authorities);
            return referral;
        }
        let mut answer = ask_hickory(&zones.catalog, request).await;
        if question.query_type() == RecordType::NS {
            // hickory adds only the address of the first name server.
            answer.additionals = zone::glue(records, &answer.answers);
        }
        answer
    }
}

fn has_capitals(request: &Request) -> bool {
    let mut questions = request.queries.queries().iter();
    questions.any(|question| {
        question
            .original()
            .name
            .iter()
            .flatten()
            .any(u8::is_ascii_uppercase)
    })
}

fn has_options(request: &Request) -> bool {
    request
        .edns
        .as_ref()
        .is_some_and(|edns| !edns.options().options.is_empty())
}

async fn ask_hickory(catalog: &Catalog, request: &Request) -> Message {
    let caught = Caught::default();
    catalog
        .handle_request::<_, TokioTime>(request, caught.clone())
        .await;
    let bytes = lock(&caught.0).take();
    bytes
        .and_then(|bytes| Message::from_vec(&bytes).ok())
        .unwrap_or_else(|| failure(request, ResponseCode::ServFail))
}

/// Catches the response of a `Catalog` instead of sending it.
#[derive(Clone, Default)]
struct Caught(Arc<Mutex<Option<Vec<u8>>>>);

#[async_trait::async_trait]
impl ResponseHandler for Caught {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut bytes = Vec::new();
        let info = response.destructive_emit(&mut BinEncoder::new(&mut bytes))?;
        *lock(&self.0) = Some(bytes);
        Ok(info)
    }
}

/// A response with the question, without records, and with EDNS if the query had it.
fn blank(request: &Request) -> Message {
    let mut reply = Message::new(request.metadata.id, MessageType::Response, OpCode::Query);
    reply.metadata = Metadata::response_from_request(&request.metadata);
    reply.queries = request
        .queries
        .queries()
        .iter()
        .map(|question| question.original().clone())
        .collect();
    if let Some(asked) = &request.edns {
        let edns = reply.edns.get_or_insert_default();
        edns.set_max_payload(asked.max_payload().max(PLAIN_UDP_LIMIT));
    }
    reply
}

fn failure(request: &Request, code: ResponseCode) -> Message {
    let mut reply = blank(request);
    reply.metadata.response_code = code;
    reply
}

fn truncated(request: &Request) -> Message {
    let mut reply = blank(request);
    reply.metadata.truncation = true;
    reply
}

fn upward_referral(request: &Request) -> Message {
    let mut reply = blank(request);
    let root_server = Name::from_ascii("a.root-servers.net.").expect("the constant is a name");
    reply.authorities.push(Record::from_rdata(
        Name::root(),
        INVENTED_TTL_S,
        RData::NS(rdata::NS(root_server)),
    ));
    reply
}

fn everything(request: &Request, address: rdata::A) -> Message {
    let mut reply = blank(request);
    reply.metadata.authoritative = true;
    match reply.queries.first() {
        Some(question) if question.query_type == RecordType::A => {
            let record =
                Record::from_rdata(question.name.clone(), INVENTED_TTL_S, RData::A(address));
            reply.answers.push(record);
        }
        _ => {
            let root = Name::root();
            let ttl = INVENTED_TTL_S;
            let soa = rdata::SOA::new(root.clone(), root.clone(), 1, 3600, 600, 86400, ttl);
            reply
                .authorities
                .push(Record::from_rdata(root, ttl, RData::SOA(soa)));
        }
    }
    reply
}

fn told(lie: &Lie, truth: Message, request: &Request) -> Vec<u8> {
    match lie {
        Lie::Garbage(bytes) => bytes.clone(),
        _ => lie
            .bend(truth)
            .map_or_else(Vec::new, |message| lie.scar(encode(&message, request))),
    }
}

/// The message as bytes; with TC and without records where it does not fit.
fn encode(message: &Message, request: &Request) -> Vec<u8> {
    let limit = match request.protocol() {
        Protocol::Udp => request.edns.as_ref().map_or(PLAIN_UDP_LIMIT, |edns| {
            edns.max_payload().max(PLAIN_UDP_LIMIT)
        }),
        _ => u16::MAX,
    };
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(limit);
    message
        .emit(&mut encoder)
        .expect("a message made of parsed records can be written");
    bytes
}

/// A poisoned lock means that another test thread failed, and that thread reports the cause.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
