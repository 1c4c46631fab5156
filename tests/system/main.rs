//! Promises of the whole, kept by the real program in a simulated Internet.

#[path = "../world/mod.rs"]
mod world;

mod world_itself;
