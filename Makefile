# make help lists the targets. demo and test set up all they need in .venv; only Python 3.9+ and a package index are
# required.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Whole files go to one of several processes: many tests wait, and Paddle trains on one thread. Each takes about 1 GB.
SHARED := -n auto --maxprocesses 4 --dist loadfile

.PHONY: help demo test test-fast capabilities check format wheel clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

demo: $(READY)  ## photographs in, named faces out; then a small training run, validation, export
	$(BIN)/python demo/run.py --output output

test: $(READY) check  ## everything that CI runs
	$(BIN)/python -m pytest $(SHARED)

test-fast: $(READY)  ## the tests without the slow ones
	$(BIN)/python -m pytest $(SHARED) -m "not slow"

capabilities: $(READY)  ## the test of every row of docs/capabilities.md
	$(BIN)/python -m pytest $$(grep -oE 'tests/[a-z0-9_/]+\.py::[a-z0-9_]+' docs/capabilities.md | sort -u)

check: $(READY)  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## mend what lint and format can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(READY)  ## build the wheel into dist/
	$(BIN)/python -m build --wheel --outdir dist .

clean:  ## remove the environment and everything that was built
	rm -rf $(VENV) build dist output *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(READY): setup.py pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 9) and 'Python 3.9 or newer is needed, this is ' + sys.version)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $(READY)
