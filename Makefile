# make help lists the targets. demo and test set up all they need in .venv; only Python 3.9+ and a package index are
# required.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Whole files go to one of several processes: many tests wait, and Paddle trains on one thread. Each takes about 1 GB.
SHARED := -n auto --maxprocesses 4 --dist loadfile

# Exact versions to install, instead of the newest that setup.py allows: make test CONSTRAINTS=tools/requirements/lock.txt
CONSTRAINTS ?=
REQUIREMENTS := tools/requirements
# uv and CycloneDX's writer, apart from what they look at
TOOLS := .venv-tools

.PHONY: help demo test test-fast test-oldest fuzz mutation capabilities docs check format wheel sbom lock oldest clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

demo: $(READY)  ## photographs in, named faces out; then a small training run, validation, export
	$(BIN)/python demo/run.py --output output

test: $(READY) check  ## everything that CI runs
	$(BIN)/python -m pytest $(SHARED)

test-fast: $(READY)  ## the tests without the slow ones
	$(BIN)/python -m pytest $(SHARED) -m "not slow"

test-oldest:  ## the same with the oldest versions that setup.py allows, under Python 3.9
	$(MAKE) test-fast PYTHON=python3.9 VENV=.venv-oldest CONSTRAINTS=$(REQUIREMENTS)/oldest.txt

FUZZ_SECONDS ?= 30
fuzz: $(READY)  ## half a minute of CPU time of hostile inputs for every parser (FUZZ_SECONDS=600: ten minutes each)
	$(BIN)/python tools/fuzz.py --inputs 1000000000 --seconds $(FUZZ_SECONDS)

MUTANTS ?= 50
mutation: $(READY)  ## do the tests notice changes of the program? 50 in each core room (MUTANTS=500: more)
	$(BIN)/python tools/mutation.py --sample $(MUTANTS)

capabilities: $(READY)  ## the test of every row of docs/capabilities.md
	$(BIN)/python -m pytest $$(grep -oE 'tests/[a-z0-9_/]+\.py::[a-z0-9_]+' docs/capabilities.md | sort -u)

docs: $(READY)  ## the documentation site, both languages, into dist/site; needs no network
	$(BIN)/python docs/site/build.py

check: $(READY)  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## mend what lint and format can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(READY)  ## build the wheel into dist/
	$(BIN)/python -m build --wheel --outdir dist .

sbom: $(READY) $(TOOLS)/.ready  ## what is installed, with versions and licences, as dist/sbom.cdx.json (CycloneDX)
	mkdir -p dist
	$(TOOLS)/bin/cyclonedx-py environment --output-reproducible --output-file dist/sbom.cdx.json $(BIN)/python

lock: $(READY) $(TOOLS)/.ready  ## write the versions of this environment to tools/requirements/lock.txt
	$(BIN)/python -m pip freeze --all --exclude-editable > $(VENV)/frozen.txt
	$(BIN)/python $(REQUIREMENTS)/declared.py dev | $(TOOLS)/bin/uv pip compile --quiet --no-build --no-annotate \
		--python $(BIN)/python --constraint $(VENV)/frozen.txt --custom-compile-command "make lock" --output-file $(REQUIREMENTS)/lock.txt -

oldest: $(READY) $(TOOLS)/.ready  ## write the oldest versions that setup.py allows to tools/requirements/oldest.txt
	$(BIN)/python $(REQUIREMENTS)/declared.py dev cluster | $(TOOLS)/bin/uv pip compile --quiet --no-build --no-annotate --upgrade \
		--resolution lowest-direct --python-version 3.9 --custom-compile-command "make oldest" \
		--output-file $(REQUIREMENTS)/oldest.txt -

clean:  ## remove the environment and everything that was built
	rm -rf $(VENV) .venv-oldest $(TOOLS) build dist output *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(READY): setup.py pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 9) and 'Python 3.9 or newer is needed, this is ' + sys.version)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]" $(addprefix --constraint ,$(CONSTRAINTS))
	touch $(READY)

$(TOOLS)/.ready:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet uv cyclonedx-bom
	touch $(TOOLS)/.ready
