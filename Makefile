# Two commands do everything on a fresh machine: `make study` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ROOT ?= runs
STUDY ?= laptop
# One process for Ray's tests, one for all others.
PYTEST := $(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder

.PHONY: setup study test test-all check oracle clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt scripts/setup.sh
	PYTHON=$(PYTHON) VENV=$(VENV) bash scripts/setup.sh
	touch $(STAMP)

study: setup
	$(BIN)/ray-slm run $(STUDY) --root $(ROOT)

test: setup
	$(PYTEST)

test-all: setup
	$(PYTEST) -m 'not oracle'

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

oracle: setup
	bash scripts/oracle.sh

clean:
	rm -rf $(VENV) .assets .pytest_cache .mypy_cache .ruff_cache build *.egg-info
