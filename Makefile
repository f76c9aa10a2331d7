# The only entry point. Targets set up .venv by themselves when it is missing or older than pyproject.toml: those that
# only run work install what work needs, checks install the rest.
PYTHON ?= python3
READY := .venv/ready
CHECKS := .venv/ready-for-checks
BIN := .venv/bin
INSTALL := $(BIN)/pip install --constraint constraints.txt

# PyPI's PyTorch brings CUDA. Where there is no NVIDIA GPU, and PyTorch's own index can be reached, it comes from there.
CPU_WHEELS := https://download.pytorch.org/whl/cpu
HAS := ls -d .venv/lib/python3*/site-packages
GPU := nvidia-smi -L >/dev/null 2>&1
REACHED := $(BIN)/python -c "import urllib.request as web; web.urlopen('$(CPU_WHEELS)/torch/', timeout=5)" 2>/dev/null

.PHONY: demo test test-long bench setup

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@if $(HAS)/nvidia >/dev/null 2>&1; then \
		echo "Bringing .venv up to date."; \
	elif ! $(GPU) && $(REACHED); then \
		echo "Installing into .venv what work needs: PyTorch for CPUs (no NVIDIA GPU here), Ray, MLflow, Optuna and what"; \
		echo "they need; about 2 GB on disk."; \
		$(INSTALL) --extra-index-url $(CPU_WHEELS) torch torchvision; \
	elif $(HAS)/torch >/dev/null 2>&1; then \
		echo "Bringing .venv up to date."; \
	else \
		echo "Installing into .venv what work needs: PyTorch as PyPI has it (on Linux with CUDA), Ray, MLflow, Optuna and"; \
		echo "what they need; about 3 GB to download, 7 GB on disk."; \
	fi
	$(INSTALL) --editable .
	@touch $(READY)

$(CHECKS): $(READY)
	@echo "Installing into .venv what the checks need beside that: pytest, mypy, ruff and others; about 0.5 GB on disk."
	$(INSTALL) --editable '.[dev]'
	@touch $(CHECKS)

# The main job on the embedded data: the 2^3 ablation with its controls on 8x8 digits, three seeds, read in MLflow.
demo: $(READY)
	$(BIN)/python -m ablations run --preset quickstart --seeds 0-2 --study demo

# The one list of checks; .ci/run and contributors run the same.
test: $(CHECKS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# What takes minutes each: kills again and again, jobs, nodes that go, databases. A machine without other work, more than 30 minutes.
test-long: $(CHECKS)
	$(BIN)/python -m pytest -m long --durations=0

bench: $(CHECKS)
	$(BIN)/python -m benchmarks all
