//! What each kind of response is classified as.

use hickory_proto::{
    op::MessageType,
    rr::{Name as ProtoName, rdata::NULL},
    serialize::txt::Parser,
};

use super::*;

/// The zone whose server is queried, and the name of the query.
const ZONE: &str = "example.com";
const NAME: &str = "www.example.com";

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn record(line: &str) -> Record {
    let words: Vec<&str> = line.split(' ').collect();
    if words[2] == "DNAME" {
        let data = RData::Unknown {
            code: RecordType::DNAME,
            rdata: NULL::with(name(words[3]).borrow().wire().to_vec()),
        };
        return Record::from_rdata(
            ProtoName::from_ascii(words[0]).unwrap(),
            words[1].parse().unwrap(),
            data,
        );
    }
    let (_, sets) = Parser::new(format!("{line}\n"), None, Some(ProtoName::root()))
        .parse()
        .unwrap();
    sets.values()
        .flat_map(|set| set.records_without_rrsigs())
        .next()
        .unwrap()
        .clone()
}

/// A response in text: the code, `aa` and `ra`; then records, each behind its section: `an`, `ns`,
/// `ar`.
fn reply(text: &str) -> Message {
    let mut parts = text.split('|').map(str::trim);
    let head: Vec<&str> = parts.next().unwrap().split(' ').collect();
    let mut message = Message::response(0, hickory_proto::op::OpCode::Query);
    message.metadata.message_type = MessageType::Response;
    message.metadata.response_code = match head[0] {
        "NOERROR" => ResponseCode::NoError,
        "NXDOMAIN" => ResponseCode::NXDomain,
        "YXDOMAIN" => ResponseCode::YXDomain,
        "SERVFAIL" => ResponseCode::ServFail,
        other => panic!("{other}"),
    };
    message.metadata.authoritative = head.contains(&"aa");
    message.metadata.recursion_available = head.contains(&"ra");
    for part in parts {
        let (section, line) = part.split_once(' ').unwrap();
        match section {
            "an" => message.answers.push(record(line)),
            "ns" => message.authorities.push(record(line)),
            "ar" => message.additionals.push(record(line)),
            other => panic!("{other}"),
        }
    }
    message
}

fn context<'a>(
    zone: &'a Name,
    name: &'a Name,
    rtype: RecordType,
    role: ServerRole,
) -> ScrubContext<'a> {
    let zone = zone.borrow();
    let name = name.borrow();
    ScrubContext {
        zone,
        name,
        rtype: rtype.into(),
        role,
        harden_glue: true,
        wants_apex: false,
    }
}

fn tell(response: &Response) -> String {
    let answer: String = response
        .answer
        .iter()
        .map(|set| {
            let rtype = RecordType::from(set.rtype.to_u16());
            format!(" {}/{rtype}x{}", set.owner, set.records.len())
        })
        .collect();
    let soa = response
        .denial
        .soa_record()
        .map_or_else(|| "no SOA".to_owned(), |soa| format!("SOA {}", soa.name));
    let said = match &response.kind {
        ResponseKind::Answer => format!("answer{answer}"),
        ResponseKind::Alias { target } => format!("alias{answer} to {target}"),
        ResponseKind::NxDomain { name } => format!("no name{answer} {name} {soa}"),
        ResponseKind::NoData { name } => format!("no data{answer} {name} {soa}"),
        ResponseKind::DnameTooLong => format!("too long{answer}"),
        ResponseKind::Referral(referral) => {
            let servers: String = referral
                .servers
                .iter()
                .map(|server| format!(" {}{:?}", server.name, server.glue))
                .collect();
            format!("referral {} {}{servers}", referral.zone, referral.ttl_s)
        }
        ResponseKind::Unusable(fault) => format!("bad {fault:?}"),
    };
    match response.credibility {
        Credibility::Authoritative => said,
        Credibility::NonAuthoritative => format!("{said}, doubtful"),
    }
}

fn check_as(role: ServerRole, rtype: RecordType, text: &str, expected: &str) {
    let zone = name(ZONE);
    let name = name(NAME);
    assert_eq!(
        tell(&classify(&reply(text), context(&zone, &name, rtype, role))),
        expected,
        "{role:?} {rtype}: {text}"
    );
}

/// The response of an authoritative server to a query of type A.
fn check(text: &str, expected: &str) {
    check_as(ServerRole::Authority, RecordType::A, text, expected);
}

/// The same of a forwarder.
fn check_forwarder(text: &str, expected: &str) {
    check_as(ServerRole::Forwarder, RecordType::A, text, expected);
}

const A: &str = "an www.example.com. 60 A 192.0.2.1";
const SOA: &str = "ns example.com. 300 SOA n. h. 1 2 3 4 300";

#[test]
fn an_answer_without_aa_counts_unless_it_has_ra() {
    check(&format!("NOERROR aa | {A}"), "answer www.example.com/Ax1");
    check(
        &format!("NOERROR aa ra | {A}"),
        "answer www.example.com/Ax1",
    );
    check(&format!("NOERROR | {A}"), "answer www.example.com/Ax1");
    check(
        &format!("NOERROR ra | {A}"),
        "answer www.example.com/Ax1, doubtful",
    );
    check(
        &format!("NXDOMAIN ra | {SOA}"),
        "no name www.example.com SOA example.com., doubtful",
    );
    check_forwarder(&format!("NOERROR ra | {A}"), "answer www.example.com/Ax1");
}

#[test]
fn records_of_the_name_in_any_letter_case_are_taken_once_each() {
    check(
        "NOERROR aa | an WWW.Example.COM. 60 A 192.0.2.1",
        "answer www.example.com/Ax1",
    );
    let twice = format!(
        "{A} | {A} | an www.example.com. 60 A 192.0.2.2 | an example.com. 60 A 192.0.2.3 | an a.www.example.com. 60 A 192.0.2.4"
    );
    check(
        &format!("NOERROR aa | {twice}"),
        "answer www.example.com/Ax2",
    );
}

#[test]
fn a_record_of_another_class_is_none() {
    let zone = name(ZONE);
    let name = name(NAME);
    for section in ["an", "ns"] {
        let mut message = reply(&format!(
            "NOERROR | {section} sub.example.com. 60 NS n. | {section} www.example.com. 60 A 192.0.2.1"
        ));
        message
            .answers
            .iter_mut()
            .chain(&mut message.authorities)
            .for_each(|record| record.dns_class = DNSClass::CH);
        let said = tell(&classify(
            &message,
            context(&zone, &name, RecordType::A, ServerRole::Authority),
        ));
        assert!(said.starts_with("no data") || said == "bad Lame", "{said}");
    }
    // It does not prove that the name exists, it is no SOA, and it is no delegation.
    let mut message = reply(&format!("NXDOMAIN aa | {A} | {SOA}"));
    message
        .answers
        .iter_mut()
        .chain(&mut message.authorities)
        .for_each(|record| record.dns_class = DNSClass::CH);
    assert_eq!(
        tell(&classify(
            &message,
            context(&zone, &name, RecordType::A, ServerRole::Authority)
        )),
        "no name www.example.com no SOA"
    );
    let mut message = reply("NOERROR | ns www.example.com. 60 NS n.");
    message.authorities[0].dns_class = DNSClass::CH;
    assert_eq!(
        tell(&classify(
            &message,
            context(&zone, &name, RecordType::A, ServerRole::Authority)
        )),
        "bad Lame"
    );
}

#[test]
fn a_denial_has_the_soa_of_a_zone_the_server_may_speak_for() {
    check(
        &format!("NXDOMAIN aa | {SOA}"),
        "no name www.example.com SOA example.com.",
    );
    check(
        &format!("NOERROR aa | {SOA}"),
        "no data www.example.com SOA example.com.",
    );
    check("NXDOMAIN aa", "no name www.example.com no SOA");
    for foreign in [
        "com.",
        "other.com.",
        "a.www.example.com.",
        "mail.example.com.",
    ] {
        let soa = format!("ns {foreign} 300 SOA n. h. 1 2 3 4 300");
        check(
            &format!("NXDOMAIN aa | {soa}"),
            "no name www.example.com no SOA",
        );
        check(
            &format!("NOERROR aa | {soa}"),
            "no data www.example.com no SOA",
        );
    }
    check(
        "NXDOMAIN aa | ns www.example.com. 300 SOA n. h. 1 2 3 4 300",
        "no name www.example.com SOA www.example.com.",
    );
}

#[test]
fn an_empty_response_is_not_authoritative() {
    check("NOERROR aa", "no data www.example.com no SOA, doubtful");
    check("NOERROR", "no data www.example.com no SOA, doubtful");
    check("NOERROR ra", "no data www.example.com no SOA, doubtful");
    // Records of the additional section answer nothing.
    for name in ["www.example.com.", "other.example.com."] {
        check(
            &format!("NOERROR | ar {name} 60 A 192.0.2.1"),
            "no data www.example.com no SOA, doubtful",
        );
    }
    // The authority section has the zone's own servers.
    check(
        "NOERROR aa | ns example.com. 60 NS n.example.com.",
        "no data www.example.com no SOA",
    );
    check_forwarder("NOERROR ra", "no data www.example.com no SOA");
}

#[test]
fn upward_and_sideways_referrals_and_foreign_data_are_lame() {
    for elsewhere in [
        ".",
        "com.",
        "other.com.",
        "sub.example.com.",
        "a.www.example.com.",
    ] {
        for flag in ["", " aa"] {
            check(
                &format!("NOERROR{flag} | ns {elsewhere} 60 NS n.example.com."),
                "bad Lame",
            );
        }
    }
    check("NOERROR | ns example.com. 60 NS n.example.com.", "bad Lame");
    check(
        "NOERROR aa | ns example.com. 60 NS n.example.com. | ns com. 60 NS n.example.com.",
        "bad Lame",
    );
    check("NOERROR | an other.example.com. 60 A 192.0.2.1", "bad Lame");
    check("NOERROR | ns example.com. 60 TXT x", "bad Lame");
    check("SERVFAIL", "bad Code(ServFail)");
    check("SERVFAIL ra", "bad Code(ServFail)");
    check(&format!("SERVFAIL aa | {A}"), "bad Code(ServFail)");
    check("YXDOMAIN aa", "bad Code(YXDomain)");
    check_forwarder(
        "NOERROR ra | ns example.com. 60 NS n.example.com.",
        "bad Lame",
    );
    check_forwarder(
        "NOERROR ra | ns www.example.com. 60 NS n.example.com.",
        "bad Lame",
    );
}

#[test]
fn a_name_with_records_of_another_type_exists() {
    check(
        "NOERROR | an www.example.com. 60 AAAA ::1",
        "no data www.example.com no SOA, doubtful",
    );
    check(
        "NOERROR | an www.example.com. 60 AAAA ::1 | ns other.com. 60 NS n.",
        "bad Lame",
    );
    for code in ["NXDOMAIN", "YXDOMAIN"] {
        check(
            &format!("{code} aa | an www.example.com. 60 AAAA ::1 | {SOA}"),
            "bad Inconsistent",
        );
        check(&format!("{code} aa | {A} | {SOA}"), "bad Inconsistent");
        check_forwarder(&format!("{code} ra | {A}"), "bad Inconsistent");
        check_forwarder(
            &format!(
                "{code} ra | an www.example.com. 60 CNAME a.example.com. | an a.example.com. 60 A 192.0.2.1"
            ),
            "bad Inconsistent",
        );
        // A record of another name proves nothing.
        check(
            &format!("NXDOMAIN aa | an other.example.com. 60 A 192.0.2.1 | {SOA}"),
            "no name www.example.com SOA example.com.",
        );
    }
}

const CNAME: &str = "an www.example.com. 60 CNAME a.example.com.";

#[test]
fn an_authority_is_believed_for_the_queried_name_only() {
    let alias = "alias www.example.com/CNAMEx1 to a.example.com";
    check(&format!("NOERROR aa | {CNAME}"), alias);
    check(
        &format!("NOERROR aa | {CNAME} | an a.example.com. 60 A 192.0.2.1"),
        alias,
    );
    check(&format!("NXDOMAIN aa | {CNAME} | {SOA}"), alias);
    check(&format!("YXDOMAIN aa | {CNAME}"), alias);
    check(&format!("NOERROR aa | {CNAME} | {SOA}"), alias);
    check(
        &format!("NOERROR aa | {CNAME} | an www.example.com. 60 CNAME b.example.com."),
        alias,
    );
    check(
        "NOERROR aa | an www.example.com. 60 CNAME out.test.",
        "alias www.example.com/CNAMEx1 to out.test",
    );
    // ScrubContext for the alias itself, that is the answer.
    check_as(
        ServerRole::Authority,
        RecordType::CNAME,
        &format!("NOERROR aa | {CNAME}"),
        "answer www.example.com/CNAMEx1",
    );
    check_as(
        ServerRole::Authority,
        RecordType::CNAME,
        &format!("NXDOMAIN aa | {CNAME}"),
        "bad Inconsistent",
    );
}

#[test]
fn a_forwarder_is_believed_for_all_names_in_its_zone() {
    let a = "an a.example.com. 60 A 192.0.2.1";
    let www = "www.example.com/CNAMEx1";
    check_forwarder(
        &format!("NOERROR ra | {a} | {CNAME}"),
        &format!("answer {www} a.example.com/Ax1"),
    );
    check_forwarder(
        &format!("NOERROR ra | {CNAME}"),
        &format!("alias {www} to a.example.com"),
    );
    check_forwarder(
        &format!("YXDOMAIN ra | {CNAME}"),
        &format!("alias {www} to a.example.com"),
    );
    check_forwarder(
        &format!("NXDOMAIN ra | {CNAME} | {SOA}"),
        &format!("no name {www} a.example.com SOA example.com."),
    );
    check_forwarder(
        &format!("NXDOMAIN ra | {CNAME}"),
        &format!("no name {www} a.example.com no SOA"),
    );
    check_forwarder(
        &format!("NOERROR ra | {CNAME} | {SOA}"),
        &format!("no data {www} a.example.com SOA example.com."),
    );
    let out = "an www.example.com. 60 CNAME out.test. | an out.test. 60 A 192.0.2.1";
    check_forwarder(
        &format!("NOERROR ra | {out}"),
        &format!("alias {www} to out.test"),
    );
    check_forwarder(
        &format!("NXDOMAIN ra | {out}"),
        &format!("alias {www} to out.test"),
    );
}

#[test]
fn a_dname_precedes_data_of_names_below_it() {
    let dname = "an example.com. 90 DNAME example.net.";
    let made = "an www.example.com. 60 CNAME www.example.net.";
    let zone = name("com");
    let www = name(NAME);
    let said = |text: &str, rtype| {
        tell(&classify(
            &reply(text),
            context(&zone, &www, rtype, ServerRole::Authority),
        ))
    };
    let led = "example.com/DNAMEx1 www.example.com/CNAMEx1";
    for text in [
        format!("NOERROR aa | {dname}"),
        format!("NOERROR aa | {made} | {dname}"),
        format!("NOERROR aa | {A} | {dname}"),
    ] {
        assert_eq!(
            said(&text, RecordType::A),
            format!("alias {led} to www.example.net"),
            "{text}"
        );
        assert_eq!(
            said(&text, RecordType::DNAME),
            format!("alias {led} to www.example.net"),
            "{text}"
        );
        assert_eq!(
            said(&text, RecordType::CNAME),
            format!("answer {led}"),
            "{text}"
        );
    }
    // A DNAME above the server's zone is out of bailiwick. A DNAME at the name does not redirect it.
    check(
        "NOERROR aa | an com. 90 DNAME net.",
        "no data www.example.com no SOA, doubtful",
    );
    check(
        "NOERROR aa | an www.example.com. 90 DNAME net.",
        "no data www.example.com no SOA, doubtful",
    );
    check_as(
        ServerRole::Authority,
        RecordType::DNAME,
        "NOERROR aa | an www.example.com. 90 DNAME net.",
        "answer www.example.com/DNAMEx1",
    );
    let too_long = format!(
        "NOERROR ra | an example.com. 90 DNAME {}.",
        vec!["l".repeat(62); 4].join(".")
    );
    check(&too_long, "too long example.com/DNAMEx1");
    // Of several, the first counts.
    let several =
        "NOERROR aa | an example.com. 90 DNAME a.test. | an example.com. 90 DNAME b.test.";
    check(
        several,
        "alias example.com/DNAMEx1 www.example.com/CNAMEx1 to www.a.test",
    );
}

#[test]
fn a_forwarders_dname_is_followed_in_its_reply() {
    let dname =
        "an www.example.com. 60 CNAME x.d.example.com. | an d.example.com. 60 DNAME e.example.com.";
    let led = "www.example.com/CNAMEx1 d.example.com/DNAMEx1 x.d.example.com/CNAMEx1";
    check_forwarder(
        &format!("NOERROR ra | {dname} | an x.e.example.com. 60 A 192.0.2.1"),
        &format!("answer {led} x.e.example.com/Ax1"),
    );
    check_forwarder(
        &format!("NOERROR ra | {dname}"),
        &format!("alias {led} to x.e.example.com"),
    );
    let long = vec!["l".repeat(60); 4].join(".");
    let too_long = format!(
        "an www.example.com. 60 CNAME xxxxxxxxxxxx.d.example.com. | an d.example.com. 60 DNAME {long}."
    );
    check_forwarder(
        &format!("YXDOMAIN ra | {too_long}"),
        "too long www.example.com/CNAMEx1 d.example.com/DNAMEx1",
    );
}

#[test]
fn a_dname_at_the_zones_own_apex_leads_on() {
    check(
        "NOERROR aa | an example.com. 60 DNAME a.test.",
        "alias example.com/DNAMEx1 www.example.com/CNAMEx1 to www.a.test",
    );
}

#[test]
fn a_set_of_257_records_is_a_fault() {
    let records = |count: usize| -> String {
        (0..count)
            .map(|number| format!(" | an {NAME}. 60 A 10.1.{}.{}", number / 256, number % 256))
            .collect()
    };
    check(
        &format!("NOERROR aa{}", records(256)),
        "answer www.example.com/Ax256",
    );
    check(&format!("NOERROR aa{}", records(257)), "bad TooMuch");
}

/// The response of a server of `com`.
fn refer(text: &str, harden_glue: bool) -> String {
    let zone = name("com");
    let name = name(NAME);
    tell(&classify(
        &reply(text),
        ScrubContext {
            harden_glue,
            ..context(&zone, &name, RecordType::A, ServerRole::Authority)
        },
    ))
}

#[test]
fn a_referral_has_servers_and_glue_within_the_bailiwick() {
    let inside = "ns example.com. 60 NS ns1.example.com. | ns example.com. 30 NS ns.other.net. | ar NS1.example.com. 60 A 192.0.2.53 | ar ns1.example.com. 60 AAAA 2001:db8::53 | ar ns.other.net. 60 A 192.0.2.54 | ar ns.unnamed.com. 60 A 192.0.2.55";
    let with = "referral example.com 30 ns1.example.com[192.0.2.53, 2001:db8::53] ns.other.net";
    assert_eq!(
        refer(&format!("NOERROR | {inside}"), true),
        format!("{with}[]")
    );
    assert_eq!(
        refer(&format!("NOERROR | {inside}"), false),
        format!("{with}[192.0.2.54]")
    );
    let from_resolver = "NOERROR ra | ns example.com. 60 NS ns1.example.com.";
    assert_eq!(
        refer(from_resolver, true),
        "referral example.com 60 ns1.example.com[]",
        "also with RA"
    );
    // Only zones below the server's zone, at or above the name.
    assert_eq!(
        refer("NOERROR | ns com. 60 NS ns1.example.com.", true),
        "bad Lame"
    );
    assert_eq!(
        refer("NOERROR | ns other.com. 60 NS ns1.example.com.", true),
        "bad Lame"
    );
    assert_eq!(
        refer("NOERROR | ns www.example.com. 60 NS ns1.example.com.", true),
        "referral www.example.com 60 ns1.example.com[]"
    );
    assert_eq!(
        refer(
            "NOERROR aa | ns other.com. 60 NS ns.a. | ns example.com. 60 NS ns.b.",
            true
        ),
        "referral example.com 60 ns.b[]"
    );
}

#[test]
fn a_referral_has_at_most_13_servers_with_6_addresses() {
    let servers: String = (0..15)
        .map(|number| format!(" | ns example.com. 60 NS n{number}.example.com."))
        .collect();
    let glue: String = (0..8)
        .map(|number| format!(" | ar n0.example.com. 60 A 192.0.2.{number}"))
        .collect();
    let zone = name("com");
    let name = name(NAME);
    let response = classify(
        &reply(&format!("NOERROR{servers}{glue}")),
        context(&zone, &name, RecordType::A, ServerRole::Authority),
    );
    let ResponseKind::Referral(referral) = &response.kind else {
        panic!("{response:?}")
    };
    assert_eq!(
        (referral.servers.len(), referral.servers[0].glue.len()),
        (13, 6)
    );
}

#[test]
fn the_apex_ns_rrset_is_taken_where_that_is_wanted() {
    let apex = |text: &str, wants_apex| {
        let zone = name(ZONE);
        let name = name(NAME);
        let response = classify(
            &reply(text),
            ScrubContext {
                wants_apex,
                ..context(&zone, &name, RecordType::A, ServerRole::Authority)
            },
        );
        response.apex.map(|apex| {
            (
                apex.zone.to_string(),
                apex.ttl_s,
                apex.servers[0].glue.len(),
            )
        })
    };
    let said = "ns example.com. 60 NS ns1.example.com. | ar ns1.example.com. 60 A 192.0.2.53";
    let right = Some((ZONE.to_owned(), 60, 1));
    assert_eq!(apex(&format!("NOERROR aa | {A} | {said}"), true), right);
    assert_eq!(
        apex(
            &format!("NOERROR aa | {}", said.replacen("ns ", "an ", 1)),
            true
        ),
        right
    );
    assert_eq!(
        apex(&format!("NOERROR | {A} | {said}"), true),
        None,
        "not without AA"
    );
    assert_eq!(apex(&format!("NOERROR aa | {A} | {said}"), false), None);
    assert_eq!(
        apex(
            &format!("NOERROR aa | {A} | ns com. 60 NS ns1.example.com."),
            true
        ),
        None
    );
}

/// A record whose data are only octets.
fn opaque(owner: &str, code: RecordType, octets: &[u8]) -> Record {
    let rdata = NULL::with(octets.to_vec());
    let owner = ProtoName::from_ascii(owner).unwrap();
    Record::from_rdata(owner, 60, RData::Unknown { code, rdata })
}

fn classified(zone: &str, message: &Message) -> Response {
    let zone = name(zone);
    let name = name(NAME);
    let context = context(&zone, &name, RecordType::A, ServerRole::Authority);
    classify(message, context)
}

#[test]
fn signatures_and_proofs_are_kept_beside_what_they_belong_to() {
    let signature = |owner, covered| opaque(owner, RecordType::RRSIG, &[0, covered, 13]);
    let mut message = reply(&format!("NOERROR aa | {A}"));
    message.answers.push(signature("www.example.com.", 1));
    message
        .authorities
        .push(opaque("a.example.com.", RecordType::NSEC, b"\0"));
    let response = classified(ZONE, &message);
    assert_eq!(response.answer[0].signatures.len(), 1);
    assert_eq!(response.denial.proofs.len(), 1, "of a wildcard answer");
    let mut message = reply(&format!("NXDOMAIN aa | {SOA}"));
    message.authorities.push(signature("example.com.", 6));
    message
        .authorities
        .push(opaque("a.example.com.", RecordType::NSEC3, b"\0"));
    message.authorities.push(signature("a.example.com.", 50));
    let denial = classified(ZONE, &message).denial;
    assert_eq!(denial.soa.unwrap().signatures.len(), 1);
    assert_eq!(
        (denial.proofs.len(), denial.proofs[0].signatures.len()),
        (1, 1)
    );
}

#[test]
fn a_referral_keeps_the_ds_rrset_or_the_proof_that_there_is_none() {
    let referral = |record: Record| {
        let mut message = reply("NOERROR | ns example.com. 60 NS ns1.example.com.");
        message.authorities.push(record);
        match classified("com", &message).kind {
            ResponseKind::Referral(referral) => referral.ds,
            kind => panic!("{kind:?}"),
        }
    };
    let signed = referral(opaque("example.com.", RecordType::DS, &[0, 1, 13, 2]));
    assert!(signed.set.is_some() && signed.proofs.is_empty());
    let unsigned = referral(opaque("x.com.", RecordType::NSEC3, &[1]));
    assert!(unsigned.set.is_none() && unsigned.proofs.len() == 1);
}
