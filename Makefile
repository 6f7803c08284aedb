# Every target but setup needs the virtual environment, and makes it if it isn't there.
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done

.PHONY: setup demo prune-data train eval test test-lmms-eval lint bench

setup: $(STAMP)

$(STAMP): pyproject.toml Makefile
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

# The whole road on a small world of its own: videos, pruning, four stages, three questions, evaluation.
DEMO := outputs/demo/$(shell date +%Y-%m-%d_%H-%M-%S)
DEMO_DATA = data.prepare=null data.train=[$(DEMO)/shards/train] data.val=[$(DEMO)/shards/val] data.features=cached
DEMO_TRAIN = $(BIN)/python src/train.py $(DEMO_DATA) trainer.val_check_interval=100

demo: setup
	$(BIN)/python -m recot.tiny_world --out $(DEMO)/world --videos 320 --frames 64 --seed 0 --junk 0.2
	$(BIN)/python data_pipelines/prune.py source=$(DEMO)/world/corpus/annotations.json evaluation_sets=[$(DEMO)/world/evaluation/annotations.json] val_fraction=0.1 output=$(DEMO)/shards
	$(BIN)/python data_pipelines/cache_features.py experiment=recot_pretrain $(filter-out data.features=cached,$(DEMO_DATA))
	$(DEMO_TRAIN) experiment=recot_pretrain trainer.max_steps=200 hydra.run.dir=$(DEMO)/1_recot_pretrain
	$(BIN)/python src/train.py experiment=projector_align data.prepare.root=$(DEMO)/clips data.prepare.train_videos=1600 trainer.max_steps=300 trainer.val_check_interval=100 hydra.run.dir=$(DEMO)/2_projector_align init_from=$(DEMO)/1_recot_pretrain/checkpoints/final.ckpt
	$(DEMO_TRAIN) experiment=selector_finetune trainer.max_steps=60 stage.train.selector=1e-2 hydra.run.dir=$(DEMO)/3_selector_finetune init_from=$(DEMO)/2_projector_align/checkpoints/final.ckpt
	$(DEMO_TRAIN) experiment=sft_lora trainer.max_steps=80 stage.train.selector=1e-2 hydra.run.dir=$(DEMO)/4_sft_lora init_from=$(DEMO)/3_selector_finetune/checkpoints/final.ckpt
	$(BIN)/python -m recot.checkpoints.export stage $(DEMO)/4_sft_lora/checkpoints/final.ckpt $(DEMO)/model
	$(BIN)/python -m recot.tiny_world --out $(DEMO)/unseen --videos 1 --frames 512 --seed 1 --split test
	$(BIN)/python -m recot.quiz $(DEMO)/unseen/videos/000000.json --checkpoint $(DEMO)/model --plots $(DEMO)/answers
	$(BIN)/python -m recot.tiny_world --out $(DEMO)/exam --videos 16 --frames 64 --seed 2 --split test
	$(BIN)/python src/eval.py evaluation=tiny_world evaluation.tiny_world.annotations=$(DEMO)/exam/videos evaluation.tiny_world.videos=$(DEMO)/exam/videos checkpoint=$(DEMO)/model results=$(DEMO)/eval

prune-data: setup
	$(BIN)/python data_pipelines/prune.py $(ARGS)

train: setup
	$(BIN)/python src/train.py $(ARGS)

eval: setup
	$(BIN)/python src/eval.py $(ARGS)

# Two processes of one thread each: files side by side, the tests of a file in order.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# An environment of its own: lmms-eval wants another antlr than Hydra, and another av than we do. It gets what its
# evaluator and our adapter import, without the judges, metrics and models that only some of its tasks use.
LMMS := $(VENV)/lmms-eval
LMMS_PIP := $(LMMS)/bin/python -m pip install --quiet --disable-pip-version-check
LMMS_NEEDS := accelerate datasets evaluate "filelock<4" jinja2 loguru pillow pydantic pytablewriter pyyaml sacrebleu \
	scikit-learn tenacity
RECOT_NEEDS := "av>=17,<19" "decord==0.6.0; sys_platform == 'linux' and platform_machine == 'x86_64'" einops \
	matplotlib "peft>=0.21,<1" torchmetrics tqdm "transformers>=5,<6" webdataset

$(LMMS)/.setup-done: pyproject.toml Makefile | setup
	$(PYTHON) -m venv $(LMMS)
	$(LMMS_PIP) "$(TORCH)"
	$(LMMS_PIP) "$(TORCH)" $(LMMS_NEEDS) $(RECOT_NEEDS)
	$(LMMS_PIP) --no-deps lmms-eval==0.7.3 -e .
	@touch $@

test-lmms-eval: $(LMMS)/.setup-done
	RECOT_LMMS_PYTHON=$(abspath $(LMMS)/bin/python) OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/evaluation/test_lmms_eval.py $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# make bench VIDEOS=<folder of clips> HELD_OUT="<names of some of them>"
bench: setup
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/dts.py
	$(BIN)/python benchmarks/full_size.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/selector.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/long_video.py
	$(BIN)/python benchmarks/decode.py $(VIDEOS)
	$(BIN)/python benchmarks/dataloader.py $(VIDEOS)
	$(BIN)/python benchmarks/recot_ablation.py --videos $(VIDEOS) --work outputs/recot_ablation $(if $(HELD_OUT),--held-out $(HELD_OUT))
