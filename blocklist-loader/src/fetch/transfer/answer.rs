//! What the messages of a transfer say: the whole zone, or how it differs from the version that we
//! have. No sockets, no disk; messages go in verified, rows come out.
//!
//! ```text
//! whole        SOA(n)                          row row row …                          SOA(n)
//! difference   SOA(n)  SOA(have) -row … SOA(a) +row …  SOA(a) -row … SOA(n) +row …    SOA(n)
//! current      SOA(have)
//! ```
//! `domain` interprets the records; that the serials form a chain from ours to the primary's is
//! checked here, for it does not do that, and a gap in it would be a wrong list.

use bytes::Bytes;
use domain::{
    base::{Message, Name, Rtype, Serial},
    net::xfr::protocol::{IterationError, ParsedRecord, XfrResponseInterpreter},
    rdata::ZoneRecordData,
    zonetree::types::ZoneUpdate,
};
use serde::{Deserialize, Serialize};

use super::{
    fetch_error,
    row::{RecordRole, record_role, write_row},
    wire::TransferQuery,
};
use crate::fetch::{FetchError, Gate};

/// What a zone's SOA says of its version and of how often to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SoaTimers {
    pub(super) serial: u32,
    /// In seconds, as the three that follow.
    pub(super) refresh: u32,
    pub(super) retry: u32,
    pub(super) expire: u32,
}

/// Something that an answer says, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// What follows is the whole zone, to put in place of what we have.
    Whole,
    Add(&'a [u8]),
    Remove(&'a [u8]),
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseEnd {
    Whole(SoaTimers),
    Difference(SoaTimers),
    /// One SOA alone: the version that we have, or one that this primary does not give as a
    /// difference.
    SoaAlone(SoaTimers),
}

/// Who takes what an answer says.
pub(super) type TakeEvent<'a> = dyn FnMut(Event<'_>) -> Result<(), FetchError> + Send + 'a;

/// An answer to IXFR or AXFR, as far as it came.
pub(super) struct TransferResponse {
    interpreter: XfrResponseInterpreter,
    zone: Name<Bytes>,
    /// The version that the chain of differences has come to.
    at: Option<Serial>,
    first: Option<SoaTimers>,
    is_whole: bool,
    row: Vec<u8>,
}

impl TransferResponse {
    pub(super) fn new(zone: &Name<Bytes>, asked: TransferQuery) -> Self {
        let at = if let TransferQuery::Ixfr(serial) = asked {
            Some(serial.into())
        } else {
            None
        };
        Self {
            interpreter: XfrResponseInterpreter::new(),
            zone: zone.clone(),
            at,
            first: None,
            is_whole: false,
            row: Vec::new(),
        }
    }

    /// Takes the next message; gives the end when this was the last.
    ///
    /// # Errors
    /// Gate `format` where a record cannot be read, `sequence` where the records are not in the
    /// order of a transfer, and whatever `take` fails with.
    pub(super) fn message(
        &mut self,
        message: Message<Bytes>,
        take: &mut TakeEvent<'_>,
    ) -> Result<Option<ResponseEnd>, FetchError> {
        if self.first.is_none() {
            self.first = Some(first_soa(&message, &self.zone)?);
        }
        let Self {
            interpreter,
            zone,
            at,
            first,
            is_whole,
            row,
        } = self;
        let first = first.expect("it was read just before");
        let updates = interpreter
            .interpret_response(message)
            .map_err(|error| fetch_error(Gate::Format, error.to_string()))?;
        let mut end = None;
        for update in updates {
            let update = match update {
                Ok(update) => update,
                // Over TCP this is how a primary says that there is nothing newer, or nothing
                // shorter than everything.
                Err(IterationError::SingleSoaIxfrTcpRetrySignal) => {
                    return Ok(Some(ResponseEnd::SoaAlone(first)));
                }
                Err(IterationError::ParseError(error)) => {
                    return Err(fetch_error(
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
            };
            match update {
                ZoneUpdate::DeleteAllRecords => {
                    *is_whole = true;
                    take(Event::Whole)?;
                }
                ZoneUpdate::BeginBatchDelete(record) => {
                    let from = timers(&record)?.serial;
                    if *at != Some(from.into()) {
                        return Err(sequence(format!(
                            "a difference begins at serial {from}, not where the one before it ended"
                        )));
                    }
                }
                ZoneUpdate::BeginBatchAdd(record) => {
                    let to = Serial::from(timers(&record)?.serial);
                    if at.is_none_or(|at| at.partial_cmp(&to) != Some(std::cmp::Ordering::Less)) {
                        return Err(sequence(format!("a difference leads back to serial {to}")));
                    }
                    *at = Some(to);
                }
                ZoneUpdate::AddRecord(record) => {
                    if take_record(&record, zone, row)? {
                        take(Event::Add(row))?;
                    }
                }
                ZoneUpdate::DeleteRecord(record) => {
                    if take_record(&record, zone, row)? {
                        take(Event::Remove(row))?;
                    }
                }
                ZoneUpdate::Finished(_) if *is_whole => end = Some(ResponseEnd::Whole(first)),
                ZoneUpdate::Finished(_) if *at == Some(first.serial.into()) => {
                    end = Some(ResponseEnd::Difference(first))
                }
                ZoneUpdate::Finished(_) => {
                    return Err(sequence(
                        "the differences do not lead to the version that was announced",
                    ));
                }
                _ => return Err(sequence("an update that no transfer can hold")),
            }
        }
        Ok(end)
    }
}

fn sequence(detail: impl Into<String>) -> FetchError {
    fetch_error(Gate::Sequence, detail)
}

/// Writes the row of a record; false where the record is of no matter to policy.
fn take_record(
    record: &ParsedRecord,
    zone: &Name<Bytes>,
    row: &mut Vec<u8>,
) -> Result<bool, FetchError> {
    if record.rtype() == Rtype::SOA {
        return Err(sequence("a second SOA in the middle of the zone"));
    }
    match record_role(record, zone) {
        RecordRole::Outside => Err(fetch_error(
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

/// The SOA of this zone that an answer begins with: what the question for the SOA gives, and the
/// head of each transfer.
pub(super) fn first_soa(
    message: &Message<Bytes>,
    zone: &Name<Bytes>,
) -> Result<SoaTimers, FetchError> {
    let unreadable = |_| fetch_error(Gate::Format, "the answer section cannot be read");
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
