# What a developer and CI run. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Where the private Postgres and RabbitMQ live; see dev/stack.
STACK ?= .relay-dev

.PHONY: help build up down wipe test lint doc deny audit demo bench bench-scale upgrade fuzz-api check ci

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[36m%-11s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build everything, tests included
	cargo build --locked --all-targets

up: ## Start private servers, a relay and a shipping service to play with; prints how
	@dev/play up

down: ## Stop them; their data stays
	@dev/play down

wipe: down ## Stop them and remove their data
	@dev/stack wipe $(STACK)
	@rm -rf .relay-dev-python .relay-dev-python.lock

# The stack is left running: the next `make test` starts at once. A run without tests is a failure, for a filter that
# matches nothing looks just like success. Tests wait more than they compute: there are more of them than processors.
test: ## Run every test, against the servers of DATABASE_URL and AMQP_URL or else private ones [ARGS=...]
	@servers=$$(dev/stack up $(STACK)); eval "$$servers"
	log=$$(mktemp); trap 'rm -f "$$log"' EXIT
	export RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$(( $$(nproc) * 3 / 2 ))}
	cargo test --locked --no-fail-fast $(ARGS) 2>&1 | tee "$$log"
	awk '/^test result:/ {ran += $$4 + $$6} END {if (!ran) {print "make: no test ran" > "/dev/stderr"; exit 1}}' "$$log"

lint: doc ## Formatting, clippy and documentation; warnings are errors
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings

doc: ## Build the documentation of everything, private items included
	RUSTDOCFLAGS=-Dwarnings cargo doc --locked --no-deps --document-private-items

deny: ## Licences, banned and duplicate crates, sources
	cargo deny --locked check bans licenses sources

audit: ## Known vulnerabilities; fetches the advisory database, so it needs the open network
	cargo deny --locked check advisories

demo: ## Kill every part of relay and shipping at work, and account for every row and shipment (under 90 s after the build)
	cargo build --locked --profile quick --bin relay --bin shipments --example demo
	target/quick/examples/demo

bench: ## Measure relay (throughput, CPU, memory, latency, writers) and shipping; about 20 minutes, writes target/bench/*.json
	cargo bench --locked --bench core --bench shipping

bench-scale: ## Measure relay at size, with old transactions, many keys and several relays; about an hour, writes target/bench/scale.json
	cargo bench --locked --bench scale

upgrade: ## Deploy this version over an older one, under load, in both orders and back [REVISION=...]; builds that one, too
	@dev/upgrade $(REVISION)

fuzz-api: ## Run a fuzzer for HTTP APIs against `shipments api`; fetches it from the Python package index
	@dev/fuzz-api

check: lint deny test ## Everything a change must pass

ci: ## What CI runs: the same, from nothing but a Rust toolchain
	.ci/run
