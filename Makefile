# `make run` and `make test` set up what they need on a Debian machine with Rust; `make tools` does
# that alone. Sources of what is installed: apt, cargo, PyPI, npm.

SHELL := /bin/bash
NEXTEST_VERSION := 0.9.143
GUNGRAUN_VERSION := 0.20.0
MOTO_VERSION := 5.1.22
SCHEMATHESIS_VERSION := 4.32.5
MUTANTS_VERSION := 27.1.0
DENY_VERSION := 0.20.2
PYTHON_CLIENT_VERSION := 0.29.1
# The IEEE register of MAC addresses, by which makers of new devices are guessed.
MAC_REGISTER := oui-data@2.1.9
TYPESCRIPT_CLIENT := openapi-typescript@7.13.0 openapi-fetch@0.17.0 typescript@5.9.3

# The folder of the scenario runner, its scenarios and its baselines.
CONFORMANCE ?= ../shared/conformance

# Further scenarios for the runner: files or folders.
CASES ?=

# Compiles our crates with Clippy's checks on, warnings refused, for lints and tests alike: what
# `make lint` has compiled, `make test` runs. Dependencies are compiled once, for cargo, too.
CHECKED := RUSTC_WORKSPACE_WRAPPER=clippy-driver \
	CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__

# The tests by stage. `system` is what neither of the other two has.
UNIT := kind(lib) + kind(bin)
INTEROP := binary(primaries) + binary(sharing) + (binary(system) & test(/^(clients|contract|nsd|feeds_zones)::/))

.PHONY: run build dist test lint unit system interop house doc deny tools app app-lint app-test
.PHONY: dnssec-oracle conformance mutants bench-peers bench-counts

## Start the daemon with the embedded defaults: DNS on 127.0.0.1:5353, REST and the parents' app on
## http://127.0.0.1:8080.
run: tools/compiler tools/mac-register app
	cargo build --profile quick --package ox-protect
	OX_PROTECT_APP__DEMONSTRATION=true \
	OX_PROTECT_NEW_DEVICES__MAC_REGISTER='["target/mac-register/node_modules/oui-data/index.json"]' \
		./target/quick/ox-protect serve

## The program, optimised, with link-time optimisation.
build: tools/compiler
	cargo build --release

## The same for packages, in target/dist/: what is measured.
dist: tools/compiler
	cargo build --profile dist --package ox-protect

## Everything that must hold: format, lints, all tests. Prints how long each stage took.
test: tools/tests
	@tests/stage.sh lint $(MAKE) --no-print-directory lint
	@tests/stage.sh unit $(MAKE) --no-print-directory unit
	@tests/stage.sh system $(MAKE) --no-print-directory system
	@tests/stage.sh interop $(MAKE) --no-print-directory interop
	@tests/stage.sh app $(MAKE) --no-print-directory app-test

lint: tools/compiler app
	cargo fmt --all --check
	$(CHECKED) cargo build --workspace --all-targets
	@$(MAKE) --no-print-directory app-lint

## The quick part: no daemon, no servers.
unit: tools/nextest
	$(CHECKED) cargo nextest run --workspace --lib --bins

## The parents' app, in api/app/dist/, for the program to embed. Needs no Rust.
app: api/app/dist/index.html

APP_SOURCES := $(filter-out %/generated,$(wildcard api/app/*.* api/app/public/* api/app/src/*.* \
	api/app/src/*/*))

api/app/dist/index.html: api/app/node_modules/.package-lock.json $(APP_SOURCES)
	@PATH="$$(tests/node.sh):$$PATH" npm --prefix api/app run --silent build
	@touch -c api/build.rs # so that cargo notices the first build

api/app/node_modules/.package-lock.json: api/app/package-lock.json
	@PATH="$$(tests/node.sh):$$PATH" npm --prefix api/app ci --no-audit --no-fund --loglevel error

## Types against the program's OpenAPI document, then the linter and the formatter. Needs the program
## that `make lint` builds.
app-lint: app
	@PATH="$$(tests/node.sh):$$PATH" npm --prefix api/app run --silent check
	@PATH="$$(tests/node.sh):$$PATH" npm --prefix api/app run --silent lint

## A browser on the real program: what a person clicks, and a DNS query that proves it. The program is
## built as `make lint` does it, so that it has the newest app embedded.
app-test: tools/browser app
	$(CHECKED) cargo build --workspace --all-targets
	@PATH="$$(tests/node.sh):$$PATH" npm --prefix api/app test

## The promises of the whole, on the real program in a simulated Internet.
system: tools/tests
	$(CHECKED) cargo nextest run --workspace -E 'not ($(UNIT) + $(INTEROP))'

## The tests that need programs of others: BIND, Knot, PowerDNS, NSD, moto, schemathesis, generators
## of clients.
interop: tools/tests
	$(CHECKED) cargo nextest run --workspace -E '$(INTEROP)'

## The shape of the source: sizes, names, words, cycles of imports. Part of `make test`, too.
house: tools/nextest
	$(CHECKED) cargo nextest run --workspace --no-capture -E 'binary(tidy) & test(/^shape::/)'

## The documentation of the crates, with broken links refused.
doc: tools/compiler
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --document-private-items

## Licences, sources and banned crates. Advisories need the advisory database, where it can be
## reached: cargo deny check advisories.
deny: tools/deny
	cargo deny check bans licenses sources
	cargo deny --config deny.toml --manifest-path tests/dnssec_oracle/Cargo.toml check bans licenses sources

## The validator beside hickory's verifier, on sets that ldns, BIND and Knot DNS have signed. A
## package outside of the workspace: hickory's DNSSEC feature would change all of it.
dnssec-oracle: tools/tests
	cargo fmt --manifest-path tests/dnssec_oracle/Cargo.toml --check
	$(CHECKED) cargo test --locked --manifest-path tests/dnssec_oracle/Cargo.toml \
		--target-dir target/dnssec-oracle

## What the scenarios of Unbound and Deckard demand of a resolver, counted beside Unbound: under a
## minute after the build. CONFORMANCE=FOLDER says where the runner and the scenarios are,
## CASES=FOLDER plays further scenarios. Results stay in target/conformance/.
conformance:
	@[ -f "$(CONFORMANCE)/rplrun.py" ] || \
		{ echo "There is no scenario runner in $(CONFORMANCE): make conformance CONFORMANCE=FOLDER" >&2; exit 1; }
	@$(MAKE) --no-print-directory tools/conformance build
	tests/conformance/play.sh "$(CONFORMANCE)" target/release/ox-protect target/conformance $(CASES)
	@tests/conformance/count.py "$(CONFORMANCE)" target/conformance

## One-line changes of the files whose tests were weakest: the crate's own tests must catch 85 %.
## Hours for all of them; SAMPLE=60 draws so many (SEED=N repeats a draw), SHARD=0/4 takes the first
## of four parts, FILES="..." other files. Not part of CI.
mutants: tools/mutants tools/nextest
	tests/mutants/run.py $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED)) \
		$(if $(SHARD),--shard $(SHARD)) $(FILES)

## OX Protect beside its rivals: a table, and target/bench/peers.json. As root, on two cores with
## nothing else to do; ARGUMENTS="--rounds 9" goes to `peers run`, PEERS_ROOT=FOLDER measures the
## newer rivals that benches/peers/newer.sh put there.
bench-peers: tools/peers
	cargo build --profile dist --package ox-protect --package peers
	./target/dist/peers run --ox target/dist/ox-protect $(ARGUMENTS)

## Instructions of the hot path, stage by stage, each against its limit. Counted by valgrind, so the
## same on a noisy machine.
bench-counts: tools/counts
	cargo bench --package hot-path

## Everything that the targets above need. Servers that apt installs are neither started nor
## enabled.
tools: tools/tests tools/browser tools/deny tools/counts

.PHONY: tools/compiler tools/mac-register tools/nextest tools/peers tools/counts tools/tests tools/deny
.PHONY: tools/browser
.PHONY: tools/conformance tools/mutants
tools/compiler:
	@command -v cc >/dev/null || tests/install.sh gcc libc6-dev

tools/mac-register:
	@tests/npm.sh mac-register $(MAC_REGISTER)

tools/nextest: tools/compiler
	@cargo nextest --version >/dev/null 2>&1 || \
		cargo install --locked cargo-nextest --version $(NEXTEST_VERSION)

tools/tests: tools/nextest
	@tests/python.sh moto $(MOTO_VERSION) 'moto[server]' # a real S3 API
	@tests/python.sh schemathesis $(SCHEMATHESIS_VERSION) schemathesis # a client of our OpenAPI document
	@tests/python.sh openapi-python-client $(PYTHON_CLIENT_VERSION) openapi-python-client
	@tests/npm.sh clients $(TYPESCRIPT_CLIENT)
	@[ -x /usr/sbin/nsd ] && [ -x /usr/sbin/unbound ] && command -v dnsperf >/dev/null || \
		tests/install.sh nsd unbound dnsperf
	@PATH=$$PATH:/usr/sbin command -v ldns-signzone dnssec-signzone kzonesign keymgr delv openssl | \
		[ $$(wc -l) -eq 6 ] || \
		tests/install.sh ldnsutils bind9-utils bind9-dnsutils knot knot-dnssecutils openssl
	@PATH=$$PATH:/usr/sbin \
		command -v named knotd pdns_server pdnsutil nsupdate knsupdate dig kdig sqlite3 | \
		[ $$(wc -l) -eq 9 ] && [ -f /usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql ] || \
		tests/install.sh bind9 bind9-dnsutils knot knot-dnsutils pdns-server pdns-backend-sqlite3 \
			sqlite3
	@ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || tests/install.sh libfaketime

# The fonts are those that the app asks for first; without any, a page has no text.
tools/browser:
	@[ -x /usr/bin/chromium ] && [ -x /usr/sbin/nsd ] && \
		ls /usr/share/fonts/truetype/dejavu /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || \
		tests/install.sh chromium fonts-dejavu-core libfaketime nsd

# Without PEERS_ROOT the rivals are this Debian's; cdb writes dnsdist's list in either case.
tools/peers: tools/compiler
	@[ -x /usr/sbin/nsd ] && command -v cdb >/dev/null && command -v ldns-signzone >/dev/null || \
		tests/install.sh nsd tinycdb ldnsutils
	@[ -n "$(PEERS_ROOT)" ] || \
		PATH=$$PATH:/usr/sbin command -v unbound pdns_recursor dnsdist kresd named | \
		[ $$(wc -l) -eq 5 ] || tests/install.sh unbound pdns-recursor dnsdist knot-resolver bind9

# The runner's version must be the crate's.
tools/counts: tools/compiler
	@command -v valgrind >/dev/null || tests/install.sh valgrind libc6-dbg
	@gungraun-runner --version 2>/dev/null | grep -q "$(GUNGRAUN_VERSION)" || \
		cargo install --locked gungraun-runner --version $(GUNGRAUN_VERSION)

# The runner wants Debian's Python, because these are Debian's modules.
tools/conformance:
	@ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 && \
		PATH=$$PATH:/usr/sbin command -v ip >/dev/null && \
		/usr/bin/python3 -c "import cryptography, dns, jinja2, yaml" 2>/dev/null || \
		tests/install.sh faketime iproute2 python3-dnspython python3-jinja2 python3-yaml \
			python3-cryptography

tools/mutants: tools/compiler
	@cargo mutants --version 2>/dev/null | grep -q "$(MUTANTS_VERSION)" || \
		cargo install --locked cargo-mutants --version $(MUTANTS_VERSION)

tools/deny: tools/compiler
	@cargo deny --version >/dev/null 2>&1 || \
		cargo install --locked cargo-deny --version $(DENY_VERSION)
