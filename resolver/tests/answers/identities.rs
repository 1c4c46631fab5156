//! Asserted identities: what an assertion adds to the source address, and which of several counts.

use std::collections::BTreeMap;

use hickory_proto::rr::rdata::opt::EdnsOption;
use jiff::Timestamp;
use policy::{
    lists::entry::{
        EntryAction::{OperatorPolicy, TcpOnly},
        Scope,
        Tier::{Choice, Security},
    },
    name::Name,
    rules::household::{
        Attributed, CustomName, Device, DeviceIdentifier, Household, Mac, Settings, SwitchState,
    },
};
use resolver::message::types::Transport;

use crate::world::{Lists, Setup, World, in_words, query};

const INTERNET: &str = "\
free.own. 60 IN A 192.0.2.1
bets.own. 60 IN A 192.0.2.7
sneaky.own. 60 IN CNAME bets.own.
";
/// The child's tablet is identified by its address; a parent's laptop, which nothing blocks, by its
/// MAC address alone.
const TABLET: &str = "127.0.7.10";
const LAPTOP: &str = "02:00:5e:00:53:01";
const UNKNOWN: &str = "02:00:5e:00:53:99";
const CAMERA: &str = "02:00:5e:00:53:02";

fn own(names: &[(&str, SwitchState)]) -> Settings {
    let set = |state| Attributed {
        value: CustomName {
            state,
            scope: Scope::Subtree,
        },
        set_by: String::new(),
        set_at: Timestamp::UNIX_EPOCH,
    };
    let names: BTreeMap<Name, _> = names
        .iter()
        .map(|(name, state)| (Name::parse(name).unwrap(), set(*state)))
        .collect();
    Settings {
        names,
        ..Settings::default()
    }
}

fn family(household: &mut Household) {
    let mut device = |id: &str, identifier, settings| {
        let device = Device {
            name: String::new(),
            kind: None,
            person: None,
            identifiers: vec![identifier],
            log: true,
            thing: None,
            settings,
        };
        household.devices.insert(id.parse().unwrap(), device);
    };
    device(
        "tablet",
        DeviceIdentifier::Address(TABLET.parse().unwrap()),
        Settings::default(),
    );
    device(
        "laptop",
        DeviceIdentifier::Mac(LAPTOP.parse().unwrap()),
        own(&[
            ("bets.own", SwitchState::Allow),
            ("sneaky.own", SwitchState::Allow),
        ]),
    );
    device(
        "camera",
        DeviceIdentifier::Mac(CAMERA.parse::<Mac>().unwrap()),
        own(&[("free.own", SwitchState::Block)]),
    );
}

fn world(lists: Lists, trusted_peers: &'static [&'static str]) -> World {
    World::with(
        INTERNET,
        lists,
        Setup {
            family,
            trusted_peers,
            ..Setup::default()
        },
    )
}

fn bets() -> Lists {
    Lists::default().name("bets", Choice, "bets.own", OperatorPolicy)
}

#[tokio::test]
async fn a_device_with_an_address_gains_nothing_by_another_mac_address() {
    for trusted_peers in [&[][..], &["127.0.0.0/8"]] {
        let world = world(bets(), trusted_peers);
        for mac in [
            "",
            &format!(" mac={LAPTOP}"),
            &format!(" mac={UNKNOWN}"),
            " mac=nonsense",
        ] {
            for name in ["bets.own.", "sneaky.own."] {
                for transport in [Transport::Udp, Transport::Tcp] {
                    let reply = world
                        .reply(TABLET, transport, &format!("{name} A{mac}"))
                        .await
                        .unwrap();
                    assert_eq!(
                        in_words(&reply),
                        "NXDOMAIN (17)",
                        "{name}{mac} {transport:?}"
                    );
                }
            }
            assert_eq!(
                world.ask_from(TABLET, &format!("free.own. A{mac}")).await,
                "192.0.2.1"
            );
        }
        assert_eq!(
            world
                .ask_from(TABLET, &format!("free.own. A mac={CAMERA}"))
                .await,
            "NXDOMAIN (17)",
            "what the camera may not"
        );
        // The address belongs to no device; the MAC address identifies the device.
        assert_eq!(
            world.ask(&format!("bets.own. A mac={LAPTOP}")).await,
            "192.0.2.7"
        );
        assert_eq!(
            world.ask(&format!("bets.own. A mac={UNKNOWN}")).await,
            "NXDOMAIN (17)"
        );
        assert_eq!(world.ask("bets.own. A").await, "NXDOMAIN (17)");
    }
}

#[tokio::test]
async fn a_forwarder_trusted_by_its_address_asserts_other_devices() {
    let world = world(bets(), &["127.0.7.10/32"]);
    assert_eq!(
        world
            .ask_from(TABLET, &format!("bets.own. A mac={LAPTOP}"))
            .await,
        "192.0.2.7"
    );
    assert_eq!(world.ask_from(TABLET, "bets.own. A").await, "NXDOMAIN (17)");
}

#[tokio::test]
async fn a_name_blocked_for_one_of_two_devices_stays_blocked_over_tcp() {
    let world = world(bets().name("slow", Security, "bets.own", TcpOnly), &[]);
    let question = format!("bets.own. A mac={LAPTOP}");
    for _ in 0..2 {
        let reply = world
            .reply(TABLET, Transport::Tcp, &question)
            .await
            .unwrap();
        assert_eq!(in_words(&reply), "NXDOMAIN (17)");
    }
}

#[tokio::test]
async fn the_first_of_several_mac_addresses_in_a_query_counts() {
    let world = world(bets(), &[]);
    for (first, second, expected) in [
        (LAPTOP, UNKNOWN, "192.0.2.7"),
        (UNKNOWN, LAPTOP, "NXDOMAIN (17)"),
        (LAPTOP, "nonsense", "192.0.2.7"),
        ("nonsense", LAPTOP, "NXDOMAIN (17)"),
        ("", LAPTOP, "NXDOMAIN (17)"),
        (LAPTOP, LAPTOP, "192.0.2.7"),
    ] {
        assert_eq!(
            world
                .ask(&format!("bets.own. A mac={first} mac={second}"))
                .await,
            expected,
            "{first} {second}"
        );
        assert_eq!(
            world
                .ask(&format!(
                    "bets.own. A mac={first} mac={second} mac={LAPTOP}"
                ))
                .await,
            expected,
            "{first} {second} and one more"
        );
    }
}

#[tokio::test]
async fn other_options_change_nothing_in_any_order_and_number() {
    let world = world(bets(), &[]);
    let others: [(u16, &[u8]); 7] = [
        (10, b"12345678"),
        (10, &[7; 40]),
        (8, b"\0\x01\x18\0\xc0\0\x02"),
        (65_073, b"\x02\0\x5e\0\x53\x01"),
        (65_074, b"cpe-1"),
        (15, b"\0\0"),
        (15, b"\0\x11"),
    ];
    for (code, value) in others {
        for mac_at in 0..3 {
            let mut message = query("bets.own. A");
            let options = message.edns.as_mut().unwrap().options_mut();
            for place in 0..3 {
                if place == mac_at {
                    options.insert(EdnsOption::Unknown(65_001, LAPTOP.as_bytes().to_vec()));
                } else {
                    options.insert(EdnsOption::Unknown(code, value.to_vec()));
                }
            }
            let reply = world
                .answer("127.0.7.9", Transport::Udp, &message.to_vec().unwrap())
                .await;
            let reply = hickory_proto::op::Message::from_vec(&reply).unwrap();
            assert_eq!(
                in_words(&reply),
                "192.0.2.7",
                "{code} {value:?}, the MAC address at {mac_at}"
            );
            assert_eq!(
                reply.edns.unwrap().options().options.len(),
                usize::from(code == 10),
                "nothing but a cookie is sent back"
            );
        }
    }
}
