//! The bounds of what is counted, in memory and in the file.

use jiff::SignedDuration;

/// How long counts wait in memory: a household that asks all the time is written once in five
/// minutes, and a crash takes no more.
pub const WRITE_AFTER: SignedDuration = SignedDuration::from_mins(5);
/// The most hours of homes that wait: half a gigabyte of them, at 2,600 octets for one device and
/// one query (`benches/activity.rs`). Beyond, what needs a place of its own is dropped and counted;
/// a disk that fails, or more homes than a node is good for, let it come to that.
pub const WAITING_MAX: usize = 200_000;
/// The most devices, categories and names in what waits, some two hundred octets each. Beyond, what
/// needs a new device is dropped and a new name counted without being kept; categories go on, of
/// which a device has no more than there are.
pub const PIECES_WAITING_MAX: usize = 2_000_000;
/// The most rows in one transaction of those who work for all homes: readers and those who forget
/// wait for no more of them, give or take the hours of one home.
pub const BATCH_ROWS_MAX: usize = 250;
/// How long a mark stands against what is on its way: much longer than a queue before
/// [`super::ActivityStore::note`] holds anything.
pub const MARKS_KEPT: SignedDuration = SignedDuration::from_mins(10);

/// Octets of a page of the file. Small, so that little is wasted on [`MARGIN`] and at the end of a
/// row's last page.
pub(super) const PAGE_SIZE: u32 = 1_024;
/// Spaces before each document: as many octets as a row of this table can have in a page of the
/// tree (`https://sqlite.org/fileformat2.html`, section 1.6), so that the document stands in
/// overflow pages altogether. `secure_delete` overwrites what is deleted, but a page of the tree
/// keeps stray copies between its rows, of rows that moved when the tree was balanced; a test found
/// deleted names there. Overflow pages are never moved, and are overwritten whole when they are
/// freed.
pub(super) const MARGIN: usize = (PAGE_SIZE as usize - 12) * 64 / 255 - 23;
