//! A provider of lists: a small HTTP server on loopback that publishes them, and can do everything
//! that a provider must not.

#[path = "../../blocklist-loader/tests/server/mod.rs"]
mod server;

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use minisign::KeyPair;
use sha2::{Digest, Sha256};

use server::Server;
pub use server::{Page, Request};

/// Who publishes. What it has published stays until something else is put in its place.
pub struct Provider(Server);

impl Provider {
    /// Opens its server.
    pub fn open() -> Self {
        Self(Server::start())
    }

    /// Where a path of it is.
    pub fn url(&self, path: &str) -> String {
        self.0.url(path)
    }

    /// Publishes a file.
    pub fn publish(&self, path: &str, body: impl AsRef<[u8]>) {
        // Without an ETag, so that every asking brings all of it: what is new is for the daemon to
        // find out.
        self.0.put(path, Page::of(body));
    }

    /// Answers a path in any way there is.
    pub fn answer(&self, path: &str, page: Page) {
        self.0.put(path, page);
    }

    /// What was asked since the last time that somebody wanted to know, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.0.requests()
    }
}

/// Packed with gzip.
pub fn gzip(content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer
        .write_all(content.as_ref())
        .and_then(|()| packer.finish())
        .expect("memory does not refuse")
}

/// The SHA-256, hexadecimal.
pub fn sha256(content: impl AsRef<[u8]>) -> String {
    Sha256::digest(content)
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
}

/// Who signs with minisign.
pub struct Signer(KeyPair);

impl Signer {
    /// With a key of its own.
    pub fn new() -> Self {
        Self(KeyPair::generate_unencrypted_keypair().expect("the system has entropy"))
    }

    /// The public key as a configuration has it.
    pub fn public_key(&self) -> String {
        self.0.pk.to_base64()
    }

    /// The signature's file.
    pub fn sign(&self, content: impl AsRef<[u8]>) -> String {
        let signature = minisign::sign(Some(&self.0.pk), &self.0.sk, content.as_ref(), None, None);
        signature.expect("a key signs").into_string()
    }
}
