//! Households: stored, compiled, live; and what happens in them.

pub mod event_channels;
pub mod events;
pub mod load;
pub mod provenance;
pub mod subscriber;
pub mod turns;
pub mod write;
