//! The content of an explanation. Its verdict comes from the functions of the data path, see
//! `resolver`.

use std::sync::Arc;

use crate::{decide::Verdict, lists::blocklist::Blocklist, name::Name};

/// One query, judged and answered as on the data path, with all matching entries.
#[derive(Debug, Clone)]
pub struct QueryExplanation {
    /// The queried name, then each name of its alias chain. The verdict is about `names[hop]`.
    pub names: Vec<Name>,
    /// The index of the name that decided.
    pub hop: usize,
    pub verdict: Verdict,
    /// The lists that the query was judged by.
    pub lists: Arc<Blocklist>,
    /// The answer that would be sent.
    pub answer: AnswerSummary,
}

/// An answer in presentation format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerSummary {
    /// `NOERROR`, `NXDOMAIN`, `SERVFAIL`, …
    pub rcode: String,
    /// The answer section, one record a line.
    pub records: Vec<String>,
    /// The Extended DNS Error (RFC 8914): code and text.
    pub error: Option<(u16, String)>,
}
