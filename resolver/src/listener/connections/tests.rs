//! Which connection gives way to which.

use std::io::Write as _;

use futures_util::FutureExt as _;
use tokio::{io::AsyncReadExt as _, net::TcpListener};

use super::*;
use crate::admission::LimitCause;

fn address(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

#[tokio::test]
async fn a_client_with_all_connections_loses_its_oldest_to_another() {
    let connections = Connections::new(4);
    let held: Vec<Connection> = (0..4)
        .map(|_| connections.open(address(1)).expect("room"))
        .collect();
    assert!(connections.open(address(1)).is_none(), "it has all");
    let other = connections.open(address(2)).expect("its share");
    held[0].closing().await;
    assert!(
        connections.open(address(1)).is_none(),
        "none from the other"
    );
    drop((held, other));
    assert!(connections.open(address(1)).is_some());
}

#[tokio::test]
async fn of_equal_clients_the_one_that_waits_longest_gives_way() {
    let connections = Connections::new(3);
    let open = |last| connections.open(address(last));
    let held: Vec<Connection> = (1..=3).map(|last| open(last).expect("room")).collect();
    held.iter().for_each(Connection::find_nothing);
    held[0].work();
    let fourth = open(4).expect("the second gives way");
    held[1].closing().await;
    let fifth = open(5).expect("the third gives way");
    held[2].closing().await;
    assert!(open(6).is_none(), "none of the others waits");
    held[0].wait();
    let sixth = open(6).expect("the first gives way");
    held[0].closing().await;
    sixth.find_nothing();
    let again = open(6).expect("it replaces its own");
    sixth.closing().await;
    assert!(open(7).is_none());
    drop((fourth, fifth, again));
}

#[tokio::test]
async fn of_a_larger_client_the_one_that_waits_longest_gives_way() {
    let connections = Connections::new(3);
    let open = |last| connections.open(address(last));
    let held: Vec<Connection> = (0..3).map(|_| open(1).expect("room")).collect();
    held[0].work();
    held[2].find_nothing();
    held[1].find_nothing();
    let other = open(2).expect("its share");
    held[2].closing().await;
    // Two of the larger one against one: the equal waiting one gives way, not the working one.
    other.find_nothing();
    held[1].work();
    let third = open(3).expect("the other one gives way");
    other.closing().await;
    third.work();
    let fourth = open(4).expect("none waits, so that shares decide");
    held[0].closing().await;
    fourth.work();
    assert!(open(5).is_none(), "equal clients, all with a request");
}

#[tokio::test]
async fn a_connection_that_was_not_read_yet_is_not_replaced() {
    let connections = Connections::new(2);
    let open = |last| connections.open(address(last));
    let silent = open(1).expect("room");
    let new = open(2).expect("room");
    silent.find_nothing();
    let third = open(3).expect("the silent one gives way");
    silent.closing().await;
    assert!(open(4).is_none(), "both are new");
    new.find_nothing();
    let _fourth = open(4).expect("the second is silent");
    new.closing().await;
    drop(third);
}

#[tokio::test]
async fn a_full_listener_accepts_again_when_new_connections_are_read() {
    let connections = Connections::new(1);
    let new = connections.open(address(1)).expect("room");
    let reads = async {
        for _ in 0..10 {
            yield_now().await;
        }
        new.find_nothing();
    };
    let second = connections.open_after(|connections| connections.open(address(2)));
    let (second, ()) = tokio::join!(second, reads);
    let second = second.expect("the first is silent");
    second.work();
    let third = connections.open_after(|connections| connections.open(address(3)));
    assert!(third.await.is_none(), "the second works");
}

#[tokio::test]
async fn a_client_that_does_not_read_gives_way_whatever_is_under_way() {
    let connections = Connections::new(2);
    let open = |last| connections.open(address(last));
    let deaf = open(1).expect("room");
    let other = open(2).expect("room");
    for connection in [&deaf, &deaf, &other] {
        connection.work();
    }
    assert!(open(3).is_none(), "both work");
    deaf.stall();
    deaf.go_on();
    assert!(open(3).is_none(), "it has read");
    deaf.stall();
    deaf.work();
    deaf.wait();
    let third = open(3).expect("the deaf one gives way");
    deaf.closing().await;
    third.work();
    other.stall();
    other.wait();
    other.find_nothing();
    let _fourth = open(4).expect("answered, and not read");
    other.closing().await;
}

#[tokio::test]
async fn who_is_refused_or_closed_is_noted() {
    let limited = Arc::new(LimitedConnections::new(Arc::new(
        crate::time::SystemClock::start(),
    )));
    let connections = Connections::new(2).noted_in(Arc::clone(&limited));
    let held: Vec<Connection> = (0..2)
        .map(|_| connections.open(address(1)).expect("room"))
        .collect();
    assert!(limited.current().is_empty());
    held.iter().for_each(Connection::work);
    assert!(connections.open(address(1)).is_none());
    let _other = connections.open(address(2)).expect("its share");
    let noted = limited.current();
    let [(group, cause, limited)] = &noted[..] else {
        panic!("{noted:?}");
    };
    assert_eq!(group.to_string(), "client 192.0.2.1");
    assert_eq!((*cause, limited.queries), (LimitCause::Connections, 2));
}

#[tokio::test]
async fn octets_that_make_no_request_whole_do_not_prolong_the_wait() {
    let connections = Connections::new(2);
    let open = |last| connections.open(address(last));
    let slow = open(1).expect("room");
    let other = open(2).expect("room");
    slow.find_nothing();
    other.find_nothing();
    slow.find_nothing();
    let _third = open(3).expect("the slow one gives way");
    slow.closing().await;
}

#[tokio::test]
async fn among_many_equal_clients_a_client_replaces_its_own() {
    let connections = Connections::new(100);
    let open = |last| connections.open(address(last)).expect("room");
    let held: Vec<Connection> = (1..=100).map(open).collect();
    held.iter().for_each(Connection::find_nothing);
    let next = connections.open(address(100)).expect("its own gives way");
    held[99].closing().await;
    next.work();
    assert!(connections.open(address(100)).is_none(), "its share");
}

#[tokio::test]
async fn a_connection_works_until_its_last_request_is_answered() {
    let connections = Connections::new(1);
    let held = connections.open(address(1)).expect("room");
    held.work();
    held.work();
    held.wait();
    held.find_nothing();
    assert!(connections.open(address(2)).is_none(), "one is under way");
    held.wait();
    assert!(connections.open(address(2)).is_some());
    held.closing().await;
}

/// On this rest the states: the runtime believes that an accepted connection is readable until a
/// read found nothing in the kernel.
#[tokio::test]
async fn the_first_read_of_an_accepted_connection_asks_the_kernel() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    for octets in [&b""[..], b"G"] {
        let mut client = std::net::TcpStream::connect(to).unwrap();
        client.write_all(octets).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0];
        let read = std::pin::pin!(stream.read(&mut buffer)).now_or_never();
        assert_eq!(read.is_some(), !octets.is_empty());
    }
}

#[tokio::test]
async fn a_larger_client_replaces_no_waiting_connection_of_a_smaller_one() {
    let connections = Connections::new(3);
    let small = connections.open(address(1)).expect("room");
    small.find_nothing();
    let large: Vec<Connection> = (0..2)
        .map(|_| connections.open(address(2)).expect("room"))
        .collect();
    assert!(connections.open(address(2)).is_none());
    large[1].find_nothing();
    assert!(connections.open(address(2)).is_some(), "its own");
    large[1].closing().await;
}

#[tokio::test]
async fn connections_of_a_proxy_do_not_close_each_other() {
    let connections = Connections::new(4);
    let held: Vec<Connection> = (0..3)
        .map(|_| connections.open_for_many().expect("room"))
        .collect();
    let last = connections.open(address(1)).expect("room");
    assert!(connections.open_for_many().is_none(), "one each");
    assert!(connections.open(address(2)).is_none(), "one each");
    drop((held, last));
    let client: Vec<Connection> = (0..4)
        .map(|_| connections.open(address(1)).expect("room"))
        .collect();
    assert!(connections.open_for_many().is_some());
    client[0].closing().await;
}

#[test]
fn idle_connections_are_closed_sooner_when_few_are_left() {
    let connections = Connections::new(4);
    let held: Vec<Connection> = (1..=2)
        .map(|client| connections.open(address(client)).expect("room"))
        .collect();
    assert_eq!(held[0].idle_max(), IDLE_MAX);
    let _third = connections.open(address(3));
    assert_eq!(held[0].idle_max(), IDLE_UNDER_PRESSURE);
}

/// A listener that knows credentials, with so many places.
fn recognising(max: usize) -> Connections {
    Connections::that_recognise(max, 1_000)
}

#[tokio::test]
async fn a_stranger_gives_way_whatever_it_asks_and_the_oldest_first() {
    let connections = recognising(3);
    let open = |last| {
        connections
            .open(address(last))
            .expect("a stranger gives way")
    };
    let held: Vec<Connection> = (1..=3).map(open).collect();
    for connection in &held {
        connection.find_nothing();
        connection.work();
    }
    held[0].recognise(None);
    let fourth = open(4);
    held[1].closing().await;
    // A request that ends, and the next one, do not make it younger.
    fourth.work();
    held[2].wait();
    held[2].work();
    let fifth = open(5);
    held[2].closing().await;
    fifth.work();
    let sixth = open(6);
    fourth.closing().await;
    // The client that was recognised is behind all of them, also while it asks nothing.
    held[0].wait();
    sixth.work();
    let mut next = Vec::new();
    for (last, older) in [(7, &fifth), (8, &sixth)] {
        next.push(open(last));
        older.closing().await;
    }
}

#[tokio::test]
async fn recognised_clients_at_work_are_not_closed_for_others() {
    let connections = recognising(2);
    let held: Vec<Connection> = (1..=2)
        .map(|last| connections.open(address(last)).expect("room"))
        .collect();
    for (connection, household) in held.iter().zip(["one", "two"]) {
        connection.work();
        connection.recognise(Some(household));
    }
    assert!(connections.open(address(3)).is_none(), "equal, and at work");
    held[1].wait();
    let _third = connections.open(address(3)).expect("two waits");
    held[1].closing().await;
}

#[tokio::test]
async fn a_household_has_one_share_from_however_many_addresses() {
    let connections = recognising(40);
    let open = |last| connections.open(address(last)).expect("room");
    let strangers: Vec<Connection> = (1..=10).map(open).collect();
    strangers.iter().for_each(Connection::find_nothing);
    let home: Vec<Connection> = (101..=130).map(open).collect();
    for connection in &home {
        connection.work();
        connection.recognise(Some("home"));
    }
    home[7].wait();
    let next = open(50);
    home[7].closing().await;
    next.find_nothing();
    // None of them waits: a stranger does.
    let _another = open(51);
    strangers[0].closing().await;
    for connection in &home[16..] {
        connection.wait();
    }
    let later: Vec<Connection> = (60..80).map(open).collect();
    let closed = |held: &[Connection]| {
        let closed = held
            .iter()
            .filter(|one| one.closing().now_or_never().is_some());
        closed.count()
    };
    assert_eq!(closed(&home[16..]), 13, "sixteen are kept");
    assert_eq!(closed(&strangers), 7);
    drop(later);
}

#[tokio::test]
async fn a_proxys_connection_is_no_households() {
    let connections = recognising(2);
    let proxied = connections.open_for_many().expect("room");
    let stranger = connections.open(address(1)).expect("room");
    proxied.work();
    proxied.recognise(Some("home"));
    stranger.work();
    let _next = connections
        .open(address(2))
        .expect("the stranger gives way");
    stranger.closing().await;
    assert!(
        connections.open(address(3)).is_none(),
        "one is new, and one works"
    );
}

#[tokio::test]
async fn connections_that_wait_give_way_when_all_hold_too_many_octets() {
    let limited = Arc::new(LimitedConnections::new(Arc::new(
        crate::time::SystemClock::start(),
    )));
    let connections = recognising(8).noted_in(Arc::clone(&limited));
    let open = |last| connections.open(address(last)).expect("room");
    let held: Vec<Connection> = (1..=4).map(open).collect();
    held.iter().for_each(Connection::find_nothing);
    held[0].recognise(Some("home"));
    held[0].work();
    for connection in &held[..3] {
        connection.hold(300);
    }
    let is_closed = |connection: &Connection| connection.closing().now_or_never().is_some();
    assert!(!held.iter().any(is_closed), "900 of 1,000");
    held[2].hold(300);
    assert!(
        is_closed(&held[1]),
        "it waits longest, of those that hold some"
    );
    assert!(!is_closed(&held[0]) && !is_closed(&held[2]) && !is_closed(&held[3]));
    let [(group, _, _)] = &limited.current()[..] else {
        panic!("one is closed");
    };
    assert_eq!(group.to_string(), "client 192.0.2.2");
    // What is written makes room; the largest answer of one client closes none but others.
    held[2].release();
    held[3].hold(700);
    assert!(!held.iter().any(is_closed), "1,000 of 1,000");
    held[3].hold(5_000);
    assert!(!is_closed(&held[3]) && !is_closed(&held[0]));
    drop(held);
    let again = open(1);
    again.find_nothing();
    again.hold(1_000);
    assert!(!is_closed(&again));
}
