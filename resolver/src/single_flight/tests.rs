//! Tasks that ask the same at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[tokio::test]
async fn tasks_wait_for_one_resolution_and_the_next_one_resolves_anew() {
    let flights = Arc::new(SingleFlight::default());
    let resolved = Arc::new(AtomicUsize::new(0));
    let start = || {
        let flights = Arc::clone(&flights);
        let resolved = Arc::clone(&resolved);
        tokio::spawn(async move {
            let resolve = async {
                tokio::task::yield_now().await;
                resolved.fetch_add(1, Ordering::SeqCst) + 1
            };
            flights.join(&"a.example", None, |_| true, resolve).await
        })
    };
    let tasks: Vec<_> = (0..50).map(|_| start()).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 1);
    }
    assert_eq!(
        start().await.unwrap(),
        2,
        "results are not kept: the cache keeps them"
    );
    assert!(flights.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_follower_of_a_cancelled_or_slow_leader_resolves_itself() {
    let flights = Arc::new(SingleFlight::default());
    let first = Arc::clone(&flights);
    let slow = tokio::spawn(async move {
        first
            .join(&"a", None, |_| true, std::future::pending::<u8>())
            .await
    });
    tokio::task::yield_now().await;
    assert_eq!(
        flights
            .join(&"a", Some(Duration::from_millis(10)), |_| true, async { 2 })
            .await,
        2
    );
    let second = Arc::clone(&flights);
    let waits = tokio::task::yield_now();
    let waiter = tokio::spawn(async move { second.join(&"a", None, |_| true, async { 3 }).await });
    waits.await;
    slow.abort();
    assert_eq!(waiter.await.unwrap(), 3);
}

#[tokio::test]
async fn after_a_result_that_is_not_shared_one_follower_leads() {
    let flights = Arc::new(SingleFlight::default());
    let started = Arc::new(AtomicUsize::new(0));
    let start = |number| {
        let flights = Arc::clone(&flights);
        let started = Arc::clone(&started);
        tokio::spawn(async move {
            let resolve = async {
                started.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                if number == 0 { Err(()) } else { Ok(number) }
            };
            flights.join(&"a", None, Result::is_ok, resolve).await
        })
    };
    let tasks: Vec<_> = (0..50).map(start).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    assert_eq!(
        (
            results[0],
            results[1].is_ok(),
            started.load(Ordering::SeqCst)
        ),
        (Err(()), true, 2)
    );
    assert!(results[1..].iter().all(|result| *result == results[1]) && flights.lock().is_empty());
}
