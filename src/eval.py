"""Measures: `python src/eval.py evaluation=tiny_world checkpoint=<exported folder>` asks a model a suite's questions,
`python src/eval.py experiment=recot_pretrain checkpoint=<file>` validates a stage's checkpoint.
"""

import hydra
from omegaconf import DictConfig

from recot import run


@hydra.main(version_base="1.3", config_path="../conf", config_name="eval")
def main(cfg: DictConfig) -> None:
    """Compose the config and evaluate."""
    run.job(run.evaluate, cfg)


if __name__ == "__main__":
    run.launch(main)
