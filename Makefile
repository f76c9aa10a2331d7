# The only entry point. Every target sets up .venv by itself when it is missing or older than pyproject.toml.
PYTHON ?= python3
READY := .venv/ready
BIN := .venv/bin

.PHONY: demo test test-long bench check setup

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

# The main job on the embedded data: the 2^3 ablation with its controls on 8x8 digits, three seeds, read in MLflow.
demo: $(READY)
	$(BIN)/python -m ablations run --preset quickstart --seeds 0-2 --study demo

# The one list of checks; .ci/run and contributors run the same.
test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# What takes minutes each: kills again and again, jobs, nodes that go, databases. A machine without other work, more than 30 minutes.
test-long: $(READY)
	$(BIN)/python -m pytest -m long --durations=0

bench: $(READY)
	$(BIN)/python -m benchmarks all
