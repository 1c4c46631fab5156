//! Decompresses files and reads archives as streams. Nothing is written to disk, the output is
//! bounded, and a truncated file is an error rather than a short list.

use std::{
    cell::Cell,
    io::{self, BufRead, BufReader, Chain, Cursor, Read},
};

/// Size of buffers, in octets; large enough that system calls do not dominate.
const BUFFER_OCTETS: usize = 256 << 10;
/// The number of octets that identify a compression format. Every compressed file has more.
const MAGIC_OCTETS: usize = 4;
/// Octets of a tar header.
const BLOCK_OCTETS: usize = 512;
/// Position of the magic in a tar header.
const USTAR: std::ops::Range<usize> = 257..262;
/// The number of zero octets that end an archive: two blocks. Without them it is truncated.
const END_ZEROES: u64 = 2 * BLOCK_OCTETS as u64;
/// The longest path in an archive, in octets. The limit bounds memory.
const PATH_OCTETS_MAX: u64 = 4096;
/// The longest extended header (POSIX pax), in octets.
const PAX_OCTETS_MAX: u64 = 64 << 10;

/// The compression of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Plain,
    Gzip,
    Zstd,
}

impl Compression {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    fn by_name(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        match name.rsplit('.').next() {
            Some("gz" | "tgz") => Self::Gzip,
            Some("zst" | "zstd" | "tzst") => Self::Zstd,
            _ => Self::Plain,
        }
    }

    fn by_content(start: &[u8]) -> Self {
        if start.starts_with(&[0x1f, 0x8b]) {
            Self::Gzip
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Self::Zstd
        } else {
            Self::Plain
        }
    }
}

/// Why a file cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("it is cut short or damaged ({0}): {1}")]
    Damaged(&'static str, io::Error),
    #[error("it unpacks to more than {0} octets")]
    TooLarge(u64),
    #[error("it is empty, but its name says {0}")]
    Nothing(&'static str),
    #[error("reading")]
    Io(#[source] io::Error),
}

/// A file while it is unpacked.
pub(crate) struct Unpacked<'a> {
    pub(crate) reader: &'a mut dyn BufRead,
    pub(crate) is_archive: bool,
}

/// Unpacks a file and lets `visit` read it. The rest is read as well, because truncation shows only
/// at the end.
///
/// # Errors
/// An error of unpacking takes precedence over one of the visitor, because truncated content makes
/// no sense to the visitor either.
pub(crate) fn unpack<T, E>(
    raw: &mut dyn Read,
    name: &str,
    octets_max: u64,
    visit: impl FnOnce(Unpacked<'_>) -> Result<T, E>,
) -> Result<Result<T, E>, UnpackError> {
    let mut raw = BufReader::with_capacity(BUFFER_OCTETS, raw);
    let start = raw.fill_buf().map_err(UnpackError::Io)?;
    let packing = Compression::by_content(start);
    let named = Compression::by_name(name);
    // A server may decompress a list and keep its name, so the content decides. But an empty file
    // under such a name is an error.
    if named != Compression::Plain && start.len() < MAGIC_OCTETS {
        return Err(UnpackError::Nothing(named.as_str()));
    }
    let is_exceeded = Cell::new(false);
    let failed = Cell::new(None);
    let inner: Box<dyn Read + '_> = match packing {
        Compression::Plain => Box::new(raw),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(raw)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(raw).map_err(UnpackError::Io)?),
    };
    // `octets_max` bounds decompressed content; the fetcher has bounded an uncompressed file.
    let left = if packing == Compression::Plain {
        u64::MAX
    } else {
        octets_max
    };
    let bounded = BufReader::with_capacity(
        BUFFER_OCTETS,
        LimitedReader {
            inner,
            left,
            is_exceeded: &is_exceeded,
            failed: &failed,
        },
    );
    let result = look_inside(bounded, name, visit);
    if is_exceeded.get() {
        return Err(UnpackError::TooLarge(octets_max));
    }
    match (failed.take(), packing) {
        (None, _) => Ok(result),
        (Some(error), Compression::Plain) => Err(UnpackError::Io(error)),
        (Some(error), _) => Err(UnpackError::Damaged(packing.as_str(), error)),
    }
}

fn look_inside<R: Read, T, E>(
    mut reader: R,
    name: &str,
    visit: impl FnOnce(Unpacked<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let mut start = Vec::with_capacity(BLOCK_OCTETS);
    // The caller that reads on meets the same error.
    let _ = reader
        .by_ref()
        .take(BLOCK_OCTETS as u64)
        .read_to_end(&mut start);
    let name = name.to_ascii_lowercase();
    let is_named_so = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.zstd", ".tzst"]
        .iter()
        .any(|end| name.ends_with(end));
    let is_archive = is_named_so || start.get(USTAR).is_some_and(|magic| magic == b"ustar");
    let mut whole: Chain<Cursor<Vec<u8>>, R> = Cursor::new(start).chain(reader);
    let mut buffered = BufReader::with_capacity(BUFFER_OCTETS, &mut whole);
    let result = visit(Unpacked {
        reader: &mut buffered,
        is_archive,
    });
    // [`LimitedReader`] has recorded the failure.
    let _ = io::copy(&mut buffered, &mut io::sink());
    result
}

/// Passes at most a given number of octets, and records the first error, because libraries in
/// between may replace it.
struct LimitedReader<'a> {
    inner: Box<dyn Read + 'a>,
    left: u64,
    is_exceeded: &'a Cell<bool>,
    failed: &'a Cell<Option<io::Error>>,
}

impl Read for LimitedReader<'_> {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        if self.is_exceeded.get() {
            return Err(io::Error::other("too large"));
        }
        match self.inner.read(octets) {
            Ok(length) if length as u64 > self.left => {
                self.is_exceeded.set(true);
                Err(io::Error::other("too large"))
            }
            Ok(length) => {
                self.left -= length as u64;
                Ok(length)
            }
            Err(error) => {
                let same = io::Error::new(error.kind(), error.to_string());
                if error.kind() != io::ErrorKind::Interrupted {
                    self.failed.set(Some(error));
                }
                Err(same)
            }
        }
    }
}

/// Visits all regular files of an archive with the components of their paths, without empty and dot
/// components.
///
/// # Errors
/// The archive is damaged or truncated, or `visit` fails.
pub(crate) fn for_each_member<E: From<io::Error>>(
    archive: &mut dyn BufRead,
    mut visit: impl FnMut(&[String], &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let zeroes = Cell::new(0);
    let mut whole = tar::Archive::new(TrailingZeroes {
        inner: archive,
        zeroes: &zeroes,
    });
    // The path of the next member, if an extension header states it.
    let mut long_path = None;
    for member in whole.entries()?.raw(true) {
        let mut member = member?;
        let kind = member.header().entry_type();
        let size = member.size();
        if kind.is_gnu_longname() {
            long_path = Some(read_bounded(&mut member, size, PATH_OCTETS_MAX)?).map(|path| {
                path.split(|&octet| octet == 0)
                    .next()
                    .unwrap_or(&[])
                    .to_vec()
            });
        } else if kind.is_pax_local_extensions() {
            long_path = pax_path(&read_bounded(&mut member, size, PAX_OCTETS_MAX)?).or(long_path);
        } else {
            let path = long_path
                .take()
                .unwrap_or_else(|| member.path_bytes().into_owned());
            if kind.is_file() {
                let mut counted = CountingReader {
                    inner: &mut member,
                    octets: 0,
                };
                visit(&parts(&path), &mut counted)?;
                io::copy(&mut counted, &mut io::sink())?;
                if counted.octets != size {
                    return Err(cut_short().into());
                }
            }
        }
    }
    io::copy(&mut whole.into_inner(), &mut io::sink())?;
    if zeroes.get() < END_ZEROES {
        return Err(cut_short().into());
    }
    Ok(())
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is cut short")
}

fn read_bounded(member: &mut dyn Read, size: u64, most: u64) -> io::Result<Vec<u8>> {
    if size > most {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a path in the archive is too long",
        ));
    }
    let mut octets = Vec::new();
    member.read_to_end(&mut octets)?;
    if octets.len() as u64 == size {
        Ok(octets)
    } else {
        Err(cut_short())
    }
}

/// The record `path` of an extended header, whose lines are `LENGTH KEY=VALUE`.
fn pax_path(header: &[u8]) -> Option<Vec<u8>> {
    let records = tar::PaxExtensions::new(header);
    let path = records
        .filter_map(Result::ok)
        .find(|record| record.key_bytes() == b"path")?;
    Some(path.value_bytes().to_vec())
}

fn parts(path: &[u8]) -> Vec<String> {
    let parts = path
        .split(|&octet| octet == b'/')
        .map(|part| String::from_utf8_lossy(part).into_owned());
    parts
        .filter(|part| !matches!(part.as_str(), "" | "." | ".."))
        .collect()
}

struct CountingReader<'a> {
    inner: &'a mut dyn Read,
    octets: u64,
}

impl Read for CountingReader<'_> {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(octets)?;
        self.octets += length as u64;
        Ok(length)
    }
}

/// Counts the zero octets at the end of what was read so far.
struct TrailingZeroes<'a> {
    inner: &'a mut dyn BufRead,
    zeroes: &'a Cell<u64>,
}

impl Read for TrailingZeroes<'_> {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(octets)?;
        let octets = &octets[..length];
        match octets.iter().rposition(|&octet| octet != 0) {
            Some(last) => self.zeroes.set((length - last - 1) as u64),
            None => self.zeroes.set(self.zeroes.get() + length as u64),
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
