//! The JSON documents of a category feed: its files and the meaning of its codes.
//! `docs/category-feed.md` describes them. Parsing is lenient, because several producers write
//! them; the checks that follow are strict.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, de};

/// The most files in a manifest. Producers expire old ones; a longer chain of deltas would take
/// hours.
const FILES_MAX: usize = 100_000;
/// The most codes of a feed. Commercial feeds have some hundred.
const CODES_MAX: usize = 100_000;

/// `feed.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct FeedManifest {
    #[serde(alias = "version", alias = "schema", deserialize_with = "version_1")]
    v: (),
    /// Identity of the feed; another value means another feed at the same URL.
    #[serde(
        default,
        alias = "uuid",
        alias = "feed_id",
        alias = "epoch",
        deserialize_with = "optional_text"
    )]
    pub(crate) id: Option<String>,
    #[serde(default, alias = "snapshot", deserialize_with = "one_or_many")]
    pub(crate) snapshots: Vec<PublishedFile>,
    #[serde(default, alias = "delta", deserialize_with = "one_or_many")]
    pub(crate) deltas: Vec<PublishedFile>,
    #[serde(
        default,
        alias = "feed_codes",
        alias = "codes_file",
        deserialize_with = "codes"
    )]
    pub(crate) codes: Option<CodesFile>,
}

/// One file of the feed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct PublishedFile {
    #[serde(alias = "name", alias = "filename", alias = "path", alias = "url")]
    pub(crate) file: String,
    /// The version that the file leads to.
    #[serde(
        alias = "seq",
        alias = "serial",
        alias = "to",
        alias = "version",
        deserialize_with = "number"
    )]
    pub(crate) sequence: u64,
    /// The version that a delta starts from; default: the one before `sequence`.
    #[serde(
        default,
        alias = "from_sequence",
        alias = "from_seq",
        alias = "previous",
        alias = "prev",
        alias = "base",
        deserialize_with = "optional_number"
    )]
    from: Option<u64>,
    #[serde(
        alias = "sha256sum",
        alias = "sha256_hash",
        alias = "checksum",
        deserialize_with = "digest"
    )]
    pub(crate) sha256: String,
    /// Octets of the file as published.
    #[serde(
        default,
        alias = "bytes",
        alias = "length",
        deserialize_with = "optional_number"
    )]
    pub(crate) size: Option<u64>,
}

/// The files of a manifest: their name, and digests that identify their content. One version may
/// exist in several compressions.
pub(crate) type Files = BTreeMap<String, BTreeSet<String>>;
/// Digits of a file's SHA-256 that distinguish it from another file of the same version. Attackers
/// do not control them.
const DIGITS: usize = 16;

/// The file of the code map.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct CodesFile {
    #[serde(alias = "name", alias = "filename", alias = "path", alias = "url")]
    pub(crate) file: String,
    #[serde(
        default,
        alias = "sha256sum",
        alias = "sha256_hash",
        alias = "checksum",
        deserialize_with = "optional_digest"
    )]
    pub(crate) sha256: Option<String>,
}

/// The files that lead from the spooled version to the newest one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route<'a> {
    /// The snapshot to start with; `None` where deltas continue the spooled version.
    pub(crate) snapshot: Option<&'a PublishedFile>,
    pub(crate) deltas: Vec<&'a PublishedFile>,
}

impl PublishedFile {
    fn from(&self) -> u64 {
        self.from.unwrap_or(self.sequence.saturating_sub(1))
    }

    fn digits(&self) -> String {
        self.sha256[..DIGITS].to_owned()
    }
}

impl FeedManifest {
    /// Parses a manifest; the error is the reason.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let files = manifest.snapshots.iter().chain(&manifest.deltas);
        if files.clone().count() > FILES_MAX {
            return Err(format!("it names more than {FILES_MAX} files"));
        }
        for file in files
            .map(|published| &published.file)
            .chain(manifest.codes.iter().map(|codes| &codes.file))
        {
            check_file_name(file)?;
        }
        if let Some(delta) = manifest
            .deltas
            .iter()
            .find(|delta| delta.from() >= delta.sequence)
        {
            return Err(format!(
                "delta {:?} leads from {} to {}",
                delta.file,
                delta.from(),
                delta.sequence
            ));
        }
        Ok(manifest)
    }

    /// All snapshots and deltas, each with its age, its name and its digest. A snapshot counts as
    /// older than a delta that starts from it.
    fn published(&self) -> impl Iterator<Item = ((u64, bool), String, String)> {
        let snapshots = self.snapshots.iter().map(|file| {
            (
                (file.sequence, false),
                format!("snapshot-{}", file.sequence),
                file.digits(),
            )
        });
        let deltas = self.deltas.iter().map(|file| {
            let from = file.from();
            let to = file.sequence;
            ((from, true), format!("delta-{from}-{to}"), file.digits())
        });
        snapshots.chain(deltas)
    }

    /// Snapshots and deltas, to be stored for [`Self::continues`].
    pub(crate) fn files(&self) -> Files {
        let mut files = Files::new();
        for (_, file, digits) in self.published() {
            files.entry(file).or_default().insert(digits);
        }
        files
    }

    /// Whether this manifest belongs to the same history as one that had these files. Sequence
    /// numbers alone do not show that: a producer that started over may have reached the same
    /// number. Files never change; new ones are added at the new end and old ones removed at the
    /// old end. So the oldest file of a manifest that continues the history was in the earlier
    /// manifest, unless all earlier files are gone.
    pub(crate) fn continues(&self, known: &Files) -> bool {
        let now = self.files();
        let is_known = |file: &String| {
            known
                .get(file)
                .is_some_and(|known| !known.is_disjoint(&now[file]))
        };
        let oldest = self.published().map(|(age, ..)| age).min();
        let is_oldest_known = self
            .published()
            .any(|(age, file, _)| Some(age) == oldest && is_known(&file));
        is_oldest_known
            && now
                .keys()
                .all(|file| !known.contains_key(file) || is_known(file))
    }

    /// The newest version; `None` in an empty feed.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.snapshots
            .iter()
            .chain(&self.deltas)
            .map(|published| published.sequence)
            .max()
    }

    /// The route to the newest version: by deltas alone if possible, otherwise from the newest
    /// snapshot.
    ///
    /// # Errors
    /// No route exists; the reason states where it ends.
    pub(crate) fn route(&self, have: Option<u64>) -> Result<Route<'_>, String> {
        let newest = self
            .newest()
            .ok_or("it names neither snapshots nor deltas")?;
        if let Some(have) = have
            && have <= newest
            && let (deltas, end) = self.follow(have)
            && end == newest
        {
            return Ok(Route {
                snapshot: None,
                deltas,
            });
        }
        let snapshot = self
            .snapshots
            .iter()
            .max_by_key(|snapshot| snapshot.sequence)
            .ok_or("it names no snapshot to begin with")?;
        match self.follow(snapshot.sequence) {
            (deltas, end) if end == newest => Ok(Route {
                snapshot: Some(snapshot),
                deltas,
            }),
            (_, end) => Err(format!(
                "no delta leads on from {end}, and {newest} is the newest version"
            )),
        }
    }

    /// The deltas that continue a version, and the version they lead to. Each increases the number,
    /// so the loop ends.
    fn follow(&self, from: u64) -> (Vec<&PublishedFile>, u64) {
        let mut by_start: BTreeMap<u64, &PublishedFile> = BTreeMap::new();
        for delta in &self.deltas {
            let longest = by_start.entry(delta.from()).or_insert(delta);
            if delta.sequence > longest.sequence {
                *longest = delta;
            }
        }
        let mut deltas = Vec::new();
        let mut end = from;
        while let Some(delta) = by_start.get(&end) {
            deltas.push(*delta);
            end = delta.sequence;
        }
        (deltas, end)
    }
}

/// A file must be beside its manifest: neither elsewhere on the disk nor on another server.
fn check_file_name(file: &str) -> Result<(), String> {
    let is_part = |part: &str| !part.is_empty() && part != "." && part != "..";
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "-_.+=/~".contains(character);
    if file.len() <= 255 && file.split('/').all(is_part) && file.chars().all(is_plain) {
        return Ok(());
    }
    Err(format!("{file:?} is no name of a file beside it"))
}

/// `feed-codes.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Codes {
    /// Whether rows and configurations use code names instead of codes.
    #[serde(default, alias = "use_codenames")]
    pub(crate) use_codename: bool,
    #[serde(default)]
    pub(crate) codes: Vec<Code>,
}

/// One code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Code {
    #[serde(alias = "id", deserialize_with = "text")]
    pub(crate) code: String,
    #[serde(
        default,
        alias = "code_name",
        alias = "slug",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional_text"
    )]
    pub(crate) codename: Option<String>,
    #[serde(
        default,
        alias = "name",
        alias = "description",
        deserialize_with = "optional_text"
    )]
    pub(crate) title: Option<String>,
}

impl Codes {
    /// Parses a code map; the error is the reason.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Versioned {
            #[serde(alias = "version", deserialize_with = "version_1")]
            #[expect(dead_code, reason = "that it is 1 was checked while reading")]
            v: (),
        }
        serde_json::from_slice::<Versioned>(json).map_err(|error| error.to_string())?;
        let codes: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if codes.codes.len() > CODES_MAX {
            return Err(format!("it names more than {CODES_MAX} codes"));
        }
        Ok(codes)
    }
}

/// Numbers may be strings, because some languages cannot represent 2⁶⁴.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl NumberOrText {
    fn number<E: de::Error>(self) -> Result<u64, E> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Text(text) => text
                .parse()
                .map_err(|_| E::custom(format!("{text:?} is no number"))),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

fn version_1<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    match NumberOrText::deserialize(deserializer)?.number::<D::Error>()? {
        1 => Ok(()),
        other => Err(de::Error::custom(format!(
            "version {other} of the format; this program reads version 1"
        ))),
    }
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    NumberOrText::deserialize(deserializer)?.number()
}

fn optional_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Option::<NumberOrText>::deserialize(deserializer)?
        .map(NumberOrText::number)
        .transpose()
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    NumberOrText::deserialize(deserializer).map(NumberOrText::text)
}

fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<NumberOrText>::deserialize(deserializer)?.map(NumberOrText::text))
}

fn is_digest<E: de::Error>(text: String) -> Result<String, E> {
    let digits = text
        .strip_prefix("sha256:")
        .unwrap_or(&text)
        .to_ascii_lowercase();
    let is_one = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_one
        .then_some(digits)
        .ok_or_else(|| E::custom(format!("{text:?} is no SHA-256 in hexadecimal")))
}

fn digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    is_digest(String::deserialize(deserializer)?)
}

fn optional_digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::<String>::deserialize(deserializer)?
        .map(is_digest)
        .transpose()
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PublishedFile>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        Many(Vec<serde_json::Value>),
        One(serde_json::Value),
    }
    let values = match Option::<OneOrMany>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(OneOrMany::Many(values)) => values,
        Some(OneOrMany::One(value)) => vec![value],
    };
    values
        .into_iter()
        .map(|value| serde_json::from_value(value).map_err(de::Error::custom))
        .collect()
}

fn codes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<CodesFile>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum NameOrFile {
        Name(String),
        File(CodesFile),
    }
    Ok(
        Option::<NameOrFile>::deserialize(deserializer)?.map(|codes| match codes {
            NameOrFile::Name(file) => CodesFile { file, sha256: None },
            NameOrFile::File(file) => file,
        }),
    )
}
