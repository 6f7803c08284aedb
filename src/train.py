"""`python src/train.py experiment=recot_pretrain`: trains one stage."""

import hydra
from omegaconf import DictConfig

from recot import run


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
def main(cfg: DictConfig) -> None:
    """Compose the config and train."""
    run.job(run.train, cfg)


if __name__ == "__main__":
    run.launch(main)
