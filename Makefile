# What there is to do here. `make` alone says so.
.DEFAULT_GOAL := help
.PHONY: help demo test simulate fuzz chaos plants check deploy-check docs page kafka-up kafka-down bench dist image build

NODES ?= 1
PORT ?= 9092
JOBS ?= 1
# Most of what tests do is wait: one more at a time than there are cores.
TEST_THREADS ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )))

# Each test in a process of its own, but for those on a real Kafka, which share one. nextest knows no doc tests.
NEXTEST = cargo nextest run --workspace -E 'not binary(kafka)'; one=$$?; cargo test --workspace --no-fail-fast --doc; two=$$?; \
	RUST_TEST_THREADS=$(TEST_THREADS) cargo test --no-fail-fast --test kafka && [ $$one$$two = 00 ]

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the whole pipeline in one process, nothing to install: watch it work
	cargo run --release -- demo

test: ## all tests, those against a real Kafka included where Java and Maven are there
	@if [ -z "$$CI" ] && command -v cargo-nextest >/dev/null; then $(NEXTEST); \
	else RUST_TEST_THREADS=$(TEST_THREADS) cargo test --workspace --no-fail-fast; fi
	cargo test --features otlp --test traces

simulate: ## the whole program from a seed: SEEDS=2000 of them (from FROM on), or one again: SEED=N [FAULTS=3,9] [BATCHES=0,4]
	cargo run --quiet --profile simulate -p simulation -- $(if $(SEED),--seed $(SEED),--jobs $(JOBS)) $(if $(SEEDS),--seeds $(SEEDS)) \
		$(if $(FROM),--from $(FROM)) $(if $(FAULTS),--faults $(FAULTS)) $(if $(BATCHES),--batches $(BATCHES))

fuzz: ## hostile bytes against one reader of them: TARGET=batches MINUTES=30; cargo run -p fuzz -- list names the targets
	fuzz/run.sh $(TARGET) $(or $(MINUTES),1)

chaos: ## the long form of the tests of groups, transactions, networks and replays, on a real Kafka: an hour; CHAOS_SEED=N repeats one
	CHAOS=long cargo test --test kafka -- group:: exactly_once:: network:: dlq:: --nocapture --test-threads=1

plants: ## defects, planted one after another, and which suite notices each: PLANT="17 43" for some, SEEDS=300 of the simulation
	$(if $(SEEDS),SEEDS=$(SEEDS)) tools/plants.sh $(PLANT)

check: ## what must hold before a commit: format, lints, documentation, layers, and licences where cargo-deny is installed
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --features otlp --test traces -- -D warnings
	cargo clippy --no-default-features -- -D warnings
	cargo clippy -p kafka-client --no-default-features --features testing -- -D warnings
	cargo test --workspace --test house
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace --document-private-items
	@if command -v cargo-deny >/dev/null; then cargo deny check bans licenses sources; else echo "cargo-deny is not installed: its check was left out"; fi

deploy-check: ## images, manifests, rules, workflows and scripts against the tools that would reject them; PARTS="helm" for some
	tools/deploy/check.sh $(PARTS)

docs: ## README's documents as a book in target/book, with mdBook
	tools/docs/book.sh

page: ## the admin port's page in Chromium, with its screenshots in target/page; wants Node 20, and Chromium as CHROMIUM names it
	cargo build
	npm ci --silent --prefix tools/page
	node tools/page/browser.mjs

kafka-up: ## a real Kafka on this machine: NODES=1 (or 3) PORT=9092
	tools/kafka/kafka.sh up --nodes $(NODES) --port $(PORT)

kafka-down: ## stop it; its data stays, unless tools/kafka/kafka.sh down --wipe
	tools/kafka/kafka.sh down

bench: ## what a record costs, what exactly once costs, and latency, on a real Kafka; BENCH="--only speed --repeat 3"
	bench/run.sh $(BENCH)

dist: ## static binaries for x86_64, aarch64 and armv7, with sums and an SBOM, into dist/; ARCHS="x86_64" for some
	tools/dist/build.sh $(ARCHS)

image: ## the image of what make dist has made, for each platform, looked at and tried; needs no daemon
	tools/image/build.sh $(PLATFORMS)

build: ## the release binary
	cargo build --release
