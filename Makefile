# SPDX-License-Identifier: Apache-2.0
# The demo, the tests and the benches install what they need first. Run from the folder that holds this file.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
REAL_CASE := $(abspath ../shared/data/real_case)
ifneq ($(wildcard $(REAL_CASE)),)
export FEDPAC_ME_REAL_CASE ?= $(REAL_CASE)
endif

# For `make poc`; POC_FLAGS takes what poc/up.sh takes, such as POC_FLAGS="3 --port 8102".
POC_CONFIG := app_configs/fedpac_me.json
POC_FLAGS :=

.PHONY: help install demo poc phantom test test-fast coverage faults lint jobs bench bench-federation bench-bytes \
	gpu-check clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

install: $(STAMP)  ## make .venv and install everything into it

$(STAMP): requirements.txt pyproject.toml
	@echo "Installing into .venv (minutes on a fresh machine) ..."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

demo: install  ## a federated run on five phantom hospitals, with its report
	$(BIN)/python jobs/train.py --config app_configs/fedpac_me.json --name demo --replace

poc: install  ## the demo as a federation of real processes on this machine: start, submit, follow, report, stop
	poc/run.sh $(POC_CONFIG) $(POC_FLAGS)

phantom: install  ## write the phantom hospitals to data/phantom
	$(BIN)/fedpac-me phantom --out data/phantom

test: install lint  ## every test, in two processes at once
	$(BIN)/python tests/side_by_side.py

test-fast: install  ## the tests that need no FLARE process, without the slowest
	$(BIN)/python -m pytest -m "not flare and not real_case and not slow"

coverage: install  ## every line and branch of federation/ by its own tests; fails when one is missing
	$(BIN)/python -m coverage run --branch --source=fedpac_me.federation -m pytest tests/federation
	$(BIN)/python -m coverage report --show-missing --skip-covered --fail-under=100

faults: install  ## every test of the table of faults; writes docs/results/faults.md, fails when a row falls
	PYTHONPATH=tests:tests/flare:$$PYTHONPATH $(BIN)/python -m faults.scorecard

lint: install  ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

jobs: install  ## every config as a FLARE job folder in build/jobs
	@for config in $(filter-out app_configs/base.json,$(wildcard app_configs/*.json)); do \
		$(BIN)/python jobs/train.py --config $$config --export --export-dir build/jobs || exit 1; \
	done

bench: install  ## the tables of docs/results/spine.md (about 50 minutes): step, round, server, bytes, demo
	@echo "This measures docs/results/spine.md. A federation's cost, docs/results/federation.md, is \`make bench-federation\`."
	$(BIN)/python tests/benchmarks/spine.py

bench-federation: install  ## the tables of docs/results/federation.md: start, rounds, memory, sites, slow links
	$(BIN)/python tests/benchmarks/federation.py

bench-bytes: install  ## the tables of docs/results/bytes.md: bytes of rounded messages, and the Dice that they cost
	$(BIN)/python tests/benchmarks/bytes_on_the_wire.py messages dice

gpu-check: install  ## what a GPU makes of it: docs/results/gpu.md; says that it is skipped where there is none
	PYTHONPATH=tests/benchmarks:$$PYTHONPATH $(BIN)/python -m gpu_check

clean:  ## remove build leftovers; keeps data, runs and .venv
	rm -rf build .pytest_cache .ruff_cache .hypothesis
