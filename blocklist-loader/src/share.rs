//! Shares lists between nodes: one node builds, the others fetch its artefacts and verify them. An
//! object store lies between them: a folder or S3.
//!
//! ```text
//! live                    a signature and the manifest that it signs: the generations, and which one is live
//! objects/<sha256>.oxl    a full artefact, exactly as in the publisher's folder; never changed
//! objects/<sha256>.oxd    a delta
//! publish.lock            only in a folder: one publisher at a time
//! ```
//!
//! The store and the network are not trusted. The manifest is signed, so only the publisher decides
//! what is live. It has a sequence number, so an old one cannot be replayed. It names every object
//! by length and SHA-256, so an object cannot be replaced. An attacker can only keep a node from
//! advancing, which [`Follower::status`] shows as the manifest's age.
//!
//! - `settings`: the table `[lists.share]`.
//! - `keys`: generates and reads keys.
//! - `manifest`: the signed document, and which generation a node should have.
//! - `store`: a folder or S3.
//! - `publisher` and `follower`: the two sides.
//!
//! Time and randomness are arguments. Nothing here judges lists or swaps them: the daemon opens
//! what was fetched, and reports if it refuses it.

mod chain;
mod error;
mod follower;
mod keys;
mod local;
mod manifest;
mod merge;
mod publisher;
mod settings;
mod store;

pub use error::{ShareError, ShareSettingsFault};
pub use follower::{Follower, FollowerStatus, ReadyGeneration, random_fraction};
pub use keys::{KeyFiles, generate_keys};
pub use manifest::{Manifest, ManifestEntry, StoredObject};
pub use merge::PublishRequest;
pub use publisher::{PublishResult, Publisher};
pub use settings::{ShareRole, ShareSettings};
