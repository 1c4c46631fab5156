//! A category feed as its producer publishes it (`docs/category-feed.md`): snapshots, deltas and a
//! manifest.

use serde_json::{Value, json};

use super::provider::{Provider, gzip, sha256};

/// One feed in a folder of a provider. Each step publishes its file before the manifest.
pub struct CategoryFeed<'p> {
    provider: &'p Provider,
    folder: String,
    sequence: u64,
    snapshots: Vec<Value>,
    deltas: Vec<Value>,
}

impl<'p> CategoryFeed<'p> {
    /// Publishes a feed in this folder, with a first snapshot of these rows.
    pub fn publish(provider: &'p Provider, folder: &str, rows: &str) -> Self {
        let mut feed = Self {
            provider,
            folder: folder.to_owned(),
            sequence: 0,
            snapshots: Vec::new(),
            deltas: Vec::new(),
        };
        feed.snapshot(rows);
        feed
    }

    pub fn url(&self) -> String {
        self.provider.url(&format!("/{}/", self.folder))
    }

    /// The newest version.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Path of the newest delta on the server.
    pub fn delta_path(&self) -> String {
        format!("/{}/delta_{}.gz", self.folder, self.sequence)
    }

    /// Publishes all rows as a snapshot that no delta leads to.
    pub fn snapshot(&mut self, rows: &str) {
        self.sequence += 1;
        let file = self.file("snapshot", &gzip(rows), None);
        (self.snapshots, self.deltas) = (vec![file], Vec::new());
        self.announce();
    }

    /// Publishes the changes since the newest version.
    pub fn delta(&mut self, rows: &str) {
        let from = self.sequence;
        self.sequence += 1;
        self.add_delta(&gzip(rows), from);
    }

    /// Publishes changes from a version that does not exist: a delta in between is missing.
    pub fn delta_behind_a_hole(&mut self, rows: &str) {
        self.sequence += 2;
        self.add_delta(&gzip(rows), self.sequence - 1);
    }

    /// Publishes a damaged delta: half of it is missing, and the manifest has the SHA-256 of the
    /// rest.
    pub fn damaged_delta(&mut self, rows: &str) {
        let from = self.sequence;
        let packed = gzip(rows);
        self.sequence += 1;
        self.add_delta(&packed[..packed.len() / 2], from);
    }

    fn add_delta(&mut self, packed: &[u8], from: u64) {
        let file = self.file("delta", packed, Some(from));
        self.deltas.push(file);
        self.announce();
    }

    fn file(&self, kind: &str, packed: &[u8], from: Option<u64>) -> Value {
        let name = format!("{kind}_{}.gz", self.sequence);
        self.provider
            .publish(&format!("/{}/{name}", self.folder), packed);
        let mut file = json!({ "file": name, "sequence": self.sequence, "sha256": sha256(packed), "size": packed.len() });
        if let Some(from) = from {
            file["from"] = json!(from);
        }
        file
    }

    fn announce(&self) {
        let manifest = json!({ "v": 1, "id": self.folder, "snapshots": self.snapshots, "deltas": self.deltas });
        self.provider
            .publish(&format!("/{}/feed.json", self.folder), manifest.to_string());
    }
}
