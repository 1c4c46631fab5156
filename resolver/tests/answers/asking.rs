//! Access control: households, `dns.allow_from` and forwarders may query. Other clients are refused
//! before any other check.

use hickory_proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{Name as ProtoName, RecordType},
};
use policy::{
    lists::entry::{EntryAction::Drop, Tier::Mandatory},
    rules::household::{Device, DeviceIdentifier, Household, Mac, Settings},
};
use resolver::message::{reply::read_extended_error, types::Transport};

use crate::world::{Lists, Setup, World, in_words, query};

const INTERNET: &str = "here.own. 60 IN A 192.0.2.1\n";
const STRANGERS: [&str; 4] = [
    "198.51.100.7",
    "2001:db8:9::7",
    "::ffff:198.51.100.7",
    "10.9.0.1",
];

fn setup() -> Setup {
    Setup {
        allow_from: &["127.0.0.0/8", "10.0.0.0/16", "2001:db8:8::/48"],
        trusted_peers: &["203.0.113.53/32"],
        snoop_from: &["0.0.0.0/0", "::/0"],
        server_id: Some("node-1"),
        ..Setup::default()
    }
}

/// RFC 9824 section 3.5, also for a name that is blocked: it is no question about the name.
#[tokio::test]
async fn a_query_for_nxname_is_a_format_error_and_not_resolved() {
    let world = World::with(
        INTERNET,
        Lists::default().name("court", Mandatory, "here.own", Drop),
        setup(),
    );
    for name in ["here.own", "other.own"] {
        let question = format!("{name}. TYPE128");
        assert_eq!(world.ask(&question).await, "FORMERR (30)", "{name}");
        assert_eq!(world.resolutions(name), 0);
    }
}

#[tokio::test]
async fn a_client_of_no_household_and_no_listed_network_is_refused() {
    let world = World::with(
        INTERNET,
        Lists::default().name("court", Mandatory, "here.own", Drop),
        setup(),
    );
    for stranger in STRANGERS {
        for transport in [Transport::Udp, Transport::Tcp] {
            for question in [
                "here.own. A",
                "other.own. A",
                "here.own. ANY",
                "here.own. A +norecurse",
                "here.own. AXFR",
                "id.server. TXT +ch",
                "here.own. A mac=02:00:5e:00:53:01",
            ] {
                let reply = world.reply(stranger, transport, question).await.unwrap();
                assert_eq!(
                    in_words(&reply),
                    "REFUSED (18)",
                    "{stranger} {transport:?} {question}"
                );
                assert_eq!(reply.queries.len(), 1);
            }
            let plain = world
                .reply(stranger, transport, "here.own. A +noedns")
                .await
                .unwrap();
            assert_eq!(
                (in_words(&plain).as_str(), plain.edns.is_none()),
                ("REFUSED", true)
            );
        }
    }
    assert_eq!(
        world.resolutions("other.own"),
        0,
        "nothing is resolved for them"
    );
}

#[tokio::test]
async fn a_strangers_malformed_packet_is_refused_too() {
    let world = World::with(INTERNET, Lists::default(), setup());
    let mut update = query("here.own. A");
    update.metadata.op_code = OpCode::Update;
    let mut two = query("here.own. A");
    two.add_query(hickory_proto::op::Query::query(
        ProtoName::from_ascii("b.own.").unwrap(),
        RecordType::A,
    ));
    for message in [update, two] {
        let packet = message.to_vec().unwrap();
        let reply =
            Message::from_vec(&world.answer(STRANGERS[0], Transport::Udp, &packet).await).unwrap();
        let code = reply
            .edns
            .as_ref()
            .and_then(read_extended_error)
            .map(|(code, _)| code);
        assert_eq!(
            (reply.metadata.response_code, code),
            (ResponseCode::Refused, Some(18))
        );
        let known =
            Message::from_vec(&world.answer("127.0.7.9", Transport::Udp, &packet).await).unwrap();
        assert_ne!(
            known.metadata.response_code,
            ResponseCode::Refused,
            "a client that may query gets the code of the error"
        );
    }
    assert!(
        world
            .answer(STRANGERS[0], Transport::Udp, &[0; 5])
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn households_listed_networks_and_forwarders_may_query() {
    let world = World::with(INTERNET, Lists::default(), setup());
    for peer in [
        "127.0.7.9",
        "2001:db8:7::9",
        "127.0.8.9",
        "10.0.255.255",
        "2001:db8:8::1",
        "::ffff:10.0.0.1",
        "203.0.113.53",
    ] {
        assert_eq!(
            world.ask_from(peer, "here.own. A").await,
            "192.0.2.1",
            "{peer}"
        );
    }
    assert_eq!(
        world.ask_from("203.0.113.54", "here.own. A").await,
        "REFUSED (18)"
    );
    assert_eq!(
        world.ask_from("10.1.0.0", "here.own. A").await,
        "REFUSED (18)"
    );
    assert_eq!(
        world.ask_from("127.0.8.9", "here.own. A +norecurse").await,
        "192.0.2.1"
    );
}

#[tokio::test]
async fn with_an_empty_list_only_households_and_forwarders_may_query() {
    let trusted_peers = &["203.0.113.53/32", "127.0.0.0/8"];
    let world = World::with(
        INTERNET,
        Lists::default(),
        Setup {
            allow_from: &[],
            trusted_peers,
            ..setup()
        },
    );
    for (peer, expected) in [
        ("127.0.7.9", "192.0.2.1"),
        ("203.0.113.53", "192.0.2.1"),
        ("127.0.8.9", "REFUSED (18)"),
        ("::1", "REFUSED (18)"),
    ] {
        assert_eq!(
            world.ask_from(peer, "here.own. A").await,
            expected,
            "{peer}"
        );
    }
}

#[tokio::test]
async fn a_trusted_network_may_query_for_devices_of_households_only() {
    let family = |household: &mut Household| {
        let identifiers = vec![DeviceIdentifier::Mac(Mac([2, 0, 0, 0, 0, 1]))];
        let settings = Settings::default();
        let device = Device {
            name: String::new(),
            kind: None,
            person: None,
            identifiers,
            log: true,
            thing: None,
            settings,
        };
        household.devices.insert("phone".parse().unwrap(), device);
    };
    for (trusted_peers, known) in [
        (&["198.51.100.0/24"][..], "192.0.2.1"),
        (&[], "REFUSED (18)"),
    ] {
        let world = World::with(
            INTERNET,
            Lists::default(),
            Setup {
                trusted_peers,
                family,
                ..setup()
            },
        );
        assert_eq!(
            world
                .ask_from("198.51.100.7", "here.own. A mac=02:00:00:00:00:01")
                .await,
            known
        );
        assert_eq!(
            world
                .ask_from("198.51.100.7", "here.own. A mac=02:00:00:00:00:02")
                .await,
            "REFUSED (18)"
        );
        assert_eq!(
            world.ask_from("198.51.100.7", "here.own. A").await,
            "REFUSED (18)"
        );
    }
}

#[tokio::test]
async fn a_notify_is_accepted_by_its_zone_and_not_by_access_control() {
    let world = World::with(
        INTERNET,
        Lists::default(),
        Setup {
            handles_notify: true,
            ..setup()
        },
    );
    for (zone, with_edns, expected) in [
        ("rpz.example.", true, ResponseCode::NoError),
        ("rpz.example.", false, ResponseCode::NoError),
        ("other.own.", true, ResponseCode::Refused),
    ] {
        let mut notify = query(&format!("{zone} SOA"));
        notify.metadata.op_code = OpCode::Notify;
        notify.edns = notify.edns.filter(|_| with_edns);
        let reply = Message::from_vec(
            &world
                .answer(STRANGERS[0], Transport::Udp, &notify.to_vec().unwrap())
                .await,
        )
        .unwrap();
        assert_eq!(
            (reply.metadata.response_code, reply.edns.is_some()),
            (expected, with_edns),
            "{zone}"
        );
    }
}
