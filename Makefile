# Thin: each target makes .venv and installs on first use, then runs one command. `make help`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# A Python that scsw runs on; give another with `make demo PYTHON=/path/to/python`.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
  "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
  && { echo "$$p"; break; }; done)
CORES ?= all
TEST_WORKERS ?= 2

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c envs/constraints.txt
PYTEST := $(BIN)/python -m pytest --numprocesses $(TEST_WORKERS) --dist loadfile
SNAKEMAKE := $(BIN)/snakemake --cores $(CORES)
CALIBRATION := nice -n 19 $(BIN)/python -m scsw.superweight.calibration
PINS := pyproject.toml envs/constraints.txt

# One environment serves all rules, and a cohort's folder is named in the config, not derived.
ACCEPTED_LINTS := Specify a conda environment|Param out is a prefix

# The rules call `scsw`, which must be the one of this environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# A setting of another project must not reach this one.
unexport PYTHONPATH PYTHONHOME

# The demo's own lock: a second `make demo` here must not unlock a run that still goes on.
DEMO_LOCK := $(shell command -v flock >/dev/null && echo flock --nonblock --conflict-exit-code 75 .venv/demo.lock)

.PHONY: help demo demo-run test test-slow lint bench calibration figures config-reference clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

demo: .venv/installed ## simulated cohort to report, on CPU; goes on where it was stopped
	@$(DEMO_LOCK) $(MAKE) --no-print-directory demo-run || { code=$$?; \
	  test $$code -ne 75 || echo "Another 'make demo' is running in this folder; wait for it or stop it." >&2; \
	  exit $$code; }
	@$(BIN)/scsw summary results/demo

# A killed run leaves Snakemake's lock behind. Under the demo's own lock it can only be a dead one;
# `--unlock` would take the locks of other runs, which may be alive, too.
demo-run:
	@rm -f $$(grep -ls '^results/demo/' .snakemake/locks/*)
	$(SNAKEMAKE)

test: .venv/installed-dev ## the quick tests, a few minutes
	$(PYTEST) -m "not slow"

test-slow: .venv/installed-dev ## the tests that train models and run the workflow
	$(PYTEST) -m slow

lint: .venv/installed-dev ## style of Python and Snakemake files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(SNAKEMAKE) --dry-run --quiet > /dev/null
	@echo "snakemake --lint"
	@! $(BIN)/snakemake --lint 2>&1 | grep '^    \* ' | grep -vE '$(ACCEPTED_LINTS)'

bench: .venv/installed-dev ## the benchmarks; see benchmarks/results.md
	$(BIN)/python -m benchmarks

# Niced: it keeps all cores busy for hours.
calibration: .venv/installed ## how often verdicts are wrong, and their power; docs/calibration.md
	$(CALIBRATION) run --part null --work results/calibration
	$(CALIBRATION) run --part power --work results/calibration
	$(CALIBRATION) report

figures: .venv/installed ## draw the demo's figures and reports again from its tables
	$(SNAKEMAKE) --forcerun report

config-reference: .venv/installed ## write config/README.md from the config schema
	$(BIN)/python -m scsw.config_reference > config/README.md

clean: ## remove the demo's results; never the environment or another run
	rm -rf results/demo

# torch is pinned in envs/constraints.txt; without that pip would fetch its newest release.
.venv/installed: $(PINS)
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 was found; name one with make PYTHON=..." >&2; exit 1; }
	@echo "Installing scsw into .venv: a few minutes and 2.5 GB (more with a CUDA build of torch) ..."
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(PIP) --editable '.[report]'
	@touch $@

.venv/installed-dev: .venv/installed
	@echo "Adding what tests and linting need ..."
	$(PIP) --editable '.[report,test,dev]'
	@touch $@
