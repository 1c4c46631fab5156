//! Changes of a zone after it was signed.
//!
//! ```text
//! drop OWNER KIND                 removes records; KIND is a type, or RRSIG/TYPE for signatures
//! drop-all TYPE                   removes the sets of a type and their signatures
//! drop-nsec3 matching|covering N  removes an NSEC3 set; `forge-nsec3` makes its signature wrong
//! set OWNER KIND FIELD VALUE      changes a field; `again` adds a changed copy; `set-all TYPE`
//! copy OWNER TYPE TO              copies a set and its signatures to another owner
//! resign OWNER TYPE               puts the signature of a stranger's key in place
//! from-child OWNER TYPE           puts the set of the zone below in place; `from-parent` of that above
//! ```

use super::{
    signers::{SigningFolder, run},
    table::BrokenZone,
    text_record::TextRecord,
};

/// Makes the changes of a zone. `others` are the zones that are ready.
pub fn change(
    folder: &SigningFolder,
    zone: &BrokenZone,
    mut records: Vec<TextRecord>,
    others: &dyn Fn(&str) -> Vec<TextRecord>,
) -> Vec<TextRecord> {
    for term in &zone.terms {
        let words: Vec<&str> = term.iter().map(String::as_str).collect();
        let count = records.len();
        let owner = |name| zone.absolute(name);
        match words[..] {
            ["drop", name, kind] => {
                records.retain(|record| !is_at(record, &owner(name), kind));
                assert!(records.len() < count, "{}: {term:?}", zone.name);
            }
            ["drop-all", rtype] => records.retain(|record| !record.is_of_set(rtype)),
            ["drop-nsec3", how, name] => {
                let hashed = nsec3(folder, zone, &records, (how, name));
                records.retain(|record| record.owner != hashed);
            }
            ["forge-nsec3", how, name] => {
                let hashed = nsec3(folder, zone, &records, (how, name));
                set(
                    &mut records,
                    |record| is_at(record, &hashed, "RRSIG/NSEC3"),
                    ("signature", "flip"),
                );
            }
            ["set", name, kind, field, value] => {
                let at = owner(name);
                set(
                    &mut records,
                    |record| is_at(record, &at, kind),
                    (field, value),
                );
            }
            ["set-all", rtype, field, value] => {
                set(&mut records, |record| record.rtype == rtype, (field, value));
            }
            ["again", name, kind, field, value] => {
                let mut copy = one(&records, &owner(name), kind);
                copy.set(field, value);
                records.push(copy);
            }
            ["copy", from, rtype, to] => {
                let copies = set_at(&records, &owner(from), rtype);
                records.extend(copies.into_iter().map(|record| TextRecord {
                    owner: owner(to),
                    ..record
                }));
            }
            ["resign", name, rtype] => {
                let kind = format!("RRSIG/{rtype}");
                let foreign = one(&folder.sign_by_stranger(zone), &owner(name), &kind);
                records.retain(|record| !is_at(record, &owner(name), &kind));
                records.push(foreign);
            }
            ["from-child", name, rtype] | ["from-parent", name, rtype] => {
                let at = owner(name);
                let there = if words[0] == "from-child" {
                    others(&at)
                } else {
                    others("example.")
                };
                records.retain(|record| record.owner != at || !record.is_of_set(rtype));
                records.extend(set_at(&there, &at, rtype));
            }
            _ => {}
        }
    }
    records
}

fn is_at(record: &TextRecord, owner: &str, kind: &str) -> bool {
    record.owner == owner && record.kind() == kind
}

fn one(records: &[TextRecord], owner: &str, kind: &str) -> TextRecord {
    let found = records.iter().find(|record| is_at(record, owner, kind));
    found
        .unwrap_or_else(|| panic!("no {kind} at {owner}"))
        .clone()
}

fn set_at(records: &[TextRecord], owner: &str, rtype: &str) -> Vec<TextRecord> {
    let of_set = |record: &&TextRecord| record.owner == owner && record.is_of_set(rtype);
    let found: Vec<TextRecord> = records.iter().filter(of_set).cloned().collect();
    assert!(found.len() >= 2, "no signed {rtype} at {owner}");
    found
}

fn set(
    records: &mut [TextRecord],
    is_meant: impl Fn(&TextRecord) -> bool,
    (field, value): (&str, &str),
) {
    let mut count = 0;
    for record in records.iter_mut().filter(|record| is_meant(record)) {
        record.set(field, value);
        count += 1;
    }
    assert!(count > 0, "nothing has the field {field} to set");
}

/// The owner of the NSEC3 record that matches a name, or covers it.
fn nsec3(
    folder: &SigningFolder,
    zone: &BrokenZone,
    records: &[TextRecord],
    (how, name): (&str, &str),
) -> String {
    let name = zone.absolute(name);
    let hash = run(folder.path(), "ldns-nsec3-hash", &["-t", "0", &name]);
    let hash = format!("{}{}", hash.trim(), zone.name);
    let mut owners: Vec<&String> = records
        .iter()
        .filter(|record| record.rtype == "NSEC3")
        .map(|record| &record.owner)
        .collect();
    owners.sort();
    let matching = owners.contains(&&hash);
    assert_eq!(matching, how == "matching", "{how} {name}");
    if matching {
        return hash;
    }
    let before = owners.iter().rev().find(|owner| ***owner < hash);
    (*before
        .or(owners.last())
        .expect("the zone has NSEC3 records"))
    .clone()
}
