//! The limits of activity counts, in memory and in the file.

use jiff::SignedDuration;

/// How long counts wait in memory. A busy household is written once in this time, and a crash loses
/// no more.
pub const WRITE_AFTER: SignedDuration = SignedDuration::from_mins(5);
/// The most pending hours of households: about half a gigabyte, at 2,600 octets for one device and
/// one query (`benches/activity.rs`). Beyond it, queries that need a new entry are dropped and
/// counted. It is reached when the disk fails, or with more households than a node can serve.
pub const WAITING_MAX: usize = 200_000;
/// The most devices, categories and names in pending counts, some two hundred octets each. Beyond
/// it, queries of a new device are dropped, and new names are counted but not kept. Categories are
/// still added; their number is limited by the taxonomy.
pub const PIECES_WAITING_MAX: usize = 2_000_000;
/// The most rows in one transaction of work on all households. Readers and erasures wait for no
/// more rows, plus or minus the hours of one household.
pub const BATCH_ROWS_MAX: usize = 250;
/// How long a mark is applied to queries on their way: much longer than a queue in front of
/// [`super::ActivityStore::note`] holds anything.
pub const MARKS_KEPT: SignedDuration = SignedDuration::from_mins(10);

/// Page size of the file, in octets. Small, so that little is wasted on [`MARGIN`] and at the end
/// of a row's last page.
pub(super) const PAGE_SIZE: u32 = 1_024;
/// Spaces before each document: as many octets as a row of this table can have in a page of the
/// tree (`https://sqlite.org/fileformat2.html`, section 1.6), so that the document is in overflow
/// pages only. `secure_delete` overwrites deleted octets, but a page of the tree keeps stray copies
/// between its rows, of rows that moved when the tree was balanced; a test found deleted names
/// there. Overflow pages are never moved, and are overwritten as a whole when they are freed.
pub(super) const MARGIN: usize = (PAGE_SIZE as usize - 12) * 64 / 255 - 23;
