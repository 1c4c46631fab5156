//! Our validator: the recursor with the zone's key as its trust anchor, and a server in memory.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64;
use policy::name::{Name, NameRef};
use resolver::{
    message::types::Rtype,
    recursor::{
        ConfiguredZone, Environment, ExpectedReply, Recursor, ServerRole, Settings,
        TransportOutcome, TrustAnchors,
    },
    upstream::Question,
};
use tokio::time::{Instant, sleep};

use crate::{
    ZONE,
    forms::name_length,
    wire::{DNSKEY, SignedSet, Zone, response},
};

/// The time of day, in seconds since 1970: Knot's signer signs from then on.
pub fn unix_s() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.unwrap().as_secs()
}

const SERVER: &str = "192.0.2.1:53";

/// A server that has the keys of a zone and one set.
struct Served {
    keys: SignedSet,
    set: Mutex<Option<SignedSet>>,
    started: Instant,
    random: AtomicU64,
}

impl Served {
    fn answer(&self, query: &[u8]) -> TransportOutcome {
        let question = &query[12..];
        let name = name_length(question).unwrap();
        let rtype = u16::from_be_bytes([question[name], question[name + 1]]);
        let set = self.set.lock().unwrap();
        let is_asked = |set: &&SignedSet| {
            set.rtype == rtype && set.owner.eq_ignore_ascii_case(&question[..name])
        };
        let set = match rtype {
            DNSKEY => Some(&self.keys),
            _ => set.as_ref(),
        };
        TransportOutcome::Reply(response(query, set.filter(is_asked)))
    }
}

impl Environment for Served {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn unix_s(&self) -> u64 {
        unix_s()
    }

    fn random(&self) -> u64 {
        let step = 0x9e37_79b9_7f4a_7c15;
        self.random.fetch_add(step, Ordering::Relaxed)
    }

    async fn sleep(&self, duration: Duration) {
        sleep(duration).await;
    }

    async fn udp(
        &self,
        _: SocketAddr,
        query: &[u8],
        _: &ExpectedReply,
        _: Duration,
    ) -> TransportOutcome {
        self.answer(query)
    }

    async fn tcp(
        &self,
        _: SocketAddr,
        query: &[u8],
        _: &ExpectedReply,
        _: Duration,
    ) -> TransportOutcome {
        self.answer(query)
    }

    async fn tls(
        &self,
        _: SocketAddr,
        _: &str,
        query: &[u8],
        _: &ExpectedReply,
        _: Duration,
    ) -> TransportOutcome {
        self.answer(query)
    }
}

/// A recursor that trusts the keys of a zone and has nothing cached.
pub struct Validator {
    recursor: Recursor<Arc<Served>>,
    served: Arc<Served>,
}

impl Validator {
    pub fn new(zone: &Zone, random: u64) -> Self {
        let served = Arc::new(Served {
            keys: zone.keys.clone(),
            set: Mutex::default(),
            started: Instant::now(),
            random: AtomicU64::new(random),
        });
        let mut settings = Settings::with_roots(vec!["192.0.2.2".parse().unwrap()]);
        settings.configured_zones = vec![ConfiguredZone {
            zone: Name::parse(ZONE).unwrap(),
            to: vec![SERVER.parse().unwrap()],
            role: ServerRole::Authority,
            tls: None,
            then_recurse: false,
        }];
        settings.qname_minimisation = false;
        settings.anchors = TrustAnchors::parse(&anchors(&zone.keys), 0).unwrap();
        let recursor = Recursor::new(settings, Arc::clone(&served)).unwrap();
        Self { recursor, served }
    }

    /// What becomes of a query for the set, when the zone's server sends this.
    pub async fn ask(&self, set: &SignedSet) -> String {
        *self.served.set.lock().unwrap() = Some(set.clone());
        let name = NameRef::from_wire(&set.owner.to_ascii_lowercase())
            .unwrap()
            .to_owned();
        let question = Question::new(name, Rtype::new(set.rtype));
        match self.recursor.trace(&question).await.result {
            Ok(answer) if answer.is_secure && !answer.answers.is_empty() => "secure".to_owned(),
            Ok(answer) => format!("{answer:?}"),
            Err(failure) => failure.to_string(),
        }
    }
}

/// The keys as trust anchors.
fn anchors(keys: &SignedSet) -> String {
    let line = |data: &[u8]| {
        let flags = u16::from_be_bytes([data[0], data[1]]);
        format!(
            "{ZONE}. DNSKEY {flags} {} {} {}\n",
            data[2],
            data[3],
            BASE64.encode(&data[4..])
        )
    };
    keys.records.iter().map(|item| line(&item.data)).collect()
}
