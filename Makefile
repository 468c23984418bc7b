PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo examples test test-all test-devices test-examples check audit freeze install-check bench bench-peers docs clean

$(STAMP): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps 'tensorflow-model-optimization>=0.8.1,<0.9'  # it asks for absl-py 1.x
	touch $@

demo: $(STAMP)  ## train on digits, optimize for three targets, verify, measure, report
	$(BIN)/python examples/demo.py

RECORDINGS ?= $(wildcard $(EDGEKIT_SHARED_DATA)/sets/fsdd.npz)
HERE = PATH="$(CURDIR)/$(BIN):$$PATH"
examples: $(STAMP)  ## each example by its own script; RECORDINGS=FOLDER has the spoken words, which are not shipped
	$(HERE) sh examples/image_classifier_android/run.sh
	$(HERE) sh examples/segmentation_coral/run.sh
	$(HERE) python examples/vibration_pi/run.py --short -o build/vibration
ifeq ($(RECORDINGS),)
	@echo "left out: keyword_spotting_firmware; its README says where the recordings are: make examples RECORDINGS=FOLDER"
else
	$(HERE) python examples/keyword_spotting_firmware/run.py $(RECORDINGS) --short -o build/keyword
endif

test: $(STAMP)  ## everything but the long sweeps
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not emulated and not example"

test-examples: $(STAMP)  ## the examples, whole, as their pages show them
	$(BIN)/python -m pytest -n 2 -m "example and not slow"

test-devices: $(STAMP)  ## boards and phones in emulation, as root; skipped by name where a tool is missing
	$(BIN)/python -m pytest -m emulated tests/device

test-all: $(STAMP)  ## the long sweeps too, and the table of architectures and techniques
	$(BIN)/python -m pytest -n 2 --coverage-table benchmarks/results/coverage.md

check: $(STAMP)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin

audit: $(STAMP)  ## the dependencies: licences, withdrawn releases, known vulnerabilities; names what could not be asked
	$(BIN)/python tests/audit.py

freeze: $(STAMP)  ## write what users depend on into tests/contracts, where a change of it was meant
	$(BIN)/python tests/frozen.py

install-check: $(STAMP)  ## the wheel on clean environments of each supported Python; minutes, and a package index
	$(BIN)/python tests/install_check.py

bench: $(STAMP)  ## the performance claims, as ratios in one run
	$(BIN)/python benchmarks/suite.py

bench-peers: $(STAMP)  ## beside the other tools, same models and data: what each makes, what it costs, where we lose
	$(BIN)/python benchmarks/bench_peers.py

docs: $(STAMP)  ## the documentation site, in build/site: open its index.html; no server and no network needed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

clean:
	rm -rf $(VENV) build dist *.egg-info
