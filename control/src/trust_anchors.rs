//! Automated updates of trust anchors (RFC 5011): looks at the keys of the zones with anchors, keeps
//! what is known of them in a file, and says what has changed.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use metrics::{describe_gauge, gauge};
use policy::{lists::current::CurrentLists, name::Name};
use resolver::recursor::{
    Environment, KeyChange, KeyState, Recursor, TrackedKey, TrustPoint, parse_key,
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::{
    causes,
    lists::{model::EventKind, status::ListStatus},
    shutdown::Shutdown,
};

/// The first look comes this long after the start: the network may not be up yet.
const FIRST_LOOK: Duration = Duration::from_secs(10);
/// The time after a look that failed: the least of RFC 5011 section 2.3.
const LOOK_AFTER_FAILURE: Duration = Duration::from_secs(3_600);

/// What the file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// By zone.
    trust_points: BTreeMap<String, PointState>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PointState {
    /// The anchors of the configuration, by which the keys were found.
    configured: Vec<String>,
    keys: Vec<KeyEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    /// RFC 4034 section 2.2: flags, protocol, algorithm, public key.
    dnskey: String,
    state: StateWord,
    since: Timestamp,
    /// When a pending key becomes trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trusted_from: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StateWord {
    Pending,
    Valid,
    Missing,
    Revoked,
}

impl StateWord {
    const ALL: [Self; 4] = [Self::Pending, Self::Valid, Self::Missing, Self::Revoked];

    fn of(state: KeyState) -> Self {
        match state {
            KeyState::Pending { .. } => Self::Pending,
            KeyState::Valid => Self::Valid,
            KeyState::Missing => Self::Missing,
            KeyState::Revoked => Self::Revoked,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Valid => "valid",
            Self::Missing => "missing",
            Self::Revoked => "revoked",
        }
    }
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnchorStateError {
    #[error("reading {0}")]
    Read(PathBuf, #[source] io::Error),
    #[error("writing {0}")]
    Write(PathBuf, #[source] io::Error),
    #[error("{0} is not what this program writes")]
    Content(PathBuf, #[source] serde_json::Error),
    #[error("{0}: a key of {1} cannot be read")]
    Key(PathBuf, String),
}

/// Watches the keys of the zones with trust anchors.
pub struct AnchorWatch<E> {
    pub recursor: Arc<Recursor<E>>,
    /// Where what is known is kept. None: keys are watched, and none becomes trusted or revoked.
    pub file: Option<PathBuf>,
    pub status: Arc<ListStatus>,
    pub lists: Arc<CurrentLists>,
}

/// Takes in what the file of a node that starts holds. A file that cannot be used is set aside: the
/// anchors of the configuration hold.
pub fn restore<E: Environment>(recursor: &Recursor<E>, file: &Path) {
    if let Err(error) = read(recursor, file) {
        tracing::error!(
            error = causes(&error),
            "what is known of the keys of trust anchors cannot be read; the file is set aside"
        );
        let mut aside = file.to_owned().into_os_string();
        aside.push(".unreadable");
        let _it_may_not_be_ours = fs::rename(file, aside);
    }
}

/// Takes in what the file holds. Nothing if there is none.
///
/// # Errors
/// [`AnchorStateError`] if the file cannot be used.
pub fn read<E: Environment>(recursor: &Recursor<E>, file: &Path) -> Result<(), AnchorStateError> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(AnchorStateError::Read(file.to_owned(), error)),
        Ok(text) => text,
    };
    let state: State = serde_json::from_str(&text)
        .map_err(|error| AnchorStateError::Content(file.to_owned(), error))?;
    for point in recursor.trust_points() {
        let zone = point.zone().to_string();
        let Some(known) = state.trust_points.get(&zone) else {
            continue;
        };
        let configured = point.configured();
        if known
            .configured
            .iter()
            .any(|anchor| !configured.contains(anchor))
        {
            tracing::warn!(%zone, "an anchor was removed from the configuration; keys that it has vouched for are not trusted any more");
            continue;
        }
        let keys: Option<Vec<_>> = known.keys.iter().map(KeyEntry::tracked).collect();
        let keys = keys.ok_or_else(|| AnchorStateError::Key(file.to_owned(), zone))?;
        recursor.restore_keys(point.zone(), keys);
    }
    Ok(())
}

impl<E: Environment + 'static> AnchorWatch<E> {
    /// Looks at the keys when it is time, until the node shuts down.
    pub async fn run(self, shutdown: Shutdown) {
        describe();
        let points = self.recursor.trust_points();
        let begun = Instant::now();
        let mut due: Vec<(Name, Instant)> = points
            .iter()
            .map(|point| (point.zone().to_owned(), begun + FIRST_LOOK))
            .collect();
        while let Some(next) = due.iter_mut().min_by_key(|(_, at)| *at) {
            let wait = next.1.saturating_duration_since(Instant::now());
            tokio::select! {
                () = shutdown.begun() => return,
                () = sleep(wait) => {}
            }
            let look_again = self.look(&next.0).await;
            next.1 = Instant::now() + look_again;
        }
    }

    /// Looks at the keys of one zone. Returns when to look again.
    async fn look(&self, zone: &Name) -> Duration {
        let looked = self
            .recursor
            .look_at_keys(zone.borrow(), self.file.is_some());
        let looked = looked.await;
        let failed = f64::from(u8::from(looked.is_err()));
        gauge!("ox_protect_trust_anchor_look_failed", "zone" => zone.to_string()).set(failed);
        let look = match looked {
            Ok(look) => look,
            Err(error) => {
                tracing::error!(%zone, error = causes(&error), "the keys of a zone with trust anchors do not verify, or cannot be read");
                return LOOK_AFTER_FAILURE;
            }
        };
        if let Err(error) = self.save() {
            tracing::error!(
                error = causes(&error),
                "the state of trust anchors cannot be kept"
            );
        }
        for change in &look.changes {
            self.tell(zone, change);
        }
        self.show();
        Duration::from_secs(look.look_again_s.into())
    }

    /// Says what has changed.
    fn tell(&self, zone: &Name, change: &KeyChange) {
        let tag = change.tag;
        let (kind, what) = match change.state {
            Some(KeyState::Pending { until_unix_s }) => {
                let until = timestamp(until_unix_s);
                let what = match self.file {
                    Some(_) => format!("is new, and trusted from {until} on"),
                    None => "is new, and not trusted: recursion.trust_anchor_state is empty".into(),
                };
                (EventKind::TrustAnchorNew, what)
            }
            Some(KeyState::Valid) => (EventKind::TrustAnchorTrusted, "is trusted".to_owned()),
            Some(KeyState::Missing) => {
                let what = "is trusted, and not among the zone's keys any more";
                (EventKind::TrustAnchorMissing, what.to_owned())
            }
            Some(KeyState::Revoked) => (EventKind::TrustAnchorRevoked, "is revoked".to_owned()),
            None => {
                let what = "was new, and is not among the zone's keys any more";
                (EventKind::TrustAnchorMissing, what.to_owned())
            }
        };
        let detail = format!("{zone}: key {tag} {what}");
        tracing::warn!(%zone, tag, "the key {what}");
        let generation = self.lists.load().generation();
        let at = Timestamp::now();
        self.status
            .publish(kind, None, generation, Some(detail), at);
    }

    /// Sets the gauges.
    fn show(&self) {
        for point in self.recursor.trust_points() {
            let states: Vec<StateWord> = point
                .keys()
                .iter()
                .map(|key| StateWord::of(key.state))
                .collect();
            for state in StateWord::ALL {
                let count = states.iter().filter(|known| **known == state).count();
                let zone = point.zone().to_string();
                gauge!("ox_protect_trust_anchor_keys", "zone" => zone, "state" => state.label())
                    .set(count as f64);
            }
        }
    }

    /// Replaces the file: a crash leaves the old one or the new one.
    fn save(&self) -> Result<(), AnchorStateError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let points = self.recursor.trust_points();
        let trust_points = points
            .iter()
            .map(|point| (point.zone().to_string(), PointState::of(point)))
            .collect();
        let state = State { trust_points };
        replace(file, &state).map_err(|error| AnchorStateError::Write(file.clone(), error))
    }
}

impl PointState {
    fn of(point: &TrustPoint) -> Self {
        Self {
            configured: point.configured(),
            keys: point.keys().iter().map(KeyEntry::of).collect(),
        }
    }
}

impl KeyEntry {
    fn of(tracked: &TrackedKey) -> Self {
        Self {
            dnskey: tracked.key.to_presentation(),
            state: StateWord::of(tracked.state),
            since: timestamp(tracked.since_unix_s),
            trusted_from: match tracked.state {
                KeyState::Pending { until_unix_s } => Some(timestamp(until_unix_s)),
                _ => None,
            },
        }
    }

    fn tracked(&self) -> Option<TrackedKey> {
        let fields: Vec<&str> = self.dnskey.split_whitespace().collect();
        let seconds = |at: Timestamp| u64::try_from(at.as_second()).ok();
        Some(TrackedKey {
            key: parse_key(&fields).ok()?,
            state: match self.state {
                StateWord::Pending => KeyState::Pending {
                    until_unix_s: seconds(self.trusted_from?)?,
                },
                StateWord::Valid => KeyState::Valid,
                StateWord::Missing => KeyState::Missing,
                StateWord::Revoked => KeyState::Revoked,
            },
            since_unix_s: seconds(self.since)?,
        })
    }
}

fn replace(file: &Path, state: &State) -> io::Result<()> {
    let text = serde_json::to_string_pretty(state)?;
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut aside = tempfile::NamedTempFile::new_in(folder)?;
    aside.write_all(text.as_bytes())?;
    aside.as_file().sync_all()?;
    aside.persist(file)?;
    File::open(folder)?.sync_all()
}

fn describe() {
    describe_gauge!(
        "ox_protect_trust_anchor_keys",
        "Keys that sign the keys of a zone with trust anchors, by zone and state (RFC 5011)"
    );
    describe_gauge!(
        "ox_protect_trust_anchor_look_failed",
        "1 if the keys of a zone with trust anchors could not be read or do not verify"
    );
}

fn timestamp(unix_s: u64) -> Timestamp {
    let seconds = i64::try_from(unix_s).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=";

    #[test]
    fn what_is_known_of_keys_is_written_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data").join("anchors.json");
        let keys = [
            (
                KeyState::Pending {
                    until_unix_s: 1_800_000_000,
                },
                "pending",
            ),
            (KeyState::Valid, "valid"),
            (KeyState::Missing, "missing"),
            (KeyState::Revoked, "revoked"),
        ];
        for (state, word) in keys {
            let fields: Vec<&str> = KEY.split(' ').collect();
            let tracked = TrackedKey {
                key: parse_key(&fields).unwrap(),
                state,
                since_unix_s: 1_790_000_000,
            };
            let point = PointState {
                configured: vec!["DS 1 15 2 ab".to_owned()],
                keys: vec![KeyEntry::of(&tracked)],
            };
            let trust_points = [(".".to_owned(), point)].into();
            replace(&file, &State { trust_points }).unwrap();
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.contains(KEY) && text.contains(word), "{text}");
            let read: State = serde_json::from_str(&text).unwrap();
            let again = read.trust_points["."].keys[0].tracked().unwrap();
            assert_eq!(again.state, state);
            assert_eq!(again.since_unix_s, 1_790_000_000);
            assert_eq!(again.key.to_presentation(), KEY);
        }
        let files = fs::read_dir(file.parent().unwrap()).unwrap().count();
        assert_eq!(files, 1, "nothing is left aside");
    }

    #[test]
    fn a_file_that_is_not_whole_is_refused() {
        let entry = |dnskey: &str, state, trusted_from| KeyEntry {
            dnskey: dnskey.to_owned(),
            state,
            since: Timestamp::UNIX_EPOCH,
            trusted_from,
        };
        assert!(entry(KEY, StateWord::Pending, None).tracked().is_none());
        assert!(
            entry("257 3 15", StateWord::Valid, None)
                .tracked()
                .is_none()
        );
        assert!(entry("", StateWord::Valid, None).tracked().is_none());
        assert!(serde_json::from_str::<State>("{\"trust_points\":{}").is_err());
        assert!(serde_json::from_str::<State>("{\"other\":{}}").is_err());
    }
}
