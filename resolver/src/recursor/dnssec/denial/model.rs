//! Chance zones against a model that knows the whole zone: the records of its NSEC chain, and those
//! of its NSEC3 chain, prove exactly what is true.

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::select};

use super::*;
use crate::recursor::dnssec::{
    canonical::{compare_names, wildcard},
    nsec3::hash_of_name,
    testing::{name, sets, with_context},
};

const ZONE: &str = "example";

/// A zone: the types at each owner.
#[derive(Debug, Clone)]
struct Zone(BTreeMap<Name, &'static str>);

impl Zone {
    /// Without what stands below a delegation or a DNAME.
    fn new(owners: Vec<(Vec<&'static str>, &'static str)>) -> Self {
        let mut all: BTreeMap<Name, &'static str> = owners
            .into_iter()
            .map(|(labels, types)| (name(&format!("{}.{ZONE}", labels.join("."))), types))
            .collect();
        all.insert(name(ZONE), "NS SOA");
        let whole = Self(all.clone());
        all.retain(|owner, _| !whole.is_hidden(owner.borrow()));
        Self(all)
    }

    fn types(&self, owner: NameRef<'_>) -> Option<&'static str> {
        self.0.get(&owner.to_owned()).copied()
    }

    fn is_hidden(&self, queried: NameRef<'_>) -> bool {
        queried.ancestors().skip(1).any(|above| {
            self.types(above)
                .is_some_and(|types| ["NS", "DNAME"].contains(&types))
        })
    }

    /// Whether the name is that of a delegation, or below it. None here is signed.
    fn is_below_cut(&self, queried: NameRef<'_>) -> bool {
        queried
            .ancestors()
            .any(|above| self.types(above) == Some("NS"))
    }

    fn exists(&self, queried: NameRef<'_>) -> bool {
        self.0.keys().any(|owner| owner.borrow().is_within(queried))
    }

    fn closest_encloser<'n>(&self, queried: NameRef<'n>) -> NameRef<'n> {
        queried
            .ancestors()
            .find(|above| self.exists(*above))
            .expect("the apex exists")
    }

    /// Whether the name itself proves that it has no A record; None where it does not exist.
    fn has_no_address(&self, queried: NameRef<'_>) -> Option<bool> {
        self.exists(queried)
            .then(|| !["A", "CNAME", "NS"].contains(&self.types(queried).unwrap_or("")))
    }

    fn has_nxdomain(&self, queried: NameRef<'_>) -> bool {
        let source = wildcard(self.closest_encloser(queried)).expect("a short name");
        !self.is_hidden(queried) && !self.exists(queried) && !self.exists(source.borrow())
    }

    fn has_nodata(&self, queried: NameRef<'_>) -> bool {
        let source = wildcard(self.closest_encloser(queried)).expect("a short name");
        !self.is_hidden(queried)
            && self
                .has_no_address(queried)
                .or_else(|| self.has_no_address(source.borrow()))
                .unwrap_or(false)
    }

    fn delegation(&self, queried: NameRef<'_>) -> Option<Delegation> {
        if self.is_hidden(queried) || queried == name(ZONE).borrow() {
            return None;
        }
        Some(match self.types(queried) {
            Some("NS") => Delegation::Insecure(InsecurityCause::UnsignedDelegation),
            _ => Delegation::NoCut,
        })
    }

    fn nsec(&self) -> Vec<RrSet> {
        let mut owners: Vec<&Name> = self.0.keys().collect();
        owners.sort_by(|a, b| compare_names(a.borrow(), b.borrow()));
        let lines: Vec<String> = owners
            .iter()
            .zip(owners.iter().cycle().skip(1))
            .map(|(owner, next)| {
                let types = self.0[*owner];
                format!("{} 60 NSEC {} {types} RRSIG NSEC", text(owner), text(next))
            })
            .collect();
        sets(&lines.join("\n"))
    }

    /// With records for empty non-terminals, RFC 5155 section 7.1.
    fn nsec3(&self) -> Vec<RrSet> {
        let mut hashes: BTreeMap<[u8; 20], &str> = BTreeMap::new();
        for owner in self.0.keys() {
            let here = owner.borrow().ancestors();
            for above in here.take_while(|above| above.is_within(name(ZONE).borrow())) {
                let types = self.types(above).unwrap_or("");
                hashes.insert(hash_of_name(above, &[], 0), types);
            }
        }
        let encode = |hash: &[u8; 20]| data_encoding::BASE32_DNSSEC.encode(hash);
        let lines: Vec<String> = hashes
            .iter()
            .zip(hashes.keys().cycle().skip(1))
            .map(|((hash, types), next)| {
                format!(
                    "{}.{ZONE}. 60 NSEC3 1 0 0 - {} {types}",
                    encode(hash),
                    encode(next)
                )
            })
            .collect();
        sets(&lines.join("\n"))
    }
}

fn is_secure(found: Result<Denied, ValidationFault>) -> bool {
    found.is_ok_and(|denied| denied.insecurity.is_none())
}

fn is_insecure(found: Result<Denied, ValidationFault>) -> bool {
    found.is_ok_and(|denied| denied.insecurity.is_some())
}

/// A name in master-file form, asterisks included.
fn text(given: &Name) -> String {
    let labels: Vec<&str> = given
        .borrow()
        .labels()
        .map(|label| std::str::from_utf8(label).expect("plain labels"))
        .collect();
    format!("{}.", labels.join("."))
}

fn labels(all: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(select(all), 1..=most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_records_of_a_zone_prove_what_is_true_and_nothing_else(
        owners in prop::collection::vec(
            (
                labels(&["a", "b", "*"], 3),
                select(&["A", "A", "MX", "CNAME", "NS", "DNAME"][..]),
            ),
            0..6,
        ),
        queries in prop::collection::vec(labels(&["a", "b", "c", "*"], 4), 12),
    ) {
        let zone = Zone::new(owners);
        for proving in [zone.nsec(), zone.nsec3()] {
            let mut proofs = Proofs::from_secure(proving.iter(), name(ZONE).borrow());
            for labels in &queries {
                let queried = name(&format!("{}.{ZONE}", labels.join(".")));
                let queried = queried.borrow();
                with_context(|context| {
                    let found = proofs.nxdomain(queried, context);
                    prop_assert_eq!(
                        is_secure(found), zone.has_nxdomain(queried), "NXDOMAIN {:?} {:?}", queried, found
                    );
                    prop_assert_eq!(is_insecure(found), zone.is_below_cut(queried));
                    let found = proofs.nodata(queried, Rtype::A, context);
                    prop_assert_eq!(
                        is_secure(found), zone.has_nodata(queried), "NODATA {:?} {:?}", queried, found
                    );
                    prop_assert_eq!(is_insecure(found), zone.is_below_cut(queried));
                    let found = proofs.delegation(queried, context);
                    prop_assert_eq!(
                        found.ok(), zone.delegation(queried), "delegation {:?}", queried
                    );
                    let encloser = zone.closest_encloser(queried);
                    if !zone.exists(queried) && !zone.is_hidden(queried) {
                        prop_assert!(proofs.wildcard_answer(queried, encloser, context).is_ok());
                    }
                    // From a wildcard further up: the closest encloser itself is in the way.
                    let further = encloser.parent().filter(|up| up.is_within(name(ZONE).borrow()));
                    if let Some(further) = further {
                        prop_assert!(proofs.wildcard_answer(queried, further, context).is_err());
                    }
                    Ok(())
                })?;
            }
        }
    }
}
