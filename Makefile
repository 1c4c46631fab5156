# `make run` and `make test` set up what they need on a Debian machine with Rust. Nothing is installed but by apt and cargo.

SHELL := /bin/bash
NEXTEST_VERSION := 0.9.143
GUNGRAUN_VERSION := 0.20.0
MOTO_VERSION := 5.1.22
SCHEMATHESIS_VERSION := 4.32.5
MUTANTS_VERSION := 27.1.0

# The folder of the scenario runner, its scenarios and its baselines.
CONFORMANCE ?= ../shared/conformance

# Further scenarios for it: files or folders.
CASES ?=

.PHONY: run test unit system lint deny build tools bench-peers bench-counts conformance mutants

## Start the daemon with the embedded defaults: DNS on 127.0.0.1:5353, REST on http://127.0.0.1:8080.
run: build
	./target/release/ox-protect serve

build: tools/compiler
	cargo build --release

## Everything that must hold: format, lints, all tests.
test: lint tools/tests
	cargo nextest run --workspace

# These two are parts of `make test`, with the same features of every crate: what that compiled is not compiled again.
## The quick part: no daemon, no servers.
unit: tools/nextest
	cargo nextest run --workspace --lib --bins

## The promises of the whole.
system: tools/tests
	cargo nextest run --workspace --test system

lint: tools/compiler
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

## What the scenarios of Unbound and Deckard demand of a resolver, counted beside Unbound: under a minute after the build. CONFORMANCE=FOLDER
## says where the runner and the scenarios are, CASES=FOLDER plays further scenarios. Results stay in target/conformance/.
conformance:
	@[ -f "$(CONFORMANCE)/rplrun.py" ] || { echo "There is no scenario runner in $(CONFORMANCE): make conformance CONFORMANCE=FOLDER" >&2; exit 1; }
	@$(MAKE) --no-print-directory tools/conformance tools/compiler
	cargo build --release --package ox-protect
	tests/conformance/play.sh "$(CONFORMANCE)" target/release/ox-protect target/conformance $(CASES)
	@tests/conformance/count.py "$(CONFORMANCE)" target/conformance

## One-line changes of the files where most of them went unnoticed once: 85 % must be caught by the crate's own tests. Hours for all of them;
## SAMPLE=60 draws so many (SEED=N repeats a draw), SHARD=0/4 takes the first of four parts, FILES="..." other files. Beside CI, not part of it.
mutants: tools/mutants tools/nextest
	tests/mutants/run.py $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED)) $(if $(SHARD),--shard $(SHARD)) $(FILES)

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

.PHONY: tools/compiler tools/nextest tools/peers tools/counts tools/tests tools/deny tools/conformance tools/mutants
tools/compiler:
	@command -v cc >/dev/null || tests/install.sh gcc libc6-dev

tools/nextest: tools/compiler
	@cargo nextest --version >/dev/null 2>&1 || cargo install --locked cargo-nextest --version $(NEXTEST_VERSION)

tools/tests: tools/nextest
	@tests/python.sh moto $(MOTO_VERSION) 'moto[server]' # a real S3 API
	@tests/python.sh schemathesis $(SCHEMATHESIS_VERSION) schemathesis # whoever reads our OpenAPI document
	@[ -x /usr/sbin/nsd ] && [ -x /usr/sbin/unbound ] && command -v dnsperf >/dev/null || tests/install.sh nsd unbound dnsperf
	@PATH=$$PATH:/usr/sbin command -v named knotd pdns_server pdnsutil nsupdate knsupdate dig kdig sqlite3 | [ $$(wc -l) -eq 9 ] && \
		[ -f /usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql ] || \
		tests/install.sh bind9 bind9-dnsutils knot knot-dnsutils pdns-server pdns-backend-sqlite3 sqlite3
	@ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || tests/install.sh libfaketime

# Without PEERS_ROOT the rivals are this Debian's; cdb writes dnsdist's list in either case.
tools/peers: tools/compiler
	@[ -x /usr/sbin/nsd ] && command -v cdb >/dev/null || tests/install.sh nsd tinycdb
	@[ -n "$(PEERS_ROOT)" ] || PATH=$$PATH:/usr/sbin command -v unbound pdns_recursor dnsdist kresd named | [ $$(wc -l) -eq 5 ] || \
		tests/install.sh unbound pdns-recursor dnsdist knot-resolver bind9

# The runner's version must be the crate's.
tools/counts: tools/compiler
	@command -v valgrind >/dev/null || tests/install.sh valgrind libc6-dbg
	@gungraun-runner --version 2>/dev/null | grep -q "$(GUNGRAUN_VERSION)" || cargo install --locked gungraun-runner --version $(GUNGRAUN_VERSION)

# The runner wants Debian's Python, for these are Debian's modules.
tools/conformance:
	@ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 && PATH=$$PATH:/usr/sbin command -v ip >/dev/null && \
		/usr/bin/python3 -c "import cryptography, dns, jinja2, yaml" 2>/dev/null || \
		tests/install.sh faketime iproute2 python3-dnspython python3-jinja2 python3-yaml python3-cryptography

tools/mutants: tools/compiler
	@cargo mutants --version 2>/dev/null | grep -q "$(MUTANTS_VERSION)" || cargo install --locked cargo-mutants --version $(MUTANTS_VERSION)

tools/deny:
	@cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny
