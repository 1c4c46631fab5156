//! Local records: this node answers them itself, because no authoritative server has them. Examples
//! are names of a test setup and the name of the home router.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType},
    serialize::txt::{ParseError, Parser},
};

use policy::name::Name as PolicyName;

use crate::{
    message::types::EdeCode,
    upstream::{ALIASES_MAX, Answer, Question, Recursion, RecursionError, canonical, proto_name},
};

/// Why local records cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LocalRecordsError {
    /// The text is not in master-file form.
    #[error("the local records cannot be read")]
    Syntax(#[source] ParseError),
    /// NS records would delegate names below this one, which local records cannot.
    #[error("{0}: NS records have no effect here; name the zone in recursion.stub")]
    Delegation(Name),
}

/// Local records by name. Other types of such a name are NODATA, and so is a name that has only names
/// below it (RFC 8020). A wildcard covers names that do not exist (RFC 4592). The next source resolves
/// all other names.
pub struct LocalRecords {
    records: HashMap<PolicyName, Vec<Record>>,
    /// The records of each wildcard, by the name that follows the asterisk.
    wildcards: HashMap<PolicyName, Vec<Record>>,
    /// Ancestors of the names with records, without the root.
    ancestors: HashSet<PolicyName>,
    next: Arc<dyn Recursion>,
}

impl LocalRecords {
    /// Reads records in master-file form. `next` resolves all other names.
    ///
    /// # Errors
    /// [`LocalRecordsError`] when the text cannot be parsed, or has records without effect.
    pub fn new(text: &str, next: Arc<dyn Recursion>) -> Result<Self, LocalRecordsError> {
        let (_, sets) = Parser::new(text, None, Some(Name::root()))
            .parse()
            .map_err(LocalRecordsError::Syntax)?;
        let mut local = Self {
            records: HashMap::new(),
            wildcards: HashMap::new(),
            ancestors: HashSet::new(),
            next,
        };
        for record in sets.values().flat_map(|set| set.records_without_rrsigs()) {
            local.add(record)?;
        }
        Ok(local)
    }

    fn add(&mut self, record: &Record) -> Result<(), LocalRecordsError> {
        if record.record_type() == RecordType::NS {
            return Err(LocalRecordsError::Delegation(record.name.clone()));
        }
        let mut above = record.name.base_name();
        let place = if record.name.is_wildcard() {
            self.wildcards.entry(canonical(&above))
        } else {
            self.records.entry(canonical(&record.name))
        };
        place.or_default().push(record.clone());
        while !above.is_root() {
            self.ancestors.insert(canonical(&above));
            above = above.base_name();
        }
        Ok(())
    }

    /// The records of a name: its own, or those of the wildcard that covers it.
    fn records_of(&self, name: &PolicyName) -> Vec<Record> {
        if let Some(own) = self.records.get(name) {
            return own.clone();
        }
        if self.wildcards.is_empty() || self.ancestors.contains(name) {
            return Vec::new();
        }
        let asked = proto_name(name.borrow());
        let mut encloser = asked.base_name();
        while !encloser.is_root() {
            let above = canonical(&encloser);
            if let Some(wildcard) = self.wildcards.get(&above) {
                let expand = |record: &Record| {
                    let mut record = record.clone();
                    record.name = asked.clone();
                    record
                };
                return wildcard.iter().map(expand).collect();
            }
            if self.records.contains_key(&above) || self.ancestors.contains(&above) {
                break;
            }
            encloser = encloser.base_name();
        }
        Vec::new()
    }

    /// What the next source says, except that a name with local names below it exists.
    async fn resolve_next(&self, question: &Question) -> Result<Answer, RecursionError> {
        let mut answer = self.next.resolve(question).await?;
        if answer.rcode == ResponseCode::NXDomain && self.ancestors.contains(&question.name) {
            answer.rcode = ResponseCode::NoError;
        }
        Ok(answer)
    }
}

/// An alias leads back to itself.
#[derive(Debug, thiserror::Error)]
#[error("the local aliases form a loop, or more than {ALIASES_MAX} follow each other")]
struct AliasLoop;

#[async_trait]
impl Recursion for LocalRecords {
    fn known_failure(&self, question: &Question) -> Option<u16> {
        self.next.known_failure(question)
    }

    async fn resolve(&self, question: &Question) -> Result<Answer, RecursionError> {
        let mut question = question.clone();
        let mut aliases: Vec<Record> = Vec::new();
        loop {
            let local = self.records_of(&question.name);
            let alias = local.iter().find_map(|record| {
                if let RData::CNAME(target) = &record.data {
                    Some((record, target))
                } else {
                    None
                }
            });
            let mut answer = match alias {
                Some((record, target)) if question.proto_type() != RecordType::CNAME => {
                    if aliases.len() == ALIASES_MAX || aliases.contains(record) {
                        return Err(RecursionError {
                            name: question.name,
                            rtype: question.rtype,
                            code: Some(EdeCode::OTHER.to_u16()),
                            source: Box::new(AliasLoop),
                        });
                    }
                    aliases.push(record.clone());
                    question.name = canonical(&target.0);
                    continue;
                }
                _ if local.is_empty() => self.resolve_next(&question).await?,
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
            answer.is_secure &= aliases.is_empty();
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

    fn local(zone: &str) -> LocalRecords {
        LocalRecords::new(zone, Arc::new(Nowhere)).unwrap()
    }

    async fn ask(records: &LocalRecords, name: &str) -> Result<String, RecursionError> {
        let question = Question::new(PolicyName::parse(name).unwrap(), RecordType::A.into());
        records.resolve(&question).await.map(|answer| {
            let owners: Vec<String> = answer
                .answers
                .iter()
                .map(|record| format!("{} {}", record.name, record.record_type()))
                .collect();
            format!("{:?} {}", answer.rcode, owners.join(" "))
                .trim()
                .to_owned()
        })
    }

    #[tokio::test]
    async fn local_aliases_that_form_a_loop_are_an_error() {
        let records = local(
            "c.example. 60 IN CNAME c.example.\na.example. 60 IN CNAME b.example.\nb.example. 60 IN CNAME a.example.\n",
        );
        for name in ["c.example", "a.example", "b.example"] {
            let error = ask(&records, name).await.unwrap_err();
            assert_eq!(error.code, Some(0), "{name}: {error}");
        }
    }

    #[tokio::test]
    async fn a_name_with_local_names_below_it_exists() {
        let records = local("a.b.c.example. 60 IN A 192.0.2.1\n");
        for name in ["b.c.example", "c.example", "example"] {
            assert_eq!(ask(&records, name).await.unwrap(), "NoError", "{name}");
        }
        for name in ["x.c.example", "x.a.b.c.example", "test"] {
            assert_eq!(ask(&records, name).await.unwrap(), "NXDomain", "{name}");
        }
    }

    #[tokio::test]
    async fn a_local_wildcard_covers_names_that_do_not_exist() {
        let records = local(
            "*.wild.example. 60 IN A 192.0.2.1\nhost.wild.example. 60 IN TXT x\na.sub.wild.example. 60 IN A 192.0.2.2\n",
        );
        for (name, expected) in [
            ("q.wild.example", "NoError q.wild.example. A"),
            ("q.r.wild.example", "NoError q.r.wild.example. A"),
            ("host.wild.example", "NoError"),
            ("x.host.wild.example", "NXDomain"),
            ("sub.wild.example", "NoError"),
            ("x.sub.wild.example", "NXDomain"),
            ("wild.example", "NoError"),
        ] {
            assert_eq!(ask(&records, name).await.unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn local_records_that_would_delegate_are_refused() {
        let error = LocalRecords::new("sub.example. 60 IN NS ns.example.\n", Arc::new(Nowhere))
            .err()
            .unwrap();
        assert!(error.to_string().contains("sub.example."), "{error}");
    }

    #[test]
    fn text_that_is_no_master_file_is_refused() {
        assert!(LocalRecords::new("a.example. 60 IN A not-an-address", Arc::new(Nowhere)).is_err());
    }
}
