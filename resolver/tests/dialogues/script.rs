//! An Internet in memory: servers that follow a script, a paused clock, random numbers from a seed.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name as ProtoName, RData, Record, RecordType},
    serialize::txt::Parser,
};
use policy::name::Name;
use rand::{Rng, SeedableRng, rngs::StdRng};
use resolver::{
    recursor::{Environment, ExpectedReply, Recursor, ReplyMatch, Settings, TransportOutcome},
    upstream::Question,
};
use tokio::time::{Instant, sleep};

/// What a server does with a query.
pub enum Play {
    Reply(Box<Message>),
    /// A packet that need not be a message.
    Octets(Vec<u8>),
    /// The same after a delay.
    Late(Duration, Box<Self>),
    Silence,
}

impl Play {
    /// The packet, and its delay.
    fn into_octets(self) -> (Option<Vec<u8>>, Duration) {
        match self {
            Self::Reply(reply) => (Some(reply.to_vec().unwrap()), Duration::ZERO),
            Self::Octets(octets) => (Some(octets), Duration::ZERO),
            Self::Late(late, play) => (play.into_octets().0, late),
            Self::Silence => (None, Duration::ZERO),
        }
    }
}

pub type Server = Box<dyn Fn(&Message, bool) -> Play + Send + Sync>;

/// An Internet in memory.
pub struct Script {
    pub started: Instant,
    chance: Mutex<StdRng>,
    pub servers: Mutex<HashMap<IpAddr, Server>>,
    /// Share of datagrams that are lost, in each direction.
    pub loss: f64,
    latency: Duration,
    log: Mutex<Vec<String>>,
}

impl Script {
    pub fn new(seed: u64) -> Self {
        Self {
            started: Instant::now(),
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            servers: Mutex::default(),
            loss: 0.0,
            latency: Duration::from_millis(5),
            log: Mutex::default(),
        }
    }

    pub fn serve(
        &self,
        address: &str,
        server: impl Fn(&Message, bool) -> Play + Send + Sync + 'static,
    ) {
        self.servers
            .lock()
            .unwrap()
            .insert(address.parse().unwrap(), Box::new(server));
    }

    fn is_lost(&self) -> bool {
        self.loss > 0.0 && self.chance.lock().unwrap().random_bool(self.loss)
    }

    fn play(&self, server: SocketAddr, query: &[u8], over_tcp: bool) -> Play {
        let message = Message::from_vec(query).unwrap();
        let question = &message.queries[0];
        let way = if over_tcp { " tcp" } else { "" };
        let line = format!(
            "{} {} {}{way}",
            server.ip(),
            question.name.to_lowercase(),
            question.query_type
        );
        self.log.lock().unwrap().push(line);
        self.servers
            .lock()
            .unwrap()
            .get(&server.ip())
            .map_or(Play::Silence, |play| play(&message, over_tcp))
    }

    /// The queries since the last call.
    pub fn queries(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    async fn exchange(
        &self,
        server: SocketAddr,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
        over_tcp: bool,
    ) -> TransportOutcome {
        let (reply, late) = match self.play(server, query, over_tcp) {
            Play::Silence => (None, Duration::ZERO),
            _ if !over_tcp && (self.is_lost() || self.is_lost()) => (None, Duration::ZERO),
            play => play.into_octets(),
        };
        let reply = reply.filter(|_| self.latency + late < timeout);
        match reply {
            None => sleep(timeout).await,
            Some(_) => sleep(self.latency + late).await,
        }
        match reply {
            None => TransportOutcome::Timeout,
            Some(reply) => match expected.compare(&reply) {
                ReplyMatch::Match => TransportOutcome::Reply(reply),
                ReplyMatch::Mismatch if over_tcp && expected.differs_in_case_only(&reply) => {
                    TransportOutcome::Reply(reply)
                }
                ReplyMatch::Mismatch => TransportOutcome::Mismatch {
                    is_case_only: expected.differs_in_case_only(&reply),
                },
                ReplyMatch::Unrelated => {
                    sleep(timeout.saturating_sub(self.latency)).await;
                    TransportOutcome::Timeout
                }
            },
        }
    }
}

impl Environment for Script {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn unix_s(&self) -> u64 {
        1_800_000_000
    }

    fn random(&self) -> u64 {
        self.chance.lock().unwrap().random()
    }

    async fn sleep(&self, duration: Duration) {
        sleep(duration).await;
    }

    async fn udp(
        &self,
        server: SocketAddr,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> TransportOutcome {
        self.exchange(server, query, expected, timeout, false).await
    }

    async fn tcp(
        &self,
        server: SocketAddr,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> TransportOutcome {
        self.exchange(server, query, expected, timeout, true).await
    }

    async fn tls(
        &self,
        server: SocketAddr,
        _: &str,
        query: &[u8],
        expected: &ExpectedReply,
        timeout: Duration,
    ) -> TransportOutcome {
        self.exchange(server, query, expected, timeout, true).await
    }
}

/// Records of one zone, by owner.
pub type Records = BTreeMap<ProtoName, Vec<Record>>;

/// A correct server of zones in master-file form. NS below a zone's apex is a delegation, and
/// addresses below that are glue.
pub fn authority(zones: &[(&str, &str)]) -> impl Fn(&Message, bool) -> Play + Send + Sync + use<> {
    let zones: Vec<(ProtoName, Records)> = zones
        .iter()
        .map(|(apex, text)| (ProtoName::from_ascii(apex).unwrap(), parse(apex, text)))
        .collect();
    move |query, _| Play::Reply(Box::new(truth(&zones, query)))
}

pub fn parse(apex: &str, text: &str) -> Records {
    let mut records = Records::new();
    // The record library does not read DNAME, DS and RRSIG, so the data are written as octets.
    let (plain, others): (Vec<&str>, Vec<&str>) = text.lines().map(str::trim).partition(|line| {
        ![" DNAME ", " DS ", " RRSIG "]
            .iter()
            .any(|word| line.contains(word))
    });
    let origin = ProtoName::from_ascii(apex).unwrap();
    let text = format!("@ 3600 SOA ns. host. 1 2 3 4 60\n{}\n", plain.join("\n"));
    let (_, sets) = Parser::new(text, None, Some(origin)).parse().unwrap();
    for record in sets.values().flat_map(|set| set.records_without_rrsigs()) {
        records
            .entry(record.name.clone())
            .or_default()
            .push(record.clone());
    }
    for line in others {
        let words: Vec<&str> = line.split_whitespace().collect();
        let owner = ProtoName::from_ascii(words[0]).unwrap();
        let (code, octets) = match words[2] {
            "DS" => (RecordType::DS, ds_octets(&words[3..])),
            "RRSIG" => (RecordType::RRSIG, rrsig_octets(words[3], words[4])),
            _ => {
                let target = Name::parse(words[3]).unwrap();
                (RecordType::DNAME, target.borrow().wire().to_vec())
            }
        };
        let data = RData::Unknown {
            code,
            rdata: hickory_proto::rr::rdata::NULL::with(octets),
        };
        records
            .entry(owner.clone())
            .or_default()
            .push(Record::from_rdata(owner, words[1].parse().unwrap(), data));
    }
    records
}

/// Key tag, algorithm, digest type and digest, RFC 4034 section 5.3.
fn ds_octets(words: &[&str]) -> Vec<u8> {
    let number = |word: &str| word.parse::<u16>().unwrap();
    let digest = (0..words[3].len()).step_by(2);
    let digest = digest.map(|at| u8::from_str_radix(&words[3][at..at + 2], 16).unwrap());
    let begin = [number(words[1]) as u8, number(words[2]) as u8];
    let tag = number(words[0]).to_be_bytes();
    tag.into_iter().chain(begin).chain(digest).collect()
}

/// A signature over A records of a name with three labels by this signer, with this key tag, which no
/// key has made. Algorithm 13, valid from 2000 to 2035.
fn rrsig_octets(signer: &str, tag: &str) -> Vec<u8> {
    let mut octets = vec![0, 1, 13, 3];
    for number in [60, 2_051_222_400, 946_684_800_u32] {
        octets.extend(number.to_be_bytes());
    }
    octets.extend(tag.parse::<u16>().unwrap().to_be_bytes());
    octets.extend_from_slice(Name::parse(signer).unwrap().borrow().wire());
    octets.extend([7; 64]);
    octets
}

/// One record in master-file form, DNAME, DS and RRSIG (as `RRSIG signer tag`) included.
pub fn record(line: &str) -> Record {
    let mut records = parse(".", line).into_values().flatten();
    records
        .rfind(|record| record.record_type() != RecordType::SOA || line.contains(" SOA "))
        .unwrap()
}

/// A server that responds to a question (`www.example.com. A`, or `*.example.com.` for all names of
/// that zone) with the text beside it: the code and `aa` or `ra` in the first line, then one record a
/// line, behind its section: `an`, `ns`, `ar`. It refuses all other questions.
pub fn says(lines: &[(&str, &str)]) -> impl Fn(&Message, bool) -> Play + Send + Sync + use<> {
    let lines: Vec<(String, String)> = lines
        .iter()
        .map(|(question, reply)| ((*question).to_owned(), (*reply).to_owned()))
        .collect();
    move |query, _| {
        let name = query.queries[0].name.to_lowercase();
        let asked = format!("{name} {}", query.queries[0].query_type);
        let is_meant = |question: &str| match question.strip_prefix("*.") {
            Some(zone) => ProtoName::from_ascii(zone).unwrap().zone_of(&name),
            None => question == asked,
        };
        let Some((_, said)) = lines.iter().find(|(question, _)| is_meant(question)) else {
            return Play::Reply(Box::new(reply_to(query, ResponseCode::Refused)));
        };
        let mut said = said.lines().map(str::trim).filter(|line| !line.is_empty());
        let head: Vec<&str> = said.next().unwrap().split_whitespace().collect();
        let code = match head[0] {
            "NOERROR" => ResponseCode::NoError,
            "NXDOMAIN" => ResponseCode::NXDomain,
            "YXDOMAIN" => ResponseCode::YXDomain,
            "SERVFAIL" => ResponseCode::ServFail,
            other => panic!("{other} is no code of these scripts"),
        };
        let mut reply = reply_to(query, code);
        reply.metadata.authoritative = head.contains(&"aa");
        reply.metadata.recursion_available = head.contains(&"ra");
        for line in said {
            match line.split_once(' ').unwrap() {
                ("an", line) => reply.answers.push(record(line)),
                ("ns", line) => reply.authorities.push(record(line)),
                ("ar", line) => reply.additionals.push(record(line)),
                _ => panic!("{line} is in no section"),
            }
        }
        Play::Reply(Box::new(reply))
    }
}

pub fn reply_to(query: &Message, code: ResponseCode) -> Message {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.response_code = code;
    reply.queries = query.queries.clone();
    reply.edns = query.edns.as_ref().map(|_| hickory_proto::op::Edns::new());
    reply
}

pub fn truth(zones: &[(ProtoName, Records)], query: &Message) -> Message {
    let name = query.queries[0].name.to_lowercase();
    let kind = query.queries[0].query_type;
    let zone = zones
        .iter()
        .filter(|(apex, _)| apex.zone_of(&name))
        .max_by_key(|(apex, _)| apex.num_labels());
    let Some((apex, records)) = zone else {
        return reply_to(query, ResponseCode::Refused);
    };
    let mut reply = reply_to(query, ResponseCode::NoError);
    let of = |owner: &ProtoName, kind: RecordType| -> Vec<Record> {
        records
            .get(owner)
            .into_iter()
            .flatten()
            .filter(|record| record.record_type() == kind)
            .cloned()
            .collect()
    };
    let mut above = name.clone();
    while above != *apex {
        let servers = of(&above, RecordType::NS);
        // The DS RRset belongs to the parent, RFC 4035 section 3.1.4.1.
        if !servers.is_empty() && (above != name || kind != RecordType::DS) {
            let targets = servers.iter().filter_map(|record| {
                if let RData::NS(name) = &record.data {
                    Some(name.0.clone())
                } else {
                    None
                }
            });
            reply.additionals = targets
                .flat_map(|target| of(&target, RecordType::A))
                .collect();
            reply.authorities = servers;
            return reply;
        }
        above = above.base_name();
    }
    reply.metadata.authoritative = true;
    let dname = records.keys().find(|owner| {
        **owner != name && owner.zone_of(&name) && !of(owner, RecordType::DNAME).is_empty()
    });
    if let Some(owner) = dname {
        reply.answers = of(owner, RecordType::DNAME);
        return reply;
    }
    let found = of(&name, kind);
    reply.answers = if found.is_empty() && kind != RecordType::CNAME {
        of(&name, RecordType::CNAME)
    } else {
        found
    };
    if reply.answers.is_empty() {
        let exists = records.keys().any(|owner| name.zone_of(owner));
        reply.metadata.response_code = if exists {
            ResponseCode::NoError
        } else {
            ResponseCode::NXDomain
        };
        reply.authorities = of(apex, RecordType::SOA);
    } else if name == *apex && kind == RecordType::NS {
        let targets: Vec<ProtoName> = reply
            .answers
            .iter()
            .filter_map(|record| {
                if let RData::NS(name) = &record.data {
                    Some(name.0.clone())
                } else {
                    None
                }
            })
            .collect();
        reply.additionals = targets
            .iter()
            .flat_map(|target| of(target, RecordType::A))
            .collect();
    }
    reply
}

pub const ROOT: &str = "10.0.0.1";
pub const TLD: &str = "10.0.0.2";
pub const FIRST: &str = "10.0.0.3";
pub const SECOND: &str = "10.0.0.4";

pub const ROOT_ZONE: &str = ". 3600 NS a.root.\na.root. 3600 A 10.0.0.1\ncom. 3600 NS a.gtld.com.\na.gtld.com. 3600 A 10.0.0.2\n";
pub const TLD_ZONE: &str = "com. 3600 NS a.gtld.com.\na.gtld.com. 3600 A 10.0.0.2\n\
    example.com. 60 NS ns1.example.com.\nexample.com. 60 NS ns2.example.com.\nns1.example.com. 60 A 10.0.0.3\nns2.example.com. 60 A 10.0.0.4\n\
    other.com. 60 NS ns1.example.com.\n";
pub const EXAMPLE: &str = "example.com. 60 NS ns1.example.com.\nexample.com. 60 NS ns2.example.com.\nns1.example.com. 60 A 10.0.0.3\n\
    ns2.example.com. 60 A 10.0.0.4\nwww.example.com. 60 A 192.0.2.1\nalias.example.com. 60 CNAME www.example.com.\n\
    far.example.com. 60 CNAME www.other.com.\nlost.example.com. 60 CNAME none.other.com.\nloop.example.com. 60 CNAME pool.example.com.\n\
    pool.example.com. 60 CNAME loop.example.com.\nmoved.example.com. 60 DNAME other.com\nshort.example.com. 10 A 192.0.2.9\n";
pub const OTHER: &str = "www.other.com. 60 A 192.0.2.2\ndeep.www.other.com. 60 TXT \"x\"\n";

/// The Internet of most tests: a root, `com`, and two servers of `example.com` and `other.com`.
pub fn usual(seed: u64) -> Script {
    let script = Script::new(seed);
    script.serve(ROOT, authority(&[(".", ROOT_ZONE)]));
    script.serve(TLD, authority(&[("com.", TLD_ZONE)]));
    for server in [FIRST, SECOND] {
        script.serve(
            server,
            authority(&[("example.com.", EXAMPLE), ("other.com.", OTHER)]),
        );
    }
    script
}

pub fn recursor(script: Script) -> (Recursor<Arc<Script>>, Arc<Script>) {
    recursor_with(script, |_| {})
}

/// The same without mixed case, so that a denial is not compared.
pub fn in_lower_case(script: Script) -> (Recursor<Arc<Script>>, Arc<Script>) {
    recursor_with(script, |settings| settings.case_randomisation = false)
}

/// The same with other settings.
pub fn recursor_with(
    script: Script,
    change: impl FnOnce(&mut Settings),
) -> (Recursor<Arc<Script>>, Arc<Script>) {
    let script = Arc::new(script);
    let mut settings = Settings::with_roots(vec![ROOT.parse().unwrap()]);
    settings.ipv6 = false;
    change(&mut settings);
    (
        Recursor::new(settings, Arc::clone(&script)).unwrap(),
        script,
    )
}

pub async fn ask(recursor: &Recursor<Arc<Script>>, name: &str, kind: RecordType) -> String {
    let traced = recursor
        .trace(&Question::new(Name::parse(name).unwrap(), kind.into()))
        .await;
    match traced.result {
        Err(failure) => format!("{failure:?}"),
        Ok(answer) => {
            let data: Vec<String> = answer
                .answers
                .iter()
                .map(|record| record.data.to_string())
                .collect();
            format!("{:?} {}", answer.rcode, data.join(" "))
                .trim()
                .to_owned()
        }
    }
}

/// The code, then the records of the answer, one a line: owner, type, and data if they are readable.
pub async fn lines(recursor: &Recursor<Arc<Script>>, name: &str, kind: RecordType) -> Vec<String> {
    let traced = recursor
        .trace(&Question::new(Name::parse(name).unwrap(), kind.into()))
        .await;
    let answer = traced.result.unwrap();
    let line = |record: &Record| match &record.data {
        RData::Unknown { .. } => format!("{} {}", record.name, record.record_type()),
        data => format!("{} {} {data}", record.name, record.record_type()),
    };
    let records = answer.answers.iter().chain(&answer.authorities).map(line);
    std::iter::once(format!("{:?}", answer.rcode))
        .chain(records)
        .collect()
}

/// The queries to one address.
pub fn at(asked: &[String], address: &str) -> Vec<String> {
    let mine = asked
        .iter()
        .filter_map(|line| line.strip_prefix(address)?.strip_prefix(' '));
    mine.map(str::to_owned).collect()
}
