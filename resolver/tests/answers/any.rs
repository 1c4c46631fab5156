//! ANY (RFC 8482): one record if the name exists, and a denial as for other types if not.

use hickory_proto::rr::RecordType;
use policy::lists::entry::{
    EntryAction::{Nodata, OperatorPolicy},
    Tier::{Choice, Mandatory},
};
use resolver::message::types::Transport;

use crate::world::{Lists, Setup, World};

const INTERNET: &str = "\
here.own. 60 IN A 192.0.2.1
text.own. 60 IN TXT \"x\"
alias.own. 60 IN CNAME here.own.
lost.own. 60 IN CNAME nowhere.own.
bets.own. 60 IN A 192.0.2.7
sneaky.own. 60 IN CNAME bets.own.
";
const EXISTS: &str = "RFC8482 ";

#[tokio::test]
async fn any_has_one_record_if_the_name_exists_and_is_denied_if_not() {
    let world = World::new(INTERNET, Lists::default());
    for (name, expected) in [
        ("here.own.", EXISTS),
        ("text.own.", EXISTS),
        ("alias.own.", EXISTS),
        ("lost.own.", EXISTS),
        ("nowhere.own.", "NXDOMAIN"),
        ("www.broken.example.", "SERVFAIL (22)"),
    ] {
        for round in ["not cached", "cached"] {
            let question = format!("{name} ANY");
            assert_eq!(
                (world.ask(&question).await, world.ask_tcp(&question).await),
                (expected.into(), expected.into()),
                "{name} {round}"
            );
        }
    }
    let reply = world
        .reply("127.0.7.9", Transport::Udp, "Nowhere.own. ANY")
        .await
        .unwrap();
    assert_eq!(
        (
            reply.queries[0].query_type,
            reply.queries[0].name.to_ascii().as_str()
        ),
        (RecordType::ANY, "Nowhere.own.")
    );
    let reply = world
        .reply("127.0.7.9", Transport::Udp, "here.own. ANY")
        .await
        .unwrap();
    assert_eq!(
        (
            reply.answers.len(),
            reply.answers[0].record_type(),
            reply.answers[0].ttl
        ),
        (1, RecordType::HINFO, 3_600)
    );
}

#[tokio::test]
async fn any_costs_the_resolution_of_the_a_record_only() {
    let world = World::new(INTERNET, Lists::default());
    world.ask("here.own. A").await;
    assert_eq!(
        (
            world.ask("here.own. ANY").await,
            world.resolutions("here.own")
        ),
        (EXISTS.into(), 1)
    );
    world.ask("alias.own. ANY").await;
    assert_eq!(
        (
            world.ask("alias.own. A").await,
            world.resolutions("alias.own")
        ),
        ("-> here.own. 192.0.2.1".into(), 1)
    );
    let looking = World::with(
        INTERNET,
        Lists::default(),
        Setup {
            snoop_from: &["127.0.0.0/8"],
            ..Setup::default()
        },
    );
    assert_eq!(
        looking.ask("here.own. ANY +norecurse").await,
        "nothing",
        "nothing is known, and nothing is begun"
    );
    looking.ask("here.own. A").await;
    assert_eq!(
        (
            looking.ask("here.own. ANY +norecurse").await,
            looking.resolutions("here.own")
        ),
        (EXISTS.into(), 1)
    );
}

#[tokio::test]
async fn any_of_a_blocked_name_is_blocked_also_behind_an_alias() {
    let lists = || {
        Lists::default()
            .name("bets", Choice, "bets.own", OperatorPolicy)
            .name("court", Mandatory, "text.own", Nodata)
    };
    let world = World::new(INTERNET, lists());
    for _ in 0..2 {
        assert_eq!(world.ask("bets.own. ANY").await, "NXDOMAIN (17)");
        assert_eq!(world.ask("sneaky.own. ANY").await, "NXDOMAIN (17)");
        assert_eq!(world.ask("text.own. ANY").await, "nothing (16)");
        assert_eq!(world.ask_tcp("bets.own. ANY").await, "NXDOMAIN (17)");
    }
    assert_eq!(
        world.resolutions("bets.own"),
        0,
        "what is blocked is not resolved"
    );
    let explained = world.explain("sneaky.own ANY").await;
    assert_eq!(
        (explained.hop, explained.answer.rcode.as_str()),
        (1, "NXDOMAIN")
    );
    assert_eq!(
        world.explain("nowhere.own ANY").await.answer.rcode,
        "NXDOMAIN"
    );
    assert_eq!(world.explain("here.own ANY").await.answer.records.len(), 1);
}
