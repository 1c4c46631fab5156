//! The table of zones: what is broken in each, what is asked of it, and what is to be said.
//!
//! ```text
//! way RFC 4034 section 3.1.5: the present is after the expiration
//! zone NAME SIGNER ALGORITHM DENIAL     signer: ldns, bind, knot, none; denial: nsec, nsec3, optout
//! key FLAGS PROTOCOL, zsk FLAGS PROTOCOL, bits N, exponent zero | length, pem EXPONENT
//! times INCEPTION EXPIRATION, iterations N, salt HEX, bare (only SOA and NS), add RECORD
//! ds DIGEST...                          in the parent, see `SigningFolder::delegation_digests`
//! anchor                                no DS record: the zone has a trust anchor
//! (other words)                         a change of the signed zone; see `changes.rs`
//! ask NAME TYPE VALIDITY [EDE]          what the resolver is to say
//! unbound VALIDITY [EDE]                what an Unbound says instead: Debian 12's 1.17, or 1.26
//! delv VALIDITY                         what delv says instead
//! because RFC ...                       why not the same
//! ```

use std::str::{FromStr, SplitWhitespace};

const SIGNERS: [&str; 3] = ["ldns", "bind", "knot"];
const ALGORITHMS: [u8; 4] = [8, 13, 14, 15];
const DENIALS: [&str; 3] = ["nsec", "nsec3", "optout"];

/// RFC 4033 section 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    Secure,
    Insecure,
    Bogus,
}

impl FromStr for Validity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "secure" => Ok(Self::Secure),
            "insecure" => Ok(Self::Insecure),
            "bogus" => Ok(Self::Bogus),
            other => Err(format!("no validity: {other:?}")),
        }
    }
}

/// What a resolver says of a name, with the info-code of its Extended DNS Error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    pub validity: Validity,
    pub code: Option<u16>,
}

/// A query to a zone.
#[derive(Debug, Clone)]
pub struct ZoneQuery {
    /// The absolute name.
    pub name: String,
    pub rtype: String,
    pub expected: Finding,
    /// Where an Unbound differs.
    pub unbound: Vec<Finding>,
    /// Where delv differs.
    pub delv: Option<Validity>,
    /// Why they may.
    pub because: String,
}

/// A zone and what is wrong with it.
#[derive(Debug, Clone)]
pub struct BrokenZone {
    /// The absolute name.
    pub name: String,
    /// The way in which it is broken, with its RFC.
    pub way: String,
    pub signer: String,
    pub algorithm: u8,
    pub denial: String,
    /// Words that say how it is made and signed, by their first one.
    pub terms: Vec<Vec<String>>,
    pub queries: Vec<ZoneQuery>,
}

impl BrokenZone {
    /// The arguments of a term, if the zone has it.
    pub fn term(&self, word: &str) -> Option<&[String]> {
        let term = self.terms.iter().find(|term| term[0] == word)?;
        Some(&term[1..])
    }

    /// A name relative to the zone, `@` for its own.
    pub fn absolute(&self, name: &str) -> String {
        match (name, self.name.as_str()) {
            ("@", apex) => apex.to_owned(),
            (name, _) if name.ends_with('.') => name.to_owned(),
            (name, apex) => format!("{name}.{apex}"),
        }
    }

    fn read(block: &str) -> Self {
        let mut zone = Self {
            name: String::new(),
            way: String::new(),
            signer: String::new(),
            algorithm: 0,
            denial: String::new(),
            terms: Vec::new(),
            queries: Vec::new(),
        };
        for line in block.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let mut words = rest.split_whitespace();
            let last = zone.queries.last_mut();
            match (word, last) {
                ("way", _) => zone.way = rest.to_owned(),
                ("zone", _) => zone.begin(&mut words),
                ("ask", _) => {
                    let name = zone.absolute(next(&mut words, line));
                    zone.queries.push(ZoneQuery {
                        name,
                        rtype: next(&mut words, line).to_owned(),
                        expected: finding(&mut words, line),
                        unbound: Vec::new(),
                        delv: None,
                        because: String::new(),
                    });
                }
                ("unbound", Some(query)) => query.unbound.push(finding(&mut words, line)),
                ("delv", Some(query)) => query.delv = Some(finding(&mut words, line).validity),
                ("because", Some(query)) => query.because = rest.to_owned(),
                _ => zone
                    .terms
                    .push(line.split_whitespace().map(str::to_owned).collect()),
            }
        }
        zone
    }

    fn begin(&mut self, words: &mut SplitWhitespace<'_>) {
        let name = next(words, "zone");
        self.name = if name.ends_with('.') {
            name.to_owned()
        } else {
            format!("{name}.example.")
        };
        self.signer = next(words, name).to_owned();
        self.algorithm = next(words, name).parse().expect("a number");
        self.denial = next(words, name).to_owned();
    }
}

fn next<'t>(words: &mut SplitWhitespace<'t>, line: &str) -> &'t str {
    words
        .next()
        .unwrap_or_else(|| panic!("{line:?} is too short"))
}

fn finding(words: &mut SplitWhitespace<'_>, line: &str) -> Finding {
    let validity = next(words, line).parse();
    Finding {
        validity: validity.unwrap_or_else(|error| panic!("{line:?}: {error}")),
        code: words.next().map(|code| code.parse().expect("a number")),
    }
}

/// The zones of a text.
pub fn zones(text: &str) -> Vec<BrokenZone> {
    text.split("\n\n").map(BrokenZone::read).collect()
}

/// A zone of each signer, algorithm and kind of denial in which nothing is broken.
pub fn good_zones() -> Vec<BrokenZone> {
    let mut blocks = Vec::new();
    for signer in SIGNERS {
        for algorithm in ALGORITHMS {
            for denial in DENIALS {
                // Names in an opt-out span may be unsigned delegations, RFC 5155 section 9.2.
                let (denied, delv) = match denial {
                    "optout" => (
                        "insecure",
                        "\ndelv secure\nbecause RFC 5155 section 9.2: delv has no AD bit to clear",
                    ),
                    _ => ("secure", ""),
                };
                blocks.push(format!(
                    "way RFC 4035 section 5: nothing is broken\n\
                     zone {signer}-{algorithm}-{denial} {signer} {algorithm} {denial}\n\
                     ask a A secure\nask alias A secure\nask a AAAA secure\nask ent A secure\n\
                     ask absent A {denied}{delv}\nask x.wild A {denied}\nask a.sub A insecure"
                ));
            }
        }
    }
    zones(&blocks.join("\n\n"))
}
