//! Names that are answered in a way of their own, whatever the lists say: search engines that have
//! a stricter address, and the names by which software asks whether a filter is wanted here. The
//! names are data, see `special.toml`.

use std::{collections::HashMap, sync::LazyLock};

use foldhash::fast::FixedState;
use jiff::civil::Date;
use serde::Deserialize;

use crate::{
    name::{Name, NameRef},
    rules::household::SearchLevel,
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
    /// A host of a search engine that has no address for families, by the engine's place in the
    /// data.
    SearchClosed(u8),
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
    /// Where they lead where somebody wants less than that; none where the engine knows no such
    /// level.
    pub moderate: Option<Name>,
    /// Where the names of this engine come from.
    pub origin: Origin,
}

/// Where published names come from, and how old they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The page that publishes them, an `https` URL.
    pub source: String,
    /// The day on which the names here were last compared with it.
    pub as_of: Date,
}

impl Origin {
    fn read(whose: &str, source: String, as_of: Date) -> Result<Self, String> {
        match source.strip_prefix("https://") {
            Some(rest) if !rest.is_empty() => Ok(Self { source, as_of }),
            _ => Err(format!("{whose}: source = {source:?} is no https URL")),
        }
    }
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
    canary: NamesDocument,
    relay: NamesDocument,
    #[serde(rename = "engine")]
    engines: Vec<EngineDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamesDocument {
    source: String,
    as_of: Date,
    names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EngineDocument {
    slug: String,
    title: String,
    source: String,
    as_of: Date,
    strict: String,
    moderate: Option<String>,
    names: Vec<String>,
    /// Put behind each of `prefixes`.
    #[serde(default)]
    suffixes: Vec<String>,
    #[serde(default)]
    prefixes: Vec<String>,
    /// Hosts without an address for families.
    #[serde(default)]
    closed: Vec<String>,
}

static SHIPPED: LazyLock<Specials> = LazyLock::new(|| {
    Specials::parse(include_str!("../../special.toml")).expect("a test reads the shipped names")
});

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
        let mut specials = Self {
            engines: Vec::new(),
            names: HashMap::default(),
        };
        let mut put = |text: &str, special| {
            let name = read(text)?;
            match specials.names.insert(name.borrow().wire().into(), special) {
                Some(_) => Err(format!("{name} stands twice")),
                None => Ok(()),
            }
        };
        for (whose, names, special) in [
            ("canary", document.canary, Special::Canary),
            ("relay", document.relay, Special::Relay),
        ] {
            Origin::read(whose, names.source, names.as_of)?;
            names.names.iter().try_for_each(|name| put(name, special))?;
        }
        for (place, engine) in (0..).zip(document.engines) {
            engine
                .closed
                .iter()
                .try_for_each(|name| put(name, Special::SearchClosed(place)))?;
            engine
                .names
                .iter()
                .try_for_each(|name| put(name, Special::Search(place)))?;
            for prefix in &engine.prefixes {
                engine.suffixes.iter().try_for_each(|suffix| {
                    put(&format!("{prefix}{suffix}"), Special::Search(place))
                })?;
            }
            let strict = read(&engine.strict)?;
            let moderate = engine.moderate.as_deref().map(read).transpose()?;
            let EngineDocument {
                slug,
                title,
                source,
                as_of,
                ..
            } = engine;
            let origin = Origin::read(&slug, source, as_of)?;
            specials.engines.push(Engine {
                slug,
                title,
                strict,
                moderate,
                origin,
            });
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
        self.engines
            .iter()
            .position(|engine| engine.slug == slug)
            .and_then(|place| u8::try_from(place).ok())
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
/// bit 5      what an allow or a grant opens is not led to safe search either
/// bit 8 on   safe search, two bits an engine: 0 off, 1 moderate, 2 strict
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Standards(u32);

const PAUSED: u32 = 1;
const CANARY: u32 = 2;
const RELAY: u32 = 4;
const RECORDED: u32 = 8;
const HIDDEN: u32 = 16;
const SEARCH_UNLOCKED: u32 = 32;
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

    /// Says whether an allow or a grant of a search engine also lifts its safe search.
    pub fn unlock_search(&mut self, is_unlocked: bool) {
        self.0 = self.0 & !SEARCH_UNLOCKED | if is_unlocked { SEARCH_UNLOCKED } else { 0 };
    }

    /// Whether an allow or a grant of a search engine also lifts its safe search.
    #[must_use]
    pub fn unlocks_search(self) -> bool {
        self.0 & SEARCH_UNLOCKED != 0
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
            Special::None | Special::Search(_) | Special::SearchClosed(_) => false,
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
        for slug in [
            "google",
            "bing",
            "youtube",
            "duckduckgo",
            "ecosia",
            "pixabay",
            "yandex",
            "brave",
        ] {
            assert!(specials.engine(slug).is_some(), "{slug}");
        }
        let find = |name: &str| specials.find(Name::parse(name).unwrap().borrow());
        assert_eq!(
            find("www.google.co.uk"),
            Special::Search(specials.engine("google").unwrap())
        );
        assert_eq!(
            find("WWW.YouTube.com"),
            Special::Search(specials.engine("youtube").unwrap())
        );
        assert_eq!(
            (find("use-application-dns.net"), find("mask.icloud.com")),
            (Special::Canary, Special::Relay)
        );
        assert_eq!(
            (find("mail.google.com"), find("example")),
            (Special::None, Special::None)
        );
        let targets = specials
            .engines
            .iter()
            .flat_map(|engine| [Some(&engine.strict), engine.moderate.as_ref()])
            .flatten();
        for target in targets {
            assert_eq!(
                specials.find(target.borrow()),
                Special::None,
                "{target} would lead to itself"
            );
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
        assert_eq!(
            (levels[0], levels[1], levels[11]),
            (SearchLevel::Strict, SearchLevel::Off, SearchLevel::Moderate)
        );
        assert!(levels[2..11].iter().all(|level| *level == SearchLevel::Off));
        assert!(!standards.is_paused() && !standards.refuses(Special::Canary));
        standards.refuse(Refused {
            canary: true,
            relay: false,
        });
        assert!(standards.refuses(Special::Canary) && !standards.refuses(Special::Relay));
    }

    /// A document with one engine, of which one line is changed.
    fn document(line: &str, instead: &str) -> String {
        let text = "[canary]\nsource = \"https://a.example/\"\nas_of = \"2026-01-01\"\nnames = [\"a.example\"]\n\
            [relay]\nsource = \"https://b.example/\"\nas_of = \"2026-01-01\"\nnames = [\"b.example\"]\n\
            [[engine]]\nslug = \"e\"\ntitle = \"E\"\nsource = \"https://e.example/\"\nas_of = \"2026-01-01\"\n\
            strict = \"safe.e.example\"\nnames = [\"e.example\"]\nclosed = [\"lite.e.example\"]\n";
        assert!(text.contains(line), "{line}");
        text.replace(line, instead)
    }

    #[test]
    fn no_name_stands_twice_in_any_letter_case_or_list() {
        assert!(Specials::parse(&document("a.example", "a.example")).is_ok());
        for (line, instead) in [
            ("[\"b.example\"]", "[\"A.example\"]"),
            ("[\"e.example\"]", "[\"e.example\", \"E.Example.\"]"),
            ("lite.e.example", "e.example"),
            ("lite.e.example", "a.example"),
        ] {
            assert!(
                Specials::parse(&document(line, instead))
                    .unwrap_err()
                    .contains("twice"),
                "{instead}"
            );
        }
    }

    #[test]
    fn each_list_of_names_has_its_source_and_its_date() {
        for (line, instead, complaint) in [
            ("source = \"https://e.example/\"\n", "", "source"),
            ("source = \"https://b.example/\"\n", "", "source"),
            ("https://a.example/", "somewhere", "canary: source"),
            ("https://e.example/", "http://e.example/", "e: source"),
            ("as_of = \"2026-01-01\"\nstrict", "strict", "as_of"),
            (
                "as_of = \"2026-01-01\"\nstrict",
                "as_of = \"last year\"\nstrict",
                "last year",
            ),
        ] {
            let error = Specials::parse(&document(line, instead)).unwrap_err();
            assert!(error.contains(complaint), "{instead}: {error}");
        }
        let age = |origin: &Origin| origin.as_of >= jiff::civil::date(2026, 11, 29);
        assert!(
            Specials::shipped()
                .engines()
                .iter()
                .all(|engine| age(&engine.origin))
        );
    }

    #[test]
    fn each_known_host_of_an_engine_is_led_or_closed() {
        let specials = Specials::shipped();
        for (engine, led, closed) in [
            (
                "google",
                "google.com WWW.google.com. www.google.co google.com.ai www.google.vg google.cat www.google.tk",
                "",
            ),
            (
                "yandex",
                "yandex.tm www.yandex.tm yandex.com.tr ya.ru yandex.co.il yandex.kg яндекс.рф xn--d1acpjx3f.xn--p1ai",
                "",
            ),
            (
                "duckduckgo",
                "duckduckgo.com start.duckduckgo.com duck.com",
                "html.duckduckgo.com lite.duckduckgo.com",
            ),
            (
                "bing",
                "bing.com www.bing.com edgeservices.bing.com",
                "cn.bing.com ts1.explicit.bing.net",
            ),
            (
                "youtube",
                "www.youtube.com m.youtube.com youtubei.googleapis.com youtube.googleapis.com www.youtube-nocookie.com",
                "",
            ),
            ("qwant", "api.qwant.com", "lite.qwant.com"),
            ("ecosia", "ecosia.org www.ecosia.org", ""),
            ("brave", "search.brave.com", ""),
            ("pixabay", "pixabay.com www.pixabay.com", ""),
        ] {
            let place = specials.engine(engine).unwrap();
            let find = |name: &str| specials.find(Name::parse(name).unwrap().borrow());
            led.split_whitespace()
                .for_each(|name| assert_eq!(find(name), Special::Search(place), "{name}"));
            closed
                .split_whitespace()
                .for_each(|name| assert_eq!(find(name), Special::SearchClosed(place), "{name}"));
        }
    }

    #[test]
    fn the_switch_that_unlocks_search_touches_nothing_else() {
        let mut standards = Standards::NONE;
        standards.pause();
        standards.search(0, SearchLevel::Strict);
        let locked = standards;
        standards.unlock_search(true);
        assert!(standards.unlocks_search() && !locked.unlocks_search() && standards != locked);
        assert!(
            standards.is_paused()
                && standards.level(0) == SearchLevel::Strict
                && !standards.is_recorded()
                && !standards.is_hidden()
        );
        standards.unlock_search(false);
        assert_eq!(standards, locked);
    }
}
