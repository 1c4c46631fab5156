//! Type bit maps of NSEC and NSEC3 records, RFC 4034 section 4.1.2.

use crate::{message::types::Rtype, weighed::heap_octets};

/// The most octets of a window block.
const WINDOW_OCTETS_MAX: usize = 32;

/// The types that exist at a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TypeBitmap(Box<[u8]>);

impl TypeBitmap {
    /// Reads window blocks; none where they are not well formed: a block that is empty, too long or
    /// cut off, or not above the block before it.
    pub(super) fn parse(blocks: &[u8]) -> Option<Self> {
        let mut rest = blocks;
        let mut least = 0;
        while let [window, length, behind @ ..] = rest {
            let length = usize::from(*length);
            if u16::from(*window) < least || !(1..=WINDOW_OCTETS_MAX).contains(&length) {
                return None;
            }
            least = u16::from(*window) + 1;
            rest = behind.get(length..)?;
        }
        rest.is_empty().then(|| Self(blocks.into()))
    }

    /// Memory behind it, in octets.
    pub(super) fn heap_octets(&self) -> usize {
        heap_octets(self.0.len())
    }

    /// Whether the type exists.
    pub(super) fn has(&self, rtype: Rtype) -> bool {
        let [window, number] = rtype.to_be_bytes();
        let mut rest = &self.0[..];
        while let [here, length, behind @ ..] = rest {
            let (block, behind) = behind.split_at(usize::from(*length));
            if *here == window {
                let octet = block.get(usize::from(number / 8)).copied().unwrap_or(0);
                return octet & (0x80 >> (number % 8)) != 0;
            }
            rest = behind;
        }
        false
    }

    /// Whether the name is a delegation, seen from the parent zone: NS without SOA.
    pub(super) fn is_delegation(&self) -> bool {
        self.has(Rtype::NS) && !self.has(Rtype::SOA)
    }

    /// Whether the name is a delegation without a DS RRset, seen from the parent zone.
    pub(super) fn is_unsigned_delegation(&self) -> bool {
        self.is_delegation() && !self.has(Rtype::DS)
    }

    /// Whether the record says nothing about names below its own: RFC 6840 section 4.1.
    pub(super) fn hides_descendants(&self) -> bool {
        self.is_delegation() || self.has(Rtype::DNAME)
    }

    /// Whether the record says that its own name does not exist: compact denial, RFC 9824.
    pub(super) fn denies_its_name(&self) -> bool {
        self.has(Rtype::NXNAME)
    }
}

#[cfg(test)]
mod tests;
