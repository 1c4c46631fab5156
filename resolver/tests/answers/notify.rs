//! NOTIFY messages and their handler.

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name as ProtoName, RecordType},
};
use resolver::message::types::Transport;

use crate::world::{INTERNET, Lists, Setup, World};

#[tokio::test]
async fn the_handler_of_notify_decides_and_without_one_notify_is_notimp() {
    let packet = |zone: &str| {
        let mut message = Message::new(4711, MessageType::Query, OpCode::Notify);
        message.metadata.authoritative = true;
        message.add_query(Query::query(
            ProtoName::from_ascii(zone).unwrap(),
            RecordType::SOA,
        ));
        message.to_vec().unwrap()
    };
    let world = World::with(
        INTERNET,
        Lists::default(),
        Setup {
            handles_notify: true,
            ..Setup::default()
        },
    );
    for transport in [Transport::Udp, Transport::Tcp] {
        let taken = Message::from_vec(
            &world
                .answer("192.0.2.53", transport, &packet("rpz.example."))
                .await,
        )
        .unwrap();
        assert_eq!(
            (taken.metadata.id, taken.metadata.op_code),
            (4711, OpCode::Notify)
        );
        assert_eq!(
            (taken.metadata.response_code, taken.metadata.authoritative),
            (ResponseCode::NoError, true)
        );
        let refused = Message::from_vec(
            &world
                .answer("2001:db8::53", transport, &packet("other.example."))
                .await,
        )
        .unwrap();
        assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
    }
    let notified = world.notified.lock().unwrap().clone();
    let expected = [
        ("rpz.example", "192.0.2.53"),
        ("other.example", "2001:db8::53"),
    ]
    .map(|(zone, peer)| (zone.to_owned(), peer.parse().unwrap()));
    assert_eq!(
        (&notified[..2], &notified[2..]),
        (&expected[..], &expected[..])
    );
    let mut answer = packet("rpz.example.");
    answer[2] |= 0x80;
    assert!(
        world
            .answer("192.0.2.53", Transport::Udp, &answer)
            .await
            .is_empty(),
        "an answer is never answered"
    );

    let deaf = World::new(INTERNET, Lists::default());
    let reply = deaf
        .answer("127.0.7.9", Transport::Udp, &packet("rpz.example."))
        .await;
    assert_eq!(reply[3] & 0x0f, 4, "NOTIMP");
}
