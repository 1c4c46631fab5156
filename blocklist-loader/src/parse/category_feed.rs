//! Rows of a category feed: `domain[/path]`, a tab, codes. They come from the spool, where each name stands once; what its
//! codes mean is the configuration's word, and what they are called the provider's.

use std::{collections::HashMap, path::Path};

use policy::listing::{NO_CATEGORY, Polarity};
use sha2::{Digest, Sha256};

use crate::{
    feed::{CLEAN, Feed},
    fetch::{category, manifest::Codes},
    rows::{Claim, Rows},
    source::SourceError,
    spool::{self, RowKey},
};

/// Codes without a mapping that are told one by one. A feed with more of them is not the one that was configured.
const UNMAPPED_TOLD_MAX: usize = 100;
/// Codes whose meaning is kept at hand; rows of garbage must not fill the memory.
const MEANINGS_MAX: usize = 10_000;
/// What stands between codes.
const SEPARATORS: &[u8] = b",; \t";

/// One row, whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    /// The host.
    pub(crate) name: &'a [u8],
    /// The part of the host, with its slash.
    pub(crate) path: Option<&'a [u8]>,
    codes: &'a [u8],
}

impl<'a> Row<'a> {
    /// Reads a row that is neither empty nor a comment. The codes follow the first tab; where there is none, whatever else
    /// separates codes, unless it may be part of a path.
    pub(crate) fn parse(row: &'a [u8]) -> Self {
        let tab = row.iter().position(|&octet| octet == b'\t');
        let end = tab.or_else(|| row.iter().position(|octet| SEPARATORS.contains(octet)).filter(|&at| !row[..at].contains(&b'/')));
        let (key, codes) = end.map_or((row, &[][..]), |at| (&row[..at], row[at + 1..].trim_ascii()));
        let key = key.trim_ascii();
        let slash = key.iter().position(|&octet| octet == b'/').unwrap_or(key.len());
        let codes = if codes == b"-" { &[][..] } else { codes };
        Self { name: &key[..slash], path: (slash < key.len()).then(|| &key[slash..]), codes }
    }

    /// Its codes.
    pub(crate) fn codes(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.codes.split(|octet| SEPARATORS.contains(octet)).filter(|code| !code.is_empty())
    }

    /// What the row is about, in one way of writing.
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut key = self.name.strip_suffix(b".").unwrap_or(self.name).to_ascii_lowercase();
        key.extend_from_slice(self.path.unwrap_or_default());
        key
    }

    /// The row in one way of writing: key, tab, codes with commas between.
    pub(crate) fn normal(&self) -> Vec<u8> {
        let mut row = self.key();
        for (place, code) in self.codes().enumerate() {
            row.push(if place == 0 { b'\t' } else { b',' });
            row.extend_from_slice(code);
        }
        row
    }
}

/// What a code means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The place of its category.
    Category(u8),
    /// Names of this code are clean, whatever shallower entries say.
    Clean,
    /// Nobody said.
    Unmapped,
}

/// The meanings of a feed's codes, looked up once each.
pub(crate) struct Meanings<'a> {
    feed: &'a Feed,
    codes: &'a Codes,
    place_of: &'a dyn Fn(&str) -> u8,
    known: HashMap<Vec<u8>, Meaning>,
}

impl<'a> Meanings<'a> {
    pub(crate) fn new(feed: &'a Feed, codes: &'a Codes, place_of: &'a dyn Fn(&str) -> u8) -> Self {
        Self { feed, codes, place_of, known: HashMap::new() }
    }

    /// The meaning of a code, and whether it was asked for the first time.
    pub(crate) fn of(&mut self, code: &[u8]) -> (Meaning, bool) {
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

    /// By the code itself, or by its code name; numbers are the same with zeroes before them.
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
            if entry.code == code { Some(codename) } else { (codename == code).then_some(&*entry.code) }
        });
        let mut names = [code, plain].into_iter().chain(other_names);
        match names.find_map(|name| self.feed.categories.get(name)).map(String::as_str) {
            None => Meaning::Unmapped,
            Some(CLEAN) => Meaning::Clean,
            Some(slug) => Meaning::Category((self.place_of)(slug)),
        }
    }

    fn title(&self, code: &str) -> Option<&'a str> {
        let is_it = |name: &str| name == code;
        let entry = self.codes.codes.iter().find(|entry| is_it(&entry.code) || entry.codename.as_deref().is_some_and(is_it))?;
        entry.title.as_deref().or(entry.codename.as_deref())
    }
}

/// Reads what was fetched.
pub(crate) fn read(
    feed: &Feed,
    content: &Path,
    place_of: &dyn Fn(&str) -> u8,
    rows: &mut Rows<'_>,
    hash: &mut Sha256,
) -> Result<(), SourceError> {
    let failed = |source| SourceError::Io { step: "reading", path: content.to_owned(), source };
    spool::whole_file(content).map_err(failed)?.ok_or(SourceError::NotFetched)?;
    let codes = category::codes(content);
    let mut meanings = Meanings::new(feed, &codes, place_of);
    let mut unmapped = 0;
    rows.enter("feed", Some(NO_CATEGORY));
    spool::for_each_row(content, RowKey::UpToTab, &mut |line| {
        hash.update(line);
        hash.update(b"\n");
        rows.next_line();
        read_row(feed, line, &mut meanings, &mut unmapped, rows);
    })
    .map_err(failed)
}

fn read_row(feed: &Feed, line: &[u8], meanings: &mut Meanings<'_>, unmapped: &mut usize, rows: &mut Rows<'_>) {
    let row = Row::parse(line);
    if row.codes().next().is_none() {
        return rows.bad(line, &"no code stands behind the name");
    }
    let (mut is_clean, mut places) = (false, Vec::new());
    for code in row.codes() {
        let (meaning, is_new) = meanings.of(code);
        match meaning {
            Meaning::Category(place) if !places.contains(&place) => places.push(place),
            Meaning::Category(_) => {}
            Meaning::Clean => is_clean = true,
            Meaning::Unmapped => {
                rows.unmapped();
                if is_new && *unmapped < UNMAPPED_TOLD_MAX {
                    *unmapped += 1;
                    let code = String::from_utf8_lossy(code);
                    rows.complain_unmapped_code(&code, meanings.title(&code));
                }
            }
        }
    }
    if row.path.is_some() {
        if is_clean || !places.is_empty() {
            rows.set_category(NO_CATEGORY);
            rows.path();
        }
        return;
    }
    let claim = Claim::deny(feed.bare_scope());
    let bad = rows.report.bad;
    for &place in &places {
        rows.set_category(place);
        rows.entry(line, row.name, claim);
        // What is wrong with a name is wrong once.
        if rows.report.bad > bad {
            return;
        }
    }
    // A name that is of a category as well is not clean.
    if is_clean && places.is_empty() {
        rows.set_category(NO_CATEGORY);
        rows.entry(line, row.name, Claim { polarity: Polarity::Allow, ..claim });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_name_perhaps_a_path_and_codes_in_any_way_of_writing() {
        let check = |text: &str, normal: &str, path: Option<&str>| {
            let row = Row::parse(text.as_bytes());
            assert_eq!(String::from_utf8(row.normal()).unwrap(), normal, "{text:?}");
            assert_eq!(row.path, path.map(str::as_bytes), "{text:?}");
        };
        check("a.example\t1", "a.example\t1", None);
        check("A.Example.\t1,2;3 4\t5", "a.example\t1,2,3,4,5", None);
        check("a.example,1,2", "a.example\t1,2", None);
        check("a.example 1", "a.example\t1", None);
        check("A.example/Path,x y\t7", "a.example/Path,x y\t7", Some("/Path,x y"));
        check("a.example/\t7", "a.example/\t7", Some("/"));
        check("a.example/a,b", "a.example/a,b", Some("/a,b"));
        check("a.example", "a.example", None);
        check("a.example\t-", "a.example", None);
        check("a.example\t", "a.example", None);
        check("\t1", "\t1", None);
    }

    #[test]
    fn a_code_is_known_by_its_number_or_its_code_name() {
        let categories = [("1", "ads"), ("bets", "gambling"), ("9", "none")].map(|(code, slug)| (code.to_owned(), slug.to_owned()));
        let feed = Feed { categories: categories.into(), ..Feed::new("a", "a", crate::feed::Format::CategoryFeed) };
        let json = br#"{"v":1,"codes":[{"code":2,"codename":"bets","title":"Betting"},{"code":1,"codename":"adverts"},{"code":5,"title":"Five"}]}"#;
        let codes = Codes::parse(json).unwrap();
        let place_of = |slug: &str| if slug == "ads" { 10 } else { 20 };
        let mut meanings = Meanings::new(&feed, &codes, &place_of);
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
            assert_eq!(meanings.of(code.as_bytes()), (meaning, true), "{code}");
            assert_eq!(meanings.of(code.as_bytes()), (meaning, false), "{code}");
        }
        assert_eq!((meanings.title("5"), meanings.title("2"), meanings.title("x")), (Some("Five"), Some("Betting"), None));
        assert_eq!(feed.slugs().collect::<Vec<_>>(), ["ads", "gambling"]);
    }
}
