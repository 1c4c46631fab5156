//! Erasures of activity that a change of a household's document requires. They are stored in the
//! transaction of the change, because the activity is in another file: they are carried out even
//! after a full disk or a `kill -9`.

use policy::rules::household::Id;
use sqlx::SqliteConnection;

use crate::{
    Store,
    activity::ErasureScope,
    error::{StoreError, step},
};

/// The prefix of a device's identifier.
const DEVICE: &str = "device:";

/// An erasure of a household's activity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erasure {
    /// The retention changed.
    Keep,
    /// A part is to be erased.
    Forget(ErasureScope),
}

impl Erasure {
    fn to_text(&self) -> String {
        match self {
            Self::Keep => "keep".to_owned(),
            Self::Forget(ErasureScope::All) => "all".to_owned(),
            Self::Forget(ErasureScope::Unknown) => "unknown".to_owned(),
            Self::Forget(ErasureScope::Names) => "names".to_owned(),
            Self::Forget(ErasureScope::Device(id)) => format!("{DEVICE}{id}"),
        }
    }

    fn of(text: &str) -> Option<Self> {
        Some(match text {
            "keep" => Self::Keep,
            "all" => Self::Forget(ErasureScope::All),
            "unknown" => Self::Forget(ErasureScope::Unknown),
            "names" => Self::Forget(ErasureScope::Names),
            text => Self::Forget(ErasureScope::Device(
                text.strip_prefix(DEVICE)?.parse().ok()?,
            )),
        })
    }
}

/// An erasure that is still to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingErasure {
    /// The row.
    pub sequence: i64,
    pub household: Id,
    pub duty: Erasure,
}

/// Stores an erasure, in the transaction of the change that requires it.
pub(crate) async fn owe(
    connection: &mut SqliteConnection,
    household: &Id,
    duty: &Erasure,
) -> Result<(), StoreError> {
    let insert = sqlx::query("INSERT INTO duty (household, what) VALUES (?, ?)")
        .bind(household.as_str())
        .bind(duty.to_text());
    insert
        .execute(connection)
        .await
        .map_err(step("noting what is to be forgotten"))
        .map(drop)
}

impl Store {
    /// The pending erasures of one household or of all, oldest first.
    pub async fn duties(
        &self,
        household: Option<&Id>,
        limit: u32,
    ) -> Result<Vec<PendingErasure>, StoreError> {
        let select = "SELECT sequence, household, what FROM duty WHERE ?1 IS NULL OR household = ?1 ORDER BY sequence LIMIT ?2";
        let rows = sqlx::query_as(select)
            .bind(household.map(Id::as_str))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await;
        let rows: Vec<(i64, String, String)> =
            rows.map_err(step("reading what is to be forgotten"))?;
        // Rows of a later version with unknown words are left to that version.
        let read = |(sequence, household, what): (i64, String, String)| {
            Some(PendingErasure {
                sequence,
                household: household.parse().ok()?,
                duty: Erasure::of(&what)?,
            })
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// Deletes an erasure that is done.
    pub async fn duty_done(&self, sequence: i64) -> Result<(), StoreError> {
        let delete = sqlx::query("DELETE FROM duty WHERE sequence = ?").bind(sequence);
        self.database
            .execute(delete, "noting what was forgotten")
            .await
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duty_survives_as_text() {
        let device = ErasureScope::Device("a.b-c~d".parse().expect("an identifier"));
        let all = [
            ErasureScope::All,
            ErasureScope::Unknown,
            ErasureScope::Names,
            device,
        ]
        .map(Erasure::Forget);
        for duty in all.into_iter().chain([Erasure::Keep]) {
            assert_eq!(Erasure::of(&duty.to_text()), Some(duty));
        }
        assert_eq!(Erasure::of("of a later version"), None);
    }
}
