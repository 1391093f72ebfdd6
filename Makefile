# The verbs. Each is one line that calls a script or cargo; CI uses the same ones.
.DEFAULT_GOAL := help
CARGO ?= cargo
# Binaries are run where `build` put them: `cargo run` would build the operator's command again, with the features it needs alone.
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help run demo test bench faults lint fmt build tools image chart ci

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## everything on this machine, with a first push; stays until Ctrl-C
	@exec $(TARGET)/debug/carillon dev

demo: build ## everything from nothing, the demo scenario, a report in target/demo.json
	@exec $(TARGET)/debug/carillon demo

test: tools ## checks, build, every test against its own broker and database
	@exec deploy/local/test.sh

bench: tools ## how fast, against what: ROWS=B4,B7, SHORT=1 for small sizes; a report in target/bench.json
	@$(CARGO) build $(if $(SHORT),,--profile measure) --workspace --bins
	@exec $(TARGET)/$(if $(SHORT),debug,measure)/bench

faults: tools ## what survives: ROWS=F1,F8 SEED=7, FULL=1 or CI=1 for the size; a report in target/faults.json
	@$(CARGO) build --workspace --bins
	@exec $(TARGET)/debug/faults

lint: tools ## formatting and clippy
	@exec deploy/local/lint.sh

fmt: ## format all code
	@$(CARGO) fmt --all

build: tools ## every binary
	@$(CARGO) build --workspace --bins

tools: ## install what is missing to build (Debian, Ubuntu), or say what is
	@deploy/local/tools.sh

image: ## every image, built without a registry and run read-only
	@exec deploy/image.sh

chart: ## lint, render and judge the Helm chart, compose file and Dockerfile
	@exec tests/chart/check.sh

ci: ## what CI runs: test, the short forms of faults and bench, demo, chart
	@exec .ci/run
