//! Records that this node answers itself: a starter's names, a router's own, whatever has no authority anywhere.

use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record},
    serialize::txt::{ParseError, Parser},
};

use crate::recurse::{Answer, Question, Recursion, RecursionError, canonical};

/// Not records in zone-file form.
#[derive(Debug, thiserror::Error)]
#[error("the local records cannot be read")]
pub struct LocalRecordsError(#[source] ParseError);

/// Records that this node answers itself, for names that have no authority anywhere. Other types of such a name are
/// empty; names that are not here go on to recursion.
pub struct LocalRecords {
    records: Vec<Record>,
    rest: Arc<dyn Recursion>,
}

impl LocalRecords {
    /// Reads records in zone-file form, in front of somebody who answers the rest.
    ///
    /// # Errors
    /// The parser's complaint.
    pub fn new(text: &str, rest: Arc<dyn Recursion>) -> Result<Self, LocalRecordsError> {
        let (_, sets) = Parser::new(text, None, Some(Name::root())).parse().map_err(LocalRecordsError)?;
        let records = sets.values().flat_map(|set| set.records_without_rrsigs()).cloned().collect();
        Ok(Self { records, rest })
    }
}

#[async_trait]
impl Recursion for LocalRecords {
    async fn resolve(&self, question: &Question) -> Result<Answer, RecursionError> {
        let name = question.proto_name();
        let here: Vec<&Record> = self.records.iter().filter(|record| record.name == name).collect();
        if here.is_empty() {
            return self.rest.resolve(question).await;
        }
        let answers: Vec<Record> = here.iter().filter(|record| record.record_type() == question.proto_type()).copied().cloned().collect();
        if !answers.is_empty() {
            return Ok(Answer { rcode: ResponseCode::NoError, answers, authorities: Vec::new() });
        }
        let Some(RData::CNAME(target)) = here.iter().map(|record| &record.data).find(|data| matches!(data, RData::CNAME(_))) else {
            return Ok(Answer::empty(ResponseCode::NoError));
        };
        let target = Question { name: canonical(&target.0), record_type: question.record_type };
        // One alias leads out of the local records; a second one of them would be a loop in the making.
        let mut answer = self.rest.resolve(&target).await?;
        answer.answers.splice(0..0, here.into_iter().cloned());
        Ok(answer)
    }
}
