# Everything a newcomer needs: `make run` and `make test` do all their own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
RUNNABLE := $(VENV)/.runnable

.DEFAULT_GOAL := help
.PHONY: help install setup run test chaos lint types docs bench build migrate clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

define pip_install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "jobtrail needs Python 3.11 or later; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(PARTS)]' -e ./streams
endef

DESCRIBED := pyproject.toml streams/pyproject.toml constraints.txt

$(RUNNABLE): PARTS := embedded
$(RUNNABLE): $(DESCRIBED)
	$(pip_install)
	@touch $@

$(READY): PARTS := embedded,dev
$(READY): $(DESCRIBED)
	$(pip_install)
	@touch $(RUNNABLE) $@

install: $(RUNNABLE) ## Install into .venv what running needs

setup: $(READY) ## Install into .venv what changing needs, too: tools for tests, documentation and benchmarks

run: $(RUNNABLE) ## Start everything on embedded servers with real demo work
	$(BIN)/jobtrail up --demo

# Files in the order of their names: by default those with few tests, which are the longest, come last.
PYTEST_ARGS ?= -n auto --dist loadfile --no-loadscope-reorder

test: $(READY) ## Run the tests on real embedded servers
	$(BIN)/python -m pytest $(PYTEST_ARGS)

chaos: $(READY) ## Ten minutes of faults under load, then compare with every append
	$(BIN)/python -m tests.chaos --minutes 10 --events 500000 $(CHAOS_ARGS)

lint: $(READY) types ## Check style, types and the import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(READY) ## Check types alone (mypy strict)
	$(BIN)/mypy

# The variable keeps the theme from advertising its successor. With --quiet nothing would fail.
docs: $(READY) ## Build the documentation site into build/site; a dead link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(READY) ## Measure against raw limits in the same run
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

# Without isolation, so that the build tools are those of constraints.txt.
BUILD := $(BIN)/python -m build --quiet --no-isolation --outdir build/dist

build: $(READY) ## Make wheels and source archives of the service and the worker's package in build/dist
	rm -rf build/dist *.egg-info streams/*.egg-info
	$(BUILD) streams
	$(BUILD) .
	rm -rf *.egg-info streams/*.egg-info
	@ls build/dist

migrate: $(RUNNABLE) ## Apply migrations to JOBTRAIL_DATABASE_URL
	$(BIN)/jobtrail migrate

clean: ## Remove the environment, caches and embedded data
	rm -rf $(VENV) .jobtrail .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info
