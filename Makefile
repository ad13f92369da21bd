# Everything starts here; `make help` lists the targets. PYTHON=python uses an environment of your own.
PYTHON ?= .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-fast format collect figures figure claims docs bench reproduce clean

help:        ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

setup: $(if $(filter .venv/bin/python,$(PYTHON)),.venv/ready) ## create .venv and install this checkout in it, if missing

.venv/ready: pyproject.toml
	@command -v python3 >/dev/null || { echo "python3 is needed: install Python 3.11 or later"; exit 1; }
	test -x .venv/bin/python || python3 -m venv .venv
	@echo "installing into .venv: 2 to 8 minutes, most of it PyTorch (README.md: the small build, where there is no GPU)"
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[study,dev]"
	touch $@

quickstart: setup  ## train on embedded handwritten digits, measure rotation equivariance, draw it
	$(PYTHON) train.py experiment=quickstart
	$(PYTHON) measure.py -m experiment=quickstart measure.trained=false,true

test: setup        ## check formatting, lint and types, run all tests
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m pytest

test-fast: setup   ## the tests of a few seconds each, for daily work
	$(PYTHON) -m pytest -m "not slow"

format: setup      ## format the code and mend what the linter can
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

collect: setup     ## gather the rows of experiment NAME from runs/ into experiments/NAME/results.csv
	$(PYTHON) scripts/collect.py $${NAME:+"$$NAME"}

figures: setup     ## redraw all figures from the committed rows; `make figure NAME=..`: those of one; FOLDER=runs/..: from your own
	$(PYTHON) scripts/figures.py

figure: setup
	$(PYTHON) scripts/figures.py $${NAME:+"$$NAME"} $${FOLDER:+"$$FOLDER"}

claims: setup      ## verdicts from the committed rows into experiments/README.md; NAME=..: print those of one
	$(PYTHON) scripts/claims.py $${NAME:+"$$NAME"}

reproduce: setup   ## run every experiment; SIZE=reduced, public or all; TINY=1 sees in minutes whether all runs; DRY_RUN=1 prints the plan; ARGS=overrides
	$(PYTHON) scripts/reproduce.py --size $${SIZE:-full} $${TINY:+--tiny} $${DRY_RUN:+--dry-run} $${ARGS}

PAGES := README.md CONTRIBUTING.md CHANGELOG.md CITATION.cff LICENSE docs experiments/*.md experiments/*/*.md experiments/*/*.png \
	experiments/*/*.csv

docs: setup        ## the pages of docs/ with the reference, as a site in build/site/
	$(PYTHON) -c "import mkdocs, material, mkdocstrings, mkdocs_jupyter" 2>/dev/null || $(PYTHON) -m pip install --quiet --editable ".[docs]"
	rm -rf build/pages && mkdir -p build/pages && tar cf - $(PAGES) | tar xf - -C build/pages
	$(PYTHON) -m mkdocs build --strict --quiet
	@echo "build/site/index.html"

bench: setup       ## time training steps and measurements against the plain way
	$(PYTHON) scripts/bench.py train
	$(PYTHON) scripts/bench.py measure

clean:             ## remove the environment and caches; runs and data stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build equivariance.egg-info
