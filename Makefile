# The first target that needs it makes the environment in .venv; all others use it.
PYTHON ?= python3
BIN := .venv/bin
NAME := demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: demo table results-paper results-tuned test test-unit test-integration check bench docs clean

demo: .venv/installed  ## Search, confirm, export: real MNIST, this machine, five minutes on two cores
	$(BIN)/tuner launch quick --name $(NAME)
	$(BIN)/tuner confirm $(NAME) --images 1000
	$(BIN)/tuner export $(NAME)

table: .venv/installed  ## The README's table of defences: an hour and a quarter on two cores; run again, it goes on
	if $(BIN)/tuner status defences >/dev/null 2>&1; then $(BIN)/tuner resume defences; \
	else $(BIN)/tuner launch defences --name defences; fi
	$(BIN)/tuner evaluate defences --images 1000

results-paper: .venv/installed  ## The table of docs/results/paper.md: an hour for each of 8 trials on a core; run again, it goes on
	if $(BIN)/tuner status paper_readings >/dev/null 2>&1; then $(BIN)/tuner resume paper_readings; \
	else $(BIN)/tuner launch docs/results/paper_readings.yaml; fi
	$(BIN)/python docs/results/make_paper.py

results-tuned: .venv/installed  ## The tables of docs/results/tuned.md: about three hours on two cores; run again, it goes on
	if $(BIN)/tuner status gan16 >/dev/null 2>&1; then $(BIN)/tuner resume gan16; \
	else $(BIN)/tuner launch gan --name gan16 --trials 60 --set budget.compute=16; fi
	$(BIN)/tuner confirm gan16 --top 2 --seeds 5 --baselines pgd,fgsm_retraining --images 1000
	$(BIN)/python docs/results/make_tuned.py

# One of the tests with servers computes on nearly two processors; more workers than processors let them run into time limits.
# tests/conftest.py has their order.
WORKERS ?= $(shell nproc)
SIDE_BY_SIDE := -n $(WORKERS) --dist loadscope --no-loadscope-reorder --durations=20

test: .venv/installed  ## All tests that can run here; the end says what was skipped and why
	$(BIN)/pytest $(SIDE_BY_SIDE)

test-unit: .venv/installed  ## Tests that need no Ray: minutes of computing
	$(BIN)/pytest $(SIDE_BY_SIDE) -n auto --maxprocesses 8 --ignore=tests/docker --ignore=tests/integration

test-integration: .venv/installed  ## Tests with Ray, servers and images
	$(BIN)/pytest $(SIDE_BY_SIDE) tests/docker tests/integration

check: .venv/installed  ## Format, lint, types, and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/installed  ## The pages of docs/ as HTML in build/docs; those of the reference are made from the code
	$(BIN)/python docs/make_reference.py
	$(BIN)/sphinx-build --quiet --fail-on-warning docs build/docs

bench: .venv/bench-installed  ## Measure speed as ratios in one run
	$(BIN)/python -m tests.benchmarks

.venv/bench-installed: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	touch $@

clean:
	rm -rf .venv

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,check,server,docs]'
	touch $@
