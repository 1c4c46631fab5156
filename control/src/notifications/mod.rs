//! Notices to account holders: their text, and their delivery; and to browsers, by web push.

pub mod delivery;
pub mod push;
pub mod settings;
pub mod text;
