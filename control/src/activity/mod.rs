//! Counts of what households' devices ask for: as far as each household wants them kept.

pub mod aggregate;
pub mod inactivity;
pub mod limits;
pub mod retention;
pub mod sample;
