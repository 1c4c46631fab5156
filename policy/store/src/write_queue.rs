//! Who writes next. SQLite has one writer at a time: those who wait for it take turns by household.
//!
//! ```text
//! home-1  write write write     first the write of home-1 that came first, then that of home-2,
//! home-2  write                 then the second of home-1: one household's queue is no other's wait
//! ```
//!
//! SQLite's own wait is no queue: it sleeps, tries again, and lets whichever try comes first through.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// The queue in front of one file's writer.
#[derive(Debug, Default)]
pub(crate) struct WriteQueue(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    is_taken: bool,
    /// The waiting writes of each household, and of the node itself under an empty name.
    writes: HashMap<Box<str>, VecDeque<oneshot::Sender<WritePermit>>>,
    /// The households with waiting writes, in the order of their turns.
    turns: VecDeque<Box<str>>,
}

impl Waiting {
    /// The write whose turn it is. Its household goes to the end of the order.
    fn next(&mut self) -> Option<oneshot::Sender<WritePermit>> {
        let whose = self.turns.pop_front()?;
        let writes = self.writes.get_mut(&whose)?;
        let next = writes.pop_front();
        if writes.is_empty() {
            self.writes.remove(&whose);
        } else {
            self.turns.push_back(whose);
        }
        next
    }
}

impl WriteQueue {
    /// Waits for the turn of a household.
    pub(crate) async fn turn(self: &Arc<Self>, whose: &str) -> WritePermit {
        let turn = {
            let mut waiting = self.waiting();
            if !waiting.is_taken {
                waiting.is_taken = true;
                return WritePermit(Some(Arc::clone(self)));
            }
            let (permit, turn) = oneshot::channel();
            match waiting.writes.get_mut(whose) {
                Some(writes) => writes.push_back(permit),
                None => {
                    waiting.writes.insert(whose.into(), [permit].into());
                    waiting.turns.push_back(whose.into());
                }
            }
            turn
        };
        turn.await
            .expect("the queue outlives its waiting writes, and passes every permit on")
    }

    /// Gives the permit to the next write that still waits.
    fn pass_on(self: Arc<Self>) {
        loop {
            let next = {
                let mut waiting = self.waiting();
                let next = waiting.next();
                waiting.is_taken = next.is_some();
                next
            };
            let Some(next) = next else { return };
            match next.send(WritePermit(Some(Arc::clone(&self)))) {
                Ok(()) => return,
                // The caller has gone: its permit must not be passed on by its end as well.
                Err(mut unused) => drop(unused.0.take()),
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The permission to write. The next write gets it when this one is dropped.
#[derive(Debug)]
pub(crate) struct WritePermit(Option<Arc<WriteQueue>>);

impl Drop for WritePermit {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    /// Queues writes behind a held permit, and returns the order in which they got theirs.
    async fn order(writes: &[&'static str], gone: &[usize]) -> Vec<&'static str> {
        let queue = Arc::new(WriteQueue::default());
        let held = queue.turn("first").await;
        let (tell, mut told) = mpsc::unbounded_channel();
        let mut tasks = Vec::new();
        for whose in writes.iter().copied() {
            let queue = Arc::clone(&queue);
            let tell = tell.clone();
            tasks.push(tokio::spawn(async move {
                let _permit = queue.turn(whose).await;
                tell.send(whose).unwrap();
            }));
            // One thread runs all tasks: this one waits in the queue before the next begins.
            tokio::task::yield_now().await;
        }
        for place in gone {
            tasks[*place].abort();
            tokio::task::yield_now().await;
        }
        drop((held, tell));
        let mut order = Vec::new();
        while let Some(whose) = told.recv().await {
            order.push(whose);
        }
        assert!(!queue.waiting().is_taken && queue.waiting().writes.is_empty());
        order
    }

    #[tokio::test]
    async fn households_take_turns_whatever_each_of_them_has_waiting() {
        let writes = ["a", "a", "a", "a", "b", "c", "b"];
        assert_eq!(
            order(&writes, &[]).await,
            ["a", "b", "c", "a", "b", "a", "a"]
        );
    }

    #[tokio::test]
    async fn a_caller_that_has_gone_holds_up_no_other() {
        let writes = ["a", "a", "b", "a"];
        assert_eq!(order(&writes, &[0, 2]).await, ["a", "a"]);
        assert_eq!(order(&writes, &[0, 1, 2, 3]).await, [""; 0]);
    }
}
