//! A response: the message, and a one-line summary.

use std::{fmt, time::Duration};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{
        Record,
        rdata::opt::{EdnsCode, EdnsOption},
    },
};

/// The EDNS option of RFC 8914, which hickory keeps as bytes.
const EXTENDED_ERROR_OPTION: u16 = 15;

/// RFC 8914: Blocked by the operator's security list (15), Censored by a mandate (16), Filtered by
/// the household (17).
const BLOCKING_CODES: std::ops::RangeInclusive<u16> = 15..=17;

/// A parsed response.
#[derive(Clone, Debug)]
pub struct Reply {
    pub message: Message,
    /// The received bytes.
    pub wire: Vec<u8>,
    /// The time between query and response.
    pub took: Duration,
}

/// An extended DNS error (RFC 8914).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedError {
    /// INFO-CODE.
    pub code: u16,
    /// EXTRA-TEXT.
    pub text: String,
}

impl Reply {
    /// Parses a response; `None` if it is not a DNS message.
    pub(super) fn read(wire: Vec<u8>, took: Duration) -> Option<Self> {
        let message = Message::from_vec(&wire).ok()?;
        Some(Self {
            message,
            wire,
            took,
        })
    }

    /// The RCODE with its upper bits from EDNS.
    pub fn code(&self) -> ResponseCode {
        self.message.metadata.response_code
    }

    /// Whether TC is set.
    pub fn is_truncated(&self) -> bool {
        self.message.metadata.truncation
    }

    /// Whether AA is set.
    pub fn is_authoritative(&self) -> bool {
        self.message.metadata.authoritative
    }

    /// All extended errors in order.
    pub fn extended_errors(&self) -> Vec<ExtendedError> {
        self.option(EXTENDED_ERROR_OPTION)
            .into_iter()
            .filter_map(ExtendedError::read)
            .collect()
    }

    /// The data of each EDNS option with this code, among those without a type in hickory.
    pub fn option(&self, code: u16) -> Vec<&[u8]> {
        let options = self
            .message
            .edns
            .iter()
            .flat_map(|edns| &edns.options().options);
        options
            .filter_map(|(found, option)| match option {
                EdnsOption::Unknown(_, data) if *found == EdnsCode::from(code) => {
                    Some(data.as_slice())
                }
                _ => None,
            })
            .collect()
    }

    /// The lowest TTL in the answer section, in seconds.
    pub fn answer_ttl_s(&self) -> Option<u32> {
        self.message.answers.iter().map(|record| record.ttl).min()
    }

    /// The answer section as text: `OWNER TYPE DATA`, without TTLs, in order.
    pub fn answer_lines(&self) -> Vec<String> {
        lines(&self.message.answers)
    }

    /// The authority section as text.
    pub fn authority_lines(&self) -> Vec<String> {
        lines(&self.message.authorities)
    }

    /// The additional section as text, without OPT.
    pub fn additional_lines(&self) -> Vec<String> {
        lines(&self.message.additionals)
    }

    /// Data of the records of the query type, sorted, because servers rotate them.
    fn data(&self) -> Vec<String> {
        let asked = self
            .message
            .queries
            .first()
            .map(|question| question.query_type);
        let of_the_type = self
            .message
            .answers
            .iter()
            .filter(|record| Some(record.record_type()) == asked);
        let mut data: Vec<String> = of_the_type.map(|record| record.data.to_string()).collect();
        data.sort();
        data
    }
}

impl fmt::Display for Reply {
    /// `blocked: TEXT`, or the queried data, or the result without data.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(block) = self
            .extended_errors()
            .iter()
            .find(|error| BLOCKING_CODES.contains(&error.code))
        {
            return write!(to, "blocked: {}", block.text);
        }
        let data = self.data();
        match self.code() {
            ResponseCode::NoError if self.is_truncated() => to.write_str("truncated"),
            ResponseCode::NoError if !data.is_empty() => to.write_str(&data.join(", ")),
            ResponseCode::NoError => to.write_str("NODATA"),
            ResponseCode::NXDomain => to.write_str("NXDOMAIN"),
            ResponseCode::ServFail => to.write_str("SERVFAIL"),
            ResponseCode::Refused => to.write_str("REFUSED"),
            ResponseCode::FormErr => to.write_str("FORMERR"),
            ResponseCode::NotImp => to.write_str("NOTIMP"),
            ResponseCode::BADVERS => to.write_str("BADVERS"),
            other => write!(to, "RCODE{}", u16::from(other)),
        }
    }
}

impl ExtendedError {
    fn read(data: &[u8]) -> Option<Self> {
        let (code, text) = data.split_first_chunk()?;
        Some(Self {
            code: u16::from_be_bytes(*code),
            text: String::from_utf8_lossy(text).into_owned(),
        })
    }
}

fn lines(records: &[Record]) -> Vec<String> {
    records
        .iter()
        .map(|record| format!("{} {} {}", record.name, record.record_type(), record.data))
        .collect()
}
