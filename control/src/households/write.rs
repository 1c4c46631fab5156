//! A write to one household. When it returns, the new rules are live.
//!
//! ```text
//! turn at the household -> read, edit, compare -> store: one transaction (document, version, notices, audit)
//!                       -> compile -> swap -> publish
//! ```
//!
//! Writes of one household take turns (`turns`); households wait for each other only where they share
//! the disk, and there they take turns, too. Nothing that depends on the size of a household happens
//! while another one waits for it.

use std::sync::Arc;

use jiff::Timestamp;
use policy::rules::{
    compiled::HouseholdRules,
    household::{Attributed, Household, Id},
};
use policy_store::{
    Author, ChangeError, GivenAnswer, HouseholdChange, HouseholdChanged, NewNotice, RequestAnswer,
    StoreError,
};
use tokio::task::JoinError;

use super::{
    events::{ScopedEvent, devices_affected},
    load::{compile, install},
    turns::Crowded,
};
use crate::{Control, activity::retention, notifications::text as notices};

/// Why a household was not changed. `E` is why the caller's edit refused.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E> {
    #[error("there is no household {0}")]
    UnknownHousehold(Id),
    #[error(transparent)]
    Change(#[from] ChangeError<E>),
    #[error(transparent)]
    Crowded(#[from] Crowded),
    /// The task of the write panicked, or the runtime is about to end.
    #[error("the task of the write did not finish")]
    Task(#[source] JoinError),
}

impl<E> From<StoreError> for WriteError<E> {
    fn from(error: StoreError) -> Self {
        Self::Change(ChangeError::Store(error))
    }
}

impl<E> WriteError<E> {
    /// Takes an error out of the edit that the store ran.
    fn flattened(error: ChangeError<Self>) -> Self {
        match error {
            ChangeError::Refused(inner) => inner,
            ChangeError::Store(error) => Self::Change(ChangeError::Store(error)),
            ChangeError::Version { expected, current } => {
                Self::Change(ChangeError::Version { expected, current })
            }
            ChangeError::NetworkTaken { network, owner } => {
                Self::Change(ChangeError::NetworkTaken { network, owner })
            }
            ChangeError::TooMuch(too_much) => Self::Change(ChangeError::TooMuch(too_much)),
            ChangeError::Settled => Self::Change(ChangeError::Settled),
            ChangeError::Grown => Self::Change(ChangeError::Grown),
        }
    }
}

/// Why a household and its rules could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("there is no household {0}")]
    UnknownHousehold(Id),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a write does beside the household, in the same transaction.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// The child's request that the write allows, and the answer.
    pub allows: Option<(String, RequestAnswer)>,
    /// The answer to a thing's prompt that the write applies.
    pub answers: Option<GivenAnswer>,
    /// Notices to holders of other accounts.
    pub notices: Vec<NewNotice>,
    /// The version of the change that the write takes back.
    pub undoes: Option<u64>,
}

/// Changes a household: stored, compiled, live, in this order. Its writers take turns, so what is
/// stored last is live last. Returns what `edit` returned beside the household. `edit` is called
/// again if another process changed the household meanwhile.
///
/// The write runs as a task of its own: a client that disconnects would otherwise cancel its
/// handler, and leave a change stored that is not live.
pub async fn change<T: Send + 'static, E: Send + 'static>(
    control: &Arc<Control>,
    by: &Author,
    id: Id,
    expected: Option<u64>,
    edit: impl FnOnce(Option<Household>) -> Result<(Option<Household>, T), E> + Clone + Send + 'static,
) -> Result<(HouseholdChanged, T), WriteError<E>> {
    change_beside(control, by, id, expected, Beside::default(), edit).await
}

/// Changes a household, and does what `beside` says in the same transaction.
pub async fn change_beside<T: Send + 'static, E: Send + 'static>(
    control: &Arc<Control>,
    by: &Author,
    id: Id,
    expected: Option<u64>,
    beside: Beside,
    edit: impl FnOnce(Option<Household>) -> Result<(Option<Household>, T), E> + Clone + Send + 'static,
) -> Result<(HouseholdChanged, T), WriteError<E>> {
    let edit = move |household| {
        edit(household).map_err(|refusal| WriteError::Change(ChangeError::Refused(refusal)))
    };
    in_task(control, by, id, expected, beside, edit).await
}

/// Changes a household that must exist.
pub async fn change_existing<T: Send + 'static, E: Send + 'static>(
    control: &Arc<Control>,
    by: &Author,
    id: Id,
    expected: Option<u64>,
    edit: impl FnOnce(&mut Household) -> Result<T, E> + Clone + Send + 'static,
) -> Result<(HouseholdChanged, T), WriteError<E>> {
    let name = id.clone();
    let edit = move |household: Option<Household>| {
        let mut household = household.ok_or(WriteError::UnknownHousehold(name))?;
        let told = edit(&mut household)
            .map_err(|refusal| WriteError::Change(ChangeError::Refused(refusal)))?;
        Ok((Some(household), told))
    };
    in_task(control, by, id, expected, Beside::default(), edit).await
}

/// Runs a write to its end, whether the caller waits for it or not.
async fn in_task<T: Send + 'static, E: Send + 'static>(
    control: &Arc<Control>,
    by: &Author,
    id: Id,
    expected: Option<u64>,
    beside: Beside,
    edit: impl FnOnce(Option<Household>) -> Result<(Option<Household>, T), WriteError<E>>
    + Clone
    + Send
    + 'static,
) -> Result<(HouseholdChanged, T), WriteError<E>> {
    let control = Arc::clone(control);
    let by = by.clone();
    let write = async move { write(&control, &by, &id, expected, beside, edit).await };
    tokio::spawn(write).await.map_err(WriteError::Task)?
}

async fn write<T: Send + 'static, E: Send + 'static>(
    control: &Arc<Control>,
    by: &Author,
    id: &Id,
    expected: Option<u64>,
    beside: Beside,
    edit: impl FnOnce(Option<Household>) -> Result<(Option<Household>, T), WriteError<E>>
    + Clone
    + Send
    + 'static,
) -> Result<(HouseholdChanged, T), WriteError<E>> {
    let turn = control.turns.take(id).await?;
    let label = control.store.label_of(&by.actor).await?;
    let change = {
        let (control, by) = (Arc::clone(control), by.clone());
        move |was: Option<&Household>| {
            let (mut after, told) = edit(was.cloned())?;
            if let (Some(was), Some(after)) = (was, &mut after) {
                after.remember_left_alone(was);
            }
            let is = after.as_ref();
            let duties = retention::duties(was, is);
            let mut notices = beside.notices;
            if let Some(was) = was {
                notices.extend(notices::of_change(
                    &control,
                    &by,
                    label.as_deref(),
                    was,
                    is,
                )?);
            }
            let edited = Edited {
                told,
                devices: devices_affected(was, is),
                owes: !duties.is_empty(),
                removes: removes(was, is),
            };
            let change = HouseholdChange {
                household: after,
                notices,
                duties,
                allows: beside.allows,
                undoes: beside.undoes,
                answers: beside.answers,
            };
            Ok((change, edited))
        }
    };
    let (mut changed, edited) = control
        .store
        .change_with(by, id, expected, change)
        .await
        .map_err(WriteError::flattened)?;
    match changed.household.take() {
        Some(household) => changed.household = Some(install(control, household).await),
        None => control.directory.remove(id),
    }
    let event = ScopedEvent::change(changed.version, edited.devices);
    control.events.publish(id, event);
    if edited.removes {
        control.events.removed(id);
    }
    // From here on, what the household no longer wants is not counted. What was counted before is
    // erased while other writes go on.
    drop(turn);
    if edited.owes {
        retention::fulfil(control, Some(id)).await;
    }
    Ok((changed, edited.told))
}

/// What an edit means for the steps after the commit.
struct Edited<T> {
    /// What the edit returned beside the household.
    told: T,
    /// The devices that it affects; `None` if it may affect all.
    devices: Option<std::collections::BTreeSet<Id>>,
    /// Whether it owes an erasure of activity.
    owes: bool,
    /// Whether it removes the household or a device.
    removes: bool,
}

/// Whether a change removes a household or one of its devices.
fn removes(before: Option<&Household>, after: Option<&Household>) -> bool {
    let Some(before) = before else { return false };
    after.is_none_or(|after| {
        before
            .devices
            .keys()
            .any(|device| !after.devices.contains_key(device))
    })
}

/// Reads a household's document and the rules of the same version, without waiting for writes: the
/// live rules, or while a write makes others live, the rules of the document that was read.
pub async fn read_with_rules(
    control: &Arc<Control>,
    id: &Id,
) -> Result<(Household, Arc<HouseholdRules>), ReadError> {
    let unknown = || ReadError::UnknownHousehold(id.clone());
    let household = control.store.household(id).await?.ok_or_else(unknown)?;
    let live = control.directory.household(id);
    match live.filter(|rules| rules.version() == household.version) {
        Some(rules) => Ok((household, rules)),
        None => {
            let (household, rules) = compile(control, household).await;
            Ok((household, Arc::new(rules)))
        }
    }
}

/// A value with its author and the current time.
pub fn set_by<T>(value: T, actor: &str) -> Attributed<T> {
    Attributed {
        value,
        set_by: actor.to_owned(),
        set_at: Timestamp::now(),
    }
}
