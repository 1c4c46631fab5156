//! The signed manifest: the generations in the store, the files of each, which one is live; and
//! which of them a node should use.
//!
//! ```text
//! untrusted comment: ...                four lines as minisign writes them:
//! RUQ...                                `head -4 live > live.json.minisig; tail -n +5 live > live.json` and
//! trusted comment: ...                  `minisign -Vm live.json -P KEY` verify the file as well
//! ...
//! {"format": "ox-protect-lists", ...    the manifest
//! ```
//!
//! Signature and content are one object, so they always change together.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    error::ShareError,
    keys::{ManifestSigner, Verifier},
};
use crate::{digest::sha256, generations::ArtefactKind};

/// Distinguishes manifests from other documents that the same key signs.
const FORMAT: &str = "ox-protect-lists";
/// Increased when an older reader would misunderstand the manifest; new fields alone do not need
/// that.
const VERSION: u32 = 1;
const SIGNATURE_LINES: usize = 4;
/// The most generations in a manifest. A publisher that folds every few hundred deltas and keeps a
/// few full artefacts has fewer. All nodes read the manifest often.
const GENERATIONS_MAX: usize = 4096;
/// The most octets of a manifest: three hundred for each generation, plus reserve.
pub(super) const OCTETS_MAX: u64 = 2 << 20;
/// The most octets of an object; every artefact is smaller.
const OBJECT_OCTETS_MAX: u64 = 16 << 30;

/// The content of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: String,
    version: u32,
    /// Increases with each manifest.
    pub sequence: u64,
    /// When it was signed.
    pub published_at: Timestamp,
    /// The generation that the publisher uses; followers take no higher one.
    pub live: u64,
    /// The generations, oldest first.
    pub generations: Vec<ManifestEntry>,
}

/// One generation in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestEntry {
    pub generation: u64,
    /// When it was first published or reinstated; the delays of nodes count from here.
    pub published_at: Timestamp,
    /// Whether it was withdrawn: nodes that use it leave it at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
    /// The full artefact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<StoredObject>,
    /// The delta to the parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<StoredObject>,
    /// The generation that the delta continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u64>,
}

/// An object of the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StoredObject {
    /// SHA-256 of the content in hexadecimal, also its name.
    pub sha256: String,
    /// Length in octets.
    pub octets: u64,
}

impl StoredObject {
    pub(super) fn name(&self, kind: ArtefactKind) -> String {
        format!("{}{}", self.sha256, kind.suffix())
    }
}

impl ManifestEntry {
    pub(super) fn new(generation: u64, published_at: Timestamp) -> Self {
        Self {
            generation,
            published_at,
            withdrawn: false,
            full: None,
            delta: None,
            parent: None,
        }
    }

    pub(super) fn object(&self, kind: ArtefactKind) -> Option<&StoredObject> {
        match kind {
            ArtefactKind::Full => self.full.as_ref(),
            ArtefactKind::Delta => self.delta.as_ref(),
        }
    }
}

impl Manifest {
    pub(super) fn new(
        sequence: u64,
        published_at: Timestamp,
        live: u64,
        generations: Vec<ManifestEntry>,
    ) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            sequence,
            published_at,
            live,
            generations,
        }
    }

    #[must_use]
    pub fn entry(&self, generation: u64) -> Option<&ManifestEntry> {
        let place = self
            .generations
            .binary_search_by_key(&generation, |entry| entry.generation)
            .ok()?;
        Some(&self.generations[place])
    }

    /// The names of all objects.
    pub(super) fn objects(&self) -> BTreeMap<String, u64> {
        let kinds = |entry: &ManifestEntry| {
            [ArtefactKind::Full, ArtefactKind::Delta].map(|kind| {
                entry
                    .object(kind)
                    .map(|object| (object.name(kind), object.octets))
            })
        };
        self.generations.iter().flat_map(kinds).flatten().collect()
    }

    /// The chain from a generation back to the nearest full artefact: the generation first, the
    /// full artefact last. `None` where the chain is incomplete.
    pub(super) fn chain_to(&self, generation: u64) -> Option<Vec<&ManifestEntry>> {
        let mut chain = vec![self.entry(generation)?];
        while let Some(last) = chain.last().filter(|entry| entry.full.is_none()) {
            // Parents are older, so the loop ends.
            chain.push(self.entry(last.parent?)?);
        }
        Some(chain)
    }

    /// As it lies in the store, and the digest of what is signed.
    pub(super) fn seal(&self, signer: &ManifestSigner) -> Result<(Vec<u8>, String), ShareError> {
        self.check()?;
        let json =
            serde_json::to_vec(self).map_err(|error| ShareError::Format(error.to_string()))?;
        let signature = signer.sign(&json, &format!("{FORMAT} sequence:{}", self.sequence))?;
        let mut sealed = signature.trim_end().as_bytes().to_vec();
        sealed.push(b'\n');
        sealed.extend_from_slice(&json);
        if sealed.len() as u64 > OCTETS_MAX {
            return Err(ShareError::TooMany(self.generations.len()));
        }
        Ok((sealed, sha256(&json)))
    }

    /// Verifies and parses a manifest; also returns the digest of the signed document.
    pub(super) fn open(sealed: &[u8], verifier: &Verifier) -> Result<(Self, String), ShareError> {
        let ends = sealed
            .iter()
            .enumerate()
            .filter(|(_, octet)| **octet == b'\n')
            .map(|(at, _)| at + 1);
        let end = ends
            .take(SIGNATURE_LINES)
            .last()
            .filter(|_| sealed.iter().filter(|octet| **octet == b'\n').count() >= SIGNATURE_LINES);
        let (signature, json) = sealed.split_at(
            end.ok_or_else(|| ShareError::Signature("there is no signature".to_owned()))?,
        );
        let signature = str::from_utf8(signature)
            .map_err(|_| ShareError::Signature("it is no text".to_owned()))?;
        // The content is not interpreted before it is verified.
        verifier.verify(json, signature)?;
        let manifest: Self =
            serde_json::from_slice(json).map_err(|error| ShareError::Format(error.to_string()))?;
        manifest.check()?;
        Ok((manifest, sha256(json)))
    }

    /// Checks consistency: even a signed document may be wrong, and it determines file names.
    fn check(&self) -> Result<(), ShareError> {
        let fault = |what: String| Err(ShareError::Format(what));
        if self.format != FORMAT || self.version != VERSION {
            return fault(format!(
                "it is {:?} of version {}, this program reads {FORMAT:?} of version {VERSION}",
                self.format, self.version
            ));
        }
        if self.generations.len() > GENERATIONS_MAX {
            return Err(ShareError::TooMany(self.generations.len()));
        }
        if !self
            .generations
            .is_sorted_by(|a, b| a.generation < b.generation)
        {
            return fault("its generations are not in order".to_owned());
        }
        for entry in &self.generations {
            let is_digest = |text: &str| {
                text.len() == 64
                    && text
                        .bytes()
                        .all(|octet| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet))
            };
            let mut objects = entry.full.iter().chain(&entry.delta);
            let is_sound = entry.generation > 0
                && (entry.full.is_some() || entry.delta.is_some())
                && entry.delta.is_some() == entry.parent.is_some()
                && entry.parent.is_none_or(|parent| parent < entry.generation)
                && objects
                    .all(|object| is_digest(&object.sha256) && object.octets <= OBJECT_OCTETS_MAX);
            if !is_sound {
                return fault(format!(
                    "what it says of generation {} makes no sense",
                    entry.generation
                ));
            }
        }
        match self.entry(self.live) {
            Some(live) if !live.withdrawn => Ok(()),
            _ => fault(format!(
                "generation {} is live in it, but not there or withdrawn",
                self.live
            )),
        }
    }

    /// The generations that a node should switch to, best first; empty where it should keep its
    /// current one.
    ///
    /// A generation qualifies once its delay has passed. A node never goes back to an older one
    /// unless its own was withdrawn; then it takes the newest good one at any age. A node without
    /// lists takes the newest qualified generation, or else the one that was published first.
    pub(super) fn candidates(
        &self,
        current: Option<u64>,
        delay: SignedDuration,
        now: Timestamp,
        refused: &BTreeSet<u64>,
    ) -> Vec<u64> {
        let is_usable = |entry: &&ManifestEntry| {
            !entry.withdrawn
                && entry.generation <= self.live
                && !refused.contains(&entry.generation)
        };
        let usable = || self.generations.iter().rev().filter(is_usable);
        let is_aged = |entry: &&ManifestEntry| now.duration_since(entry.published_at) >= delay;
        let numbers = |entries: &mut dyn Iterator<Item = &ManifestEntry>| {
            entries.map(|entry| entry.generation).collect::<Vec<_>>()
        };
        let Some(current) = current else {
            let mut fresh: Vec<&ManifestEntry> = usable().filter(|entry| !is_aged(entry)).collect();
            fresh.sort_by_key(|entry| (entry.published_at, entry.generation));
            return numbers(&mut usable().filter(is_aged).chain(fresh));
        };
        let must_leave =
            current > self.live || self.entry(current).is_some_and(|entry| entry.withdrawn);
        if must_leave {
            numbers(&mut usable().filter(|entry| entry.generation != current))
        } else {
            numbers(
                &mut usable()
                    .filter(is_aged)
                    .take_while(|entry| entry.generation > current),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::generate_keys;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn object(digit: char) -> Option<StoredObject> {
        Some(StoredObject {
            sha256: digit.to_string().repeat(64),
            octets: 7,
        })
    }

    /// Generations 1 to 4, out since 100, 200, 300 and 400.
    fn manifest() -> Manifest {
        let full = |generation, second| ManifestEntry {
            full: object('a'),
            ..ManifestEntry::new(generation, at(second))
        };
        let delta = |generation, second| ManifestEntry {
            delta: object('b'),
            parent: Some(generation - 1),
            ..ManifestEntry::new(generation, at(second))
        };
        Manifest::new(
            7,
            at(400),
            4,
            vec![full(1, 100), delta(2, 200), delta(3, 300), full(4, 400)],
        )
    }

    #[test]
    fn a_sealed_manifest_opens_with_its_key_and_no_octet_of_it_can_be_changed() {
        let folder = tempfile::tempdir().unwrap();
        let signer = ManifestSigner::read(&generate_keys(folder.path()).unwrap().secret).unwrap();
        let (sealed, digest) = manifest().seal(&signer).unwrap();
        assert_eq!(
            Manifest::open(&sealed, &signer.verifier).unwrap(),
            (manifest(), digest)
        );
        for at in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[at] ^= 1;
            // The untrusted comment is not covered by the signature and not used.
            if let Ok((opened, _)) = Manifest::open(&forged, &signer.verifier) {
                assert_eq!(opened, manifest(), "octet {at}");
            }
        }
        for end in 0..sealed.len() {
            assert!(
                matches!(
                    Manifest::open(&sealed[..end], &signer.verifier),
                    Err(ShareError::Signature(_))
                ),
                "up to {end}"
            );
        }
        let stranger =
            ManifestSigner::read(&generate_keys(&folder.path().join("other")).unwrap().secret)
                .unwrap();
        assert!(matches!(
            Manifest::open(&sealed, &stranger.verifier),
            Err(ShareError::Signature(_))
        ));
    }

    #[test]
    fn a_manifest_that_makes_no_sense_is_refused_although_it_is_signed() {
        let faults: [fn(&mut Manifest); 9] = [
            |manifest| manifest.version = 2,
            |manifest| manifest.format = "something else".to_owned(),
            |manifest| manifest.live = 9,
            |manifest| manifest.generations[3].withdrawn = true,
            |manifest| manifest.generations.swap(0, 1),
            |manifest| manifest.generations[1].parent = Some(2),
            |manifest| manifest.generations[1].delta = None,
            |manifest| {
                manifest.generations[0].full = Some(StoredObject {
                    sha256: "../../../etc/passwd".to_owned(),
                    octets: 1,
                })
            },
            |manifest| {
                manifest.generations[0].full = Some(StoredObject {
                    sha256: "A".repeat(64),
                    octets: 1,
                })
            },
        ];
        for fault in faults {
            let mut wrong = manifest();
            fault(&mut wrong);
            assert!(
                matches!(wrong.check(), Err(ShareError::Format(_))),
                "{wrong:?}"
            );
        }
        let many = (1..=GENERATIONS_MAX as u64 + 1)
            .map(|generation| ManifestEntry {
                full: object('a'),
                ..ManifestEntry::new(generation, at(0))
            })
            .collect();
        assert!(matches!(
            Manifest::new(1, at(0), 1, many).check(),
            Err(ShareError::TooMany(_))
        ));
    }

    #[test]
    fn the_chain_of_a_generation_ends_at_the_nearest_full_one() {
        let chain = |generation| {
            manifest().chain_to(generation).map(|chain| {
                chain
                    .iter()
                    .map(|entry| entry.generation)
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(chain(3), Some(vec![3, 2, 1]));
        assert_eq!(chain(4), Some(vec![4]));
        assert_eq!(chain(9), None);
        let mut broken = manifest();
        broken.generations.remove(0);
        assert!(broken.chain_to(3).is_none());
    }

    #[test]
    fn a_node_takes_what_is_out_long_enough_and_leaves_what_was_withdrawn() {
        let candidates = |manifest: &Manifest, current, delay, now| {
            manifest.candidates(
                current,
                SignedDuration::from_secs(delay),
                at(now),
                &BTreeSet::new(),
            )
        };
        let good = manifest();
        assert_eq!(candidates(&good, Some(1), 0, 400), [4, 3, 2]);
        assert_eq!(candidates(&good, Some(1), 150, 400), [2]);
        assert_eq!(candidates(&good, Some(1), 150, 450), [3, 2]);
        assert_eq!(candidates(&good, Some(4), 0, 400), [] as [u64; 0]);
        // A longer delay gives nothing up that is already taken.
        assert_eq!(candidates(&good, Some(4), 600, 400), [] as [u64; 0]);
        // A node without lists takes something in any case.
        assert_eq!(candidates(&good, None, 150, 400), [2, 1, 3, 4]);
        assert_eq!(candidates(&good, None, 900, 400), [1, 2, 3, 4]);
        // What the store no longer has is not left for nothing.
        assert_eq!(
            candidates(
                &Manifest {
                    generations: good.generations[2..].to_vec(),
                    ..good.clone()
                },
                Some(1),
                900,
                400
            ),
            [] as [u64; 0]
        );
        let mut withdrawn = Manifest {
            live: 3,
            ..good.clone()
        };
        withdrawn.generations[3].withdrawn = true;
        assert_eq!(candidates(&withdrawn, Some(4), 600, 400), [3, 2, 1]);
        assert_eq!(candidates(&withdrawn, Some(2), 600, 400), [] as [u64; 0]);
        assert_eq!(candidates(&withdrawn, Some(9), 600, 400), [3, 2, 1]);
        assert_eq!(
            good.candidates(Some(1), SignedDuration::ZERO, at(400), &BTreeSet::from([4])),
            [3, 2]
        );
    }
}
