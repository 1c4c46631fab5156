//! Text that people write for other people: names of devices and people, labels, reasons,
//! references. One line that is shown as it was typed.
//!
//! Such text is shown in apps, logs and letters. Characters that are invisible and change how the
//! text around them is read are therefore refused: control characters (C0, C1, DEL, line feeds
//! among them), bidirectional controls, line and paragraph separators, zero-width and other
//! default-ignorable characters, and noncharacters. ZERO WIDTH JOINER and NON-JOINER are part of
//! words (Persian, Sinhala) and of emoji (families), so each may stand between two visible
//! characters. Tag characters are part of the flags of England, Scotland and Wales, and may follow
//! U+1F3F4 up to U+E007F, as defined in UTS #51.
//!
//! Text that was stored before this rule is still read; pass it through [`shown`] before display.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Text of one line. It may be empty; the caller checks its length.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct Text(String);

/// The text has a character that is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextError {
    pub character: char,
    /// Its position in characters, from 1.
    pub at: usize,
}

/// The end of the message of a [`TextError`].
pub const REFUSAL: &str = "control characters, bidirectional controls and characters that show nothing are no part of a text";

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "U+{:04X} at character {}: {REFUSAL}",
            u32::from(self.character),
            self.at
        )
    }
}

impl std::error::Error for TextError {}

/// ZERO WIDTH NON-JOINER and ZERO WIDTH JOINER, which join the characters on both sides.
const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];
/// The first and the last character of a flag of tags.
const BLACK_FLAG: char = '\u{1f3f4}';
const CANCEL_TAG: char = '\u{e007f}';

/// Whether a character is invisible and changes how the text around it is read.
fn is_hidden(character: char) -> bool {
    character.is_control()
        // Noncharacters, among them the last two of each plane.
        || u32::from(character) & 0xfffe == 0xfffe
        || matches!(character,
            // Bidirectional controls, line and paragraph separator, joiners, zero-width space, byte
            // order mark.
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            // Soft hyphen, combining grapheme joiner, fillers of Hangul and Khmer, Mongolian vowel
            // separator.
            | '\u{00ad}' | '\u{034f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}' | '\u{3164}' | '\u{ffa0}'
            // Marks of annotations, of musical notation, of hieroglyphs and of shorthand.
            | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{13430}'..='\u{13440}' | '\u{1bca0}'..='\u{1bca3}'
            // Noncharacters in the middle of a plane; tags.
            | '\u{fdd0}'..='\u{fdef}' | '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}')
}

/// The characters of a text that are not allowed, each with its offset in octets.
fn faults(text: &str) -> impl Iterator<Item = (usize, char)> + '_ {
    let shows = |character: Option<char>| {
        character.is_some_and(|character| !is_hidden(character) && !character.is_whitespace())
    };
    let mut before = None;
    let mut is_in_flag = false;
    text.char_indices().filter(move |&(at, character)| {
        let rest = &text[at + character.len_utf8()..];
        let is_tag = ('\u{e0020}'..=CANCEL_TAG).contains(&character);
        let was_in_flag = is_in_flag;
        is_in_flag = if is_tag {
            was_in_flag && character != CANCEL_TAG
        } else {
            character == BLACK_FLAG && is_flag(rest)
        };
        let is_fault = match character {
            _ if is_tag => !was_in_flag,
            _ if JOINERS.contains(&character) => !shows(before) || !shows(rest.chars().next()),
            _ => is_hidden(character),
        };
        before = Some(character);
        is_fault
    })
}

/// Whether `rest` begins with tags that are terminated.
fn is_flag(rest: &str) -> bool {
    rest.chars()
        .take_while(|character| ('\u{e0020}'..=CANCEL_TAG).contains(character))
        .any(|character| character == CANCEL_TAG)
}

impl Text {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }

    /// The length in octets.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.0.len()
    }

    /// Whether it has nothing but white space.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.0.trim().is_empty()
    }
}

impl TryFrom<String> for Text {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        let fault = faults(&text).next();
        match fault {
            Some((octet, character)) => Err(TextError {
                character,
                at: text[..octet].chars().count() + 1,
            }),
            None => Ok(Self(text)),
        }
    }
}

impl FromStr for Text {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        text.to_owned().try_into()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .try_into()
            .map_err(serde::de::Error::custom)
    }
}

/// Replaces each character that is not allowed by U+FFFD REPLACEMENT CHARACTER.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    let faults: Vec<usize> = faults(text).map(|(at, _)| at).collect();
    if faults.is_empty() {
        return Cow::Borrowed(text);
    }
    let replace = |(at, character)| {
        if faults.binary_search(&at).is_ok() {
            char::REPLACEMENT_CHARACTER
        } else {
            character
        }
    };
    Cow::Owned(text.char_indices().map(replace).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_a_text() {
        for text in [
            "",
            "Ella's phone",
            "Zoë’s “big” TV – 2",
            "電視機",
            "هاتف إيلا",
            "טלפון",
            // With a non-joiner, as in Persian and Hindi.
            "می\u{200c}خواهم",
            "श्री\u{200d}मान",
            // A family, a rainbow flag, a heart with a variation selector, a keycap, a skin tone, a
            // flag of two letters.
            "👨\u{200d}👩\u{200d}👧\u{200d}👦",
            "🏳\u{fe0f}\u{200d}🌈",
            "❤\u{fe0f}",
            "1\u{fe0f}\u{20e3}",
            "👋🏽",
            "🇬🇧",
            // England, twice.
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            // A maker's private-use character before "TV", a Japanese name with an ideographic
            // variation, a replacement character.
            "\u{f8ff}TV",
            "葛\u{e0100}城",
            "\u{fffd}",
            "no\u{a0}break",
        ] {
            assert_eq!(
                text.parse::<Text>().map(Text::into_string).as_deref(),
                Ok(text)
            );
            assert!(matches!(shown(text), Cow::Borrowed(_)), "{text:?}");
        }
    }

    #[test]
    fn what_shows_nothing_is_no_part_of_a_text() {
        let controls = (0..0x20).chain(0x7f..0xa0);
        let others = [
            0xad, 0x34f, 0x61c, 0x115f, 0x1160, 0x17b4, 0x180e, 0x200b, 0x200e, 0x200f, 0x2028,
            0x2029, 0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2060, 0x2061, 0x2064, 0x2065, 0x2066,
            0x2067, 0x2068, 0x2069, 0x206a, 0x206f, 0x3164, 0xfdd0, 0xfdef, 0xfeff, 0xffa0, 0xfff9,
            0xfffb, 0xfffe, 0xffff, 0x1d173, 0x1fffe, 0x1ffff, 0xe0001, 0xe0041, 0xe007f, 0xe0fff,
            0x10fffe, 0x10ffff,
        ];
        for code in controls.chain(others) {
            let character = char::from_u32(code).unwrap();
            for text in [
                format!("{character}"),
                format!("a{character}b"),
                format!("é{character}"),
                format!("{character}a"),
            ] {
                let error = text.parse::<Text>().unwrap_err();
                assert_eq!(error.character, character, "{text:?}");
                assert_eq!(text.chars().nth(error.at - 1), Some(character), "{text:?}");
                assert!(
                    error
                        .to_string()
                        .starts_with(&format!("U+{code:04X} at character ")),
                    "{error}"
                );
                assert_eq!(shown(&text), text.replace(character, "\u{fffd}"));
            }
        }
    }

    #[test]
    fn a_joiner_stands_between_characters_that_show() {
        for text in [
            "\u{200d}a",
            "a\u{200d}",
            "a\u{200d}\u{200d}b",
            "a \u{200d}b",
            "a\u{200d} b",
            "a\u{200c}",
            "\u{200d}",
            "a\u{200d}\nb",
        ] {
            assert!(text.parse::<Text>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn tags_stand_behind_a_flag_and_end() {
        let flag = '\u{1f3f4}';
        let tag = '\u{e0067}';
        let end = '\u{e007f}';
        for text in [
            format!("{flag}{tag}"),
            format!("{flag}{tag}x{end}"),
            format!("{flag}{tag}{end}{tag}"),
            format!("x{tag}{end}"),
        ] {
            assert!(text.parse::<Text>().is_err(), "{text:?}");
        }
        assert!(format!("{flag}x{flag}{tag}{end}x").parse::<Text>().is_ok());
        assert_eq!(
            shown(&format!("{flag}{tag}{end}{tag}")),
            format!("{flag}{tag}{end}\u{fffd}")
        );
    }

    #[test]
    fn json_is_read_as_strictly_and_written_as_it_was() {
        assert_eq!(
            serde_json::from_str::<Text>(r#""Zo\u00eb""#)
                .unwrap()
                .as_str(),
            "Zoë"
        );
        let error = serde_json::from_str::<Text>(r#""a\r\nb""#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("U+000D at character 2"), "{error}");
        assert_eq!(
            serde_json::to_string(&"a b".parse::<Text>().unwrap()).unwrap(),
            r#""a b""#
        );
        assert!(
            " \u{3000}".parse::<Text>().unwrap().is_blank()
                && !"a".parse::<Text>().unwrap().is_blank()
        );
    }
}
