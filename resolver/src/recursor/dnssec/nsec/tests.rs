//! Tests of NSEC records: the zone of RFC 4035 appendix A, and single records.

use super::*;
use crate::recursor::dnssec::testing::{name, sets};

const RFC_4035: &str = "example. 60 NSEC a.example. NS SOA MX RRSIG NSEC DNSKEY
    a.example. 60 NSEC ai.example. NS DS RRSIG NSEC
    ai.example. 60 NSEC b.example. A HINFO AAAA RRSIG NSEC
    b.example. 60 NSEC ns1.example. NS RRSIG NSEC
    ns1.example. 60 NSEC ns2.example. A RRSIG NSEC
    ns2.example. 60 NSEC *.w.example. A RRSIG NSEC
    *.w.example. 60 NSEC x.w.example. MX RRSIG NSEC
    x.w.example. 60 NSEC x.y.w.example. MX RRSIG NSEC
    x.y.w.example. 60 NSEC xx.example. MX RRSIG NSEC
    xx.example. 60 NSEC example. A HINFO AAAA RRSIG NSEC";

fn zone(text: &str) -> NsecRecords {
    NsecRecords::of(sets(text).iter(), name("example").borrow())
}

/// Those records of the RFC's zone whose owners are given.
fn some(owners: &[&str]) -> NsecRecords {
    let lines: Vec<&str> = RFC_4035
        .lines()
        .filter(|line| owners.contains(&line.split_whitespace().next().unwrap()))
        .collect();
    assert_eq!(lines.len(), owners.len());
    zone(&lines.join("\n"))
}

fn nxdomain(records: &NsecRecords, text: &str) -> Option<Finding> {
    records.nxdomain(name(text).borrow())
}

fn nodata(
    records: &NsecRecords,
    text: &str,
    rtype: Rtype,
) -> Result<Option<Finding>, ValidationFault> {
    records.nodata(name(text).borrow(), rtype)
}

const SECURE: Option<Finding> = Some(Finding::Secure);
const MX: Rtype = Rtype::new(15);

/// RFC 4035 appendix B.2.
#[test]
fn the_name_error_of_rfc_4035_takes_both_records() {
    assert_eq!(
        nxdomain(&some(&["b.example.", "example."]), "ml.example"),
        SECURE
    );
    assert_eq!(
        nxdomain(&some(&["b.example."]), "ml.example"),
        None,
        "the wildcard may exist"
    );
    assert_eq!(nxdomain(&some(&["example."]), "ml.example"), None);
}

/// RFC 4035 appendix B.3.
#[test]
fn the_nodata_of_rfc_4035_is_proved() {
    let records = some(&["ns1.example."]);
    assert_eq!(nodata(&records, "ns1.example", MX), Ok(SECURE));
    let contradicted = Err(ValidationFault::DenialContradicted);
    assert_eq!(nodata(&records, "ns1.example", Rtype::A), contradicted);
    assert_eq!(nodata(&records, "ns2.example", MX), Ok(None));
}

/// RFC 4035 appendix B.5: a referral to the unsigned zone b.example.
#[test]
fn the_unsigned_delegation_of_rfc_4035_is_proved() {
    let cut = |text| some(&["b.example."]).cut(name(text).borrow());
    let unsigned =
        Delegation::Insecure(crate::recursor::dnssec::InsecurityCause::UnsignedDelegation);
    assert_eq!(cut("b.example"), Ok(Some(unsigned)));
    assert_eq!(cut("ml.example"), Ok(Some(Delegation::NoCut)));
    assert_eq!(
        cut("mc.b.example"),
        Ok(None),
        "below the cut the record proves nothing"
    );
}

/// RFC 4035 appendix B.6: a.z.w.example from `*.w.example`, whose next closer name is z.w.example.
#[test]
fn the_wildcard_answer_of_rfc_4035_has_no_closer_name() {
    let records = some(&["x.y.w.example."]);
    assert_eq!(records.absence(name("z.w.example").borrow()), SECURE);
    assert_eq!(records.absence(name("y.w.example").borrow()), None);
}

/// RFC 4035 appendix B.7.
#[test]
fn the_wildcard_nodata_of_rfc_4035_is_proved() {
    let records = some(&["x.y.w.example.", "*.w.example."]);
    assert_eq!(nodata(&records, "a.z.w.example", Rtype::AAAA), Ok(SECURE));
    assert_eq!(
        nodata(&records, "a.z.w.example", MX),
        Err(ValidationFault::DenialContradicted),
        "the wildcard has the type"
    );
    assert_eq!(
        nodata(&some(&["x.y.w.example."]), "a.z.w.example", Rtype::AAAA),
        Ok(None)
    );
}

/// RFC 4035 appendix B.8: the answer to a DS query comes from the child.
#[test]
fn the_childs_record_denies_no_ds_set() {
    assert_eq!(nodata(&some(&["example."]), "example", Rtype::DS), Ok(None));
    assert_eq!(some(&["example."]).cut(name("example").borrow()), Ok(None));
}

/// The root has no parent that could deny its DS RRset.
#[test]
fn the_root_denies_its_own_ds_set() {
    let sets = sets(". 60 NSEC aaa. NS SOA RRSIG NSEC DNSKEY");
    let records = NsecRecords::of(sets.iter(), name(".").borrow());
    assert_eq!(nodata(&records, ".", Rtype::DS), Ok(SECURE));
}

#[test]
fn an_empty_non_terminal_has_no_data_but_exists() {
    let records = some(&["ns2.example."]);
    assert_eq!(nodata(&records, "w.example", Rtype::A), Ok(SECURE));
    assert_eq!(nxdomain(&zone(RFC_4035), "w.example"), None);
    assert_eq!(records.absence(name("w.example").borrow()), None);
    assert_eq!(
        records.cut(name("w.example").borrow()),
        Ok(Some(Delegation::NoCut))
    );
    // RFC 4592 section 4.3: the wildcard itself may be an empty non-terminal.
    let records = zone(
        "a.example. 60 NSEC b.*.example. A
         m.example. 60 NSEC x.example. A
         *.example. 60 NSEC a.example. A",
    );
    assert_eq!(nodata(&records, "mm.example", MX), Ok(SECURE));
    let records = zone(
        "example. 60 NSEC b.*.example. NS SOA
         m.example. 60 NSEC x.example. A",
    );
    assert_eq!(nodata(&records, "mm.example", Rtype::A), Ok(SECURE));
    assert_eq!(nxdomain(&records, "mm.example"), None);
}

#[test]
fn the_last_record_reaches_to_the_end_of_the_zone() {
    let records = zone(RFC_4035);
    assert_eq!(nxdomain(&records, "zz.example"), SECURE);
    assert_eq!(nxdomain(&records, "\\255.xx.example"), SECURE);
    // One record alone covers everything but the apex.
    let single = zone("example. 60 NSEC example. NS SOA RRSIG NSEC DNSKEY");
    assert_eq!(nxdomain(&single, "a.example"), SECURE);
    assert_eq!(nxdomain(&single, "example"), None);
    assert_eq!(nodata(&single, "example", Rtype::A), Ok(SECURE));
}

/// Knot Resolver 6.4.1, PowerDNS 5.5 and Unbound of July 2026: such a record poisons the cache.
#[test]
fn a_next_name_outside_the_zone_is_refused() {
    for next in ["test.", "a.test.", ".", "xample."] {
        let records = zone(&format!("a.example. 60 NSEC {next} A"));
        assert_eq!(records.0.len(), 0, "{next}");
    }
}

/// A record whose next name precedes it would cover what it should not.
#[test]
fn a_record_against_the_order_is_refused() {
    assert_eq!(zone("m.example. 60 NSEC b.example. A").0.len(), 0);
    assert_eq!(zone("m.example. 60 NSEC m.example. A").0.len(), 0);
    assert_eq!(zone("m.example. 60 NSEC example. A").0.len(), 1);
}

/// RFC 6840 section 4.1.
#[test]
fn a_record_at_a_cut_or_a_dname_proves_nothing_below_it() {
    for types in ["NS RRSIG NSEC", "NS DS RRSIG NSEC", "DNAME RRSIG NSEC"] {
        let records = zone(&format!(
            "example. 60 NSEC b.example. NS SOA
             b.example. 60 NSEC c.example. {types}"
        ));
        assert_eq!(nxdomain(&records, "x.b.example"), None, "{types}");
        assert_eq!(
            nodata(&records, "x.b.example", Rtype::A),
            Ok(None),
            "{types}"
        );
        assert_eq!(
            records.absence(name("x.b.example").borrow()),
            None,
            "{types}"
        );
        assert_eq!(
            records.cut(name("x.b.example").borrow()),
            Ok(None),
            "{types}"
        );
        assert_eq!(nxdomain(&records, "bb.example"), SECURE, "beside it");
    }
    // The apex of the zone itself has NS and SOA.
    let apex = zone("example. 60 NSEC c.example. NS SOA RRSIG NSEC");
    assert_eq!(nxdomain(&apex, "b.example"), SECURE);
}

/// RFC 6840 section 4.1, for the name of the cut itself.
#[test]
fn a_record_of_the_parent_denies_only_the_ds_set_of_the_cut() {
    let records = zone("b.example. 60 NSEC c.example. NS RRSIG NSEC");
    assert_eq!(nodata(&records, "b.example", Rtype::DS), Ok(SECURE));
    assert_eq!(nodata(&records, "b.example", Rtype::A), Ok(None));
    assert_eq!(nodata(&records, "b.example", Rtype::SOA), Ok(None));
}

/// RFC 6840 section 4.3.
#[test]
fn a_name_with_an_alias_has_no_other_type_to_deny() {
    let records = zone("b.example. 60 NSEC c.example. CNAME RRSIG NSEC");
    assert_eq!(
        nodata(&records, "b.example", Rtype::A),
        Err(ValidationFault::DenialContradicted)
    );
}

/// RFC 9824 section 3.1: the name exists only in its own record.
#[test]
fn compact_denial_tells_a_missing_name_from_missing_data() {
    let compact = Some(Finding::Compact);
    let records = zone("none.example. 60 NSEC \\000.none.example. RRSIG NSEC TYPE128");
    assert_eq!(nxdomain(&records, "none.example"), compact);
    assert_eq!(nodata(&records, "none.example", Rtype::A), Ok(compact));
    assert_eq!(nxdomain(&records, "other.example"), None);
    let records = zone("some.example. 60 NSEC \\000.some.example. A RRSIG NSEC");
    assert_eq!(nxdomain(&records, "some.example"), None);
    assert_eq!(nodata(&records, "some.example", MX), Ok(SECURE));
}

/// RFC 4470: records made up around the name.
#[test]
fn minimally_covering_records_prove_a_name_error() {
    let records = zone(
        "ml\\255.example. 60 NSEC mm\\000.example. RRSIG NSEC
         \\).example. 60 NSEC \\+.example. RRSIG NSEC",
    );
    assert_eq!(nxdomain(&records, "mm.example"), SECURE);
}

/// PowerDNS CVE-2026-52688 and -52686: the covering record must also exclude what is between the
/// closest encloser and the name.
#[test]
fn the_wildcard_is_that_of_the_closest_encloser() {
    // a.z.w.example: w.example exists, so `*.example` does not matter, and `*.w.example` does.
    let records = some(&["x.y.w.example.", "example."]);
    assert_eq!(nxdomain(&records, "a.z.w.example"), None);
    assert_eq!(nodata(&records, "a.z.w.example", Rtype::AAAA), Ok(None));
}
