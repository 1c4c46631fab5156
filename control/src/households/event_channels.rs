//! The channels of household events: subscribers, and what a subscriber gets who was away.
//!
//! ```text
//! publish -> number -> ring of the household (64 events, 10 minutes) -> its subscribers
//!                   -> ring of all (what wants an answer) -> operators, web push
//! ```
//!
//! A household has a channel while a subscriber listens, and for [`KEPT`] after the last one left. A
//! subscriber that names its last event gets those since then, or is told that some are lost. One
//! that reads too slowly loses the oldest events. A publisher never waits.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    hash::{BuildHasher, RandomState},
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use policy::rules::household::Id;
use tokio::sync::broadcast::{self, Receiver, Sender, error::RecvError};

use super::events::{HouseholdEvent, OtherEvent, ScopedEvent};

/// Events that are kept for a slow subscriber, and for one of a household who was away.
const QUEUED_MAX: usize = 64;
/// The same of the channel with the events of all households.
const ALL_QUEUED_MAX: usize = 1_024;
/// For how long an event is kept for a subscriber who was away.
const KEPT: Duration = Duration::from_secs(600);
/// The most events that are kept for subscribers who are away, of all households. An event has some
/// hundred octets.
const RETAINED_MAX: usize = 100_000;
/// How often channels that nothing needs are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The identifier of an event, as a client sends it back in `Last-Event-ID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventId {
    /// The run of the program: numbers begin anew with each.
    run: u32,
    number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.run, self.number)
    }
}

impl FromStr for EventId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (run, number) = text.split_once('-').ok_or(())?;
        Ok(Self {
            run: u32::from_str_radix(run, 16).map_err(drop)?,
            number: number.parse().map_err(drop)?,
        })
    }
}

/// An event with its identifier and household.
#[derive(Debug, Clone)]
pub struct NumberedEvent {
    pub id: EventId,
    pub household: Id,
    pub event: ScopedEvent,
}

/// What a subscription delivers.
#[derive(Debug)]
pub enum Delivered {
    Event(Box<NumberedEvent>),
    /// The subscriber was too slow, or away for too long, and lost events: so many, if that is known.
    Lost(Option<u64>),
}

impl Delivered {
    fn event(event: NumberedEvent) -> Self {
        Self::Event(Box::new(event))
    }
}

/// The last events of a channel.
struct Ring {
    events: VecDeque<(Instant, NumberedEvent)>,
    max: usize,
    /// Events with a greater number are all here.
    complete_after: u64,
}

impl Ring {
    fn new(max: usize, complete_after: u64) -> Self {
        Self {
            events: VecDeque::new(),
            max,
            complete_after,
        }
    }

    /// Removes events that are too old or too many. Returns how many.
    fn trim(&mut self, max: usize, now: Instant) -> usize {
        let before = self.events.len();
        while let Some((at, event)) = self.events.front()
            && (self.events.len() > max || now.duration_since(*at) > KEPT)
        {
            self.complete_after = event.id.number;
            self.events.pop_front();
        }
        before - self.events.len()
    }

    /// Adds an event, unless there is no room for it.
    fn add(&mut self, event: NumberedEvent, has_room: bool, now: Instant) {
        let number = event.id.number;
        let removed = self.trim(self.max - 1, now);
        if has_room || removed > 0 {
            self.events.push_back((now, event));
        } else {
            self.complete_after = number;
            self.events.clear();
        }
    }

    /// The events after this one. `None` if some of them are lost.
    fn after(&self, number: u64) -> Option<VecDeque<Delivered>> {
        let later = self
            .events
            .iter()
            .filter(|(_, event)| event.id.number > number);
        (number >= self.complete_after).then(|| {
            later
                .map(|(_, event)| Delivered::event(event.clone()))
                .collect()
        })
    }
}

struct Channel {
    sender: Sender<NumberedEvent>,
    ring: Ring,
    /// Since when it has no subscriber.
    idle_since: Option<Instant>,
}

/// The state of all channels.
struct Channels {
    run: u32,
    /// The number of the last event.
    last: u64,
    of_household: HashMap<Id, Channel>,
    of_all: Channel,
    /// Events in the rings of households.
    retained: usize,
    swept: Instant,
}

impl Default for Channels {
    fn default() -> Self {
        Self {
            run: RandomState::new().hash_one(0) as u32,
            last: 0,
            of_household: HashMap::new(),
            of_all: Channel::new(ALL_QUEUED_MAX, 0),
            retained: 0,
            swept: Instant::now(),
        }
    }
}

impl Channel {
    fn new(max: usize, complete_after: u64) -> Self {
        Self {
            sender: broadcast::channel(max).0,
            ring: Ring::new(max, complete_after),
            idle_since: None,
        }
    }
}

impl Channels {
    /// Removes channels that had no subscriber for a while.
    fn sweep(&mut self, now: Instant) {
        if now.duration_since(self.swept) < SWEEP_EVERY {
            return;
        }
        self.swept = now;
        let mut removed = 0;
        self.of_household.retain(|_, channel| {
            removed += channel.ring.trim(QUEUED_MAX, now);
            let is_kept = channel
                .idle_since
                .is_none_or(|since| now.duration_since(since) <= KEPT);
            if !is_kept {
                removed += channel.ring.events.len();
            }
            is_kept
        });
        self.retained -= removed;
    }
}

/// The event channels of all households.
#[derive(Default)]
pub struct HouseholdEvents {
    channels: Mutex<Channels>,
    on_removal: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl HouseholdEvents {
    /// Calls `hook` after each write that removes a household or one of its devices. Only the first
    /// hook counts.
    pub fn on_removal(&self, hook: impl Fn() + Send + Sync + 'static) {
        let _one_is_set = self.on_removal.set(Box::new(hook));
    }

    /// A household, or one of its devices, is no more: a later one of the same name learns nothing
    /// of its events.
    pub(super) fn removed(&self, household: &Id) {
        {
            let mut channels = self.channels();
            let last = channels.last;
            if let Some(channel) = channels.of_household.get_mut(household) {
                let removed = channel.ring.events.len();
                channel.ring = Ring::new(QUEUED_MAX, last);
                channels.retained -= removed;
            }
        }
        if let Some(hook) = self.on_removal.get() {
            hook();
        }
    }

    /// Sends an event to all subscribers of a household, and to those of all households if it wants an
    /// answer.
    pub fn publish(&self, household: &Id, event: ScopedEvent) {
        let now = Instant::now();
        let mut channels = self.channels();
        let channels = &mut *channels;
        channels.sweep(now);
        let is_for_all = event.is_for_all();
        if !is_for_all && !channels.of_household.contains_key(household) {
            return;
        }
        channels.last += 1;
        let id = EventId {
            run: channels.run,
            number: channels.last,
        };
        let household = household.clone();
        let event = NumberedEvent {
            id,
            household,
            event,
        };
        if is_for_all {
            channels.of_all.ring.add(event.clone(), true, now);
            let _no_operator_listens = channels.of_all.sender.send(event.clone());
        }
        if let Some(channel) = channels.of_household.get_mut(&event.household) {
            let has_room = channels.retained < RETAINED_MAX;
            let before = channel.ring.events.len();
            channel.ring.add(event.clone(), has_room, now);
            channels.retained = channels.retained - before + channel.ring.events.len();
            let _no_subscriber_is_left = channel.sender.send(event);
        }
    }

    /// Whether a household has a subscriber, or one that may come back.
    pub fn has_subscribers(&self, household: &Id) -> bool {
        self.channels().of_household.contains_key(household)
    }

    /// Ends all subscriptions: the node shuts down.
    pub fn close(&self) {
        let mut channels = self.channels();
        channels.of_household.clear();
        channels.retained = 0;
        channels.of_all = Channel::new(ALL_QUEUED_MAX, channels.last);
    }

    /// Subscribes to a household's events: to those after `last`, or from now on. The identifier is
    /// that of the last event so far.
    pub fn subscribe(
        self: &Arc<Self>,
        household: Id,
        last: Option<Option<EventId>>,
    ) -> (EventId, Subscription) {
        let mut channels = self.channels();
        channels.sweep(Instant::now());
        let newest = channels.last;
        let channel = channels
            .of_household
            .entry(household.clone())
            .or_insert_with(|| Channel::new(QUEUED_MAX, newest));
        channel.idle_since = None;
        let events = channel.sender.subscribe();
        let (id, missed) = channels.missed(last, Some(&household));
        let membership = Membership {
            all: Arc::clone(self),
            household,
        };
        let subscription = Subscription {
            missed,
            events,
            _membership: Some(membership),
        };
        (id, subscription)
    }

    /// Subscribes to the events of all households that want an answer of the family.
    pub fn subscribe_all(&self, last: Option<Option<EventId>>) -> (EventId, Subscription) {
        let channels = self.channels();
        let events = channels.of_all.sender.subscribe();
        let (id, missed) = channels.missed(last, None);
        let subscription = Subscription {
            missed,
            events,
            _membership: None,
        };
        (id, subscription)
    }

    fn channels(&self) -> MutexGuard<'_, Channels> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channels {
    /// What a subscriber has missed since `last`; and the identifier of the last event.
    /// `Some(None)` is an identifier that cannot be read.
    fn missed(
        &self,
        last: Option<Option<EventId>>,
        household: Option<&Id>,
    ) -> (EventId, VecDeque<Delivered>) {
        let id = EventId {
            run: self.run,
            number: self.last,
        };
        let Some(last) = last else {
            return (id, VecDeque::new());
        };
        let channel = match household {
            Some(household) => self.of_household.get(household),
            None => Some(&self.of_all),
        };
        let after = last
            .filter(|last| last.run == self.run && last.number <= self.last)
            .and_then(|last| channel?.ring.after(last.number));
        (id, after.unwrap_or_else(|| [Delivered::Lost(None)].into()))
    }
}

impl ScopedEvent {
    /// Whether operators get it, to pass it on by a push service of their own.
    #[must_use]
    pub fn is_for_operators(&self) -> bool {
        matches!(
            self.event(),
            HouseholdEvent::Request(_) | HouseholdEvent::Other(OtherEvent::Silent { .. })
        )
    }

    /// Whether the subscribers to all households get it: it wants an answer of the family.
    fn is_for_all(&self) -> bool {
        let is_of_devices = matches!(
            self.event(),
            HouseholdEvent::Other(OtherEvent::NewDevice { .. } | OtherEvent::Prompt { .. })
        );
        self.is_for_operators() || is_of_devices
    }
}

/// One subscriber's queue.
pub struct Subscription {
    missed: VecDeque<Delivered>,
    events: Receiver<NumberedEvent>,
    /// Dropped after the receiver, so that it sees whether another one is left.
    _membership: Option<Membership>,
}

impl Subscription {
    /// The next event. `None` once the channel is closed.
    pub async fn next(&mut self) -> Option<Delivered> {
        if let Some(missed) = self.missed.pop_front() {
            return Some(missed);
        }
        match self.events.recv().await {
            Ok(event) => Some(Delivered::event(event)),
            Err(RecvError::Lagged(lost)) => Some(Delivered::Lost(Some(lost))),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Notes when the household's last subscriber leaves.
struct Membership {
    all: Arc<HouseholdEvents>,
    household: Id,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut channels = self.all.channels();
        if let Some(channel) = channels.of_household.get_mut(&self.household)
            && channel.sender.receiver_count() == 0
        {
            channel.idle_since = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Id {
        text.parse().unwrap()
    }

    /// What is delivered without waiting: numbers, and `lost`.
    async fn heard(subscription: &mut Subscription) -> Vec<String> {
        let mut heard = Vec::new();
        while let Ok(Some(delivered)) =
            tokio::time::timeout(Duration::from_millis(1), subscription.next()).await
        {
            heard.push(match delivered {
                Delivered::Event(event) => event.id.number.to_string(),
                Delivered::Lost(_) => "lost".to_owned(),
            });
        }
        heard
    }

    fn change() -> ScopedEvent {
        ScopedEvent::change(1, None)
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_back_gets_what_happened_meanwhile() {
        let events = Arc::new(HouseholdEvents::default());
        let (first, mut subscription) = events.subscribe(id("home"), None);
        events.publish(&id("home"), change());
        assert_eq!(heard(&mut subscription).await, ["1"]);
        drop(subscription);
        events.publish(&id("other"), change());
        events.publish(&id("home"), change());
        events.publish(&id("home"), change());
        let last = EventId { number: 1, ..first };
        let (newest, mut subscription) = events.subscribe(id("home"), Some(Some(last)));
        assert_eq!(heard(&mut subscription).await, ["2", "3"]);
        assert_eq!(newest.number, 3);
        let (_, mut again) = events.subscribe(id("home"), Some(Some(newest)));
        assert!(heard(&mut again).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_away_too_long_or_in_another_run_is_told_that_events_are_lost() {
        let events = Arc::new(HouseholdEvents::default());
        let (first, subscription) = events.subscribe(id("home"), None);
        for _ in 0..=QUEUED_MAX {
            events.publish(&id("home"), change());
        }
        let resumed = |last| events.subscribe(id("home"), Some(last)).1;
        let of_number = |number| Some(EventId { number, ..first });
        assert_eq!(heard(&mut resumed(of_number(0))).await, ["lost"]);
        assert_eq!(heard(&mut resumed(of_number(1))).await.len(), QUEUED_MAX);
        let of_other_run = EventId {
            run: first.run.wrapping_add(1),
            number: 60,
        };
        assert_eq!(heard(&mut resumed(Some(of_other_run))).await, ["lost"]);
        assert_eq!(heard(&mut resumed(of_number(9_999))).await, ["lost"]);
        assert_eq!(heard(&mut resumed(None)).await, ["lost"]);
        drop(subscription);
        let (_, mut new) = events.subscribe(id("other"), Some(of_number(1)));
        assert_eq!(heard(&mut new).await, ["lost"]);
    }

    #[test]
    fn a_full_house_keeps_no_more_and_says_so() {
        let mut ring = Ring::new(4, 0);
        let now = Instant::now();
        let event = |number| NumberedEvent {
            id: EventId { run: 0, number },
            household: id("home"),
            event: change(),
        };
        ring.add(event(1), false, now);
        assert!(ring.events.is_empty());
        assert!(ring.after(0).is_none());
        assert!(ring.after(1).is_some_and(|later| later.is_empty()));
        (2..=9).for_each(|number| ring.add(event(number), true, now));
        assert_eq!(ring.events.len(), 4);
        assert!(ring.after(4).is_none());
        assert_eq!(ring.after(5).map(|later| later.len()), Some(4));
        // In its place of the oldest, also without more room.
        ring.add(event(10), false, now);
        assert_eq!(ring.after(6).map(|later| later.len()), Some(4));
        assert_eq!(ring.trim(4, now + 2 * KEPT), 4);
        assert!(ring.after(9).is_none());
    }

    #[test]
    fn an_identifier_is_read_as_it_was_written() {
        let written = EventId {
            run: 0xab,
            number: 7,
        };
        assert_eq!(written.to_string(), "000000ab-7");
        assert_eq!("000000ab-7".parse(), Ok(written));
        for bad in ["", "7", "ab-", "-7", "x-7", "ab-7-8", "123456789-1"] {
            assert!(bad.parse::<EventId>().is_err(), "{bad}");
        }
    }
}
