//! Zones signed by BIND, ldns and Knot DNS: every set verifies as it is and mangled as the path may
//! mangle it, and their denials prove what they should.

use hickory_proto::rr::{Name as ProtoName, RData, Record, rdata};

use crate::{message::types::Rtype, recursor::rrset::RrSet};

use super::{
    ValidationFault,
    canonical::data_octets,
    denial::{Denied, Proofs},
    dnskey::ZoneKey,
    ds::{DsData, UsableDs},
    fault::InsecurityCause,
    finding::Delegation,
    testing::{name, opaque, sets, with_context},
    zone_keys::{ZoneKeys, ZoneTrust},
};

const SRV: Rtype = Rtype::new(33);

macro_rules! zones {
    ($($file:literal),+) => {
        [$(($file, include_str!(concat!("../../../testdata/signed/", $file, ".zone")))),+]
    };
}

/// File names end in the kind of denial.
const ZONES: [(&str, &str); 6] = zones![
    "bind-13-nsec",
    "bind-8-nsec3",
    "ldns-14-nsec",
    "ldns-15-nsec3-optout",
    "knot-15-nsec",
    "knot-13-nsec3-optout"
];

/// The sets of a zone, and its keys by the DS record of its entry point.
fn trusted(text: &str) -> (Vec<RrSet>, ZoneKeys) {
    let sets = sets(text);
    let key_set = sets
        .iter()
        .find(|set| set.rtype == Rtype::DNSKEY)
        .expect("a DNSKEY RRset");
    let entry = key_set
        .records
        .iter()
        .filter_map(ZoneKey::of)
        .find(ZoneKey::is_entry_point)
        .expect("an entry point");
    let octets = [key_set.owner.borrow().wire(), entry.data()].concat();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, &octets);
    let ds = DsData {
        tag: entry.tag,
        algorithm: entry.algorithm,
        digest_type: 4,
        digest: digest.as_ref().into(),
    };
    let trust = with_context(|context| {
        let ds = UsableDs::pick([ds].into_iter(), context.settings).expect("a usable DS");
        ZoneKeys::from_ds(key_set, &ds, context)
    });
    let Ok(ZoneTrust::Secure(keys)) = trust else {
        panic!("{trust:?}");
    };
    (sets, keys)
}

#[test]
fn every_signed_set_of_every_signer_verifies() {
    for (file, text) in ZONES {
        let (sets, keys) = trusted(text);
        let mut signed = 0;
        for set in &sets {
            let outcome = with_context(|context| keys.verify(set, context));
            if set.signatures.is_empty() {
                let is_below_cut = set
                    .owner
                    .borrow()
                    .is_within(name("secure.signed.test").borrow())
                    || set
                        .owner
                        .borrow()
                        .is_within(name("insecure.signed.test").borrow());
                assert!(is_below_cut, "{file}: {:?}", set.owner);
                assert_eq!(outcome, Err(ValidationFault::SignatureMissing));
                continue;
            }
            signed += 1;
            let verified = outcome.unwrap_or_else(|fault| panic!("{file}: {set:?}: {fault}"));
            assert_eq!(verified.closest_encloser, None);
        }
        assert!(signed >= 30, "{file}: {signed}");
    }
}

/// Upper case where names are, another order, other TTLs, a record twice.
fn mangled(set: &RrSet) -> RrSet {
    let upper = |given: &ProtoName| {
        ProtoName::from_labels(given.iter().map(<[u8]>::to_ascii_uppercase)).expect("a name")
    };
    let mut mangled = set.clone();
    mangled.records.reverse();
    mangled.records.push(mangled.records[0].clone());
    for (place, record) in mangled.records.iter_mut().enumerate() {
        record.ttl = 7 * place as u32;
        record.name = upper(&record.name);
        record.data = match &record.data {
            RData::NS(target) => RData::NS(rdata::NS(upper(&target.0))),
            RData::CNAME(target) => RData::CNAME(rdata::CNAME(upper(&target.0))),
            RData::MX(mx) => RData::MX(rdata::MX::new(mx.preference, upper(&mx.exchange))),
            other => other.clone(),
        };
        if [Rtype::DNAME, SRV].contains(&set.rtype) {
            let data = data_octets(record).expect("data").to_ascii_uppercase();
            *record = opaque(set.owner.borrow(), set.rtype, data);
        }
    }
    mangled
}

#[test]
fn every_signed_set_verifies_after_the_path_has_mangled_it() {
    for (file, text) in ZONES {
        let (sets, keys) = trusted(text);
        for set in sets.iter().filter(|set| !set.signatures.is_empty()) {
            let outcome = with_context(|context| keys.verify(&mangled(set), context));
            assert!(outcome.is_ok(), "{file}: {set:?}");
        }
    }
}

/// One octet of the data or of the signature is another.
#[test]
fn no_set_verifies_with_a_changed_octet() {
    let changed = |record: &Record, rtype, from: usize| {
        let mut data = data_octets(record).expect("data").into_owned();
        let place = from + (data.len() - from) / 2;
        data[place] ^= 0x40;
        opaque(name("x").borrow(), rtype, data)
    };
    for (file, text) in ZONES {
        let (sets, keys) = trusted(text);
        for set in sets.iter().filter(|set| !set.signatures.is_empty()) {
            if set.rtype == Rtype::DNSKEY {
                continue;
            }
            let mut other = set.clone();
            other.signatures = vec![changed(&set.signatures[0], Rtype::RRSIG, 40)];
            let outcome = with_context(|context| keys.verify(&other, context));
            assert_eq!(
                outcome,
                Err(ValidationFault::SignatureWrong),
                "{file}: {set:?}"
            );
        }
    }
}

#[test]
fn the_wildcard_of_every_signer_can_be_expanded() {
    for (file, text) in ZONES {
        let (sets, keys) = trusted(text);
        let source = sets
            .iter()
            .find(|set| set.owner == name("*.wild.signed.test") && set.rtype == Rtype::A)
            .expect("a wildcard");
        let mut expanded = source.clone();
        expanded.owner = name("x.y.wild.signed.test");
        let verified = with_context(|context| keys.verify(&expanded, context)).expect("verifies");
        let encloser = verified.closest_encloser.expect("expanded");
        assert_eq!(encloser, name("wild.signed.test"));
        let prove = |owner: &str| {
            with_context(|context| {
                let mut proofs = Proofs::verify(&sets, &keys, context)?;
                proofs.wildcard_answer(name(owner).borrow(), encloser.borrow(), context)
            })
        };
        let insecurity = file.ends_with("optout").then_some(InsecurityCause::OptOut);
        assert_eq!(
            prove("x.y.wild.signed.test").map(|denied| denied.insecurity),
            Ok(insecurity),
            "{file}"
        );
        // The next closer name exists, as an empty non-terminal.
        assert_eq!(
            prove("x.name.wild.signed.test"),
            Err(ValidationFault::DenialMissing)
        );
    }
}

fn denied(
    file: &str,
    ask: impl FnOnce(&mut Proofs, super::ValidationContext<'_>) -> Result<Denied, ValidationFault>,
) -> Result<Option<InsecurityCause>, ValidationFault> {
    let (_, text) = ZONES
        .iter()
        .find(|(known, _)| *known == file)
        .expect("a zone");
    let (sets, keys) = trusted(text);
    with_context(|context| {
        let mut proofs = Proofs::verify(&sets, &keys, context)?;
        ask(&mut proofs, context).map(|denied| denied.insecurity)
    })
}

#[test]
fn the_denials_of_every_signer_prove_what_does_not_exist() {
    for (file, _) in ZONES {
        let span = file.ends_with("optout").then_some(InsecurityCause::OptOut);
        let nxdomain = |text: &str| {
            denied(file, |proofs, context| {
                proofs.nxdomain(name(text).borrow(), context)
            })
        };
        for text in [
            "none.signed.test",
            "zzz.signed.test",
            "\\000.signed.test",
            "x.a.b.c.signed.test",
        ] {
            assert_eq!(nxdomain(text), Ok(span), "{file}: {text}");
        }
        for text in [
            "signed.test",
            "mixed.signed.test",
            "b.c.signed.test",
            "_tcp.signed.test",
            "x.wild.signed.test",
            "x.tree.signed.test",
            "x.secure.signed.test",
            "none.test",
        ] {
            assert!(nxdomain(text).is_err(), "{file}: {text}");
        }
    }
}

#[test]
fn the_denials_of_every_signer_prove_which_types_are_missing() {
    for (file, _) in ZONES {
        let span = file.ends_with("optout").then_some(InsecurityCause::OptOut);
        let nodata = |text: &str, rtype| {
            denied(file, |proofs, context| {
                proofs.nodata(name(text).borrow(), rtype, context)
            })
        };
        for text in [
            "mixed.signed.test",
            "b.c.signed.test",
            "_tcp.signed.test",
            "signed.test",
        ] {
            assert_eq!(nodata(text, Rtype::AAAA), Ok(None), "{file}: {text}");
        }
        // The wildcard has no AAAA record.
        assert_eq!(
            nodata("x.wild.signed.test", Rtype::AAAA),
            Ok(span),
            "{file}"
        );
        let contradicted = Err(ValidationFault::DenialContradicted);
        assert_eq!(nodata("mixed.signed.test", Rtype::A), contradicted);
        assert_eq!(nodata("alias.signed.test", Rtype::A), contradicted);
        assert_eq!(nodata("secure.signed.test", Rtype::DS), contradicted);
        for (text, rtype) in [
            // The parent's record says nothing about the child's types (RFC 6840 section 4.1).
            ("secure.signed.test", Rtype::A),
            // The child's record says nothing about its DS RRset (RFC 6840 section 4.4).
            ("signed.test", Rtype::DS),
        ] {
            assert_eq!(
                nodata(text, rtype),
                Err(ValidationFault::DenialMissing),
                "{file}: {text}"
            );
        }
    }
}

#[test]
fn the_denials_of_every_signer_prove_where_zone_cuts_are() {
    for (file, text) in ZONES {
        let (sets, keys) = trusted(text);
        let cut = |text: &str| {
            with_context(|context| {
                let mut proofs = Proofs::verify(&sets, &keys, context)?;
                proofs.delegation(name(text).borrow(), context)
            })
        };
        let unsigned = Delegation::Insecure(InsecurityCause::UnsignedDelegation);
        let opt_out = Delegation::Insecure(InsecurityCause::OptOut);
        let has_span = file.ends_with("optout");
        // Knot leaves out the record of an unsigned delegation in an opt-out span, ldns does not.
        let expected = if file == "knot-13-nsec3-optout" {
            opt_out
        } else {
            unsigned
        };
        assert_eq!(cut("insecure.signed.test"), Ok(expected), "{file}");
        let span = if has_span { opt_out } else { Delegation::NoCut };
        assert_eq!(cut("none.signed.test"), Ok(span), "{file}");
        for text in ["mixed.signed.test", "b.c.signed.test", "alias.signed.test"] {
            assert_eq!(cut(text), Ok(Delegation::NoCut), "{file}: {text}");
        }
        let contradicted = Err(ValidationFault::DenialContradicted);
        assert_eq!(cut("secure.signed.test"), contradicted, "{file}");
        for text in ["x.insecure.signed.test", "signed.test"] {
            assert!(
                !matches!(cut(text), Ok(Delegation::NoCut)),
                "{file}: {text}"
            );
        }
    }
}
