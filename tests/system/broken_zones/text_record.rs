//! Records in master-file form, as the three signers write them.

use std::fmt;

/// A record as text.
#[derive(Debug, Clone)]
pub struct TextRecord {
    /// In lower case.
    pub owner: String,
    pub ttl: String,
    pub rtype: String,
    /// The fields of the data. A signature is one field.
    pub data: Vec<String>,
}

/// Fields of an RRSIG record before the signature.
const FIELDS_OF_RRSIG: usize = 8;

impl TextRecord {
    /// The records of a signed zone.
    pub fn read_all(text: &str) -> Vec<Self> {
        text.lines().filter_map(Self::read).collect()
    }

    /// A record of one line, with or without a class; none where there is only a comment.
    fn read(line: &str) -> Option<Self> {
        let line = line.split(';').next()?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (owner, ttl) = (words.next()?.to_lowercase(), words.next()?);
        let mut words = words.skip_while(|word| word == "IN");
        let rtype = words.next()?;
        let mut data: Vec<String> = words.collect();
        if rtype == "RRSIG" {
            let signature = data.split_off(FIELDS_OF_RRSIG).concat();
            data.push(signature);
        }
        Some(Self {
            owner,
            ttl,
            rtype,
            data,
        })
    }

    /// The type, or `RRSIG/` and the type that the signature covers.
    pub fn kind(&self) -> String {
        match &self.data[..] {
            [covered, ..] if self.rtype == "RRSIG" => format!("RRSIG/{covered}"),
            _ => self.rtype.clone(),
        }
    }

    /// Whether it is of the RRset of this type, or one of its signatures.
    pub fn is_of_set(&self, rtype: &str) -> bool {
        self.rtype == rtype || self.kind() == format!("RRSIG/{rtype}")
    }

    /// Changes a field of the data, by its name in an RRSIG record, or `data` for the first one of
    /// another record. The value `flip` changes one character of a signature.
    pub fn set(&mut self, field: &str, value: &str) {
        let place = match field {
            "data" => 0,
            "algorithm" => 1,
            "labels" => 2,
            "ttl" => 3,
            "expiration" => 4,
            "tag" => 6,
            "signer" => 7,
            "signature" => 8,
            other => panic!("no field {other:?}"),
        };
        self.data[place] = match value {
            "flip" => flipped(&self.data[place]),
            value => value.to_owned(),
        };
    }
}

impl fmt::Display for TextRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data = self.data.join(" ");
        writeln!(f, "{} {} IN {} {data}", self.owner, self.ttl, self.rtype)
    }
}

/// The text with its eleventh character changed to another one of base64.
fn flipped(text: &str) -> String {
    let other = if text.as_bytes()[10] == b'A' {
        "B"
    } else {
        "A"
    };
    format!("{}{other}{}", &text[..10], &text[11..])
}
