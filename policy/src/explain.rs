//! The content of an explanation. Its verdict comes from the functions of the data path, see
//! `resolver`.

use std::sync::Arc;

use crate::{decide::Verdict, lists::blocklist::Blocklist, name::Name};

/// One query, judged and answered as the data path does it, with everything that spoke.
#[derive(Debug, Clone)]
pub struct QueryExplanation {
    /// The name asked for, then each name of its chain; the verdict is about `names[hop]`.
    pub names: Vec<Name>,
    /// Which of the names decided.
    pub hop: usize,
    /// The verdict.
    pub verdict: Verdict,
    /// The generation of the lists that it was judged by.
    pub lists: Arc<Blocklist>,
    /// What would be sent.
    pub answer: AnswerSummary,
}

/// An answer in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerSummary {
    /// `NOERROR`, `NXDOMAIN`, `SERVFAIL`, …
    pub rcode: String,
    /// The answer section, a record a line in presentation format.
    pub records: Vec<String>,
    /// The Extended DNS Error (RFC 8914), code and text.
    pub error: Option<(u16, String)>,
}
