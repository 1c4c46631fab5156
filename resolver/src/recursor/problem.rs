//! Why a query did not bring a final response, so that another query may.

use hickory_proto::op::ResponseCode;

use crate::message::reader::Reading;

use super::{
    response::{ResponseFault, ResponseKind},
    wire::cookie_of,
};

/// BADVERS, RFC 6891 section 9. The record library calls this number BADSIG, which shares it.
const CODE_BADVERS: u16 = 16;

/// Why a query did not bring a final response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryProblem {
    /// No reply, or no connection.
    NoReply,
    /// A datagram with another id or letter case.
    Mismatch {
        is_case_only: bool,
    },
    /// A datagram without the server's cookie.
    MissingCookie,
    /// BADCOOKIE, RFC 7873 section 5.2.3.
    BadCookie,
    Truncated,
    /// The message or its records cannot be read.
    Malformed,
    /// FORMERR, NOTIMP, BADVERS.
    NotUnderstood {
        is_formerr: bool,
        has_opt: bool,
    },
    /// Any other error code.
    ErrorCode {
        has_opt: bool,
        has_cookie: bool,
    },
    Lame,
    /// NXDOMAIN or NODATA, where the server may not support mixed case.
    Denied,
}

impl QueryProblem {
    /// Whether most servers that have this problem have it with any query, so that a fallback
    /// query is worth trying now and then only.
    pub fn is_usually_final(self) -> bool {
        matches!(self, Self::ErrorCode { .. } | Self::Lame)
    }
}

/// Whether a code says that the server did not understand the query.
pub(super) fn is_not_understood(code: ResponseCode) -> bool {
    matches!(code, ResponseCode::FormErr | ResponseCode::NotImp) || u16::from(code) == CODE_BADVERS
}

/// Why a reply of this kind may be better to another query. None for a final response.
pub(super) fn problem_of(reading: &Reading, kind: &ResponseKind) -> Option<QueryProblem> {
    let message = &reading.message;
    let code = message.metadata.response_code;
    let has_opt = message.edns.is_some();
    match kind {
        ResponseKind::Unusable(ResponseFault::Code(_)) if is_not_understood(code) => {
            Some(QueryProblem::NotUnderstood {
                is_formerr: code == ResponseCode::FormErr,
                has_opt,
            })
        }
        ResponseKind::Unusable(ResponseFault::Code(_)) => Some(QueryProblem::ErrorCode {
            has_opt,
            has_cookie: message.edns.as_ref().and_then(cookie_of).is_some(),
        }),
        ResponseKind::Unusable(ResponseFault::Lame) => Some(QueryProblem::Lame),
        // The records that were queried may be among those that could not be read.
        ResponseKind::NoData { .. } if reading.broken_answers > 0 => Some(QueryProblem::Malformed),
        _ => None,
    }
}
