# The two commands of the README are `make demo` and `make test`; each does all of its own set-up.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
PREFIX ?= /opt/venturalitica-agent
export PYTHON

.PHONY: demo test fuzz soak soak-machines lint bench install clean

demo: ## real models on real data, audited; VENTURALITICA_DEMO_DIR=folder keeps everything
	@scripts/bootstrap
	@$(BIN)/venturalitica-agent demo

test: lint ## ruff, mypy, import-linter, pytest
	$(BIN)/pytest -n 4 --dist loadgroup tests

fuzz: ## the tests on generated input again, on new input
	@scripts/bootstrap dev
	HYPOTHESIS_PROFILE=fuzz $(BIN)/pytest -n 4 --dist loadgroup tests/unit

soak: ## kill the service 500 times while 2,000 runs are trained; SOAK_KILLS, SOAK_RUNS and SOAK_SEED change that
	@scripts/bootstrap dev
	PYTHONPATH=tests $(BIN)/python tests/acceptance/soak.py

soak-machines: ## several agents on one PostgreSQL, killed and cut off; SOAK_MACHINES and the same variables
	@scripts/bootstrap dev
	PYTHONPATH=tests $(BIN)/python tests/acceptance/soak_machines.py

lint: ## the checks that run nothing
	@scripts/bootstrap dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: ## latency and cost, measured here and now
	@scripts/bootstrap dev
	$(BIN)/python -m tests.benchmarks

install: ## as root: the program below $(PREFIX) and its systemd service; README and docs/running-as-a-service.md
	$(PYTHON) -m venv $(PREFIX)
	$(PREFIX)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt .
	$(PREFIX)/bin/venturalitica-agent service install

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
