//! Tests of sharing from end to end: publishers and followers with folders of their own, with a
//! folder or a real S3 API between them.
//!
//! Each test runs with both kinds of store. Time is an argument, except where the time to converge
//! is measured.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod node;
mod place;

use std::time::{Duration, Instant};

use blocklist_loader::{
    Secret,
    share::{PublishRequest, ShareError, ShareRole, ShareSettings, generate_keys},
};
use node::{ArtefactBuilder, Node, after};
use place::{Moto, Proxy, TestStore};

/// The time limit of waits.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs a test with a folder and with a bucket.
macro_rules! in_both_stores {
    ($($name:ident => $check:ident;)*) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn in_a_folder() {
                super::$check(super::TestStore::folder()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn in_s3() {
                let moto = super::Moto::start().await;
                super::$check(moto.bucket("lists", "isp/one").await).await;
            }
        }
    )*};
}

in_both_stores! {
    a_follower_has_what_the_publisher_has_name_by_name => follows;
    a_withdrawn_generation_is_left_and_canaries_take_a_new_one_first => withdraws;
    of_two_publishers_neither_overwrites_the_other => races;
    what_was_tampered_with_changes_nothing_and_says_which_gate_stopped_it => resists;
    unneeded_objects_are_deleted_after_a_while => sweeps;
    a_change_is_live_on_all_other_nodes => converges;
}

async fn follows(place: TestStore) {
    let mut builder = ArtefactBuilder::new(&place);
    let mut early = Node::follow(&place, &builder, 0);
    assert!(matches!(
        early.poll(after(0)).await,
        Err(ShareError::NothingPublished(_))
    ));
    let publish = builder.full(1..2000).publish(after(1));
    is_for_any_thread(&publish);
    publish.await;
    assert_eq!(early.poll(after(1)).await.unwrap(), Some(1));
    for round in 0..4 {
        builder
            .delta(&[(3000 + round, true), (round, false)])
            .publish(after(2))
            .await;
        let generation = builder.generation();
        assert_eq!(early.poll(after(2)).await.unwrap(), Some(generation));
        assert_eq!((early.fetched, early.names()), (1, builder.names()));
    }
    // The folded form changes nothing for a node that has the deltas; a new node fetches only it.
    builder.fold().publish(after(3)).await;
    assert_eq!(early.poll(after(3)).await.unwrap(), None);
    builder.delta(&[(7777, true)]).publish(after(4)).await;
    for (node, fetched) in [(&mut early, 1), (&mut Node::follow(&place, &builder, 0), 2)] {
        assert_eq!(
            node.poll(after(4)).await.unwrap(),
            Some(builder.generation())
        );
        assert_eq!((node.fetched, node.names()), (fetched, builder.names()));
        assert_eq!(node.poll(after(5)).await.unwrap(), None);
    }
    // Some megabytes are sent in parts.
    builder.full(0..600_000).publish(after(6)).await;
    assert!(builder.octets > 9 << 20, "{}", builder.octets);
    assert_eq!(
        early.poll(after(6)).await.unwrap(),
        Some(builder.generation())
    );
    assert_eq!(early.names(), builder.names());
    let again = builder.publish(after(7)).await;
    assert!(!again.changed && again.sent == 0);
}

/// A daemon spawns this future.
fn is_for_any_thread(_: &impl Send) {}

async fn withdraws(place: TestStore) {
    let mut builder = ArtefactBuilder::new(&place);
    builder.full(0..50).publish(after(0)).await;
    let mut canary = Node::follow(&place, &builder, 0);
    let mut other = Node::follow(&place, &builder, 600);
    // A node without lists takes any generation.
    for node in [&mut canary, &mut other] {
        assert_eq!(node.poll(after(1)).await.unwrap(), Some(1));
    }
    builder.delta(&[(60, true)]).publish(after(1000)).await;
    assert_eq!(canary.poll(after(1001)).await.unwrap(), Some(2));
    assert_eq!(other.poll(after(1599)).await.unwrap(), None);
    assert_eq!(other.poll(after(1600)).await.unwrap(), Some(2));
    builder.delta(&[(61, true)]).publish(after(2000)).await;
    assert_eq!(canary.poll(after(2000)).await.unwrap(), Some(3));
    // The generation is withdrawn: the canary node goes back at once, and the others never take it.
    builder
        .change(
            PublishRequest {
                live: 2,
                withdraw: vec![3],
                reinstate: vec![],
            },
            after(2010),
        )
        .await
        .unwrap();
    assert_eq!(canary.poll(after(2010)).await.unwrap(), Some(2));
    assert_eq!(other.poll(after(9999)).await.unwrap(), None);
    assert_eq!(canary.names(), other.names());
    // It cannot become live again by mistake; after it is reinstated, delays start over.
    assert!(matches!(
        builder.change(PublishRequest::live(3), after(2020)).await,
        Err(ShareError::Withdrawn(3))
    ));
    builder
        .change(
            PublishRequest {
                live: 3,
                withdraw: vec![],
                reinstate: vec![3],
            },
            after(3000),
        )
        .await
        .unwrap();
    assert_eq!(canary.poll(after(3000)).await.unwrap(), Some(3));
    assert_eq!(other.poll(after(3599)).await.unwrap(), None);
    assert_eq!(other.poll(after(3600)).await.unwrap(), Some(3));
    // Both nodes use it when it is withdrawn: they take the newest good one at any age.
    builder.delta(&[(62, true), (61, false)]);
    builder
        .change(
            PublishRequest {
                live: 4,
                withdraw: vec![3],
                reinstate: vec![],
            },
            after(4000),
        )
        .await
        .unwrap();
    for node in [&mut canary, &mut other] {
        assert_eq!(node.poll(after(4000)).await.unwrap(), Some(4));
        assert_eq!(node.names(), builder.names());
    }
    // A generation that the node refused is not offered to it again.
    builder.delta(&[(63, true)]).publish(after(5000)).await;
    canary.follower.refuse(5);
    assert_eq!(canary.poll(after(5000)).await.unwrap(), None);
}

async fn races(place: TestStore) {
    let mut one = ArtefactBuilder::new(&place);
    one.full(0..20).publish(after(0)).await;
    let mut other = one.twin(&place);
    let mut node = Node::follow(&place, &one, 0);
    for round in 1..=8u32 {
        // Both continue with numbers of their own at the same time.
        let low = one.generation().max(other.generation()) + 1;
        let high = one.generation().max(other.generation()) + 2;
        one.delta_as(low, &[(1000 + round, true)]);
        other.delta_as(high, &[(2000 + round, true)]);
        let (first, second) = tokio::join!(
            one.change(PublishRequest::live(low), after(round)),
            other.change(PublishRequest::live(high), after(round))
        );
        second.unwrap();
        match first {
            Ok(_) | Err(ShareError::Overtaken { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
        assert_eq!(
            node.poll(after(round)).await.unwrap(),
            Some(high),
            "round {round}"
        );
        assert_eq!(node.names(), other.names());
        one.adopt(&other);
    }
    // Two contents under one number: the second publisher gets an error, and nothing is
    // overwritten.
    let number = one.generation() + 1;
    one.delta_as(number, &[(5000, true)]);
    other.delta_as(number, &[(6000, true)]);
    one.publish(after(20)).await;
    let clash = other
        .change(PublishRequest::live(number), after(21))
        .await
        .unwrap_err();
    assert!(
        matches!(&clash, ShareError::Clash { generation, .. } if *generation == number),
        "{clash:?}"
    );
    assert_eq!(clash.gate().as_str(), "sequence");
    // A newer generation is withdrawn only explicitly.
    let back = one
        .change(PublishRequest::live(number - 1), after(22))
        .await
        .unwrap_err();
    assert!(matches!(back, ShareError::Overtaken { .. }));
    assert_eq!(node.poll(after(23)).await.unwrap(), Some(number));
    assert_eq!(node.names(), one.names());
}

async fn resists(place: TestStore) {
    let mut builder = ArtefactBuilder::new(&place);
    builder.full(0..50).publish(after(0)).await;
    let mut node = Node::follow(&place, &builder, 0);
    node.poll(after(0)).await.unwrap();
    let old = place.read("live").await.unwrap();
    builder.delta(&[(60, true)]).publish(after(1)).await;
    assert_eq!(node.poll(after(1)).await.unwrap(), Some(2));

    // An old manifest is replayed, to a restarted node as well.
    let genuine = place.read("live").await.unwrap();
    place.write("live", &old).await;
    assert_eq!(node.gate(after(2)).await, "sequence");
    node = node.restarted(&place, &builder);
    assert_eq!(node.gate(after(2)).await, "sequence");
    // Another key signs; an octet changes; the content is truncated.
    let stranger = TestStore::folder();
    let mut forger = ArtefactBuilder::new(&stranger);
    forger.full(0..9).publish(after(3)).await;
    let mut altered = genuine.clone();
    *altered.iter_mut().rfind(|octet| **octet == b'2').unwrap() = b'3';
    for forged in [
        stranger.read("live").await.unwrap(),
        altered,
        genuine[..genuine.len() - 1].to_vec(),
        b"live".to_vec(),
        vec![],
    ] {
        place.write("live", &forged).await;
        assert_eq!(node.gate(after(3)).await, "signature");
    }
    place.write("live", &vec![b'x'; 3 << 20]).await;
    assert_eq!(node.gate(after(3)).await, "size");
    place.delete("live").await;
    assert_eq!(node.gate(after(3)).await, "transport");
    place.write("live", &genuine).await;
    assert_eq!(node.poll(after(4)).await.unwrap(), None);

    // The signed object exists with other content.
    builder.delta(&[(61, true)]).publish(after(5)).await;
    let object = builder.object_of(3);
    let octets = place.read(&object).await.unwrap();
    let mut flipped = octets.clone();
    flipped[octets.len() / 2] ^= 1;
    let longer = [octets.clone(), vec![0]].concat();
    for (wrong, gate) in [
        (Some(&octets[..octets.len() - 1]), "checksum"),
        (Some(&flipped), "checksum"),
        (Some(&longer), "size"),
        (None, "transport"),
    ] {
        match wrong {
            Some(wrong) => place.write(&object, wrong).await,
            None => place.delete(&object).await,
        }
        assert_eq!(node.gate(after(6)).await, gate);
        assert_eq!((node.generation(), node.files_of(3)), (2, 0));
    }
    place.write(&object, &octets).await;
    assert_eq!(node.poll(after(7)).await.unwrap(), Some(3));
    assert_eq!(node.names(), builder.names());

    // An interrupted attempt resumes, and a corrupted one starts over.
    for (number, wrong) in [(4, 0), (5, 1)] {
        builder
            .delta(&[(70 + number, true)])
            .publish(after(8))
            .await;
        let object = builder.object_of(number.into());
        let mut begun = place.read(&object).await.unwrap()[..40].to_vec();
        begun[20] ^= wrong;
        node.begin(number.into(), &object, &begun);
        if wrong == 1 {
            assert_eq!(node.gate(after(8)).await, "checksum");
        }
        assert_eq!(node.poll(after(8)).await.unwrap(), Some(number.into()));
        assert_eq!(node.names(), builder.names());
    }

    // Existing other content under a number is not overwritten.
    builder.delta(&[(80, true)]).publish(after(9)).await;
    node.own_delta(6);
    let clash = node.poll(after(9)).await.unwrap_err();
    assert!(
        matches!(clash, ShareError::Clash { generation: 6, .. }),
        "{clash:?}"
    );
    assert_eq!(node.generation(), 5);
}

async fn sweeps(place: TestStore) {
    // By the clock of the store, which all publishers share.
    let later = |hours: i64| jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours);
    let mut builder = ArtefactBuilder::new(&place);
    for round in 0..5 {
        builder.full(round..round + 9).publish(later(0)).await;
        builder
            .delta(&[(100 + round, true)])
            .publish(later(0))
            .await;
    }
    assert_eq!(place.count().await, 10);
    assert_eq!(builder.publish(later(0)).await.deleted, 0);
    assert_eq!(builder.publish(later(2)).await.deleted, 4);
    assert_eq!(place.count().await, 6);
    let mut node = Node::follow(&place, &builder, 0);
    assert_eq!(node.poll(later(2)).await.unwrap(), Some(10));
    assert_eq!(node.names(), builder.names());
}

async fn converges(place: TestStore) {
    let mut builder = ArtefactBuilder::new(&place);
    builder.full(0..1000).publish(jiff::Timestamp::now()).await;
    let nodes: Vec<_> = (0..8)
        .map(|_| Node::follow(&place, &builder, 0).run())
        .collect();
    for node in &nodes {
        node.has(1, TIMEOUT).await;
    }
    let mut slowest = Duration::ZERO;
    for round in 0..3 {
        builder.delta(&[(5000 + round, true)]);
        let began = Instant::now();
        builder.publish(jiff::Timestamp::now()).await;
        for node in &nodes {
            node.has(builder.generation(), TIMEOUT).await;
        }
        slowest = slowest.max(began.elapsed());
    }
    println!(
        "8 nodes had a published delta after at most {slowest:?} in {}",
        place.url()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_away_is_followed_again() {
    let moto = Moto::start().await;
    let proxy = Proxy::start(moto.port()).await;
    let near = moto.bucket("lists", "").await;
    let far = near.through(&proxy);
    let mut builder = ArtefactBuilder::new(&near);
    builder.full(0..1000).publish(jiff::Timestamp::now()).await;
    let nodes: Vec<_> = (0..8)
        .map(|_| Node::follow(&far, &builder, 0).run())
        .collect();
    for node in &nodes {
        node.has(1, TIMEOUT).await;
    }
    proxy.set_open(false);
    builder
        .delta(&[(2000, true)])
        .publish(jiff::Timestamp::now())
        .await;
    for node in &nodes {
        node.failed(2, TIMEOUT).await;
        assert_eq!(node.generation(), 1);
    }
    proxy.set_open(true);
    let began = Instant::now();
    for node in &nodes {
        node.has(2, TIMEOUT).await;
    }
    println!(
        "8 nodes had a delta {:?} after the store came back",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_refused_by_the_service_and_never_shown() {
    let moto = Moto::start().await;
    let place = moto.bucket("lists", "").await;
    let place = moto.guarded(place).await;
    let mut builder = ArtefactBuilder::new(&place);
    builder.full(0..20).publish(after(0)).await;
    let mut node = Node::follow(&place, &builder, 0);
    assert_eq!(node.poll(after(0)).await.unwrap(), Some(1));
    let wrong = ShareSettings {
        secret_access_key: Some(Secret::new("wr0ng-s3cret")),
        ..node.settings(&place, &builder, 0)
    };
    let mut stranger = Node::with(&wrong);
    let error = stranger.poll(after(0)).await.unwrap_err();
    let shown = format!("{error:?} {error}");
    assert_eq!(error.gate().as_str(), "transport", "{shown}");
    assert!(!shown.contains("wr0ng-s3cret"), "{shown}");
    assert_eq!(stranger.generation(), 0);
}

#[tokio::test]
async fn a_missing_folder_or_a_foreign_key_fails_the_poll_and_not_the_start() {
    let keys = tempfile::tempdir().unwrap();
    let pair = generate_keys(keys.path()).unwrap();
    let folder = keys.path().join("later").join("store");
    let settings = ShareSettings {
        public_key: Some(pair.public_key),
        ..ShareSettings::new(folder.display().to_string(), ShareRole::Follow)
    };
    settings.check().unwrap();
    let mut node = Node::with(&settings);
    let error = node.poll(after(0)).await.unwrap_err();
    assert!(
        matches!(&error, ShareError::NothingPublished(url) if url.contains("later")),
        "{error:?}"
    );
}
