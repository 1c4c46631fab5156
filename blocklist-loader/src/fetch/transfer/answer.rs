//! Interprets the messages of a transfer: the whole zone, or the differences from the spooled
//! version. Verified messages go in, rows come out; there are no sockets and no disk.
//!
//! ```text
//! whole        SOA(n)                          row row row ...                          SOA(n)
//! difference   SOA(n)  SOA(have) -row ... SOA(a) +row ...  SOA(a) -row ... SOA(n) +row ...  SOA(n)
//! current      SOA(have)
//! ```
//! The library `domain` interprets the records. It does not check that the serials form a chain
//! from ours to the primary's, so this module does: a gap would make the list wrong.

use bytes::Bytes;
use domain::{
    base::{Message, Name, Rtype, Serial},
    net::xfr::protocol::{IterationError, ParsedRecord, XfrResponseInterpreter},
    rdata::ZoneRecordData,
    zonetree::types::ZoneUpdate,
};
use serde::{Deserialize, Serialize};

use super::{
    row::{RecordRole, record_role, write_row},
    wire::TransferQuery,
};
use crate::{fetch::error::FetchError, gate::Gate};

/// The version and the timers of a zone's SOA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SoaTimers {
    pub(super) serial: u32,
    /// In seconds, like the two that follow.
    pub(super) refresh: u32,
    pub(super) retry: u32,
    pub(super) expire: u32,
}

/// A step of a response, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// The rows that follow are the whole zone and replace the spooled content.
    Whole,
    Add(&'a [u8]),
    Remove(&'a [u8]),
}

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseEnd {
    Whole(SoaTimers),
    Difference(SoaTimers),
    /// A single SOA: the serial is ours, or the primary does not provide the difference.
    SoaAlone(SoaTimers),
}

/// Receives the steps of a response.
pub(super) type TakeEvent<'a> = dyn FnMut(Event<'_>) -> Result<(), FetchError> + Send + 'a;

/// A response to IXFR or AXFR, as far as it has arrived.
pub(super) struct TransferResponse {
    interpreter: XfrResponseInterpreter,
    first: Option<SoaTimers>,
    progress: Progress,
}

/// The state that one update of a transfer passes to the next.
struct Progress {
    zone: Name<Bytes>,
    /// The serial that the chain of differences has reached.
    at: Option<Serial>,
    is_whole: bool,
    row: Vec<u8>,
}

impl TransferResponse {
    pub(super) fn new(zone: &Name<Bytes>, query: TransferQuery) -> Self {
        let at = if let TransferQuery::Ixfr(serial) = query {
            Some(serial.into())
        } else {
            None
        };
        Self {
            interpreter: XfrResponseInterpreter::new(),
            first: None,
            progress: Progress {
                zone: zone.clone(),
                at,
                is_whole: false,
                row: Vec::new(),
            },
        }
    }

    /// Takes the next message; returns the end when this was the last.
    ///
    /// # Errors
    /// Gate `format` where a record cannot be parsed, `sequence` where the records are not in the
    /// order of a transfer, and the errors of `take`.
    pub(super) fn message(
        &mut self,
        message: Message<Bytes>,
        take: &mut TakeEvent<'_>,
    ) -> Result<Option<ResponseEnd>, FetchError> {
        let first = match self.first {
            Some(first) => first,
            None => *self.first.insert(first_soa(&message, &self.progress.zone)?),
        };
        let updates = self
            .interpreter
            .interpret_response(message)
            .map_err(|error| FetchError::new(Gate::Format, error.to_string()))?;
        let mut end = None;
        for update in updates {
            match update {
                Ok(update) => end = self.progress.apply(update, first, take)?.or(end),
                // Over TCP a primary states this way that its zone is not newer, or that only the
                // whole zone is available.
                Err(IterationError::SingleSoaIxfrTcpRetrySignal) => {
                    return Ok(Some(ResponseEnd::SoaAlone(first)));
                }
                Err(IterationError::ParseError(error)) => {
                    return Err(FetchError::new(
                        Gate::Format,
                        format!("a record cannot be read: {error}"),
                    ));
                }
                Err(IterationError::MissingInitialSoa) => {
                    return Err(sequence("the transfer does not begin with the SOA"));
                }
                Err(IterationError::AlreadyFinished) => {
                    return Err(sequence("records follow the last SOA"));
                }
            }
        }
        Ok(end)
    }
}

impl Progress {
    /// Applies one update; returns the end when this was the last.
    fn apply(
        &mut self,
        update: ZoneUpdate<ParsedRecord>,
        first: SoaTimers,
        take: &mut TakeEvent<'_>,
    ) -> Result<Option<ResponseEnd>, FetchError> {
        match update {
            ZoneUpdate::DeleteAllRecords => {
                self.is_whole = true;
                take(Event::Whole)?;
            }
            ZoneUpdate::BeginBatchDelete(record) => {
                let from = timers(&record)?.serial;
                if self.at != Some(from.into()) {
                    return Err(sequence(format!(
                        "a difference begins at serial {from}, not where the one before it ended"
                    )));
                }
            }
            ZoneUpdate::BeginBatchAdd(record) => {
                let to = Serial::from(timers(&record)?.serial);
                let is_newer = |at: Serial| at.partial_cmp(&to) == Some(std::cmp::Ordering::Less);
                if !self.at.is_some_and(is_newer) {
                    return Err(sequence(format!("a difference leads back to serial {to}")));
                }
                self.at = Some(to);
            }
            ZoneUpdate::AddRecord(record) => {
                if take_record(&record, &self.zone, &mut self.row)? {
                    take(Event::Add(&self.row))?;
                }
            }
            ZoneUpdate::DeleteRecord(record) => {
                if take_record(&record, &self.zone, &mut self.row)? {
                    take(Event::Remove(&self.row))?;
                }
            }
            ZoneUpdate::Finished(_) if self.is_whole => {
                return Ok(Some(ResponseEnd::Whole(first)));
            }
            ZoneUpdate::Finished(_) if self.at == Some(first.serial.into()) => {
                return Ok(Some(ResponseEnd::Difference(first)));
            }
            ZoneUpdate::Finished(_) => {
                return Err(sequence(
                    "the differences do not lead to the version that was announced",
                ));
            }
            _ => return Err(sequence("an update that no transfer can hold")),
        }
        Ok(None)
    }
}

fn sequence(detail: impl Into<String>) -> FetchError {
    FetchError::new(Gate::Sequence, detail)
}

/// Writes the row of a record; returns false where the record is no policy rule.
fn take_record(
    record: &ParsedRecord,
    zone: &Name<Bytes>,
    row: &mut Vec<u8>,
) -> Result<bool, FetchError> {
    if record.rtype() == Rtype::SOA {
        return Err(sequence("a second SOA in the middle of the zone"));
    }
    match record_role(record, zone) {
        RecordRole::Outside => Err(FetchError::new(
            Gate::Format,
            format!("{} is not in the zone", record.owner()),
        )),
        RecordRole::Meta => Ok(false),
        RecordRole::Policy => {
            write_row(record, zone, row);
            Ok(true)
        }
    }
}

fn timers(record: &ParsedRecord) -> Result<SoaTimers, FetchError> {
    match record.data() {
        ZoneRecordData::Soa(soa) => Ok(SoaTimers {
            serial: soa.serial().into_int(),
            refresh: soa.refresh().as_secs(),
            retry: soa.retry().as_secs(),
            expire: soa.expire().as_secs(),
        }),
        _ => Err(sequence("a record in the place of an SOA")),
    }
}

/// The zone's SOA at the start of a response: the answer to a SOA query, and the first record of a
/// transfer.
pub(super) fn first_soa(
    message: &Message<Bytes>,
    zone: &Name<Bytes>,
) -> Result<SoaTimers, FetchError> {
    let unreadable = |_| FetchError::new(Gate::Format, "the answer section cannot be read");
    let mut records = message
        .answer()
        .map_err(unreadable)?
        .limit_to::<ZoneRecordData<_, _>>();
    match records.next() {
        Some(Ok(record)) if record.rtype() == Rtype::SOA && record.owner() == zone => {
            timers(&record)
        }
        Some(Err(error)) => Err(unreadable(error)),
        Some(Ok(_)) => Err(sequence("the answer does not begin with the zone's SOA")),
        None => Err(sequence("the answer holds no SOA")),
    }
}
