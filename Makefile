# Two commands on a fresh machine: `make demo` and `make test`. `make help` lists all.
# Needs GNU make and Python 3.11, 3.12 or 3.13 with the venv module; everything is installed into $(VENV).

PYTHON ?= python3
VENV ?= .venv
PRESET ?= demo
OUT ?= demo-out
METHODS ?= ddpm ddim vqvae-residual healthy-mean healthy-zscore intensity intensity-equalised random

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

.PHONY: help setup demo test test-slow lint check golden format bench clean
.DEFAULT_GOAL := help

help:  ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

setup: $(DEV_STAMP)  ## Install the project and its tools into VENV (default .venv).

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "Python 3.11, 3.12 or 3.13 is needed, but $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	    "Name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e .
	@touch $(STAMP)

$(DEV_STAMP): $(STAMP)
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	@touch $(DEV_STAMP)

demo: $(STAMP)  ## Train and compare detectors on generated images; PRESET=smoke only sees that it runs.
	$(BIN)/adbench run --method $(METHODS) --dataset phantom --preset $(PRESET) \
	  --out $(OUT)/leaderboards --cache $(OUT)/cache

test: $(DEV_STAMP)  ## Run the tests on all cores; PYTEST_ARGS="-k name" runs some.
	$(BIN)/python -m pytest -n auto --dist loadfile $(PYTEST_ARGS)

test-slow: $(DEV_STAMP)  ## Run the tests that take long, which `make test` leaves out.
	$(BIN)/python -m pytest -n auto --dist loadfile -m slow $(PYTEST_ARGS)

lint: $(DEV_STAMP)  ## Check style, format, types and who imports whom.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test  ## All checks.

golden: $(DEV_STAMP)  ## Write the pages that tests compare with anew, and add new parts to the known defaults.
	$(BIN)/python -m pytest -q --rewrite-golden tests/core/results/test_pages.py tests/baselines/test_defaults.py

format: $(DEV_STAMP)  ## Format the code and mend what can be mended.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## Measure start-up, metrics, network passes, the report and the demo by stage.
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/metrics.py
	$(BIN)/python benchmarks/network_passes.py
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/demo_stages.py --preset $(PRESET) --method $(METHODS)

clean:  ## Remove VENV, the demo's results and build products.
	rm -rf $(VENV) $(OUT) build dist *.egg-info .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
