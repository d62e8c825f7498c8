# `make quickstart`, `make grounding`, `make video` and `make occupancy` show the framework working,
# `make test` checks it. All make the environment.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help env quickstart grounding video occupancy test lint docs clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 14

env:  ## make or refresh .venv (PYTHON=python3.12 picks another Python)
	@$(PYTHON) tools/setup_env.py

quickstart: env  ## toy world: train, test, compare, draw
	$(BIN)/python tools/quickstart.py

grounding: env  ## toy world of sentences: train, compare three seeds, draw
	$(BIN)/python tools/quickstart_grounding.py --seeds 0 1 2

video: env  ## toy world of moving shapes: train, compare three seeds, draw
	$(BIN)/python tools/quickstart_video.py --seeds 0 1 2

occupancy: env  ## toy street: train with and without adaptive lifting and memory, three seeds, draw
	$(BIN)/python tools/quickstart_occupancy.py --seeds 0 1 2

test: env  ## import rules, style, tests
	$(BIN)/lint-imports
	$(BIN)/ruff check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m 'not slow and not gpu'

lint: env  ## style, formatting, import rules, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

docs: env  ## build the site into site/
	$(BIN)/mkdocs build --strict

clean:  ## remove the environment and everything that was built (compiled wheels stay in the cache)
	rm -rf .venv build dist site *.egg-info mmvl/ops/*.so .pytest_cache .ruff_cache .mypy_cache .coverage*
