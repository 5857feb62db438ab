# Two commands on a fresh machine with Python 3.11 and make:
#   make demo   builds the graphs of the embedded corpus, fits, and leaves a report in demo/run/report.html
#   make test   runs ruff, mypy and the tests
# Besides: make docs (the book, site/index.html), make notebooks (executes notebooks/ and stores what they show), make coverage,
# make lint, make clean.
# Settings: PYTHON=python3.11, DGL=2.1.0 (another DGL, in its own venv), TORCH_INDEX=URL (PyTorch's CPU wheel index, on
# Linux without a GPU), PYTEST_ARGS='-k corpus', NOTEBOOKS=03_inside_mglra (default: all).

PYTHON ?= $(or $(shell command -v python3.11),$(shell command -v python3.12),python3)
TORCH_INDEX ?=
DGL ?=
PYTEST_ARGS ?=
NOTEBOOKS ?=

VENV := .venv$(if $(DGL),-dgl-$(DGL))
BIN := $(VENV)/bin
COMMA := ,
EXTRAS := dev$(if $(DGL),,$(COMMA)docs$(COMMA)media)
SELECT := $(if $(DGL),-m 'dgl and not slow and not without_dgl',)
export PYTHONHASHSEED := 0
export OMP_WAIT_POLICY := PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo install test lint coverage docs notebooks clean

demo: $(BIN)/.installed
	$(BIN)/dglmerc import synthetic demo/corpus --force
	$(BIN)/dglmerc build-graphs demo/corpus demo/graphs --force
	$(BIN)/dglmerc fit demo/graphs --out demo/run --set training.max_epochs=15 --force

install: $(BIN)/.installed-dev

test: install $(if $(DGL),,lint)
	$(BIN)/python -m pytest $(SELECT) $(PYTEST_ARGS)

lint: $(BIN)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(BIN)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

notebooks: $(BIN)/.installed-dev
	$(BIN)/python tests/notebooks.py $(NOTEBOOKS)

coverage: $(BIN)/.installed-dev
	$(BIN)/python -m pytest --cov --cov-report=term $(PYTEST_ARGS)

$(VENV)/constraints.txt: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
		{ echo "make: $(PYTHON) is not Python 3.11 or 3.12 (DGL has no wheels for others); name one: make PYTHON=python3.11 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	sed $(if $(DGL),'s/^dgl==.*/dgl==$(DGL)/','') constraints.txt > $@

# pip is told where torch comes from before anything else asks for it: dgl declares no upper bound on it.
$(BIN)/.installed: $(VENV)/constraints.txt setup.cfg pyproject.toml
	$(BIN)/pip install -q $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c $< -e .
	@touch $@

$(BIN)/.installed-dev: $(BIN)/.installed
	$(BIN)/pip install -q -c $(VENV)/constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

clean:
	rm -rf .venv* demo site build dist *.egg-info .coverage*
