//! A provider of lists: a small HTTP server on loopback that publishes them and can misbehave in
//! every way.

#[path = "../../blocklist-loader/tests/server/mod.rs"]
mod server;

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use minisign::KeyPair;
use sha2::{Digest, Sha256};

use server::Server;
pub use server::{Page, Request};

/// A provider. What it publishes stays until it is replaced.
pub struct Provider(Server);

impl Provider {
    /// Starts the server.
    pub fn open() -> Self {
        Self(Server::start())
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        self.0.url(path)
    }

    /// Publishes a file.
    pub fn publish(&self, path: &str, body: impl AsRef<[u8]>) {
        // Without an ETag, so that every request gets the whole content, and the daemon must detect
        // changes.
        self.0.put(path, Page::of(body));
    }

    /// Sets the response of a path.
    pub fn answer(&self, path: &str, page: Page) {
        self.0.put(path, page);
    }

    /// The requests since the last call, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.0.requests()
    }
}

/// Compresses with gzip.
pub fn gzip(content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer
        .write_all(content.as_ref())
        .and_then(|()| packer.finish())
        .expect("memory does not refuse")
}

/// The SHA-256 in hexadecimal.
pub fn sha256(content: impl AsRef<[u8]>) -> String {
    Sha256::digest(content)
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
}

/// A minisign signer.
pub struct Signer(KeyPair);

impl Signer {
    /// A signer with a new key.
    pub fn new() -> Self {
        Self(KeyPair::generate_unencrypted_keypair().expect("the system has entropy"))
    }

    /// The public key in the configuration's form.
    pub fn public_key(&self) -> String {
        self.0.pk.to_base64()
    }

    /// The content of the signature file.
    pub fn sign(&self, content: impl AsRef<[u8]>) -> String {
        let signature = minisign::sign(Some(&self.0.pk), &self.0.sk, content.as_ref(), None, None);
        signature.expect("a key signs").into_string()
    }
}
