# Everything starts here: `make help` lists what there is.
# A clean clone needs Python >= 3.11, g++, make and perl, the tests iverilog; the rest is installed
# into .venv.

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check

# Our folder sched/ must not stand before the standard library's sched.
export PYTHONSAFEPATH := 1
# Type checkers can't follow the package mapping of an editable install.
export MYPYPATH := typing

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test regress bench lint clean test-tools

help:  ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(VENV)/.sim  ## Classify digits on the simulated hardware, checked layer by layer
	@$(BIN)/mensa run --engine rtl --machine edge_tpu --set rows=8 --set cols=8 --check

test: test-tools $(VENV)/.test  ## Lint, types and all tests (MENSA_MODELS: a folder of real networks)
	@$(BIN)/python .ci/shares.py --jobs $(JOBS) $(SHARES)

regress: test-tools $(VENV)/.test  ## The same tests with many more random cases and machine shapes
	@MENSA_REGRESS=1 $(BIN)/python .ci/shares.py --jobs $(JOBS) $(SHARES)

bench: $(VENV)/.test  ## Measure the engines and golden
	@$(BIN)/python benchmarks/bench.py

lint: $(VENV)/.test  ## Style, format and types
	@$(BIN)/python .ci/shares.py lint

clean:  ## Remove .venv and everything that a build or a test left here
	rm -rf $(VENV) build dist *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

test-tools:
	@PYTHON=$(PYTHON) sh .ci/tools.sh test

# The stamps say which extras are installed. `test` contains `sim`.
$(VENV)/.sim $(VENV)/.test: $(VENV)/.%: pyproject.toml setup.py
	@PYTHON=$(PYTHON) sh .ci/tools.sh
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "mensa: installing the Python packages of '$*' into $(VENV) (once, a minute or two) ..."
	@$(PIP) --editable '.[$*]' || { \
	  echo "mensa: error: pip could not install the packages, see above; check the network, then run make again" >&2; \
	  exit 1; }
	@touch $@
	@test "$*" != test || touch $(VENV)/.sim
