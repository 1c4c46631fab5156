//! Special-use names, which no authoritative server of the Internet has: `localhost` and others, and
//! the reverse names of private networks. This node answers them itself, so that queries for them do
//! not leave it.
//!
//! RFC 6761 (`localhost`, `invalid`), RFC 6303 and RFC 7793 (reverse names), RFC 7686 (`onion`),
//! RFC 8375 (`home.arpa`), RFC 9462 (`resolver.arpa`). `test` and `local` (RFC 6762) are
//! resolved from the root, which denies them, because closed networks use them.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name as ProtoName, RData, Record, RecordType, rdata},
};
use policy::name::{Name, NameRef};

use crate::upstream::{Answer, Question, Recursion, RecursionError, proto_name};

/// Empty zones: the apex exists, and no name below it.
const EMPTY: &[&str] = &[
    "invalid",
    "onion",
    "home.arpa",
    "resolver.arpa",
    "0.in-addr.arpa",
    "10.in-addr.arpa",
    "168.192.in-addr.arpa",
    "254.169.in-addr.arpa",
    "2.0.192.in-addr.arpa",
    "100.51.198.in-addr.arpa",
    "113.0.203.in-addr.arpa",
    "255.255.255.255.in-addr.arpa",
    "d.f.ip6.arpa",
    "8.e.f.ip6.arpa",
    "9.e.f.ip6.arpa",
    "a.e.f.ip6.arpa",
    "b.e.f.ip6.arpa",
    "8.b.d.0.1.0.0.2.ip6.arpa",
    "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
];
/// The reverse name of `::1`.
const LOOPBACK_V6: &str =
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa";
/// The TTL of all answers, in seconds.
const TTL_S: u32 = 10_800;

/// Answers special-use names; the next source resolves all others.
pub struct SpecialNames {
    empty: HashSet<Name>,
    localhost: Name,
    loopback_v4: Name,
    loopback_v6: Name,
    last_labels: [Name; 3],
    next: Arc<dyn Recursion>,
}

impl SpecialNames {
    /// `next` resolves all other names. Zones that contain a zone of `except`, or that one of them
    /// contains, are not special; the root in `except` does not count.
    #[must_use]
    pub fn new(next: Arc<dyn Recursion>, except: &[Name]) -> Self {
        let name = |text: &str| Name::parse(text).expect("the constants are names");
        // 172.16.0.0/12 and 100.64.0.0/10 are many reverse zones each.
        let private = (16..32).map(|octet| format!("{octet}.172.in-addr.arpa"));
        let shared = (64..128).map(|octet| format!("{octet}.100.in-addr.arpa"));
        let all = EMPTY
            .iter()
            .map(|zone| name(zone))
            .chain(private.chain(shared).map(|zone| name(&zone)));
        let is_free = |zone: &Name| {
            let meets = |other: &Name| {
                zone.borrow().is_within(other.borrow()) || other.borrow().is_within(zone.borrow())
            };
            !except
                .iter()
                .any(|other| !other.borrow().is_root() && meets(other))
        };
        Self {
            empty: all.filter(is_free).collect(),
            localhost: name("localhost"),
            loopback_v4: name("127.in-addr.arpa"),
            loopback_v6: name(LOOPBACK_V6),
            last_labels: ["arpa", "invalid", "onion"].map(name),
            next,
        }
    }

    /// The answer to a special-use name. None for all others.
    fn answer(&self, name: NameRef<'_>, rtype: RecordType) -> Option<Answer> {
        if name.last_labels(1) == self.localhost.borrow() {
            let data = match rtype {
                RecordType::A => Some(RData::A(rdata::A::new(127, 0, 0, 1))),
                RecordType::AAAA => Some(RData::AAAA(rdata::AAAA::new(0, 0, 0, 0, 0, 0, 0, 1))),
                _ => None,
            };
            return Some(answer(
                name,
                data,
                self.localhost.borrow(),
                ResponseCode::NoError,
            ));
        }
        // The last label shows that nearly all names are not special.
        if !self
            .last_labels
            .iter()
            .any(|known| known.borrow() == name.last_labels(1))
        {
            return None;
        }
        for (zone, host) in [
            (&self.loopback_v4, "1.0.0.127.in-addr.arpa"),
            (&self.loopback_v6, LOOPBACK_V6),
        ] {
            if name.is_within(zone.borrow()) {
                let is_host = name.to_string() == host;
                let target = proto_name(self.localhost.borrow());
                let data =
                    (is_host && rtype == RecordType::PTR).then_some(RData::PTR(rdata::PTR(target)));
                let exists = is_host || name == zone.borrow();
                return Some(answer(
                    name,
                    data,
                    zone.borrow(),
                    if exists {
                        ResponseCode::NoError
                    } else {
                        ResponseCode::NXDomain
                    },
                ));
            }
        }
        let zone = name
            .ancestors()
            .find_map(|zone| self.empty.get(&zone.to_owned()))?;
        let code = if name == zone.borrow() {
            ResponseCode::NoError
        } else {
            ResponseCode::NXDomain
        };
        Some(answer(name, None, zone.borrow(), code))
    }
}

fn answer(name: NameRef<'_>, data: Option<RData>, zone: NameRef<'_>, code: ResponseCode) -> Answer {
    match data {
        Some(data) => Answer {
            answers: vec![Record::from_rdata(proto_name(name), TTL_S, data)],
            ..Answer::empty(code)
        },
        None => {
            // RFC 6303 section 3: the zone is its own server, and has no mailbox.
            let mailbox = ProtoName::from_ascii("nobody.invalid.").expect("the constant is a name");
            let soa = rdata::SOA::new(
                proto_name(zone),
                mailbox,
                1,
                604_800,
                86_400,
                2_419_200,
                TTL_S,
            );
            Answer {
                authorities: vec![Record::from_rdata(proto_name(zone), TTL_S, RData::SOA(soa))],
                ..Answer::empty(code)
            }
        }
    }
}

#[async_trait]
impl Recursion for SpecialNames {
    async fn resolve(&self, question: &Question) -> Result<Answer, RecursionError> {
        match self.answer(question.name.borrow(), question.proto_type()) {
            Some(answer) => Ok(answer),
            None => self.next.resolve(question).await,
        }
    }

    fn known_failure(&self, question: &Question) -> Option<u16> {
        self.next.known_failure(question)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Next;

    #[async_trait]
    impl Recursion for Next {
        async fn resolve(&self, _: &Question) -> Result<Answer, RecursionError> {
            Ok(Answer::empty(ResponseCode::Refused))
        }
    }

    async fn check(name: &str, rtype: RecordType, expected: &str) {
        let special = SpecialNames::new(
            Arc::new(Next),
            &[Name::parse("corp.home.arpa").unwrap(), Name::root()],
        );
        let answer = special
            .resolve(&Question::new(Name::parse(name).unwrap(), rtype.into()))
            .await
            .unwrap();
        let data: Vec<String> = answer
            .answers
            .iter()
            .map(|record| record.data.to_string())
            .collect();
        let has_soa = !answer.authorities.is_empty();
        assert_eq!(
            format!("{:?} {} {has_soa}", answer.rcode, data.join(" ")),
            expected,
            "{name} {rtype}"
        );
    }

    #[tokio::test]
    async fn special_names_are_answered_and_all_others_passed_on() {
        check("localhost", RecordType::A, "NoError 127.0.0.1 false").await;
        check("my.localhost", RecordType::AAAA, "NoError ::1 false").await;
        check("localhost", RecordType::MX, "NoError  true").await;
        check(
            "1.0.0.127.in-addr.arpa",
            RecordType::PTR,
            "NoError localhost. false",
        )
        .await;
        check("2.0.0.127.in-addr.arpa", RecordType::PTR, "NXDomain  true").await;
        check(LOOPBACK_V6, RecordType::PTR, "NoError localhost. false").await;
        check(
            "7.1.168.192.in-addr.arpa",
            RecordType::PTR,
            "NXDomain  true",
        )
        .await;
        check("1.31.172.in-addr.arpa", RecordType::PTR, "NXDomain  true").await;
        check("1.32.172.in-addr.arpa", RecordType::PTR, "Refused  false").await;
        check("invalid", RecordType::A, "NoError  true").await;
        check("x.onion", RecordType::A, "NXDomain  true").await;
        // The operator has configured a zone within `home.arpa`.
        check("nas.home.arpa", RecordType::A, "Refused  false").await;
        check("www.example", RecordType::A, "Refused  false").await;
    }
}
