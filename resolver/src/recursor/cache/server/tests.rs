//! Round-trip times, timeouts, supported features and limits of one server.

use super::*;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

fn rto_ms(server: &ServerState) -> u128 {
    server.estimate(S).rto.as_millis()
}

#[test]
fn the_timeout_is_300_ms_at_first_and_then_follows_the_round_trip() {
    let server = ServerState::default();
    assert_eq!((rto_ms(&server), server.estimate(S).rtt), (300, 40 * MS));
    server.replied(100 * MS);
    // RFC 6298 section 2.2: the variation is half of the first, and four of it are added.
    assert_eq!((rto_ms(&server), server.estimate(S).rtt), (300, 100 * MS));
    server.replied(180 * MS);
    // 7/8 of 100 and 1/8 of 180; 3/4 of 50 and 1/4 of the difference to 100.
    assert_eq!(
        (rto_ms(&server), server.estimate(S).rtt),
        (110 + 4 * 57 + 2, 110 * MS)
    );
    let fast = ServerState::default();
    (0..50).for_each(|_| fast.replied(MS));
    assert_eq!(rto_ms(&fast), 80);
    let slow = ServerState::default();
    slow.replied(4 * S);
    assert_eq!(rto_ms(&slow), 1_500);
}

#[test]
fn a_timeout_lengthens_the_next_one_by_a_fourth_up_to_700_ms() {
    let server = ServerState::default();
    let mut rtos = Vec::new();
    for _ in 0..6 {
        server.timed_out(S);
        rtos.push(rto_ms(&server));
    }
    assert_eq!(rtos, [375, 468, 585, 700, 700, 700]);
    assert_eq!(
        server.estimate(S).rtt,
        280 * MS,
        "timeouts rank a server lower"
    );
    server.replied(10 * MS);
    assert_eq!(server.estimate(S).rtt, 10 * MS);
    let slow = ServerState::default();
    slow.replied(4 * S);
    slow.timed_out(S);
    assert_eq!(rto_ms(&slow), 1_500, "a longer timeout is not shortened");
}

#[test]
fn a_server_is_down_after_twelve_timeouts_over_five_seconds() {
    let is_down = |server: &ServerState, now| server.estimate(now).is_down;
    let server = ServerState::default();
    (0..11).for_each(|_| server.timed_out(10 * S));
    assert!(!is_down(&server, 10 * S));
    server.timed_out(14 * S);
    assert!(
        !is_down(&server, 14 * S),
        "twelve, but within less than five seconds"
    );
    server.timed_out(15 * S);
    assert!(
        is_down(&server, 15 * S) && is_down(&server, 19 * S - MS) && !is_down(&server, 19 * S),
        "two seconds, doubled once"
    );
    server.timed_out(20 * S);
    assert!(is_down(&server, 28 * S - MS) && !is_down(&server, 28 * S));
    (0..20).for_each(|_| server.timed_out(30 * S));
    assert!(
        is_down(&server, 150 * S - MS) && !is_down(&server, 150 * S),
        "two minutes at most"
    );
    server.replied(MS);
    assert!(!is_down(&server, 31 * S));
    let few = ServerState::default();
    (0..11).for_each(|second| few.timed_out(second * S));
    assert!(!is_down(&few, 11 * S), "only eleven");
    let unreachable = ServerState::default();
    unreachable.set_unreachable(S);
    assert!(is_down(&unreachable, 61 * S - MS) && !is_down(&unreachable, 61 * S));
}

#[test]
fn what_a_server_does_not_support_is_known_for_the_given_time() {
    let server = ServerState::default();
    assert!(
        server.may_support_edns(S) && server.may_support_options(S) && server.may_repeat_case(S)
    );
    assert!(
        !server.supports_edns(S) && !server.supports_options(S) && !server.supports_mixed_case(S)
    );
    server.set_without_options(S, UNSUPPORTED_FOR);
    assert!(
        !server.may_support_options(3_601 * S - MS)
            && server.may_support_options(3_601 * S)
            && server.may_support_edns(S)
    );
    server.set_without_edns(S, SUSPECTED_FOR);
    assert!(!server.may_support_edns(301 * S - MS) && server.may_support_edns(301 * S));
    server.set_supports_edns(false, 2 * S);
    assert!(server.may_support_edns(2 * S) && server.supports_edns(2 * S));
    assert!(!server.may_support_options(2 * S) && !server.supports_options(2 * S));
    server.set_supports_edns(true, 3 * S);
    assert!(server.supports_options(3_603 * S - MS) && !server.supports_options(3_603 * S));
    server.set_cookie(b"server!!");
    assert!(
        server.supports_options(9_999 * S),
        "a cookie proves it while it is known"
    );
    assert_eq!(server.cookie(), b"server!!");
    server.set_cookie(&[7; 32]);
    assert_eq!(server.cookie(), [7; 32]);
    server.set_cookie(&[7; 33]);
    assert_eq!(server.cookie(), b"", "longer than a cookie may be");
    server.set_cookie(b"server!!");
    server.set_folds_case(S);
    assert!(!server.may_repeat_case(3_601 * S - MS) && server.may_repeat_case(3_601 * S));
    server.set_supports_mixed_case(S);
    assert!(server.supports_mixed_case(3_601 * S - MS) && !server.supports_mixed_case(3_601 * S));
}

#[test]
fn three_fallbacks_follow_errors_and_then_one_a_minute() {
    let server = ServerState::default();
    let may = |now| server.try_fallback(now);
    assert_eq!(
        [S, S, S, S, 60 * S].map(may),
        [true, true, true, false, false]
    );
    assert_eq!([61 * S, 61 * S, 121 * S].map(may), [true, false, true]);
    assert_eq!(
        [9_999 * S; 4].map(may),
        [true, true, true, false],
        "the burst does not grow"
    );
    server.refund_fallbacks();
    assert!(may(9_999 * S));
}

#[test]
fn a_responsive_server_takes_all_queries_and_others_a_thousand() {
    let in_flight = |server: &Arc<ServerState>, max| {
        let guards: Vec<_> = std::iter::from_fn(|| server.begin_query(max))
            .take(5_000)
            .collect();
        guards.len()
    };
    let server = Arc::new(ServerState::default());
    assert_eq!(
        (in_flight(&server, 3_000), in_flight(&server, 10)),
        (1_000, 10),
        "ended queries do not count"
    );
    server.replied(MS);
    assert_eq!(in_flight(&server, 3_000), 3_000);
    server.timed_out(S);
    assert_eq!(in_flight(&server, 3_000), 1_000);
}

#[test]
fn a_server_that_is_down_is_probed_once_a_second() {
    let server = ServerState::default();
    assert!(server.begin_probe(10 * S));
    assert!(!server.begin_probe(11 * S - MS));
    assert!(server.begin_probe(11 * S));
}
