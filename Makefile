# Needs Python 3.11 and a package registry; everything else goes into .venv.
PYTHON ?= python3.11
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: run up test matrix check clean
.DEFAULT_GOAL := run

run: .venv/.installed  ## the use cases with simulated data, to four champions; short time budgets
	@.venv/bin/steward run all --time-budget 8

up: .venv/.installed  ## Prefect server, worker, deployments and MLflow UI; DATABASE=postgresql://... for both
	@# In the environment, because everyone on the machine can read the arguments of a process.
	@$(if $(DATABASE),STEWARD_TRACKING_URI="$$DATABASE") .venv/bin/steward up

test: check  ## all tests; real-data tests run where STEWARD_DATA_DIR is set
	.venv/bin/python -m pytest -n 3 --dist loadgroup

matrix: .venv/.installed-dev  ## stop runs in every way at every step of every flow; takes a quarter of an hour
	.venv/bin/python -m pytest -n 2 -m matrix

check: .venv/.installed-dev  ## format, lint, types, import rules, installed versions
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python -m operate.checks.pins

clean:  ## delete the environment, not the state in mlruns/
	rm -rf .venv

.venv/.installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "expected $(PYTHON) on the PATH; install Python 3.11, or say make PYTHON=..."; exit 1; }
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (once; a few minutes)" >&2
	@PIP_CONSTRAINT=constraints.txt .venv/bin/python -m pip install -q -e '.[text]' 2>&1 | { grep -v '^WARNING: Location' || true; } >&2
	@.venv/bin/python -c "import steward, prefect, mlflow" && touch $@

.venv/.installed-dev: .venv/.installed
	@PIP_CONSTRAINT=constraints.txt .venv/bin/python -m pip install -q -e '.[dev,text]' 2>&1 | { grep -v '^WARNING: Location' || true; } >&2
	@.venv/bin/python -c "import pytest, hypothesis" && touch $@
