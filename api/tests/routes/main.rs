//! Promises of the REST API, kept through the router itself: no socket, no DNS.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accounts;
mod document;
mod doors;
mod explanations;
mod feeds;
mod hours;
mod keeper;
mod lists;
mod mandates;
mod notices;
mod panics;
mod refusals;
mod requests;
mod retries;
mod roles;
mod streams;
mod strict;
mod texts;
mod together;
mod tokens;
mod world;
mod writes;
