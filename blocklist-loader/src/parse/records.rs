//! Converts records from presentation format (RFC 1035 section 5.1) into the wire format of
//! answers.

use std::collections::HashMap;

use domain::{
    base::{
        Name,
        rdata::{ComposeRecordData, RecordData},
    },
    zonefile::inplace::{Entry, Zonefile},
};
use policy::lists::entry::LocalRecord;

/// TTL of policy answers, in seconds: short, so that a change of policy takes effect at once.
const TTL_S: u32 = 30;
/// The most records in the cache. Nearly all local data of a zone has the same few targets.
const KNOWN_MAX: usize = 1_000;

/// Parses record data; caches the wire form of frequent records.
#[derive(Default)]
pub(crate) struct RecordParser {
    known: HashMap<String, LocalRecord>,
}

impl RecordParser {
    /// Parses one record.
    ///
    /// # Errors
    /// The reason, for people.
    pub(crate) fn record(&mut self, rtype: &str, rdata: &str) -> Result<LocalRecord, String> {
        let text = format!("{rtype} {rdata}");
        if let Some(record) = self.known.get(&text) {
            return Ok(record.clone());
        }
        let record = read(&text)?;
        if self.known.len() < KNOWN_MAX {
            self.known.insert(text, record.clone());
        }
        Ok(record)
    }
}

/// Whether the text is exactly one entry of a zone file: quotes are closed, and nothing outside
/// them opens a group, begins a comment or ends the line. The zone file parser panics at an
/// unclosed group.
fn is_one_line(text: &str) -> bool {
    let mut is_quoted = false;
    let mut is_escaped = false;
    for character in text.chars() {
        match character {
            '\n' | '\r' => return false,
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            '(' | ')' | ';' if !is_quoted => return false,
            _ => {}
        }
    }
    !is_quoted && !is_escaped
}

fn read(text: &str) -> Result<LocalRecord, String> {
    if !is_one_line(text) {
        return Err("record data of more than one line".to_owned());
    }
    let mut file = Zonefile::from(format!(". {TTL_S} IN {text}\n").as_bytes());
    file.set_origin(Name::root_bytes());
    match file.next_entry() {
        Ok(Some(Entry::Record(record))) => {
            let mut rdata = Vec::new();
            record
                .data()
                .compose_rdata(&mut rdata)
                .map_err(|_| "record data that is too long".to_owned())?;
            if rdata.len() > usize::from(u16::MAX) {
                return Err("record data that is too long".to_owned());
            }
            Ok(LocalRecord {
                record_type: record.data().rtype().to_int(),
                ttl_s: TTL_S,
                rdata,
            })
        }
        Ok(_) => Err("no record".to_owned()),
        Err(error) => Err(format!("no record data of its type: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_data_is_written_as_on_the_wire_and_anything_else_is_told() {
        let mut parser = RecordParser::default();
        let mut check = |rtype: &str, rdata: &str, expected: Option<(u16, &[u8])>| {
            let found = parser.record(rtype, rdata).ok();
            let expected = expected.map(|(record_type, rdata)| LocalRecord {
                record_type,
                ttl_s: TTL_S,
                rdata: rdata.to_vec(),
            });
            assert_eq!(found, expected, "{rtype} {rdata}");
        };
        check("A", "192.0.2.7", Some((1, &[192, 0, 2, 7])));
        check(
            "CNAME",
            "Walled.Garden.",
            Some((5, b"\x06Walled\x06Garden\x00")),
        );
        check("CNAME", "*.garden.", Some((5, b"\x01*\x06garden\x00")));
        check(
            "MX",
            "10 mail.example.",
            Some((15, b"\x00\x0a\x04mail\x07example\x00")),
        );
        check("TXT", "\"a b\" c", Some((16, b"\x03a b\x01c")));
        check("A", "not-an-address", None);
        check("A", "192.0.2.7\n. 30 IN A 192.0.2.8", None);
        check("NOTATYPE", "x", None);
        check("TXT", "\"a (b; c)\"", Some((16, b"\x08a (b; c)")));
        for group in [
            "\"a\\\"b\"(",
            "( a )",
            "a ; b",
            "\"a",
            "a\\",
            "\"a\" \"b\n\"",
        ] {
            check("TXT", group, None);
        }
    }
}
