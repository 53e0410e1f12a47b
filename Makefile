# Needs Python 3.11 or newer and make; everything else goes into .venv. `make` alone lists the targets.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CORE   := .venv-core
PIP    := -m pip install --quiet --disable-pip-version-check
JOBS   ?= 2

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help install install-core demo test test-core lint types fix bench docs build clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: $(VENV)/.installed-dev ## everything to develop with, into .venv

install-core: $(CORE)/.installed ## the core alone, without any extra, into .venv-core

demo: $(VENV)/.installed-demo ## see a medical search improve on real data (a few minutes the first time)
	$(BIN)/embedtune demo

test: lint types ## lint, types and the tests, as CI runs them
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS)

test-core: $(CORE)/.installed ## that the core works, and loads nothing heavy, where no extra is installed
	$(CORE)/bin/python scripts/check_core.py

lint: $(VENV)/.installed-dev ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev ## mypy, strict
	$(BIN)/mypy

fix: $(VENV)/.installed-dev ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev ## say how to run the benchmarks
	@echo "The benchmarks take from minutes to hours, so none starts by itself (see benchmarks/README.md):"
	@for script in everything compare classification recommendation similarity trust speed weights apply; do echo "  $(BIN)/python benchmarks/$$script.py --help"; done

docs: $(VENV)/.installed-dev ## build the documentation into site/
	$(BIN)/python $(PIP) -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict

build: $(VENV)/.installed-dev ## the wheel and the source archive, into dist/
	$(BIN)/python -m build

clean: ## remove what make made; the cache of vectors stays
	rm -rf $(VENV) $(CORE) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis

# A marker says what is installed; it is older than pyproject.toml when that has changed since.

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python scripts/install_torch.py
	$(BIN)/python $(PIP) -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python scripts/install_torch.py
	$(BIN)/python $(PIP) -c constraints.txt -e '.[dev,demo,static,images,api,fast,int8,weights,stores]'
	@touch $@ $(VENV)/.installed-demo

$(CORE)/.installed: pyproject.toml | $(CORE)/bin/python
	$(CORE)/bin/python $(PIP) -e .
	@touch $@

$(BIN)/python $(CORE)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	  "embedtune needs Python 3.11 or newer, and '$(PYTHON)' is not: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo \
	  "this Python cannot make virtual environments: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(patsubst %/bin/python,%,$@)
