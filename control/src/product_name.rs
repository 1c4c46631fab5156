//! The name under which families know the product: the operator's own brand, where it has one.

use std::{fmt, str::FromStr};

use policy::text::Text;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// The longest name, in characters: home screens of phones show less.
const CHARACTERS_MAX: usize = 40;
/// The name without a configured one; `make app` writes it into the files of the app.
pub const DEFAULT: &str = "OX Protect";

/// A name of one line that is not empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ProductName(Text);

impl ProductName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether the operator has not given a name of its own.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.as_str() == DEFAULT
    }
}

impl Default for ProductName {
    fn default() -> Self {
        DEFAULT.parse().expect("it is a line of text")
    }
}

impl fmt::Display for ProductName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ProductName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name: Text = text.parse().map_err(|error| format!("{error}"))?;
        let is_short = (1..=CHARACTERS_MAX).contains(&text.chars().count());
        match is_short && text.trim() == text {
            true => Ok(Self(name)),
            false => Err(format!(
                "1 to {CHARACTERS_MAX} characters, without spaces at the ends"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for ProductName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_short_line_that_shows() {
        for name in [DEFAULT, "Diogelwch Teulu", "家族フィルター", "<b>&'\"", "x"] {
            assert_eq!(name.parse::<ProductName>().unwrap().as_str(), name);
        }
        let long = "a".repeat(41);
        for name in ["", " ", " a", "a ", "a\nb", "a\u{202e}b", &long] {
            assert!(name.parse::<ProductName>().is_err(), "{name:?}");
        }
        assert!(ProductName::default().is_default());
    }
}
