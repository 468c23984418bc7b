PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-all test-devices check bench clean

$(STAMP): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps 'tensorflow-model-optimization>=0.8.1,<0.9'  # it asks for absl-py 1.x
	touch $@

demo: $(STAMP)  ## train on digits, optimize for three targets, verify, measure, report
	$(BIN)/python examples/demo.py

test: $(STAMP)  ## everything but the long sweeps
	$(BIN)/python -m pytest -n 2 -m "not slow and not emulated"

test-devices: $(STAMP)  ## boards and phones in emulation, as root; skipped by name where a tool is missing
	$(BIN)/python -m pytest -m emulated tests/device

test-all: $(STAMP)  ## the long sweeps too, and the table of architectures and techniques
	$(BIN)/python -m pytest -n 2 --coverage-table benchmarks/results/coverage.md

check: $(STAMP)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)  ## the performance claims, as ratios in one run
	$(BIN)/python benchmarks/suite.py

clean:
	rm -rf $(VENV) build dist *.egg-info
