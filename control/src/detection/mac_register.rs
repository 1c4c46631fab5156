//! The IEEE register of MAC addresses: who made a network interface. The operator configures its
//! files, because the register changes every day: the CSV files of the IEEE (Debian's `ieee-data`),
//! or the JSON file of the npm package `oui-data`.
//!
//! A block is 24, 28 or 36 bits long; the longest one that contains an address names its maker. The
//! whole register takes about 4 MB of memory.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use policy::rules::household::Mac;

/// The lengths of blocks in bits, longest first.
const LENGTHS: [u32; 3] = [36, 28, 24];
/// The most octets of a file. The largest one of the IEEE has 4 MB.
const FILE_OCTETS_MAX: u64 = 64 << 20;
/// The longest name of a maker, in characters.
const NAME_CHARS_MAX: usize = 80;

/// Why a file of the register was not read.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error("{path} cannot be read")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{0} is larger than {FILE_OCTETS_MAX} octets")]
    TooLarge(PathBuf),
    #[error("{0} has no block of MAC addresses: neither the IEEE's CSV nor the JSON of oui-data")]
    NoBlocks(PathBuf),
}

/// All blocks of the register that were read.
#[derive(Debug, Default)]
pub struct MacRegister {
    makers: Vec<Box<str>>,
    /// By length and prefix, the index of the maker.
    blocks: HashMap<(u32, u64), u32>,
}

impl MacRegister {
    /// Reads files of the register.
    ///
    /// # Errors
    /// One of them cannot be read, or is in no known format.
    pub fn read(files: &[PathBuf]) -> Result<Self, RegisterError> {
        let mut register = Self::default();
        let mut places = HashMap::new();
        for path in files {
            let text = read_file(path)?;
            let before = register.blocks.len();
            match serde_json::from_str::<HashMap<String, String>>(&text) {
                Ok(blocks) => {
                    for (prefix, maker) in blocks {
                        register.add(&mut places, &prefix, maker.lines().next().unwrap_or(""));
                    }
                }
                Err(_) => {
                    for row in text.lines() {
                        let mut fields = csv_fields(row).into_iter().skip(1);
                        if let (Some(prefix), Some(maker)) = (fields.next(), fields.next()) {
                            register.add(&mut places, &prefix, &maker);
                        }
                    }
                }
            }
            if register.blocks.len() == before {
                return Err(RegisterError::NoBlocks(path.clone()));
            }
        }
        Ok(register)
    }

    /// Adds a block, written in hexadecimal digits. Ignores what is none, such as the row of titles.
    fn add(&mut self, places: &mut HashMap<String, u32>, prefix: &str, maker: &str) {
        let digits: String = prefix
            .chars()
            .filter(|digit| !matches!(digit, ':' | '-'))
            .collect();
        let length = digits.len() as u32 * 4;
        let maker = maker.trim();
        let (true, Ok(bits), false) = (
            LENGTHS.contains(&length),
            u64::from_str_radix(&digits, 16),
            maker.is_empty(),
        ) else {
            return;
        };
        let maker: String = maker.chars().take(NAME_CHARS_MAX).collect();
        let next = self.makers.len() as u32;
        let place = *places.entry(maker.clone()).or_insert(next);
        if place == next {
            self.makers.push(maker.into());
        }
        self.blocks.insert((length, bits), place);
    }

    /// The maker of an address. A random address has none.
    #[must_use]
    pub fn maker(&self, mac: Mac) -> Option<&str> {
        if is_random(mac) {
            return None;
        }
        let [a, b, c, d, e, f] = mac.0;
        let bits = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let place = LENGTHS
            .iter()
            .find_map(|length| self.blocks.get(&(*length, bits >> (48 - length))))?;
        Some(&self.makers[*place as usize])
    }
}

/// Whether an address is locally administered: devices make such addresses up for privacy.
#[must_use]
pub fn is_random(mac: Mac) -> bool {
    mac.0[0] & 2 != 0
}

fn read_file(path: &Path) -> Result<String, RegisterError> {
    let failed = |source| RegisterError::Read {
        path: path.to_owned(),
        source,
    };
    if std::fs::metadata(path).map_err(failed)?.len() > FILE_OCTETS_MAX {
        return Err(RegisterError::TooLarge(path.to_owned()));
    }
    let octets = std::fs::read(path).map_err(failed)?;
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

/// The first three fields of a row of comma-separated values (RFC 4180), without their quotes.
fn csv_fields(row: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut is_quoted = false;
    let mut characters = row.trim_end().chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if is_quoted && characters.peek() == Some(&'"') => {
                characters.next();
                fields.last_mut().expect("one is there").push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted && fields.len() == 3 => break,
            ',' if !is_quoted => fields.push(String::new()),
            other => fields.last_mut().expect("one is there").push(other),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<MacRegister, RegisterError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        MacRegister::read(&[path])
    }

    fn maker<'r>(register: &'r MacRegister, mac: &str) -> Option<&'r str> {
        register.maker(mac.parse().unwrap())
    }

    #[test]
    fn the_longest_block_names_the_maker_in_both_formats() {
        let csv = "Registry,Assignment,Organization Name,Organization Address\n\
            MA-L,00005E,\"ICANN, \"\"IANA\"\" Department\",Los Angeles\n\
            MA-M,0055DA0,Block Ltd,Leeds\nMA-S,0055DA012,Small Ltd,Leeds\n";
        let json = r#"{"00005E":"ICANN, \"IANA\" Department\nLos Angeles","0055DA0":"Block Ltd","0055DA012":"Small Ltd"}"#;
        for register in [
            read("oui.csv", csv).unwrap(),
            read("index.json", json).unwrap(),
        ] {
            let of = |mac| maker(&register, mac);
            assert_eq!(of("00:00:5e:00:53:01"), Some("ICANN, \"IANA\" Department"));
            assert_eq!(of("00:55:da:01:20:00"), Some("Small Ltd"));
            assert_eq!(of("00:55:da:01:30:00"), Some("Block Ltd"));
            assert_eq!(of("00:55:da:11:30:00"), None);
            assert_eq!(of("02:00:5e:00:53:01"), None, "a random one");
        }
    }

    #[test]
    fn a_file_that_is_no_register_is_refused() {
        for text in ["", "{}", "hello\nworld", "a,b,c\n"] {
            let refused = read("x", text);
            assert!(
                matches!(refused, Err(RegisterError::NoBlocks(_))),
                "{text:?}"
            );
        }
        let missing = MacRegister::read(&["/nowhere/oui.csv".into()]);
        assert!(matches!(missing, Err(RegisterError::Read { .. })));
    }
}
