//! Tests of the real program in a simulated Internet. One file for each theme, one promise for each
//! test.

// A helper that cannot continue fails the test.
#![allow(clippy::unwrap_used)]

#[path = "../world/mod.rs"]
mod world;

mod activity;
mod aggressive;
mod app;
mod app_login;
mod app_push;
mod asking;
mod attacks;
mod bad_input;
mod bad_servers;
mod block_page;
mod blocking;
mod broken_zones;
mod choices;
mod clients;
mod command_line;
mod contract;
mod cross_talk;
mod differential;
mod dnssec;
mod fairness;
mod family;
mod feeds_back;
mod feeds_bounds;
mod feeds_broken;
mod feeds_changes;
mod feeds_defined;
mod feeds_paths;
mod feeds_refused;
mod feeds_stuck;
mod feeds_zones;
mod http;
mod identity;
mod lists;
mod mandates;
mod memory;
mod misblock;
mod new_devices;
mod notices;
mod nsd;
mod odd_authorities;
mod past;
mod poisoning;
mod proxies;
mod rates;
mod recursion;
mod roles;
mod safe_search;
mod services;
mod signals;
mod spoofing;
mod stores;
mod strangers;
mod survival;
mod things;
mod tls;
mod toggles;
mod world_itself;
mod writers;
