//! Validates what parsers return: makes names canonical, guards public suffixes, and counts all
//! rows that are not accepted. The first few of each kind are kept as samples for the person who
//! maintains the feed.

use std::{collections::HashSet, fmt::Display};

use ipnet::IpNet;
use policy::{
    lists::{
        artefact::{ArtefactError, Complaint, FeedReport},
        entry::{EntryAction, ListEntry, LocalData, Polarity, Scope},
        index_key::{key_of_path, names_of_prefix},
        public_suffix::{SuffixKind, public_suffix},
    },
    name::{NameBuffer, NameRef},
};

/// Samples kept for each [`Kind`]: at most twenty a feed with four kinds, so that no kind displaces
/// another.
const SAMPLES_OF_A_KIND: u8 = 5;
/// The longest URL path, in octets; servers refuse longer ones.
const PATH_OCTETS_MAX: usize = 8_192;
/// Characters of a row that a complaint shows.
const SAMPLE_CHARACTERS: usize = 80;

/// What an entry does with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryRule {
    pub(crate) scope: Scope,
    pub(crate) polarity: Polarity,
    pub(crate) important: bool,
    pub(crate) action: EntryAction,
}

impl EntryRule {
    /// Blocks a name with the household's policy.
    pub(crate) fn deny(scope: Scope) -> Self {
        Self {
            scope,
            polarity: Polarity::Deny,
            important: false,
            action: EntryAction::OperatorPolicy,
        }
    }

    /// Excepts a name.
    pub(crate) fn allow(scope: Scope) -> Self {
        Self {
            polarity: Polarity::Allow,
            ..Self::deny(scope)
        }
    }
}

/// One entry as its row states it.
#[derive(Debug, Clone)]
pub(crate) struct ParsedEntry<'a> {
    /// The name; for an address prefix, the name that encodes it.
    pub(crate) name: NameRef<'a>,
    /// The URL path, for an entry about a part of a host.
    pub(crate) path: Option<&'a [u8]>,
    /// Index of its category.
    pub(crate) category: u8,
    pub(crate) rule: EntryRule,
    /// The records to answer with, for [`EntryAction::LocalData`].
    pub(crate) records: Option<&'a LocalData>,
}

impl ParsedEntry<'_> {
    /// The index key of the entry.
    pub(crate) fn key(&self) -> Vec<u8> {
        match self.path {
            Some(path) => key_of_path(self.name, path),
            None => {
                let mut key = Vec::with_capacity(self.name.wire().len());
                self.name.write_key(&mut key);
                key
            }
        }
    }

    /// The entry in the artefact's form, without the index of its records.
    pub(crate) fn mark(&self, feed: u16) -> ListEntry {
        let EntryRule {
            scope,
            polarity,
            important,
            action,
        } = self.rule;
        ListEntry {
            polarity,
            important,
            action,
            ..ListEntry::deny(feed, self.category, scope)
        }
    }
}

/// Receives each accepted entry.
pub(crate) type Take<'a> = dyn FnMut(ParsedEntry<'_>) -> Result<(), ArtefactError> + 'a;

/// Rules of ad blockers that `$badfilter` rows disable, by their identity.
pub(crate) type BadFilters = HashSet<Box<[u8]>>;

/// Why a row was not accepted.
#[derive(Clone, Copy)]
enum Kind {
    Bad,
    Unsupported,
    PublicSuffix,
    Unmapped,
}

/// Collects the rows of one feed.
pub(crate) struct Rows<'a> {
    pub(crate) report: FeedReport,
    /// The category of the current file or row; `None` where `categories` does not map it.
    category: Option<u8>,
    file: String,
    line: u64,
    guard_suffixes: bool,
    samples: [u8; 4],
    take: &'a mut Take<'a>,
    failed: Option<ArtefactError>,
    /// Rules of ad blockers that `$badfilter` rows of the feed disable.
    bad_filters: BadFilters,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(guard_suffixes: bool, take: &'a mut Take<'a>) -> Self {
        Self {
            report: FeedReport::default(),
            category: None,
            file: String::new(),
            line: 0,
            guard_suffixes,
            samples: [0; 4],
            take,
            failed: None,
            bad_filters: BadFilters::new(),
        }
    }

    /// Disables these rules.
    pub(crate) fn set_bad_filters(&mut self, rules: BadFilters) {
        self.bad_filters = rules;
    }

    /// Whether a rule is disabled. `identity` is computed only where the feed has disabled rules.
    pub(crate) fn is_disabled(&self, identity: impl FnOnce() -> Box<[u8]>) -> bool {
        !self.bad_filters.is_empty() && self.bad_filters.contains(&identity())
    }

    /// Starts a file: the rows that follow have this file name and category.
    pub(crate) fn enter(&mut self, file: &str, category: Option<u8>) {
        file.clone_into(&mut self.file);
        self.line = 0;
        self.category = category;
    }

    /// Sets the category of the entries that follow.
    pub(crate) fn set_category(&mut self, category: u8) {
        self.category = Some(category);
    }

    /// Counts a line of the file.
    pub(crate) fn next_line(&mut self) {
        self.line += 1;
        self.report.lines += 1;
    }

    /// The first error of the entry receiver, if it failed.
    pub(crate) fn failure(&mut self) -> Option<ArtefactError> {
        self.failed.take()
    }

    /// Rows with content, accepted or not.
    pub(crate) fn rows(&self) -> u64 {
        let FeedReport {
            entries,
            paths,
            unsupported,
            bad,
            public_suffixes,
            unmapped,
            ..
        } = &self.report;
        entries + paths + unsupported + bad + public_suffixes + unmapped
    }

    /// Adds an entry. A row whose name is invalid is counted as bad.
    pub(crate) fn entry(&mut self, row: &[u8], name: &[u8], rule: EntryRule) {
        self.entry_with(row, name, rule, None);
    }

    /// Adds an entry with the records to answer with.
    pub(crate) fn entry_with(
        &mut self,
        row: &[u8],
        name: &[u8],
        rule: EntryRule,
        records: Option<&LocalData>,
    ) {
        let Some(category) = self.category else {
            return self.unmapped();
        };
        let mut buffer = NameBuffer::new();
        match buffer.parse(name) {
            Ok(name) => self.guarded(
                row,
                ParsedEntry {
                    name,
                    path: None,
                    category,
                    rule,
                    records,
                },
            ),
            Err(error) => self.bad(row, &error),
        }
    }

    /// Adds an entry for the addresses in answers.
    pub(crate) fn address(&mut self, prefix: IpNet, rule: EntryRule, records: Option<&LocalData>) {
        let Some(category) = self.category else {
            return self.unmapped();
        };
        for name in names_of_prefix(prefix) {
            self.give(ParsedEntry {
                name: name.borrow(),
                path: None,
                category,
                rule,
                records,
            });
        }
        self.report.addresses += 1;
        self.report.entries += 1;
    }

    /// Adds an entry for a URL path of a host. The path begins with a slash; the host itself is not
    /// listed.
    pub(crate) fn path_entry(&mut self, row: &[u8], host: &[u8], path: &[u8]) {
        let Some(category) = self.category else {
            return self.unmapped();
        };
        let mut buffer = NameBuffer::new();
        match buffer.parse(host) {
            Ok(_) if path.len() > PATH_OCTETS_MAX => self.bad(
                row,
                &format_args!("the path is longer than {PATH_OCTETS_MAX} octets"),
            ),
            Ok(name) => {
                let rule = EntryRule {
                    action: EntryAction::Path,
                    ..EntryRule::deny(Scope::Exact)
                };
                self.give(ParsedEntry {
                    name,
                    path: Some(path),
                    category,
                    rule,
                    records: None,
                });
                self.report.paths += 1;
            }
            Err(error) => self.bad(row, &error),
        }
    }

    fn guarded(&mut self, row: &[u8], entry: ParsedEntry<'_>) {
        let rule = entry.rule;
        // An exact entry covers one name and an exception only unblocks: neither can block names of
        // other registrants.
        let covers_below = rule.scope != Scope::Exact && rule.polarity == Polarity::Deny;
        let suffix = public_suffix(entry.name).filter(|_| self.guard_suffixes && covers_below);
        self.report.registry_suffixes +=
            u64::from(suffix.is_some_and(|suffix| suffix != SuffixKind::Private));
        let is_narrowed = matches!(suffix, Some(SuffixKind::Registry | SuffixKind::Private))
            && rule.scope == Scope::Subtree;
        if suffix.is_some() && !is_narrowed {
            let reason = "would cover everything under a public suffix; force_public_suffixes = true would take it";
            return self.public_suffix(row, &reason);
        }
        let rule = if is_narrowed {
            EntryRule {
                scope: Scope::Exact,
                ..rule
            }
        } else {
            rule
        };
        self.give(ParsedEntry { rule, ..entry });
        self.report.entries += 1;
        if is_narrowed {
            let reason = "is a public suffix, so only the name itself is taken; force_public_suffixes = true would take all below it";
            self.public_suffix(row, &reason);
        }
    }

    fn give(&mut self, entry: ParsedEntry<'_>) {
        if self.failed.is_none()
            && let Err(error) = (self.take)(entry)
        {
            self.failed = Some(error);
        }
    }

    fn public_suffix(&mut self, row: &[u8], reason: &dyn Display) {
        self.report.public_suffixes += 1;
        self.complain(Kind::PublicSuffix, row, reason);
    }

    /// Counts a row whose syntax is outside the supported subset of the format.
    pub(crate) fn unsupported(&mut self, row: &[u8], reason: &str) {
        self.report.unsupported += 1;
        self.complain(Kind::Unsupported, row, &reason);
    }

    /// Counts an unsupported row that excepts a name, and excepts the whole name, so that no other
    /// row blocks it.
    pub(crate) fn unsupported_exception(
        &mut self,
        row: &[u8],
        name: &[u8],
        rule: EntryRule,
        reason: &str,
    ) {
        self.unsupported(row, reason);
        let Some(category) = self.category else {
            return;
        };
        let mut buffer = NameBuffer::new();
        if let Ok(name) = buffer.parse(name) {
            self.give(ParsedEntry {
                name,
                path: None,
                category,
                rule,
                records: None,
            });
        }
    }

    /// Counts a row without a valid name.
    pub(crate) fn bad(&mut self, row: &[u8], reason: &dyn Display) {
        self.report.bad += 1;
        self.complain(Kind::Bad, row, reason);
    }

    /// Complains once about a folder without a category; its rows are counted one by one.
    pub(crate) fn complain_unmapped(&mut self, folder: &str) {
        let reason = format!("categories has no entry for the folder {folder:?}");
        self.complain(Kind::Unmapped, b"", &reason);
    }

    /// Complains about a code that `categories` does not map. The caller does this once per code.
    pub(crate) fn complain_unmapped_code(&mut self, code: &str, title: Option<&str>) {
        let title = title
            .map(|title| format!(" ({})", printable(title.as_bytes())))
            .unwrap_or_default();
        let file = self.file.clone();
        let line = self.line;
        let text = printable(code.as_bytes());
        // Not limited like the other kinds, because each code is a different complaint. The caller
        // limits them.
        let reason = format!("categories has no entry for the code {text}{title}");
        self.report.samples.push(Complaint {
            file,
            line,
            text,
            reason,
        });
    }

    /// Counts a row without a category.
    pub(crate) fn unmapped(&mut self) {
        self.report.unmapped += 1;
    }

    fn complain(&mut self, kind: Kind, row: &[u8], reason: &dyn Display) {
        let count = &mut self.samples[kind as usize];
        if *count < SAMPLES_OF_A_KIND {
            *count += 1;
            let file = self.file.clone();
            let line = self.line;
            self.report.samples.push(Complaint {
                file,
                line,
                text: printable(row),
                reason: reason.to_string(),
            });
        }
    }
}

/// A row as it can be displayed: shortened, without control characters and without characters that
/// change the direction of text.
fn printable(row: &[u8]) -> String {
    // A character has at most four octets.
    let text = String::from_utf8_lossy(&row[..row.len().min(SAMPLE_CHARACTERS * 4)]);
    let turns = |character| matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let shown = |character: char| {
        if character.is_control() || turns(character) {
            char::REPLACEMENT_CHARACTER
        } else {
            character
        }
    };
    text.chars().take(SAMPLE_CHARACTERS).map(shown).collect()
}
