//! Names that are answered in a way of their own, whatever the lists say: search engines that have a stricter address, and the names
//! by which software asks whether a filter is wanted here. The names are data, see `special.toml`.

use std::{collections::HashMap, sync::LazyLock};

use foldhash::fast::FixedState;
use serde::Deserialize;

use crate::{
    household::SearchLevel,
    name::{Name, NameRef},
};

/// The most engines: a [`Standards`] has two bits for each.
pub const ENGINES_MAX: usize = 12;

/// What is special about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Special {
    /// Nothing.
    #[default]
    None,
    /// A search engine, by its place in the data.
    Search(u8),
    /// A negative answer tells software that it must not switch to a resolver of its own.
    Canary,
    /// A negative answer tells a device that its private relay is not to be used in this network.
    Relay,
}

/// A search engine with addresses for families.
#[derive(Debug)]
pub struct Engine {
    /// The word for it in JSON.
    pub slug: String,
    /// The name people read.
    pub title: String,
    /// Where its names lead where somebody wants it as strict as it can be.
    pub strict: Name,
    /// Where they lead where somebody wants less than that; none where the engine knows no such level.
    pub moderate: Option<Name>,
}

impl Engine {
    /// Where its names lead at a level; none where they are left alone.
    #[must_use]
    pub fn target(&self, level: SearchLevel) -> Option<&Name> {
        match level {
            SearchLevel::Off => None,
            SearchLevel::Moderate => Some(self.moderate.as_ref().unwrap_or(&self.strict)),
            SearchLevel::Strict => Some(&self.strict),
        }
    }
}

/// All special names.
#[derive(Debug)]
pub struct Specials {
    engines: Vec<Engine>,
    /// These names are ours and no client's, so the hash needs no secret.
    names: HashMap<Box<[u8]>, Special, FixedState>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    canary: Vec<String>,
    relay: Vec<String>,
    #[serde(rename = "engine")]
    engines: Vec<EngineDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EngineDocument {
    slug: String,
    title: String,
    strict: String,
    moderate: Option<String>,
    names: Vec<String>,
    /// Put behind each of `prefixes`.
    #[serde(default)]
    suffixes: Vec<String>,
    #[serde(default)]
    prefixes: Vec<String>,
}

static SHIPPED: LazyLock<Specials> =
    LazyLock::new(|| Specials::parse(include_str!("../special.toml")).expect("a test reads the shipped names"));

impl Specials {
    /// Those shipped with the program.
    #[must_use]
    pub fn shipped() -> &'static Self {
        &SHIPPED
    }

    fn parse(text: &str) -> Result<Self, String> {
        let document: Document = toml::from_str(text).map_err(|error| error.to_string())?;
        if document.engines.len() > ENGINES_MAX {
            return Err(format!("more than {ENGINES_MAX} engines"));
        }
        let read = |text: &str| Name::parse(text).map_err(|error| format!("{text:?}: {error}"));
        let mut specials = Self { engines: Vec::new(), names: HashMap::default() };
        let mut put = |text: &str, special| {
            let name = read(text)?;
            match specials.names.insert(name.borrow().wire().into(), special) {
                Some(_) => Err(format!("{name} stands twice")),
                None => Ok(()),
            }
        };
        document.canary.iter().try_for_each(|name| put(name, Special::Canary))?;
        document.relay.iter().try_for_each(|name| put(name, Special::Relay))?;
        for (place, engine) in (0..).zip(document.engines) {
            engine.names.iter().try_for_each(|name| put(name, Special::Search(place)))?;
            for prefix in &engine.prefixes {
                engine.suffixes.iter().try_for_each(|suffix| put(&format!("{prefix}{suffix}"), Special::Search(place)))?;
            }
            let (strict, moderate) = (read(&engine.strict)?, engine.moderate.as_deref().map(read).transpose()?);
            specials.engines.push(Engine { slug: engine.slug, title: engine.title, strict, moderate });
        }
        Ok(specials)
    }

    /// What is special about a name: it must be the very name.
    #[must_use]
    pub fn find(&self, name: NameRef<'_>) -> Special {
        self.names.get(name.wire()).copied().unwrap_or_default()
    }

    /// The engines, in the order of their places.
    #[must_use]
    pub fn engines(&self) -> &[Engine] {
        &self.engines
    }

    /// The place of an engine.
    #[must_use]
    pub fn engine(&self, slug: &str) -> Option<u8> {
        self.engines.iter().position(|engine| engine.slug == slug).and_then(|place| u8::try_from(place).ok())
    }
}

/// What holds for an asker beside categories: one word.
///
/// ```text
/// bit 0      the Internet is off
/// bit 1      canary names are answered negatively
/// bit 2      names of private relays are
/// bit 3      queries are counted for the household's own activity
/// bit 4      what is asked for is nobody's affair
/// bit 8 on   safe search, two bits an engine: 0 off, 1 moderate, 2 strict
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Standards(u32);

const PAUSED: u32 = 1;
const CANARY: u32 = 2;
const RELAY: u32 = 4;
const RECORDED: u32 = 8;
const HIDDEN: u32 = 16;
const ENGINES_AT: u32 = 8;

impl Standards {
    /// Nothing of it.
    pub const NONE: Self = Self(0);
    /// What is asked for is nobody's affair, not even without a name to it.
    pub const HIDDEN: Self = Self(HIDDEN);

    /// Whether the Internet is off.
    #[must_use]
    pub fn is_paused(self) -> bool {
        self.0 & PAUSED != 0
    }

    /// Switches the Internet off.
    pub fn pause(&mut self) {
        self.0 |= PAUSED;
    }

    /// Whether queries are counted for the household's own activity.
    #[must_use]
    pub fn is_recorded(self) -> bool {
        self.0 & RECORDED != 0
    }

    /// Whether what is asked for is nobody's affair: it is not even in the sample of all queries.
    #[must_use]
    pub fn is_hidden(self) -> bool {
        self.0 & HIDDEN != 0
    }

    /// Has queries counted for the household's own activity.
    pub fn record(&mut self) {
        self.0 |= RECORDED;
    }

    /// Says which names of software are answered negatively.
    pub fn refuse(&mut self, refused: Refused) {
        self.0 |= if refused.canary { CANARY } else { 0 } | if refused.relay { RELAY } else { 0 };
    }

    /// Sets the safe search of an engine.
    pub fn search(&mut self, engine: u8, level: SearchLevel) {
        let shift = ENGINES_AT + 2 * u32::from(engine);
        self.0 = self.0 & !(3 << shift) | (level as u32) << shift;
    }

    /// The safe search of an engine.
    #[must_use]
    pub fn level(self, engine: u8) -> SearchLevel {
        match self.0 >> (ENGINES_AT + 2 * u32::from(engine)) & 3 {
            0 => SearchLevel::Off,
            1 => SearchLevel::Moderate,
            _ => SearchLevel::Strict,
        }
    }

    /// Whether this special name is answered negatively.
    #[must_use]
    pub fn refuses(self, special: Special) -> bool {
        match special {
            Special::Canary => self.0 & CANARY != 0,
            Special::Relay => self.0 & RELAY != 0,
            Special::None | Special::Search(_) => false,
        }
    }

    pub(crate) fn to_bits(self) -> u32 {
        self.0
    }

    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// The names of software that the operator has answered negatively where filtering is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refused {
    /// `use-application-dns.net` and its like.
    pub canary: bool,
    /// The names of private relays.
    pub relay: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_names_are_sound() {
        let specials = Specials::shipped();
        for slug in ["google", "bing", "youtube", "duckduckgo", "ecosia", "pixabay", "yandex", "brave"] {
            assert!(specials.engine(slug).is_some(), "{slug}");
        }
        let find = |name: &str| specials.find(Name::parse(name).unwrap().borrow());
        assert_eq!(find("www.google.co.uk"), Special::Search(specials.engine("google").unwrap()));
        assert_eq!(find("WWW.YouTube.com"), Special::Search(specials.engine("youtube").unwrap()));
        assert_eq!((find("use-application-dns.net"), find("mask.icloud.com")), (Special::Canary, Special::Relay));
        assert_eq!((find("mail.google.com"), find("example")), (Special::None, Special::None));
        let targets = specials.engines.iter().flat_map(|engine| [Some(&engine.strict), engine.moderate.as_ref()]).flatten();
        for target in targets {
            assert_eq!(specials.find(target.borrow()), Special::None, "{target} would lead to itself");
        }
    }

    #[test]
    fn each_engine_has_its_own_bits() {
        let mut standards = Standards::NONE;
        standards.search(0, SearchLevel::Strict);
        standards.search(11, SearchLevel::Moderate);
        standards.search(1, SearchLevel::Strict);
        standards.search(1, SearchLevel::Off);
        let levels: Vec<SearchLevel> = (0..12).map(|engine| standards.level(engine)).collect();
        assert_eq!((levels[0], levels[1], levels[11]), (SearchLevel::Strict, SearchLevel::Off, SearchLevel::Moderate));
        assert!(levels[2..11].iter().all(|level| *level == SearchLevel::Off));
        assert!(!standards.is_paused() && !standards.refuses(Special::Canary));
        standards.refuse(Refused { canary: true, relay: false });
        assert!(standards.refuses(Special::Canary) && !standards.refuses(Special::Relay));
    }

    #[test]
    fn a_document_that_contradicts_itself_is_refused() {
        let twice = "canary = [\"a.example\"]\nrelay = [\"A.example\"]\nengine = []";
        assert!(Specials::parse(twice).unwrap_err().contains("twice"));
    }
}
