//! Records of unknown types, malformed records, and records that lead into a private network.

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Record, RecordType},
    serialize::binary::BinEncodable as _,
};
use policy::name::Name;
use resolver::{message::types::Rtype, recursor::TtlBounds, upstream::Question};

use super::script::*;

/// A response with these data, each a record of the queried type.
fn with_data(query: &Message, data: &[&[u8]]) -> Play {
    let kind = query.queries[0].query_type;
    let records: Vec<(RecordType, &[u8])> = data.iter().map(|data| (kind, *data)).collect();
    with_records(query, &records)
}

fn with_records(query: &Message, records: &[(RecordType, &[u8])]) -> Play {
    let mut reply = reply_to(query, ResponseCode::NoError);
    reply.metadata.authoritative = true;
    reply.edns = None;
    let mut octets = reply.to_vec().unwrap();
    octets[7] = u8::try_from(records.len()).unwrap();
    for (kind, data) in records {
        octets.extend([0xc0, 12]);
        octets.extend(u16::from(*kind).to_be_bytes());
        octets.extend([0, 1, 0, 0, 0, 60]);
        octets.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        octets.extend_from_slice(data);
    }
    Play::Octets(octets)
}

/// An Internet where both servers of `example.com` respond so to all queries.
fn saying(play: impl Fn(&Message) -> Play + Clone + Send + Sync + 'static) -> Script {
    let script = usual(21);
    for server in [FIRST, SECOND] {
        let play = play.clone();
        script.serve(server, move |query, _| play(query));
    }
    script
}

async fn records(script: Script, name: &str, kind: RecordType) -> Vec<Vec<u8>> {
    let (recursor, _) = recursor(script);
    let traced = recursor
        .trace(&Question::new(Name::parse(name).unwrap(), kind.into()))
        .await;
    let answer = traced
        .result
        .unwrap_or_else(|failure| panic!("{kind}: {failure}: {:?}", traced.steps));
    answer
        .answers
        .iter()
        .map(|record: &Record| record.data.to_bytes().unwrap())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn data_of_unknown_form_pass_octet_for_octet() {
    let alpn_twice = b"\0\x01\0\0\x01\0\x03\x02h2\0\x01\0\x03\x02h3";
    let odd: [(u16, &[u8]); 16] = [
        (65_281, b""),
        (65_281, b"\xc0\x0c\x00"),
        (42, b""),
        (62, b"\0\0\0\x01\xff\xff\0\x01\x40"),
        (35, b"\0\x01\0\x01\x03!?.\x00\x00\x00"),
        (257, b"\0\x09is.sue.x\xffca.example"),
        (257, b"\0\0"),
        (65, alpn_twice),
        (64, b"\0\x01\x01t\0\xff\xff\0\x00"),
        (65, b"\0\0\x01t\0"),
        (16, b""),
        (16, b"\x05ab"),
        (52, b"\x03\x01\x01"),
        (29, b"\x01short"),
        (44, b""),
        (10, b""),
    ];
    for (kind, data) in odd {
        let kind = RecordType::from(kind);
        let script = saying(move |query| with_data(query, &[data]));
        assert_eq!(
            records(script, "odd.example.com", kind).await,
            [data],
            "{kind} {data:02x?}"
        );
    }
    let good = b"\0\x01\0\0\x01\0\x03\x02h2";
    let script = saying(move |query| with_data(query, &[good, alpn_twice, good]));
    assert_eq!(
        records(script, "odd.example.com", RecordType::HTTPS).await,
        [&good[..], alpn_twice],
        "in a set, once each"
    );
}

#[tokio::test(start_paused = true)]
async fn names_that_may_be_compressed_are_decompressed() {
    // `odd.example.com` stands at octet 12 of the message, `example.com` at 16.
    let cases: [(u16, &[u8], &[u8]); 6] = [
        (
            33,
            b"\0\x01\0\x02\0\x03\x01a\xc0\x10",
            b"\0\x01\0\x02\0\x03\x01a\x07example\x03com\0",
        ),
        (
            35,
            b"\0\x01\0\x01\x01u\x00\x00\xc0\x0c",
            b"\0\x01\0\x01\x01u\x00\x00\x03odd\x07example\x03com\0",
        ),
        (
            17,
            b"\xc0\x10\xc0\x0c",
            b"\x07example\x03com\0\x03odd\x07example\x03com\0",
        ),
        (36, b"\0\x05\xc0\x10", b"\0\x05\x07example\x03com\0"),
        (65, b"\0\0\xc0\x10", b"\0\0\x07example\x03com\0"),
        (
            15,
            b"\0\x05\x01M\xc0\x10",
            b"\0\x05\x01M\x07example\x03com\0",
        ),
    ];
    for (kind, data, plain) in cases {
        let kind = RecordType::from(kind);
        let script = saying(move |query| with_data(query, &[data]));
        assert_eq!(
            records(script, "odd.example.com", kind).await,
            [plain],
            "{kind}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_record_is_left_out_alone() {
    let cases: [(u16, &[u8], &[u8]); 6] = [
        (1, b"\xc0\0\x02", b"\xc0\0\x02\x01"),
        (1, b"", b"\xc0\0\x02\x01"),
        (
            28,
            b"\xc0\0\x02\x01",
            b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01",
        ),
        (15, b"\0", b"\0\x05\x01m\0"),
        (
            33,
            b"\0\x01\0\x02\0\x03\x01a\xc0\xff",
            b"\0\x01\0\x02\0\x03\x01a\0",
        ),
        (65, b"\0", b"\0\x01\0"),
    ];
    for (kind, broken, good) in cases {
        let kind = RecordType::from(kind);
        let script = saying(move |query| with_data(query, &[broken, good]));
        assert_eq!(
            records(script, "odd.example.com", kind).await,
            [good],
            "{kind}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_of_malformed_records_is_no_denial() {
    let (recursor, _) = recursor(saying(|query| with_data(query, &[b"\xc0\0\x02"])));
    assert_eq!(
        ask(&recursor, "odd.example.com", RecordType::A).await,
        "Useless"
    );
    // The other server has well-formed ones.
    let script = saying(|query| with_data(query, &[b"\xc0\0\x02"]));
    script.serve(SECOND, |query, _| with_data(query, &[b"\xc0\0\x02\x01"]));
    assert_eq!(
        records(script, "odd.example.com", RecordType::A).await,
        [b"\xc0\0\x02\x01"]
    );
}

/// What is found under `private_addresses` and `private_domains`.
async fn guarded(
    play: impl Fn(&Message) -> Play + Clone + Send + Sync + 'static,
    name: &str,
    kind: RecordType,
) -> String {
    let (recursor, _) = recursor_with(saying(play), |settings| {
        settings.private_addresses = ["10.0.0.0/8", "192.168.0.0/16", "fd00::/8"]
            .map(|text| text.parse().unwrap())
            .into();
        settings.private_domains = vec![Name::parse("home.example.com").unwrap()];
    });
    ask(&recursor, name, kind).await
}

const PRIVATE: &[u8] = &[192, 168, 0, 1];
const PUBLIC: &[u8] = &[192, 0, 2, 1];

#[tokio::test(start_paused = true)]
async fn a_name_that_leads_to_a_private_address_has_none() {
    assert_eq!(
        guarded(
            |query| with_data(query, &[PRIVATE]),
            "www.example.com",
            RecordType::A
        )
        .await,
        "NoError"
    );
    assert_eq!(
        guarded(
            |query| with_data(query, &[PUBLIC]),
            "www.example.com",
            RecordType::A
        )
        .await,
        "NoError 192.0.2.1"
    );
    assert_eq!(
        guarded(
            |query| with_data(query, &[PRIVATE, PUBLIC]),
            "www.example.com",
            RecordType::A
        )
        .await,
        "NoError 192.0.2.1"
    );
    let alias = |query: &Message| match query.queries[0].name.to_lowercase().to_ascii().as_str() {
        "www.example.com." => with_records(query, &[(RecordType::CNAME, b"\x03nas\xc0\x10")]),
        _ => with_data(query, &[PRIVATE]),
    };
    assert_eq!(
        guarded(alias, "www.example.com", RecordType::A).await,
        "NoError nas.example.com."
    );
    assert_eq!(
        guarded(
            |query| with_data(query, &[PRIVATE]),
            "nas.home.example.com",
            RecordType::A
        )
        .await,
        "NoError 192.168.0.1"
    );
    let mapped = b"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\xa8\0\x01";
    let nat64 = b"\0\x64\xff\x9b\0\0\0\0\0\0\0\0\x0a\x01\x02\x03";
    assert_eq!(
        guarded(
            |query| with_data(query, &[mapped, nat64]),
            "www.example.com",
            RecordType::AAAA
        )
        .await,
        "NoError"
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_record_with_a_private_hint_is_left_out() {
    let private = b"\0\x01\0\0\x01\0\x03\x02h2\0\x04\0\x04\x0a\x01\x02\x03";
    let public = b"\0\x02\0\0\x01\0\x03\x02h2\0\x04\0\x04\xc0\0\x02\x01";
    let private_v6 = b"\0\x03\0\0\x06\0\x10\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01";
    for kind in [RecordType::HTTPS, RecordType::SVCB] {
        assert_eq!(
            guarded(
                |query| with_data(query, &[private]),
                "www.example.com",
                kind
            )
            .await,
            "NoError",
            "{kind}"
        );
        assert_eq!(
            guarded(
                |query| with_data(query, &[private_v6]),
                "www.example.com",
                kind
            )
            .await,
            "NoError",
            "{kind}"
        );
        let said = guarded(
            |query| with_data(query, &[private, public]),
            "www.example.com",
            kind,
        )
        .await;
        assert!(
            said.len() > "NoError ".len() && said.split(' ').count() == 2,
            "{kind}: one of two is left: {said}"
        );
        let at_home = guarded(
            |query| with_data(query, &[private]),
            "nas.home.example.com",
            kind,
        )
        .await;
        assert_ne!(at_home, "NoError", "{kind}: a private domain may");
    }
}

#[tokio::test(start_paused = true)]
async fn ttl_bounds_hold_for_records_and_denials() {
    let script = usual(22);
    let text = "week.example.com. 604800 A 192.0.2.1\nlonger.example.com. 2000000 A 192.0.2.1\nnow.example.com. 0 A 192.0.2.1\n";
    for server in [FIRST, SECOND] {
        script.serve(server, authority(&[("example.com.", text)]));
    }
    let (recursor, _) = recursor_with(script, |settings| {
        settings.ttl = TtlBounds {
            min_s: 90,
            max_s: 604_800,
            negative_max_s: 86_400,
        };
    });
    for (name, ttl_s) in [
        ("week.example.com", 604_800),
        ("longer.example.com", 604_800),
        ("now.example.com", 90),
        ("none.example.com", 90),
    ] {
        let answer = recursor
            .trace(&Question::new(Name::parse(name).unwrap(), Rtype::A))
            .await
            .result
            .unwrap();
        let ttls: Vec<u32> = answer
            .answers
            .iter()
            .chain(&answer.authorities)
            .map(|record| record.ttl)
            .collect();
        assert_eq!(ttls, [ttl_s], "{name}");
    }
}
