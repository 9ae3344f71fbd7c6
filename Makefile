# Two commands for a newcomer: `make demo` and `make test`. Each builds what it needs in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# One thread a process: where two share two cores, threads of BLAS that wait for each other take three
# times the time that they save.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal
# Shapes and types of signatures are checked at run time: by the examples of the docstrings, which
# call every public function, and nightly by every test.
TYPED  := --jaxtyping-packages=neuralcollapse,typechecking.checker

.PHONY: help demo test examples nightly coverage lint bench gpu screenshots docs clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(VENV)/.installed  ## train a small network on real images, report its collapse, check the papers' claims
	$(BIN)/neuralcollapse demo
	$(BIN)/neuralcollapse verify

test: $(VENV)/.installed-dev  ## lint, type-check, and run the examples of all docstrings and the tests
	$(MAKE) --jobs=2 --output-sync=target lint examples
	$(PYTEST) tests

examples: $(VENV)/.installed-dev
	$(PYTEST) -n 0 $(TYPED) src

nightly: $(VENV)/.installed-dev  ## every test, the slow ones too, and the benchmarks in full
	$(PYTEST) $(TYPED) -m "slow or not slow"
	$(MAKE) bench

coverage: $(VENV)/.installed-dev  ## which lines the tests run, in htmlcov/
	$(PYTEST) --cov=neuralcollapse --cov-report=term:skip-covered --cov-report=html

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev  ## the speed ratios, with their floors
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

gpu: $(VENV)/.installed-dev  ## on one GPU: its tests, and the network figures at the scale medium, in gpu/
	$(BIN)/python benchmarks/gpu.py

screenshots: $(VENV)/.installed-dev  ## pictures of the report page at every size and in every state, in screenshots/
	$(BIN)/python tests/screenshots.py

docs: $(VENV)/.installed-dev  ## run the scripts of the gallery and build the documentation in site/
	$(BIN)/python -m sphinx --fail-on-warning --keep-going docs site

clean:  ## remove the environment and what the demo wrote
	rm -rf $(VENV) demo build dist site screenshots htmlcov .coverage docs/gallery docs/scripts docs/reference/api docs/reference/uses

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "neuralcollapse needs Python 3.11 or newer, got " + sys.version.split()[0] + "; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.installed
