//! The rules of an effective policy that are not about categories, in one word.

use crate::rules::{
    builtin_names::BuiltinName, bypass::BypassPrevention, safe_search::SearchLevel,
};

/// The rules that are not about categories.
///
/// ```text
/// bit 0      the Internet is paused
/// bit 1      canary names are answered negatively
/// bit 2      names of private relays are answered negatively
/// bit 3      queries count in the household's activity
/// bit 4      queries are private: they are in no sample
/// bit 5      an allow or a grant of a search engine lifts its safe search
/// bit 6      a thing: it is limited to domains
/// bit 8 on   safe search, two bits an engine: 0 off, 1 moderate, 2 strict
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct PolicyFlags(u32);

const PAUSED: u32 = 1;
const CANARY: u32 = 2;
const RELAY: u32 = 4;
const RECORDED: u32 = 8;
const PRIVATE: u32 = 16;
const SEARCH_UNLOCKED: u32 = 32;
const THING: u32 = 64;
const ENGINES_AT: u32 = 8;

impl PolicyFlags {
    pub const NONE: Self = Self(0);
    /// Queries are in no sample, not even anonymously.
    pub const PRIVATE: Self = Self(PRIVATE);

    /// Whether the Internet is paused.
    #[must_use]
    pub fn is_paused(self) -> bool {
        self.0 & PAUSED != 0
    }

    /// Whether the Internet is paused, or the device is limited to domains: few clients are.
    #[must_use]
    pub(crate) fn is_restricted(self) -> bool {
        self.0 & (PAUSED | THING) != 0
    }

    /// Whether the device is limited to domains.
    #[must_use]
    pub fn is_thing(self) -> bool {
        self.0 & THING != 0
    }

    /// Limits the device to domains.
    pub fn make_thing(&mut self) {
        self.0 |= THING;
    }

    /// Whether a consumer wants the queries: they count in the activity, or are a thing's.
    #[must_use]
    pub fn is_watched(self) -> bool {
        self.0 & (RECORDED | THING) != 0
    }

    /// Pauses the Internet.
    pub fn pause(&mut self) {
        self.0 |= PAUSED;
    }

    /// Whether queries count in the household's activity.
    #[must_use]
    pub fn is_recorded(self) -> bool {
        self.0 & RECORDED != 0
    }

    /// Lets queries count in the household's activity.
    pub fn record(&mut self) {
        self.0 |= RECORDED;
    }

    /// Whether queries are private: they are in no sample, not even anonymously.
    #[must_use]
    pub fn is_private(self) -> bool {
        self.0 & PRIVATE != 0
    }

    /// Adds bypass prevention.
    pub fn prevent_bypass(&mut self, prevention: BypassPrevention) {
        self.0 |=
            if prevention.canary { CANARY } else { 0 } | if prevention.relay { RELAY } else { 0 };
    }

    /// Sets whether an allow or a grant of a search engine lifts its safe search.
    pub fn unlock_search(&mut self, is_unlocked: bool) {
        self.0 = self.0 & !SEARCH_UNLOCKED | if is_unlocked { SEARCH_UNLOCKED } else { 0 };
    }

    /// Whether an allow or a grant of a search engine lifts its safe search.
    #[must_use]
    pub fn unlocks_search(self) -> bool {
        self.0 & SEARCH_UNLOCKED != 0
    }

    /// Sets the safe search of an engine, by its index.
    pub fn search(&mut self, engine: u8, level: SearchLevel) {
        let shift = ENGINES_AT + 2 * u32::from(engine);
        self.0 = self.0 & !(3 << shift) | (level as u32) << shift;
    }

    /// The safe search of an engine, by its index.
    #[must_use]
    pub fn level(self, engine: u8) -> SearchLevel {
        match self.0 >> (ENGINES_AT + 2 * u32::from(engine)) & 3 {
            0 => SearchLevel::Off,
            1 => SearchLevel::Moderate,
            _ => SearchLevel::Strict,
        }
    }

    /// Whether bypass prevention answers this built-in name negatively.
    #[must_use]
    pub fn prevents(self, name: BuiltinName) -> bool {
        match name {
            BuiltinName::Canary => self.0 & CANARY != 0,
            BuiltinName::Relay => self.0 & RELAY != 0,
            BuiltinName::None | BuiltinName::Search(_) | BuiltinName::SearchClosed(_) => false,
        }
    }

    pub(crate) fn to_bits(self) -> u32 {
        self.0
    }

    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_engine_has_its_own_bits() {
        let mut flags = PolicyFlags::NONE;
        flags.search(0, SearchLevel::Strict);
        flags.search(11, SearchLevel::Moderate);
        flags.search(1, SearchLevel::Strict);
        flags.search(1, SearchLevel::Off);
        let levels: Vec<SearchLevel> = (0..12).map(|engine| flags.level(engine)).collect();
        assert_eq!(
            (levels[0], levels[1], levels[11]),
            (SearchLevel::Strict, SearchLevel::Off, SearchLevel::Moderate)
        );
        assert!(levels[2..11].iter().all(|level| *level == SearchLevel::Off));
        assert!(!flags.is_paused() && !flags.prevents(BuiltinName::Canary));
        flags.prevent_bypass(BypassPrevention {
            canary: true,
            relay: false,
        });
        assert!(flags.prevents(BuiltinName::Canary) && !flags.prevents(BuiltinName::Relay));
    }

    #[test]
    fn unlocking_search_changes_no_other_flag() {
        let mut flags = PolicyFlags::NONE;
        flags.pause();
        flags.search(0, SearchLevel::Strict);
        let locked = flags;
        flags.unlock_search(true);
        assert!(flags.unlocks_search() && !locked.unlocks_search() && flags != locked);
        assert!(
            flags.is_paused()
                && flags.level(0) == SearchLevel::Strict
                && !flags.is_recorded()
                && !flags.is_private()
        );
        flags.unlock_search(false);
        assert_eq!(flags, locked);
    }
}
