//! Rows of a category feed: `domain[/path]`, a tab, codes. The rows come from the spool, where each
//! name has one row. The configuration maps codes to categories; the provider's code map gives them
//! names.

use std::{collections::HashMap, path::Path};

use policy::{
    lists::{entry::NO_CATEGORY, index_key::key_of_path},
    name::NameBuffer,
};
use sha2::{Digest, Sha256};

use super::category_row::Row;
use crate::{
    feed::{CLEAN, Feed},
    fetch::{category_state, manifest::Codes},
    rows::{EntryRule, Rows},
    source::SourceError,
    spool::{self, RowKey},
};

/// The most unmapped codes in complaints. A feed with more of them is not the configured one.
const UNMAPPED_TOLD_MAX: usize = 100;
/// The most codes in the cache; bounds memory for garbage rows.
const MEANINGS_MAX: usize = 10_000;

/// The meaning of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Index of the category.
    Category(u8),
    /// Names with this code are clean, whatever entries of their parents state.
    Clean,
    /// `categories` does not map the code.
    Unmapped,
}

/// The index key whose entries a row replaces; `None` for an invalid name.
pub(crate) fn key(row: &[u8]) -> Option<Vec<u8>> {
    let row = Row::parse(row);
    let mut buffer = NameBuffer::new();
    let name = buffer.parse(row.name).ok()?;
    Some(match row.path {
        Some(path) => key_of_path(name, path),
        None => {
            let mut key = Vec::with_capacity(name.wire().len());
            name.write_key(&mut key);
            key
        }
    })
}

/// Parses rows; looks up each code once.
pub(crate) struct Reader<'a> {
    feed: &'a Feed,
    codes: Codes,
    place_of: &'a dyn Fn(&str) -> u8,
    known: HashMap<Vec<u8>, Meaning>,
    /// Number of unmapped codes in complaints so far.
    told: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(feed: &'a Feed, content: &Path, place_of: &'a dyn Fn(&str) -> u8) -> Self {
        Self {
            feed,
            codes: category_state::codes(content),
            place_of,
            known: HashMap::new(),
            told: 0,
        }
    }

    /// The meaning of a code, and whether this is the first lookup.
    fn meaning(&mut self, code: &[u8]) -> (Meaning, bool) {
        if let Some(&meaning) = self.known.get(code) {
            return (meaning, false);
        }
        let meaning = self.look_up(&String::from_utf8_lossy(code));
        let has_room = self.known.len() < MEANINGS_MAX;
        if has_room {
            self.known.insert(code.to_owned(), meaning);
        }
        (meaning, has_room)
    }

    /// Looks up the code, its code name, or the code without leading zeros.
    fn look_up(&self, code: &str) -> Meaning {
        if let Some(category) = &self.feed.category {
            return Meaning::Category((self.place_of)(category));
        }
        if !self.feed.is_about_categories() {
            return Meaning::Category(NO_CATEGORY);
        }
        let plain = code.trim_start_matches('0');
        let other_names = self.codes.codes.iter().filter_map(|entry| {
            let codename = entry.codename.as_deref()?;
            if entry.code == code {
                Some(codename)
            } else {
                (codename == code).then_some(&*entry.code)
            }
        });
        let mut names = [code, plain].into_iter().chain(other_names);
        match names
            .find_map(|name| self.feed.categories.get(name))
            .map(String::as_str)
        {
            None => Meaning::Unmapped,
            Some(CLEAN) => Meaning::Clean,
            Some(slug) => Meaning::Category((self.place_of)(slug)),
        }
    }

    fn title(&self, code: &str) -> Option<&str> {
        let is_it = |name: &str| name == code;
        let entry = self
            .codes
            .codes
            .iter()
            .find(|entry| is_it(&entry.code) || entry.codename.as_deref().is_some_and(is_it))?;
        entry.title.as_deref().or(entry.codename.as_deref())
    }

    /// Parses one row.
    pub(crate) fn read(&mut self, line: &[u8], rows: &mut Rows<'_>) {
        let row = Row::parse(line);
        if row.codes().next().is_none() {
            return rows.bad(line, &"no code stands behind the name");
        }
        let mut is_clean = false;
        let mut places = Vec::new();
        for code in row.codes() {
            let (meaning, is_new) = self.meaning(code);
            match meaning {
                Meaning::Category(place) if !places.contains(&place) => places.push(place),
                Meaning::Category(_) => {}
                Meaning::Clean => is_clean = true,
                Meaning::Unmapped => {
                    rows.unmapped();
                    if is_new && self.told < UNMAPPED_TOLD_MAX {
                        self.told += 1;
                        let code = String::from_utf8_lossy(code);
                        rows.complain_unmapped_code(&code, self.title(&code));
                    }
                }
            }
        }
        if let Some(path) = row.path {
            // A clean path needs no entry, because paths have nothing below them.
            for place in places {
                rows.set_category(place);
                rows.path_entry(line, row.name, path);
            }
            return;
        }
        let rule = EntryRule::deny(self.feed.bare_scope());
        let bad = rows.report.bad;
        for &place in &places {
            rows.set_category(place);
            rows.entry(line, row.name, rule);
            // An invalid name is counted once.
            if rows.report.bad > bad {
                return;
            }
        }
        // A name that also has a category is not clean.
        if is_clean && places.is_empty() {
            rows.set_category(NO_CATEGORY);
            rows.entry(line, row.name, EntryRule::allow(self.feed.bare_scope()));
        }
    }
}

/// Reads the spooled content.
pub(crate) fn read(
    feed: &Feed,
    content: &Path,
    place_of: &dyn Fn(&str) -> u8,
    rows: &mut Rows<'_>,
    hash: &mut Sha256,
) -> Result<spool::Content, SourceError> {
    let failed = |source| SourceError::Io {
        step: "reading",
        path: content.to_owned(),
        source,
    };
    spool::whole_file(content)
        .map_err(failed)?
        .ok_or(SourceError::NotFetched)?;
    let mut reader = Reader::new(feed, content, place_of);
    rows.enter("feed", Some(NO_CATEGORY));
    spool::for_each_row(content, RowKey::UpToTab, &mut |line| {
        hash.update(line);
        hash.update(b"\n");
        rows.next_line();
        reader.read(line, rows);
    })
    .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_known_by_its_number_or_its_code_name() {
        let categories = [("1", "ads"), ("bets", "gambling"), ("9", "none")]
            .map(|(code, slug)| (code.to_owned(), slug.to_owned()));
        let feed = Feed {
            categories: categories.into(),
            ..Feed::new("a", "a", crate::feed::Format::CategoryFeed)
        };
        let json = br#"{"v":1,"codes":[{"code":2,"codename":"bets","title":"Betting"},{"code":1,"codename":"adverts"},{"code":5,"title":"Five"}]}"#;
        let codes = Codes::parse(json).unwrap();
        let place_of = |slug: &str| if slug == "ads" { 10 } else { 20 };
        let mut reader = Reader {
            feed: &feed,
            codes,
            place_of: &place_of,
            known: HashMap::new(),
            told: 0,
        };
        for (code, meaning) in [
            ("1", Meaning::Category(10)),
            ("01", Meaning::Category(10)),
            ("adverts", Meaning::Category(10)),
            ("2", Meaning::Category(20)),
            ("bets", Meaning::Category(20)),
            ("9", Meaning::Clean),
            ("5", Meaning::Unmapped),
            ("x", Meaning::Unmapped),
        ] {
            assert_eq!(reader.meaning(code.as_bytes()), (meaning, true), "{code}");
            assert_eq!(reader.meaning(code.as_bytes()), (meaning, false), "{code}");
        }
        assert_eq!(
            (reader.title("5"), reader.title("2"), reader.title("x")),
            (Some("Five"), Some("Betting"), None)
        );
        assert_eq!(feed.slugs().collect::<Vec<_>>(), ["ads", "gambling"]);
    }
}
