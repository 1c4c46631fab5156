//! Local records: this node answers them itself, because no authoritative server has them. Examples
//! are names of a test setup and the name of the home router.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType},
    serialize::txt::{ParseError, Parser},
};

use policy::name::Name as PolicyName;

use crate::upstream::{ALIASES_MAX, Answer, Question, Recursion, RecursionError, canonical};

/// The text is not in master-file form.
#[derive(Debug, thiserror::Error)]
#[error("the local records cannot be read")]
pub struct LocalRecordsError(#[source] ParseError);

/// Local records by name. Other types of such a name are NODATA; other names are resolved by the next
/// source.
pub struct LocalRecords {
    records: HashMap<PolicyName, Vec<Record>>,
    next: Arc<dyn Recursion>,
}

impl LocalRecords {
    /// Reads records in master-file form. `next` resolves all other names.
    ///
    /// # Errors
    /// [`LocalRecordsError`] when the text cannot be parsed.
    pub fn new(text: &str, next: Arc<dyn Recursion>) -> Result<Self, LocalRecordsError> {
        let (_, sets) = Parser::new(text, None, Some(Name::root()))
            .parse()
            .map_err(LocalRecordsError)?;
        let mut records: HashMap<PolicyName, Vec<Record>> = HashMap::new();
        for record in sets.values().flat_map(|set| set.records_without_rrsigs()) {
            records
                .entry(canonical(&record.name))
                .or_default()
                .push(record.clone());
        }
        Ok(Self { records, next })
    }
}

#[async_trait]
impl Recursion for LocalRecords {
    async fn resolve(&self, question: &Question) -> Result<Answer, RecursionError> {
        let mut question = question.clone();
        let mut aliases: Vec<Record> = Vec::new();
        loop {
            let local = self
                .records
                .get(&question.name)
                .map_or(&[][..], Vec::as_slice);
            let alias = local.iter().find_map(|record| {
                if let RData::CNAME(target) = &record.data {
                    Some((record, target))
                } else {
                    None
                }
            });
            let mut answer = match alias {
                Some((record, target))
                    if question.proto_type() != RecordType::CNAME
                        && aliases.len() < ALIASES_MAX =>
                {
                    aliases.push(record.clone());
                    question.name = canonical(&target.0);
                    continue;
                }
                _ if local.is_empty() => self.next.resolve(&question).await?,
                _ => {
                    let of_this_type = local
                        .iter()
                        .filter(|record| record.record_type() == question.proto_type());
                    Answer {
                        answers: of_this_type.cloned().collect(),
                        ..Answer::empty(ResponseCode::NoError)
                    }
                }
            };
            answer.answers.splice(0..0, aliases);
            return Ok(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nowhere;

    #[async_trait]
    impl Recursion for Nowhere {
        async fn resolve(&self, _: &Question) -> Result<Answer, RecursionError> {
            Ok(Answer::empty(ResponseCode::NXDomain))
        }
    }

    async fn check(name: &str, rtype: RecordType, expected: &str) {
        let zone = "a.example. 60 IN A 192.0.2.1\nb.example. 60 IN CNAME a.example.\nc.example. 60 IN CNAME c.example.\nd.example. 60 IN CNAME else.test.\n";
        let records = LocalRecords::new(zone, Arc::new(Nowhere)).unwrap();
        let answer = records
            .resolve(&Question::new(
                PolicyName::parse(name).unwrap(),
                rtype.into(),
            ))
            .await
            .unwrap();
        let types: Vec<String> = answer
            .answers
            .iter()
            .map(|record| record.record_type().to_string())
            .collect();
        assert_eq!(
            format!("{:?} {}", answer.rcode, types.join(" ")).trim(),
            expected,
            "{name}"
        );
    }

    #[tokio::test]
    async fn local_records_answer_their_own_names_only() {
        check("A.example", RecordType::A, "NoError A").await;
        check("a.example", RecordType::AAAA, "NoError").await;
        check("b.example", RecordType::A, "NoError CNAME A").await;
        check("b.example", RecordType::CNAME, "NoError CNAME").await;
        check("x.a.example", RecordType::A, "NXDomain").await;
        check("d.example", RecordType::A, "NXDomain CNAME").await;
    }

    #[tokio::test]
    async fn a_local_alias_to_itself_is_followed_sixteen_times() {
        check(
            "c.example",
            RecordType::A,
            &format!("NoError{}", " CNAME".repeat(ALIASES_MAX)),
        )
        .await;
    }

    #[test]
    fn text_that_is_no_master_file_is_refused() {
        assert!(LocalRecords::new("a.example. 60 IN A not-an-address", Arc::new(Nowhere)).is_err());
    }
}
