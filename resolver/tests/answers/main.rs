//! What a client is answered: an engine without sockets, with lists, rules and a small Internet.

// A test that cannot go on says so by failing.
#![allow(clippy::unwrap_used)]

mod actions;
mod addresses;
mod ageing;
mod aliases;
mod any;
mod asking;
mod chains;
mod forgetting;
mod identities;
mod judged;
mod local_data;
mod notify;
mod orders;
mod paths;
mod rates;
mod recording;
mod unreadable;
mod world;
