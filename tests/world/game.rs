//! What an attacker's server says to keep a resolver busy: referrals and aliases that lead to more
//! of them.
//!
//! All of it is made from the question, so every name below the attacker's zone is a new game that
//! costs him nothing. A child is the name one label below his zone; its first label is `ROUND-TAG`,
//! or a tag alone for round 0, and each move leads to the next round.

use std::net::Ipv4Addr;

use hickory_proto::{
    op::Message,
    rr::{Name, RData, Record, rdata},
};

use super::{authority::INVENTED_TTL_S, internet::name};

/// From this depth below its zone on a name counts as used up; 127 labels is all that a name can
/// have.
const USED_UP: usize = 100;

/// One way to keep a resolver busy.
#[derive(Clone, Debug)]
pub enum Game {
    /// Refers each child to so many servers named in a zone of somebody else, without glue:
    /// NXNSAttack.
    GluelessReferrals {
        /// How many name servers a referral has.
        servers: usize,
        /// The zone that is to be asked for their addresses.
        victim: &'static str,
    },
    /// Each child is an alias of the next one, over so many rounds.
    Aliases {
        /// How many aliases there are before the address.
        length: usize,
    },
    /// Each child's only server is named below the next child: none is ever found.
    EndlessReferrals,
    /// Refers one label deeper with each question, back to the server itself, and from the deepest
    /// name on by an alias to a new one that is as deep.
    EverDeeper,
    /// Refers to the very zone that was asked, and to itself.
    BackToItself,
    /// The product of the above (CAMP): each child is first referred to glueless servers and, with
    /// glue, to the server itself, then turns out to be an alias in the next child.
    AliasesAcrossReferrals {
        /// How many glueless name servers a referral has.
        servers: usize,
        /// The zone that is to be asked for their addresses.
        victim: &'static str,
    },
}

/// Where a game stands when a question comes.
pub(super) struct Position {
    /// The server that plays.
    pub server: Name,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its zone.
    pub apex: Name,
    /// The ancestor of the question, or the question itself, that lies directly below the zone.
    pub child: Name,
    /// What was asked.
    pub question: Name,
    /// How many questions there were about this child, with this one.
    pub turn: usize,
}

impl Game {
    /// Completes a reply that has nothing but the question yet.
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
    /// The number and the tag in the child's first label.
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

    /// Adds a referral of `cut` to the server that plays, with glue.
    fn refer_here(&self, reply: Message, cut: &Name) -> Message {
        // Named below the cut, so that the glue may be believed; the zone's own server has its own
        // name.
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
