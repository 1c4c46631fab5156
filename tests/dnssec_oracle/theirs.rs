//! hickory's verifier.

use hickory_proto::{
    dnssec::{
        PublicKey as _, Verifier as _,
        rdata::{DNSKEY, DNSSECRData, RRSIG},
    },
    op::Message,
    rr::{RData, Record},
};

use crate::wire::{SignedSet, Zone, response};

/// The records of a set, as hickory decodes them.
fn decoded(set: &SignedSet) -> Result<Vec<Record>, String> {
    let question = [&[0; 12][..], &set.owner, &set.rtype.to_be_bytes(), &[0, 1]].concat();
    let message = Message::from_vec(&response(&question, Some(set)));
    Ok(message.map_err(|error| error.to_string())?.answers)
}

/// Whether a signature of the set verifies with the key of the zone that has its tag.
pub fn verify(set: &SignedSet, zone: &Zone) -> Result<(), String> {
    let records = decoded(set)?;
    let keys = decoded(&zone.keys).unwrap();
    let keys: Vec<&DNSKEY> = keys
        .iter()
        .filter_map(|record| match &record.data {
            RData::DNSSEC(DNSSECRData::DNSKEY(key)) => Some(key),
            _ => None,
        })
        .collect();
    let signatures = records.iter().filter_map(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => Some((record, signature)),
        _ => None,
    });
    let mut why = "no signature".to_owned();
    for (record, signature) in signatures {
        let signature: &RRSIG = signature;
        let named = |key: &&&DNSKEY| {
            key.calculate_key_tag().unwrap() == signature.input().key_tag
                && key.public_key().algorithm() == signature.input().algorithm
        };
        for key in keys.iter().filter(named) {
            match key.verify_rrsig(&record.name, record.dns_class, signature, records.iter()) {
                Ok(()) => return Ok(()),
                Err(error) => why = error.to_string(),
            }
        }
    }
    Err(why)
}
