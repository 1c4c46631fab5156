# `make run` and `make test` set up what they need on a Debian machine with Rust. Nothing is installed but by apt and cargo.

SHELL := /bin/bash
NEXTEST_VERSION := 0.9.143

.PHONY: run test unit system lint deny build tools

## Start the daemon with the embedded defaults: DNS on 127.0.0.1:5353, REST on http://127.0.0.1:8080.
run: build
	./target/release/ox-protect serve

build: tools/compiler
	cargo build --release

## Everything that must hold: format, lints, all tests.
test: lint tools/tests
	cargo nextest run --workspace

## The quick part: no daemon, no servers.
unit: tools/nextest
	cargo nextest run --workspace --lib --bins

## The promises of the whole.
system: tools/tests
	cargo nextest run --test system

lint: tools/compiler
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

## Licences, sources and banned crates. Advisories need the advisory database: `cargo deny check advisories` where it can be reached.
deny: tools/deny
	cargo deny check bans licenses sources

.PHONY: tools/compiler tools/nextest tools/tests tools/deny
tools/compiler:
	@command -v cc >/dev/null || tests/install.sh gcc libc6-dev

tools/nextest: tools/compiler
	@cargo nextest --version >/dev/null 2>&1 || cargo install --locked cargo-nextest --version $(NEXTEST_VERSION)

tools/tests: tools/nextest
	@[ -x /usr/sbin/nsd ] && command -v dnsperf >/dev/null || tests/install.sh nsd dnsperf

tools/deny:
	@cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny
