//! The reason of a block as JSON, and the answers of mandates.

use std::sync::Arc;

use hickory_proto::{
    op::{Edns, Message, Query},
    rr::{Name as ProtoName, RecordType, rdata::opt::EdnsOption},
};
use policy::lists::{
    entry::{EntryAction::*, Tier::*},
    mandates::{ActiveMandates, Landing, Mandate, MandateDocument},
};
use resolver::message::{
    blocked::{BlockedAnswer, BlockedAnswers},
    ede::BlockContact,
    reply::read_extended_error,
    types::Transport,
};

use crate::world::{INTERNET, Lists, Setup, World};

/// The length of a reply over UDP to a client that asks for JSON with this payload size, and the text
/// of its reason.
async fn json_reply(world: &World, question: &str, payload: u16) -> (usize, bool, String) {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(
        ProtoName::from_ascii(question).unwrap(),
        RecordType::A,
    ));
    let mut edns = Edns::new();
    edns.set_max_payload(payload)
        .options_mut()
        .insert(EdnsOption::Unknown(15, vec![0, 0]));
    message.set_edns(edns);
    let wire = world
        .answer("127.0.7.9", Transport::Udp, &message.to_vec().unwrap())
        .await;
    let reply = Message::from_vec(&wire).unwrap();
    let (_, text) = read_extended_error(reply.edns.as_ref().unwrap()).unwrap();
    (wire.len(), reply.metadata.truncation, text)
}

#[tokio::test]
async fn a_json_reason_is_shortened_before_a_reply_is_truncated() {
    let long = format!("{}.bets.example.", ["x".repeat(55).as_str(); 4].join("."));
    let contact = || BlockContact {
        uris: vec![format!("mailto:{}@isp.example", "h".repeat(140))],
        organization: "O".repeat(100),
        ..BlockContact::default()
    };
    let lists = || {
        Lists::default()
            .name("bets", Choice, "bets.example", OperatorPolicy)
            .name("evil", Security, "evil.example", OperatorPolicy)
    };
    let world = World::with(
        INTERNET,
        lists(),
        Setup {
            contact: contact(),
            ..Setup::default()
        },
    );
    let (_, _, whole) = json_reply(&world, "bets.example.", 1232).await;
    assert!(
        whole.starts_with("{\"c\":[\"mailto:hhh") && whole.ends_with("\"l\":\"en\"}"),
        "{whole}"
    );
    let mut forms = Vec::new();
    for payload in 512..=1232 {
        let (octets, is_truncated, text) = json_reply(&world, &long, payload).await;
        assert!(
            octets <= usize::from(payload) && !is_truncated,
            "{payload}: {octets}"
        );
        forms.push(text.len());
    }
    forms.dedup();
    let brief = whole.find("\"j\"").unwrap();
    assert_eq!(forms, [brief, whole.len()], "without words, then whole");
    let crowded = World::with(
        INTERNET,
        lists(),
        Setup {
            contact: BlockContact {
                uris: vec![format!("mailto:{}", "h".repeat(240))],
                ..contact()
            },
            ..Setup::default()
        },
    );
    assert_eq!(
        json_reply(&crowded, &long, 512).await.2,
        "",
        "the code alone"
    );
}

#[tokio::test]
async fn a_mandate_is_answered_with_its_own_page_or_the_operators() {
    let landing = BlockedAnswer::Landing {
        v4: Some([192, 0, 2, 98].into()),
        v6: None,
    };
    let setup = Setup {
        blocked: BlockedAnswers {
            mandatory: landing,
            ..BlockedAnswers::default()
        },
        ..Setup::default()
    };
    let world = World::with(
        INTERNET,
        Lists::default().name("bets", Choice, "bets.example", OperatorPolicy),
        setup,
    );
    assert_eq!(world.ask("news.example. A").await, "192.0.2.80");
    let mandate = |id: &str, name: &str, v4: Option<[u8; 4]>| {
        let landing = v4.map(|v4| Landing {
            v4: Some(v4.into()),
            v6: None,
        });
        let document = MandateDocument {
            name: Some(name.to_owned()),
            basis: "iwf".to_owned(),
            landing,
            ..MandateDocument::default()
        };
        Arc::new(Mandate::read(id.parse().unwrap(), document).unwrap())
    };
    world.lists.set_mandates(Arc::new(ActiveMandates::of(vec![
        mandate("a", "news.example", Some([192, 0, 2, 97])),
        mandate("b", "bets.example", None),
    ])));
    assert_eq!(world.ask("news.example. A").await, "192.0.2.97 (16)");
    assert_eq!(world.ask("news.example. AAAA").await, "nothing (16)");
    assert_eq!(world.ask("news.example. HTTPS").await, "nothing (16)");
    assert_eq!(
        world.ask("bets.example. A").await,
        "192.0.2.98 (16)",
        "an order beats the family's choice"
    );
    assert_eq!(world.hits("bets"), Some(0));
    world.relist(Lists::default());
    assert_eq!(world.ask("bets.example. A").await, "192.0.2.98 (16)");
    world.lists.set_mandates(Arc::default());
    assert_eq!(world.ask("news.example. A").await, "192.0.2.80");
}
