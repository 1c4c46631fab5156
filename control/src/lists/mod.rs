//! The lists of a running node: opened at the start, renewed while it runs, swapped in by one
//! pointer.
//!
//! ```text
//! fetcher ── changed rows ───────> propose -> delta -> overlay ──┐
//!         └─ replaced ─┐                                         ├─> swap -> publish
//! a file changed ──────┴─> build process: `lists build` ─────────┤
//! operator: approve, roll back ──────────────────────────────────┤
//! the folder: a generation of another process ───────────────────┘
//! ```
//!
//! One task, the [`manager`], makes all decisions and takes [`command`]s one after another. Each
//! feed that is fetched has a task of its own ([`fetchers`]). Builds and folds run in another
//! process ([`build_process`]). A step that fails leaves the live generation in use and is reported
//! in [`status`].
//!
//! The API and the command line see the lists through the types of [`model`] and a [`handle`].

pub mod build_process;
mod builds;
pub mod command;
pub mod definitions;
mod events;
mod feed_state;
pub mod fetchers;
pub mod generations;
pub mod handle;
mod job;
pub mod manager;
pub mod model;
mod review;
mod rollback;
mod rows;
mod sharing;
pub mod start;
pub mod status;
mod swap;
