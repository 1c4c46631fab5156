//! Signed zones for scripts: their servers sign what they say (Ed25519, RFC 8080), and deny by NSEC.

use std::sync::Arc;

use aws_lc_rs::{
    digest,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name as ProtoName, RData, Record, RecordType, rdata::NULL},
    serialize::binary::{BinEncodable as _, BinEncoder, NameEncoding},
};
use resolver::recursor::{Settings, TrustAnchors};

use super::script::*;

const ALGORITHM: u8 = 15;
const TTL_S: u32 = 3_600;
/// From 2000 to 2035: inception and expiration.
const TIMES: [u32; 2] = [946_684_800, 2_051_222_400];
/// Type bits of NSEC records, RFC 4034 section 4.1.2: window 0.
const RRSIG_AND_NSEC: [u16; 2] = [46, 47];

/// A zone and its key.
pub struct SignedZone {
    pub apex: ProtoName,
    records: Records,
    pair: Arc<Ed25519KeyPair>,
}

impl SignedZone {
    /// A zone of these records in master-file form. DS records of zones below belong to them.
    pub fn new(apex: &str, text: &str) -> Self {
        Self::of(apex, text, Arc::new(Ed25519KeyPair::generate().unwrap()))
    }

    /// The zone with the same key and other records.
    pub fn with(&self, text: &str) -> Self {
        Self::of(&self.apex.to_ascii(), text, Arc::clone(&self.pair))
    }

    fn of(apex: &str, text: &str, pair: Arc<Ed25519KeyPair>) -> Self {
        let mut zone = Self {
            apex: ProtoName::from_ascii(apex).unwrap(),
            records: parse(apex, text),
            pair,
        };
        let key = opaque(&zone.apex, TTL_S, RecordType::DNSKEY, zone.key());
        let at_apex = zone.records.entry(zone.apex.clone());
        at_apex.or_default().push(key);
        zone
    }

    /// Its DS record in master-file form, with this TTL.
    pub fn ds(&self, ttl_s: u32) -> String {
        let octets = [wire(&self.apex), self.key()].concat();
        let digest = digest::digest(&digest::SHA256, &octets);
        let digest: String = digest
            .as_ref()
            .iter()
            .map(|octet| format!("{octet:02X}"))
            .collect();
        format!(
            "{} {ttl_s} DS {} {ALGORITHM} 2 {digest}\n",
            self.apex,
            self.tag()
        )
    }

    fn key(&self) -> Vec<u8> {
        [&[1, 1, 3, ALGORITHM], self.pair.public_key().as_ref()].concat()
    }

    /// RFC 4034 appendix B.
    fn tag(&self) -> u16 {
        let mut sum = 0_u32;
        for pair in self.key().chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair[1]);
        }
        ((sum + (sum >> 16)) & 0xffff) as u16
    }

    /// What the zone says of a query.
    fn reply(&self, query: &Message) -> Message {
        let zone = [(self.apex.clone(), self.records.clone())];
        let mut reply = truth(&zone, query);
        if reply.metadata.response_code == ResponseCode::Refused {
            return reply;
        }
        let name = query.queries[0].name.to_lowercase();
        if !reply.metadata.authoritative {
            let cut = reply.authorities[0].name.clone();
            let ds = self.records_of(&cut, RecordType::DS);
            if ds.is_empty() {
                reply.authorities.push(self.nsec(&cut));
            }
            reply.authorities.extend(ds);
        } else if reply.answers.is_empty() {
            let owner = match reply.metadata.response_code {
                ResponseCode::NXDomain => &self.apex,
                _ => &name,
            };
            reply.authorities.push(self.nsec(owner));
        }
        self.sign(&mut reply.answers);
        self.sign(&mut reply.authorities);
        reply
    }

    fn records_of(&self, owner: &ProtoName, kind: RecordType) -> Vec<Record> {
        let records = self.records.get(owner).into_iter().flatten();
        records
            .filter(|record| record.record_type() == kind)
            .cloned()
            .collect()
    }

    /// An NSEC record: of the apex it covers the whole zone, of another name that name alone.
    fn nsec(&self, owner: &ProtoName) -> Record {
        let next = match *owner == self.apex {
            true => wire(&self.apex),
            false => [&[1, 0][..], &wire(owner)].concat(),
        };
        let records = self.records.get(owner).into_iter().flatten();
        let types = records.map(|record| u16::from(record.record_type()));
        let mut bits = [0_u8; 8];
        for rtype in types.chain(RRSIG_AND_NSEC).filter(|rtype| *rtype < 64) {
            bits[usize::from(rtype / 8)] |= 0x80 >> (rtype % 8);
        }
        let data = [&next[..], &[0, 8], &bits].concat();
        opaque(owner, 60, RecordType::NSEC, data)
    }

    /// Adds a signature to each RRset of a section that the zone signs.
    fn sign(&self, section: &mut Vec<Record>) {
        let mut signed: Vec<(ProtoName, RecordType)> = Vec::new();
        for record in section.clone() {
            let set = (record.name.clone(), record.record_type());
            let is_cut = set.1 == RecordType::NS && set.0 != self.apex;
            if !is_cut && self.apex.zone_of(&set.0) && !signed.contains(&set) {
                let records = section
                    .iter()
                    .filter(|other| other.name == set.0 && other.record_type() == set.1);
                let signature = self.signature(&records.cloned().collect::<Vec<_>>());
                section.push(signature);
                signed.push(set);
            }
        }
    }

    /// RFC 4034 section 3.1.8.1.
    fn signature(&self, set: &[Record]) -> Record {
        let owner = &set[0].name;
        let kind = u16::from(set[0].record_type()).to_be_bytes();
        let ttl = set[0].ttl.to_be_bytes();
        let mut fields = [&kind[..], &[ALGORITHM, owner.num_labels()], &ttl].concat();
        fields.extend(TIMES[1].to_be_bytes());
        fields.extend(TIMES[0].to_be_bytes());
        fields.extend(self.tag().to_be_bytes());
        fields.extend(wire(&self.apex));
        let mut data: Vec<Vec<u8>> = set.iter().map(data).collect();
        data.sort();
        let mut message = fields.clone();
        for data in data {
            message.extend([&wire(owner)[..], &kind, &[0, 1], &ttl].concat());
            message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            message.extend(data);
        }
        fields.extend(self.pair.sign(&message).as_ref());
        opaque(owner, set[0].ttl, RecordType::RRSIG, fields)
    }
}

fn opaque(owner: &ProtoName, ttl_s: u32, code: RecordType, data: Vec<u8>) -> Record {
    let rdata = NULL::with(data);
    Record::from_rdata(owner.clone(), ttl_s, RData::Unknown { code, rdata })
}

/// Names of scripts are in lower case.
fn wire(name: &ProtoName) -> Vec<u8> {
    octets(|encoder| name.emit(encoder).unwrap())
}

fn data(record: &Record) -> Vec<u8> {
    match &record.data {
        RData::Unknown { rdata, .. } => rdata.anything.clone(),
        data => octets(|encoder| data.emit(encoder).unwrap()),
    }
}

fn octets(emit: impl FnOnce(&mut BinEncoder<'_>)) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut encoder = BinEncoder::new(&mut octets);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    emit(&mut encoder);
    octets
}

/// A server of signed zones. The deepest that has the name answers; for a DS record, the deepest
/// above it.
pub fn signed_authority(
    zones: Vec<Arc<SignedZone>>,
) -> impl Fn(&Message, bool) -> Play + Send + Sync + use<> {
    move |query, _| {
        let name = query.queries[0].name.to_lowercase();
        let is_of_parent = query.queries[0].query_type == RecordType::DS;
        let zone = zones
            .iter()
            .filter(|zone| zone.apex.zone_of(&name) && !(is_of_parent && zone.apex == name))
            .max_by_key(|zone| zone.apex.num_labels());
        let reply = match zone {
            Some(zone) => zone.reply(query),
            None => reply_to(query, ResponseCode::Refused),
        };
        Play::Reply(Box::new(reply))
    }
}

/// Settings by which a recursor trusts a root zone, and asks for all that it says: the proofs of
/// [`SignedZone`] are minimal.
pub fn trusting(root: &SignedZone) -> impl FnOnce(&mut Settings) + use<> {
    let anchors = TrustAnchors::parse(&root.ds(TTL_S), 0).unwrap();
    |settings| {
        settings.anchors = anchors;
        settings.aggressive_nsec = false;
        settings.harden_below_nxdomain = false;
    }
}
