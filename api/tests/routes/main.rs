//! Promises of the REST API, kept through the router itself: no socket, no DNS.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accounts;
mod app;
mod authentication;
mod changes;
mod document;
mod explanations;
mod fake_lists;
mod feeds;
mod holdings;
mod home;
mod idempotency;
mod lists;
mod logged_in;
mod mandates;
mod negative_anchors;
mod notices;
mod panics;
mod push;
mod refusals;
mod requests;
mod roles;
mod schedules;
mod sessions;
mod streams;
mod strict;
mod texts;
mod things;
mod together;
mod tokens;
mod world;
mod writes;
