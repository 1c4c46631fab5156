//! Packets that are answered without a look at lists or cache: what cannot be read, clients that
//! may not ask, NOTIFY, and queries that are about this server or that no resolver answers.

use std::net::IpAddr;

use policy::identity::directory::{IdentitySource, Trust};

use crate::{
    engine::{CLASS_IN, Engine, Step, Turn},
    listener::notify,
    message::{
        query::{Query, Rcode, Rejection},
        reply::{self, Reason, Transport},
    },
    telemetry::metrics::{Count, Pen},
};

const CLASS_CH: u16 = 3;
const TYPE_TXT: u16 = 16;
/// Info-codes of RFC 8914 sections 4.19 and 4.21.
const PROHIBITED: u16 = 18;
const NOT_AUTHORITATIVE: u16 = 20;

impl Engine {
    /// What is to be done with a packet that is no query. Of those who may not ask, NOTIFY alone is
    /// judged by itself: the sender is a primary, not a client.
    #[cold]
    #[inline(never)]
    pub(crate) fn reject(
        &self,
        packet: &[u8],
        rejection: Rejection,
        turn: &Turn<'_>,
        peer: IpAddr,
        pen: &mut Pen,
        reply: &mut Vec<u8>,
    ) -> Step {
        let Rejection::Answer(rcode) = rejection else {
            pen.count(Count::Silent);
            return Step::Silent;
        };
        if let Some(tell) = self
            .parts
            .on_notify
            .as_ref()
            .filter(|_| rcode == Rcode::NotImp && notify::is_notify(packet))
        {
            pen.count(Count::Notify);
            notify::answer(packet, peer, tell, reply);
            return Step::Reply;
        }
        pen.count(Count::Malformed);
        if turn.directory.identify(peer, None, Trust::Household).source == IdentitySource::Unknown
            && !self.access.may_ask(peer)
        {
            pen.count(Count::NotAllowed);
            reply::write_rejection(
                reply,
                packet,
                Rcode::Refused,
                Some(Reason::Code(PROHIBITED)),
            );
        } else {
            reply::write_rejection(reply, packet, rcode, None);
        }
        Step::Reply
    }

    /// Refuses the query of a client that may not ask: one outside of `dns.allow_from` and of every
    /// household's networks.
    #[cold]
    #[inline(never)]
    pub(crate) fn refuse(
        query: &Query<'_>,
        transport: Transport,
        pen: &mut Pen,
        reply: &mut Vec<u8>,
    ) -> Step {
        pen.count(Count::NotAllowed);
        reply::write_error(
            reply,
            query,
            Rcode::Refused,
            Some(Reason::Code(PROHIBITED)),
            transport,
        );
        Step::Reply
    }

    /// Whether a query is about this server, or is one that no resolver answers; the reply is then
    /// written.
    pub(crate) fn answer_meta(
        &self,
        query: &Query<'_>,
        peer: IpAddr,
        transport: Transport,
        reply: &mut Vec<u8>,
    ) -> bool {
        if query.class == CLASS_IN && !query.recursion_desired() && !self.access.may_snoop(peer) {
            reply::write_error(
                reply,
                query,
                Rcode::Refused,
                Some(Reason::Code(NOT_AUTHORITATIVE)),
                transport,
            );
            return true;
        }
        let rcode = match (query.class, query.record_type) {
            (CLASS_CH, TYPE_TXT) if query.name().wire() == b"\x02id\x06server\x00" => {
                match &self.parts.server_id {
                    Some(id) => {
                        reply::write_text(reply, query, id, transport);
                        return true;
                    }
                    None => Rcode::Refused,
                }
            }
            // OPT is no type to ask for, TKEY and TSIG neither: RFC 6895 section 3.1.
            (CLASS_IN, 0 | 41 | 249 | 250) => Rcode::FormErr,
            // Zone transfers and the mail meta-types.
            (CLASS_IN, 251..=254) => Rcode::NotImp,
            (CLASS_IN, _) => return false,
            _ => Rcode::Refused,
        };
        reply::write_error(reply, query, rcode, None, transport);
        true
    }
}
