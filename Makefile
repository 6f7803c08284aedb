# Every target but setup needs the virtual environment, and makes it if it isn't there.
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done

.PHONY: setup demo prune-data train eval test lint bench

setup: $(STAMP)

$(STAMP): pyproject.toml Makefile
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

demo: setup
	$(BIN)/python src/train.py experiment=demo

prune-data: setup
	$(BIN)/python data_pipelines/prune.py $(ARGS)

train: setup
	$(BIN)/python src/train.py $(ARGS)

eval: setup
	$(BIN)/python src/eval.py $(ARGS)

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# make bench VIDEOS=<folder of clips>
bench: setup
	$(BIN)/python benchmarks/dts.py
	$(BIN)/python benchmarks/decode.py $(VIDEOS)
	$(BIN)/python benchmarks/dataloader.py $(VIDEOS)
	$(BIN)/python benchmarks/recot_ablation.py --videos $(VIDEOS) --work outputs/recot_ablation
