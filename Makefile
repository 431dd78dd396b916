# make demo    a complete first run on a fresh machine (Python 3.11 or newer is all it needs)
# make test    the tests                make check   ruff and pyright
# make test-cluster    a batch on two Ray nodes, one of which is killed
# make quality the numbers of the README, on the validation pairs below DATA
# make docs    docs/API.md, out of the docstrings
# make bench   time and memory by size and runtime: docs/BENCHMARKS.md (an hour)

VENV ?= .venv
BIN := $(VENV)/bin
DATA ?= ../shared/data

# The first Python of 3.11 or newer on the path that can make a virtual environment.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	$$p -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)

INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-cluster check quality bench docs clean

help:
	@grep -E '^# make' Makefile | cut -c3-

demo: $(VENV)/.installed-demo
	$(BIN)/refsr demo -o demo_out

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-cluster: $(VENV)/.installed-cluster
	$(BIN)/python -m pytest -m cluster

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(VENV)/.installed-dev
	$(BIN)/python tools/bench.py

docs: $(VENV)/.installed-dev
	$(BIN)/python tools/api_reference.py

quality: $(VENV)/.installed-quality
	mkdir -p out
	for run in lanczos:none detail-transfer:given ssen:none ssen:shuffled ssen:given; do \
	  $(BIN)/refsr evaluate benchmarks/validation.csv --root $(DATA)/pairs --lpips \
	    --model $${run%:*} --reference $${run#*:} --json out/quality_$${run%:*}_$${run#*:}.json \
	    || exit 1; \
	done

clean:
	rm -rf $(VENV) build dist demo_out

# One stamp file for each set of dependencies, so that a second `make` installs nothing again.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "refsr needs Python 3.11 or newer with venv and ensurepip:" \
	  "install one, or name it with 'make PYTHON=/path/to/python3'." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[demo]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[train,web,openvino,dev]'
	@touch $@ $(VENV)/.installed-demo

$(VENV)/.installed-quality: $(VENV)/.installed-demo
	$(INSTALL) -e '.[demo,lpips]'
	@touch $@

$(VENV)/.installed-cluster: $(VENV)/.installed-dev
	$(INSTALL) -e '.[train,dev,bulk]'
	@touch $@
