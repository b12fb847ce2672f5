# The front doors. Everything the targets need is found or installed by lab/setup/.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-managed crash chaos adversaries crowd test test-versions lint bench-switch bench-envoys bench-fanout bench-peers fleet-turmoil property fuzz model model-faults mutants simulate

CARGO ?= cargo
# What is built is run from there.
export CARGO_TARGET_DIR := target
PROGRAMS := --workspace --bins

help: ## Lists the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile

setup: ## Finds or installs PostgreSQL and Envoy
	@printf 'PostgreSQL: '; lab/setup/postgres.sh
	@printf 'Envoy:      '; lab/setup/envoy.sh

demo: setup ## Moves a writer under load and back again, on real servers; ends in target/demo/report.json
	$(CARGO) build $(PROGRAMS)
	@POINTSMAN_BIN=target/debug/pointsman target/debug/demo

demo-managed: setup ## The same on servers like Amazon RDS's: no superuser, TLS, promotion by an API; ends in target/demo-managed/report.json
	@printf 'PostgreSQL: '; lab/setup/versions.sh 17
	$(CARGO) build $(PROGRAMS)
	@POINTSMAN_BIN=target/debug/pointsman target/debug/demo_managed

crash: setup ## Every write of the store crossed with every crash; CASES=a..b runs some of the cells; ends in target/crash/report.json
	$(CARGO) build $(PROGRAMS)
	@POINTSMAN_BIN=target/debug/pointsman nice -n 10 target/debug/crash

MINUTES ?= 60
chaos: setup ## Random kills of everything and cuts between all, under load, there and back; MINUTES=60, SEED=n repeats; ends in target/chaos/report.json
	$(CARGO) build $(PROGRAMS)
	@MINUTES=$(MINUTES) SEED=$(SEED) POINTSMAN_BIN=target/debug/pointsman target/debug/chaos

adversaries: setup ## 50 switches while sessions try to write on the server that is left; ends in target/adversaries/report.json
	$(CARGO) build $(PROGRAMS)
	@POINTSMAN_BIN=target/debug/pointsman target/debug/adversaries

crowd: setup ## 100 clients of pgbench that connect for each transaction beside 8 busy loops, 20 switches; ends in target/crowd/report.json
	$(CARGO) build $(PROGRAMS)
	@POINTSMAN_BIN=target/debug/pointsman target/debug/crowd

# Cargo closes on the doc tests; the last line adds up all of them.
test: setup ## Runs every test: unit, integration, end to end
	$(CARGO) build $(PROGRAMS)
	@mkdir -p target
	@POINTSMAN_BIN=$(CURDIR)/target/debug/pointsman $(CARGO) test --workspace --no-fail-fast 2>&1 | tee target/test.log \
		&& ended=0 || ended=$$?; \
	awk '/^test result: / { passed += $$4; failed += $$6; skipped += $$8 } \
		END { if (passed + failed == 0) exit 1; \
		      printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }' target/test.log; \
	exit $$ended

test-versions: setup ## A switch there and back, and the suites on servers, on PostgreSQL 14 to 18, as superuser and without; prints what differs
	$(CARGO) build $(PROGRAMS)
	@POINTSMAN_BIN=$(CURDIR)/target/debug/pointsman CARGO=$(CARGO) tests/versions.sh

lint: ## Formatting, clippy, documentation, dependency rules
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --no-deps --workspace
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny check bans licenses sources; \
	else echo 'cargo-deny is not installed: bans, licences and sources were not checked (cargo install cargo-deny)'; fi

bench-switch: setup ## Twenty switches each way against the bare floor; ends in target/bench/switch.json
	$(CARGO) build --release $(PROGRAMS)
	@POINTSMAN_BIN=target/release/pointsman target/release/bench_switch

bench-envoys: setup ## A flip until a hundred real Envoys have acknowledged it; ends in target/bench/envoys.json
	$(CARGO) bench --workspace --bench envoys

# The peer is a program of its own in another language; without its compiler it is left out.
bench-fanout: ## One change to 10,000 streams, against go-control-plane and a floor; ends in target/bench/fanout.json
	@mkdir -p target/bench && rm -f target/bench/go-control-plane
	@if go version >/dev/null 2>&1; then \
		cd tests/peers/go-control-plane && go build -o $(CURDIR)/target/bench/go-control-plane .; \
	else echo 'Go is not installed: go-control-plane is left out'; fi
	$(CARGO) build --release --workspace --bin bench_fanout
	@target/release/bench_fanout

# Peers whose programs are not installed are left out, with a word.
bench-peers: setup ## Switchovers by Patroni behind HAProxy and behind PgBouncer beside Pointsman's; ends in target/bench/peers.json
	$(CARGO) build --release $(PROGRAMS)
	@POINTSMAN_BIN=target/release/pointsman target/release/bench_peers

fleet-turmoil: setup ## 200 sidecars, 5 of which go each second, through 20 switches there and back; ends in target/fleet-turmoil/report.json
	$(CARGO) build $(PROGRAMS)
	@POINTSMAN_BIN=$(CURDIR)/target/debug/pointsman $(CARGO) test --workspace --test turmoil -- --ignored --nocapture

property: ## A million random steps of discovery streams against a reference model
	XDS_PROPERTY_STEPS=1000000 $(CARGO) test --workspace --lib -- stream::tests::property

model: ## Every interleaving of a switch within bounds; ends in target/model/report.json
	$(CARGO) build --release --workspace --bin model
	@target/release/model full target/model/report.json

model-faults: ## Each deliberate fault planted into a copy and searched for; its table goes to target/model/report.json
	$(CARGO) build --workspace --bin model --bin faults
	@target/debug/faults target/model/report.json

SHARD ?= 0/1
mutants: ## Each small change of the machine and the proofs, judged by tests and the simulation; SHARD=k/n runs a part; ends in target/mutants/report.json
	$(CARGO) build --workspace --bin mutants
	@nice -n 10 target/debug/mutants target/mutants/report.json --shard $(SHARD)

SEEDS ?= 10000
simulate: ## The shipped engine on simulated servers, SEEDS=10000 seeds; ends in target/simulate/report.json
	$(CARGO) build --workspace --bin simulate
	@target/debug/simulate --seeds $(SEEDS) --crossed --report target/simulate/report.json

FUZZ_SECONDS ?= 1800
fuzz: ## Half an hour of fuzzing each: HTTP/2, what clients ask and report, and all that can happen to a stream
	xds/fuzz/run.sh frame $(FUZZ_SECONDS)
	xds/fuzz/run.sh header-block $(FUZZ_SECONDS)
	xds/fuzz/run.sh connection $(FUZZ_SECONDS)
	xds/fuzz/run.sh report $(FUZZ_SECONDS)
	xds/fuzz/run.sh request $(FUZZ_SECONDS)
	xds/fuzz/run.sh stream $(FUZZ_SECONDS)
