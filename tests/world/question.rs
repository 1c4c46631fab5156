//! Parses questions: `bets.example. A`, `version.bind. CH TXT`.

use std::str::FromStr;

use hickory_proto::{
    op::Query,
    rr::{DNSClass, RecordType},
};

use super::internet::name;

/// Parses `NAME [CLASS] TYPE`.
pub fn question(text: &str) -> Query {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (owner, class, kind) = match words[..] {
        [owner, kind] => (owner, DNSClass::IN, kind),
        [owner, class, kind] => (
            owner,
            DNSClass::from_str(class).unwrap_or_else(|_| panic!("class in {text:?}")),
            kind,
        ),
        _ => panic!("a question is NAME [CLASS] TYPE, not {text:?}"),
    };
    let mut question = Query::query(name(owner), record_type(kind));
    question.set_query_class(class);
    question
}

/// Parses a mnemonic, or `TYPE65534` (RFC 3597).
fn record_type(text: &str) -> RecordType {
    let number = text
        .strip_prefix("TYPE")
        .and_then(|digits| digits.parse::<u16>().ok());
    number.map_or_else(
        || RecordType::from_str(text).unwrap_or_else(|_| panic!("record type {text:?}")),
        RecordType::from,
    )
}
