# make demo    the whole job on the embedded model, from nothing: venv, install, `conceptlib demo`
# make test    ruff, mypy, pytest; ROOM=catalog runs the tests of one room alone, without mypy
# make lint    ruff and mypy alone
# make docs    docs/cli.md anew, from the commands' own help
# make clean   remove the environment and every cache; artifacts in $CONCEPTLIB_HOME stay
#
# VENV=DIR uses another environment than .venv; PYTHON=python3.12 another interpreter to create it with.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --constraint constraints.txt
# The tests' processes share the cores; without these, torch starts a thread a core in each of them, and they spin.
CALM := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE

.PHONY: demo test lint docs clean

demo: $(VENV)/.installed-demo
	$(BIN)/conceptlib demo

test: $(if $(ROOM),$(VENV)/.installed-test,lint)
	$(CALM) $(BIN)/python -m pytest -n auto --dist worksteal $(if $(ROOM),tests/$(ROOM)) $(PYTEST_ARGS)

lint: $(VENV)/.installed-test
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

docs: $(VENV)/.installed-test
	$(BIN)/python docs/make_cli.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# One pip call each, so that the versions are chosen together; a stamp, so that it runs again only when they change.
$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[yolo]'
	touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[test]'
	touch $@ $(VENV)/.installed-demo

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
