//! SHA-256 of what is read or written, and digests in hexadecimal.

use std::io::{self, Read, Write};

pub(crate) use policy::lists::artefact::hexadecimal;
use sha2::{Digest, Sha256};

/// The SHA-256 of octets, in hexadecimal.
pub(crate) fn sha256(octets: &[u8]) -> String {
    hexadecimal(&Sha256::digest(octets))
}

/// Digests and counts the octets that pass to a writer.
pub(crate) struct HashingWriter<W> {
    pub(crate) inner: W,
    pub(crate) hash: Sha256,
    pub(crate) octets: u64,
}

impl<W> HashingWriter<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            octets: 0,
        }
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(octets)?;
        self.hash.update(&octets[..length]);
        self.octets += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Digests the octets that are read.
pub(crate) struct HashingReader<'a, R> {
    pub(crate) inner: R,
    pub(crate) hash: &'a mut Sha256,
}

impl<R: Read> Read for HashingReader<'_, R> {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(octets)?;
        self.hash.update(&octets[..length]);
        Ok(length)
    }
}
