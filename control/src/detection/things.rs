//! What things newly want to reach: learned, or asked about in one prompt a thing.
//!
//! ```text
//! query -> thing, domain --learning--> the household's document, at most once in some seconds
//!                        --asking----> the open prompt of the thing, and an event
//! ```

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use hashlink::LruCache;
use jiff::Timestamp;
use policy::{
    lists::public_suffix::registrant_domain,
    name::Name,
    rules::{
        household::{Household, Id},
        thing::{THING_DOMAINS_MAX, ThingDomain, ThingMode},
    },
};
use policy_store::{
    Author, PROMPT_DOMAINS_MAX, PROMPT_NAMES_MAX, PromptDomain, PromptState, StoreError, ThingWants,
};
use resolver::telemetry::detection::NewDomain;

use crate::{
    Control,
    households::{
        events::{OtherEvent, ScopedEvent},
        write::{WriteError, change_existing, set_by},
    },
};

/// Things whose prompted names are known in memory.
const KNOWN_MAX: usize = 1 << 14;
/// Things whose names wait to be stored. Beyond, all are stored at once.
const WANTED_MAX: usize = 1 << 12;
/// How long mere repetitions of a prompted name wait to be stored.
const REPEATED_EVERY: Duration = Duration::from_secs(30);
/// How long names are gathered before the household hears of a prompt.
const GATHER: Duration = Duration::from_secs(3);
/// How often a household hears of a prompt that grows.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// How often the learned domains of one household are written.
const LEARN_EVERY: Duration = Duration::from_secs(10);
/// Households whose learned domains are written at a time.
const LEARN_WRITES_MAX: usize = 32;

/// A thing: its household, and its device.
type Key = (Id, Id);

/// What a thing wants, until it is stored.
struct Wanted {
    domains: BTreeMap<Name, PromptDomain>,
    due: Instant,
}

/// A prompt that its household hears of.
struct Telling {
    device: Id,
    /// When to tell, if anything was added since the last time.
    due: Instant,
    is_grown: bool,
}

/// The state of the detection of what things want.
pub(super) struct DomainDetection {
    wanted: BTreeMap<Key, Wanted>,
    /// The names of prompts that are stored.
    known: LruCache<Key, BTreeSet<Name>>,
    telling: BTreeMap<(Id, String), Telling>,
    learned: BTreeMap<Id, BTreeMap<Id, BTreeSet<Name>>>,
    /// When the learned domains of a household were last written.
    written: HashMap<Id, Instant>,
}

impl Default for DomainDetection {
    fn default() -> Self {
        Self {
            wanted: BTreeMap::new(),
            known: LruCache::new(KNOWN_MAX),
            telling: BTreeMap::new(),
            learned: BTreeMap::new(),
            written: HashMap::new(),
        }
    }
}

impl DomainDetection {
    /// Takes a sign from a worker, unless the thing's lists have an entry for the name by now.
    pub fn hear(&mut self, control: &Control, heard: &NewDomain) {
        let name = heard.name.borrow();
        let Some((key, mode)) = asking_thing(control, heard) else {
            return;
        };
        // No registry sells a domain of other octets, and no family can judge it: it stays new.
        let Some(domain) = registrant_domain(name).filter(|domain| domain.is_plain()) else {
            return;
        };
        let domain = domain.to_owned();
        if mode == ThingMode::Learning {
            let (household, device) = key;
            let of_household = self.learned.entry(household).or_default();
            of_household.entry(device).or_default().insert(domain);
            return;
        }
        let name = name.to_owned();
        let known = self.known.get(&key);
        let is_repeated = known.is_some_and(|names| names.contains(&name));
        let now = Instant::now();
        let due = if is_repeated {
            now + REPEATED_EVERY
        } else {
            now
        };
        let wanted = self.wanted.entry(key).or_insert_with(|| Wanted {
            domains: BTreeMap::new(),
            due,
        });
        wanted.due = wanted.due.min(due);
        // A prompt takes no more; the others are asked for again.
        if wanted.domains.len() >= PROMPT_DOMAINS_MAX && !wanted.domains.contains_key(&domain) {
            return;
        }
        let at = heard.at.timestamp().unwrap_or_else(Timestamp::now);
        let entry = wanted.domains.entry(domain.clone());
        let domain = entry.or_insert_with(|| PromptDomain {
            domain,
            names: Vec::new(),
            first_seen: at,
            queries: 0,
        });
        domain.queries += u64::from(heard.queries);
        if domain.names.len() < PROMPT_NAMES_MAX && !domain.names.contains(&name) {
            domain.names.push(name);
        }
    }

    /// Stores what things want, tells households of it, and writes what was learned.
    pub async fn process(&mut self, control: &Arc<Control>) -> Result<(), StoreError> {
        self.learn(control).await;
        let stored = self.store(control).await;
        self.tell(control).await?;
        stored
    }

    async fn store(&mut self, control: &Control) -> Result<(), StoreError> {
        let now = Instant::now();
        let is_full = self.wanted.len() >= WANTED_MAX;
        let due: Vec<Key> = self
            .wanted
            .iter()
            .filter(|(_, wanted)| is_full || wanted.due <= now)
            .map(|(key, _)| key.clone())
            .collect();
        let wants: Vec<ThingWants> = due
            .iter()
            .filter_map(|key| {
                let wanted = self.wanted.get(key)?;
                Some(ThingWants {
                    household: key.0.clone(),
                    device: key.1.clone(),
                    domains: wanted.domains.values().cloned().collect(),
                })
            })
            .collect();
        if wants.is_empty() {
            return Ok(());
        }
        // What cannot be stored stays, and is tried again.
        let grown = control.store.grow_prompts(&wants, Timestamp::now()).await?;
        for key in due {
            self.wanted.remove(&key);
        }
        for grown in grown {
            let (household, prompt) = (grown.household, grown.prompt);
            let names = prompt.domains.iter().flat_map(|domain| &domain.names);
            let key = (household.clone(), prompt.device.clone());
            self.known.insert(key, names.cloned().collect());
            let entry = self.telling.entry((household, prompt.id));
            let telling = entry.or_insert_with(|| Telling {
                device: prompt.device,
                due: now + GATHER,
                is_grown: false,
            });
            telling.is_grown |= grown.added > 0;
        }
        Ok(())
    }

    /// Tells households of prompts that are new or have grown.
    async fn tell(&mut self, control: &Control) -> Result<(), StoreError> {
        let now = Instant::now();
        let is_due = |telling: &&mut Telling| telling.due <= now;
        let mut done = Vec::new();
        for (key, telling) in &mut self.telling {
            if !is_due(&telling) {
                continue;
            }
            if !telling.is_grown {
                done.push(key.clone());
                continue;
            }
            (telling.is_grown, telling.due) = (false, now + TELL_EVERY);
            let (household, id) = key;
            let prompt = control.store.prompt(household, id).await?;
            if let Some(prompt) = prompt.filter(|prompt| prompt.state == PromptState::Open) {
                let event = OtherEvent::Prompt {
                    at: Timestamp::now(),
                    device: telling.device.clone(),
                    domains: prompt.domains.len(),
                    id: prompt.id,
                };
                control.events.publish(household, ScopedEvent::new(event));
            }
        }
        for key in done {
            self.telling.remove(&key);
        }
        Ok(())
    }

    /// Adds what was learned to the households' documents, a few households at a time.
    async fn learn(&mut self, control: &Arc<Control>) {
        let now = Instant::now();
        self.written
            .retain(|_, written| now.duration_since(*written) < LEARN_EVERY);
        let ready = self
            .learned
            .keys()
            .filter(|id| !self.written.contains_key(*id));
        let ready: Vec<Id> = ready.take(LEARN_WRITES_MAX).cloned().collect();
        for household in ready {
            let Some(things) = self.learned.remove(&household) else {
                continue;
            };
            self.written.insert(household.clone(), now);
            let by = learner();
            let edit = {
                let things = things.clone();
                move |household: &mut Household| add(household, &things, &learner().actor)
            };
            match change_existing(control, &by, household.clone(), None, edit).await {
                Ok(_) | Err(WriteError::UnknownHousehold(_)) => {}
                Err(error) if is_refused(&error) => {}
                Err(error) => {
                    tracing::warn!(%household, %error, "learned domains are not written yet");
                    self.learned.insert(household, things);
                }
            }
        }
    }
}

/// The author of what is learned.
fn learner() -> Author {
    Author {
        actor: "learning".to_owned(),
        role: "operator".to_owned(),
    }
}

/// Nothing was learned that the household does not have.
#[derive(Debug, thiserror::Error)]
#[error("nothing new was learned")]
struct NothingNew;

fn is_refused(error: &WriteError<NothingNew>) -> bool {
    use policy_store::ChangeError;
    matches!(
        error,
        WriteError::Change(ChangeError::Refused(NothingNew) | ChangeError::TooMuch(_))
    )
}

/// Adds learned domains to the things that are still learning.
fn add(
    household: &mut Household,
    things: &BTreeMap<Id, BTreeSet<Name>>,
    actor: &str,
) -> Result<(), NothingNew> {
    let mut has_added = false;
    for (device, domains) in things {
        let device = household.devices.get_mut(device);
        let thing = device.and_then(|device| device.thing.as_mut());
        let Some(thing) = thing.filter(|thing| thing.mode() == ThingMode::Learning) else {
            continue;
        };
        for domain in domains {
            let is_known = thing.allowed.contains_key(domain) || thing.denied.contains_key(domain);
            if !is_known && thing.allowed.len() < THING_DOMAINS_MAX {
                let entry = set_by(ThingDomain {}, actor);
                thing.allowed.insert(domain.clone(), entry);
                has_added = true;
            }
        }
    }
    has_added.then_some(()).ok_or(NothingNew)
}

/// The thing that asked for a name which is on none of its lists by the rules in force now.
fn asking_thing(control: &Control, heard: &NewDomain) -> Option<(Key, ThingMode)> {
    let household: Id = heard.rules.id().parse().ok()?;
    let device: Id = heard.rules.device_id(heard.device)?.parse().ok()?;
    let rules = control.directory.household(&household)?;
    let thing = rules.thing(rules.device_by_id(&device)?)?;
    let is_new = thing.find(heard.name.borrow()).is_none();
    let mode = thing.mode();
    let hears = matches!(mode, ThingMode::Learning | ThingMode::Asking);
    (is_new && hears).then_some(((household, device), mode))
}
