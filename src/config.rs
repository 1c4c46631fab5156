//! The configuration: read once, checked as a whole, and refused with the line at fault and what
//! would be right.
//!
//! `configs/default.toml` is its reference and the embedded default; a test holds the two together.
//! Each section has a file.

mod anchors;
mod api;
mod app;
mod blocks;
mod differences;
mod dns;
mod effect;
mod error;
mod history;
mod landing;
mod limits;
mod lists;
mod load;
mod log;
mod networks;
mod new_devices;
mod node;
mod policy;
mod recursion;
mod reports;
mod sections;
mod store;
mod warnings;

pub use self::{
    api::Api,
    app::{AppConfig, AppOidc},
    differences::differences,
    history::HistoryConfig,
    load::{Checked, load},
    log::LogFormat,
    recursion::{RecursionConfig, Zone},
    reports::Reports,
    sections::Config,
};
