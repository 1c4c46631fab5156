# `make run` and `make test` set up what they need on a Debian machine with Rust. Nothing is installed but by apt and cargo.

SHELL := /bin/bash
NEXTEST_VERSION := 0.9.143
GUNGRAUN_VERSION := 0.20.0

.PHONY: run test unit system lint deny build tools bench-peers bench-counts

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

## OX Protect beside its rivals: a table, and target/bench/peers.json. As root, on two cores with nothing else to do; ARGUMENTS="--rounds 9"
## goes to `peers run`, PEERS_ROOT=FOLDER measures the newer rivals that benches/peers/newer.sh put there.
bench-peers: tools/peers
	cargo build --release --package ox-protect --package peers
	./target/release/peers run $(ARGUMENTS)

## Instructions of the hot path, stage by stage, each against its limit. Counted by valgrind, so the same on a noisy machine.
bench-counts: tools/counts
	cargo bench --bench hot_path

.PHONY: tools/compiler tools/nextest tools/peers tools/counts tools/tests tools/deny
tools/compiler:
	@command -v cc >/dev/null || tests/install.sh gcc libc6-dev

tools/nextest: tools/compiler
	@cargo nextest --version >/dev/null 2>&1 || cargo install --locked cargo-nextest --version $(NEXTEST_VERSION)

tools/tests: tools/nextest
	@[ -x /usr/sbin/nsd ] && command -v dnsperf >/dev/null || tests/install.sh nsd dnsperf

# Without PEERS_ROOT the rivals are this Debian's; cdb writes dnsdist's list in either case.
tools/peers: tools/compiler
	@[ -x /usr/sbin/nsd ] && command -v cdb >/dev/null || tests/install.sh nsd tinycdb
	@[ -n "$(PEERS_ROOT)" ] || PATH=$$PATH:/usr/sbin command -v unbound pdns_recursor dnsdist kresd named | [ $$(wc -l) -eq 5 ] || \
		tests/install.sh unbound pdns-recursor dnsdist knot-resolver bind9

# The runner's version must be the crate's.
tools/counts: tools/compiler
	@command -v valgrind >/dev/null || tests/install.sh valgrind libc6-dbg
	@gungraun-runner --version 2>/dev/null | grep -q "$(GUNGRAUN_VERSION)" || cargo install --locked gungraun-runner --version $(GUNGRAUN_VERSION)

tools/deny:
	@cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny
