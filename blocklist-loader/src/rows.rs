//! What parsers say about rows goes through here: names become canonical, public suffixes are
//! guarded, everything that is not taken is counted, and the first few of each kind are kept for
//! the person who mends the feed.

use std::fmt::Display;

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

use crate::parse::adblock::TakenAway;

/// Complaints kept of each [`Kind`]: with four kinds at most twenty a feed, and no kind crowds out
/// another.
const SAMPLES_OF_A_KIND: u8 = 5;
/// The longest path that is told apart from others, in octets; servers refuse longer ones.
const PATH_OCTETS_MAX: usize = 8_192;
/// Characters of a row that a complaint shows: enough to find it again.
const SAMPLE_CHARACTERS: usize = 80;

/// What a row says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Claim {
    pub(crate) scope: Scope,
    pub(crate) polarity: Polarity,
    pub(crate) important: bool,
    pub(crate) action: EntryAction,
}

impl Claim {
    /// Lists a name, in the plainest way.
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

/// One entry, as its row said it.
#[derive(Debug, Clone)]
pub(crate) struct Said<'a> {
    /// The name; of an address, the name that stands for it.
    pub(crate) name: NameRef<'a>,
    /// The path, where it is about one.
    pub(crate) path: Option<&'a [u8]>,
    /// The place of its category.
    pub(crate) category: u8,
    pub(crate) claim: Claim,
    /// What the name is answered with, where the action is that.
    pub(crate) records: Option<&'a LocalData>,
}

impl Said<'_> {
    /// The key that it stands under.
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

    /// The same as an artefact writes it, but for the place of its records.
    pub(crate) fn mark(&self, feed: u16) -> ListEntry {
        let Claim {
            scope,
            polarity,
            important,
            action,
        } = self.claim;
        ListEntry {
            polarity,
            important,
            action,
            ..ListEntry::deny(feed, self.category, scope)
        }
    }
}

/// Takes one entry.
pub(crate) type Take<'a> = dyn FnMut(Said<'_>) -> Result<(), ArtefactError> + 'a;

/// Why a row was not taken.
#[derive(Clone, Copy)]
enum Kind {
    Bad,
    Unsupported,
    PublicSuffix,
    Unmapped,
}

/// The rows of one feed, as they are understood.
pub(crate) struct Rows<'a> {
    pub(crate) report: FeedReport,
    /// Where the format has nowhere else to put it: the category of the file at hand, `None` where
    /// it has none.
    category: Option<u8>,
    file: String,
    line: u64,
    guard_suffixes: bool,
    samples: [u8; 4],
    take: &'a mut Take<'a>,
    failed: Option<ArtefactError>,
    /// Rules of adblockers that other rows of the feed take away.
    taken_away: TakenAway,
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
            taken_away: TakenAway::new(),
        }
    }

    /// Rows of these rules say nothing.
    pub(crate) fn take_away(&mut self, rules: TakenAway) {
        self.taken_away = rules;
    }

    /// Whether a rule is one of those. Its identity is asked for only where there are some.
    pub(crate) fn is_taken_away(&self, identity: impl FnOnce() -> Box<[u8]>) -> bool {
        !self.taken_away.is_empty() && self.taken_away.contains(&identity())
    }

    /// The rows that follow are of this file and this category.
    pub(crate) fn enter(&mut self, file: &str, category: Option<u8>) {
        file.clone_into(&mut self.file);
        self.line = 0;
        self.category = category;
    }

    /// The entries that follow are of this category.
    pub(crate) fn set_category(&mut self, category: u8) {
        self.category = Some(category);
    }

    /// The next line of the file begins, whatever is in it.
    pub(crate) fn next_line(&mut self) {
        self.line += 1;
        self.report.lines += 1;
    }

    /// What stopped the entries from being taken, if anything did.
    pub(crate) fn failure(&mut self) -> Option<ArtefactError> {
        self.failed.take()
    }

    /// Rows that held something, understood or not.
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

    /// A row claims something of a name. What is wrong with the name is wrong with the row.
    pub(crate) fn entry(&mut self, row: &[u8], name: &[u8], claim: Claim) {
        self.entry_with(row, name, claim, None);
    }

    /// The same for a row that brings the records to answer with.
    pub(crate) fn entry_with(
        &mut self,
        row: &[u8],
        name: &[u8],
        claim: Claim,
        records: Option<&LocalData>,
    ) {
        let Some(category) = self.category else {
            return self.unmapped();
        };
        let mut buffer = NameBuffer::new();
        match buffer.parse(name) {
            Ok(name) => self.claim(
                row,
                Said {
                    name,
                    path: None,
                    category,
                    claim,
                    records,
                },
            ),
            Err(error) => self.bad(row, &error),
        }
    }

    /// A row claims something of the addresses in answers.
    pub(crate) fn address(&mut self, prefix: IpNet, claim: Claim, records: Option<&LocalData>) {
        let Some(category) = self.category else {
            return self.unmapped();
        };
        for name in names_of_prefix(prefix) {
            self.give(Said {
                name: name.borrow(),
                path: None,
                category,
                claim,
                records,
            });
        }
        self.report.addresses += 1;
        self.report.entries += 1;
    }

    /// A row lists a path of a host, which begins with a slash: never the host.
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
                let claim = Claim {
                    action: EntryAction::Path,
                    ..Claim::deny(Scope::Exact)
                };
                self.give(Said {
                    name,
                    path: Some(path),
                    category,
                    claim,
                    records: None,
                });
                self.report.paths += 1;
            }
            Err(error) => self.bad(row, &error),
        }
    }

    fn claim(&mut self, row: &[u8], said: Said<'_>) {
        let claim = said.claim;
        // An exact entry covers one name and an exception only gives back: neither can take
        // strangers down.
        let covers_below = claim.scope != Scope::Exact && claim.polarity == Polarity::Deny;
        let suffix = public_suffix(said.name).filter(|_| self.guard_suffixes && covers_below);
        self.report.registry_suffixes +=
            u64::from(suffix.is_some_and(|suffix| suffix != SuffixKind::Private));
        let is_narrowed = matches!(suffix, Some(SuffixKind::Registry | SuffixKind::Private))
            && claim.scope == Scope::Subtree;
        if suffix.is_some() && !is_narrowed {
            let reason = "would cover everything under a public suffix; force_public_suffixes = true would take it";
            return self.public_suffix(row, &reason);
        }
        let claim = if is_narrowed {
            Claim {
                scope: Scope::Exact,
                ..claim
            }
        } else {
            claim
        };
        self.give(Said { claim, ..said });
        self.report.entries += 1;
        if is_narrowed {
            let reason = "is a public suffix, so only the name itself is taken; force_public_suffixes = true would take all below it";
            self.public_suffix(row, &reason);
        }
    }

    fn give(&mut self, said: Said<'_>) {
        if self.failed.is_none()
            && let Err(error) = (self.take)(said)
        {
            self.failed = Some(error);
        }
    }

    fn public_suffix(&mut self, row: &[u8], reason: &dyn Display) {
        self.report.public_suffixes += 1;
        self.complain(Kind::PublicSuffix, row, reason);
    }

    /// A row of a syntax outside our subset of the format.
    pub(crate) fn unsupported(&mut self, row: &[u8], reason: &str) {
        self.report.unsupported += 1;
        self.complain(Kind::Unsupported, row, &reason);
    }

    /// A row that excepts a name in a way outside our subset of the format. It is counted as such,
    /// and the name is excepted as a whole, so that no other row blocks it.
    pub(crate) fn unsupported_exception(
        &mut self,
        row: &[u8],
        name: &[u8],
        claim: Claim,
        reason: &str,
    ) {
        self.unsupported(row, reason);
        let Some(category) = self.category else {
            return;
        };
        let mut buffer = NameBuffer::new();
        if let Ok(name) = buffer.parse(name) {
            self.give(Said {
                name,
                path: None,
                category,
                claim,
                records: None,
            });
        }
    }

    /// A row that holds no name where one must stand.
    pub(crate) fn bad(&mut self, row: &[u8], reason: &dyn Display) {
        self.report.bad += 1;
        self.complain(Kind::Bad, row, reason);
    }

    /// The rows of this folder belong to no category; said once a folder, counted by row.
    pub(crate) fn complain_unmapped(&mut self, folder: &str) {
        let reason = format!("categories has no entry for the folder {folder:?}");
        self.complain(Kind::Unmapped, b"", &reason);
    }

    /// A code that `categories` does not map was met; to be said once a code.
    pub(crate) fn complain_unmapped_code(&mut self, code: &str, title: Option<&str>) {
        let title = title
            .map(|title| format!(" ({})", printable(title.as_bytes())))
            .unwrap_or_default();
        let file = self.file.clone();
        let line = self.line;
        let text = printable(code.as_bytes());
        // Not bounded as the other kinds are: each says something else. The caller bounds them.
        let reason = format!("categories has no entry for the code {text}{title}");
        self.report.samples.push(Complaint {
            file,
            line,
            text,
            reason,
        });
    }

    /// A row belongs to no category.
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

/// A row as it can be shown: shortened, and with nothing in it that moves a cursor or turns the
/// text around.
fn printable(row: &[u8]) -> String {
    // A character has at most four octets, so nothing beyond these is shown anyway.
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
