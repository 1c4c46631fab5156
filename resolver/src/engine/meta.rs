//! Packets that are answered without lists and cache: malformed ones, those of clients that may not
//! query, NOTIFY, queries about this server, and query types that no resolver answers.

use policy::identity::directory::IdentitySource;

use crate::{
    engine::{
        answer::Step,
        core::{BatchSnapshot, Engine},
    },
    listener::{client::Client, notify},
    message::{
        ede::Reason,
        query::Rejection,
        reply::{self, Reply},
        types::{Class, EdeCode, Rcode, Rtype},
    },
    telemetry::{counters::Count, metrics::WorkerMetrics},
};

/// `id.server` as a wire name, RFC 4892.
const ID_SERVER: &[u8] = b"\x02id\x06server\x00";

impl Engine {
    /// Answers a packet that is no query. NOTIFY comes from a primary server and not from a client,
    /// so that its handler alone checks the source.
    #[cold]
    #[inline(never)]
    pub(crate) fn reject(
        &self,
        packet: &[u8],
        rejection: Rejection,
        batch: &BatchSnapshot<'_>,
        client: &Client,
        metrics: &mut WorkerMetrics,
        buffer: &mut Vec<u8>,
    ) -> Step {
        let Rejection::Answer(rcode) = rejection else {
            metrics.count(Count::Ignored);
            return Step::Ignored;
        };
        if let Some(on_notify) = self
            .config
            .on_notify
            .as_ref()
            .filter(|_| rcode == Rcode::NotImp && notify::is_notify(packet))
        {
            metrics.count(Count::Notify);
            notify::answer(packet, client.source, on_notify, buffer);
            return Step::Reply;
        }
        metrics.count(Count::Malformed);
        if self.identify(batch, client).source == IdentitySource::Unknown
            && !self.access.may_query(client.source)
        {
            metrics.count(Count::NotAllowed);
            let reason = Reason::Code(EdeCode::PROHIBITED);
            reply::write_rejection(buffer, packet, Rcode::Refused, Some(reason));
        } else {
            reply::write_rejection(buffer, packet, rcode, None);
        }
        Step::Reply
    }

    /// Refuses a client outside of `dns.allow_from` and of every household's networks.
    #[cold]
    #[inline(never)]
    pub(crate) fn refuse(reply: &mut Reply<'_>, metrics: &mut WorkerMetrics) -> Step {
        metrics.count(Count::NotAllowed);
        reply.error(Rcode::Refused, Some(Reason::Code(EdeCode::PROHIBITED)));
        Step::Reply
    }

    /// Answers a query about this server, one without RD from a client that may not snoop, and one
    /// whose type or class is not resolved. Returns false for other queries.
    pub(crate) fn answer_meta(&self, reply: &mut Reply<'_>, client: &Client) -> bool {
        let query = reply.query;
        if query.class == Class::IN
            && !query.recursion_desired()
            && !self.access.may_snoop(client.source)
        {
            let reason = Reason::Code(EdeCode::NOT_AUTHORITATIVE);
            reply.error(Rcode::Refused, Some(reason));
            return true;
        }
        let rcode = match (query.class, query.rtype) {
            (Class::CH, Rtype::TXT) if query.name().wire() == ID_SERVER => {
                match &self.config.server_id {
                    Some(id) => {
                        reply.text(id);
                        return true;
                    }
                    None => Rcode::Refused,
                }
            }
            // RFC 9824 section 3.5: it stands in NSEC and NSEC3 records only.
            (Class::IN, Rtype::NXNAME) => {
                let reason = Reason::Code(EdeCode::INVALID_QUERY_TYPE);
                reply.error(Rcode::FormErr, Some(reason));
                return true;
            }
            // No query has these types, RFC 6895 section 3.1.
            (Class::IN, Rtype::RESERVED | Rtype::OPT | Rtype::TKEY | Rtype::TSIG) => Rcode::FormErr,
            // Zone transfers, and obsolete meta-types of mail.
            (Class::IN, Rtype::IXFR | Rtype::AXFR | Rtype::MAILB | Rtype::MAILA) => Rcode::NotImp,
            (Class::IN, _) => return false,
            _ => Rcode::Refused,
        };
        reply.error(rcode, None);
        true
    }
}
