# Two commands need nothing but Python 3.11+, make and a package index: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help demo test check format peers test-peers soak bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): pyproject.toml hatch_build.py $(shell find proto -name '*.proto')
	@echo "installing spire-py into $(VENV) (once; about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "spire-py needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(READY) ## a server, an agent and two workloads on this machine, in seconds
	@$(BIN)/spire-py demo

test: $(READY) ## all tests; foreign peers are used where they are found
	$(PYTEST) -n $(WORKERS) --dist worksteal

check: $(READY) ## what CI holds every commit against: format, lint, layers, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

format: $(READY) ## put the code into its form
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

peers: $(READY) ## build the foreign clients and tools that the tests can use (Go, Rust, Envoy, ...)
	$(BIN)/python -m tests.peers.build

soak: $(READY) ## the long runs: load, bodies compared, nothing leaked
	$(PYTEST) -m soak --override-ini timeout=900

bench: $(READY) ## print CPU, memory and start-up figures; never a verdict
	$(BIN)/python -m bench

clean: ## remove what was made here
	rm -rf $(VENV) .peers .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist build spire_py/_proto
	find . -name __pycache__ -prune -exec rm -rf {} +
