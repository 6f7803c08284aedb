"""From raw videos and annotations to shards: ``python data_pipelines/prune.py source=... output=...``."""

import hydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from data_pipelines.config import PruneConfig
from recot.errors import ConfigError, report_errors

_REQUIRED = {
    "source": "annotations (.json, .jsonl) or a folder of videos",
    "output": "the folder to make: it will hold train/, val/, audit.parquet and summary.json",
}


def typed_config(cfg: DictConfig) -> PruneConfig:
    """The config with its types checked.

    Raises:
        ConfigError: for a required key that is missing or a value of another type.
    """
    for key, meaning in _REQUIRED.items():
        if OmegaConf.is_missing(cfg, key):
            raise ConfigError(
                f"{key} is missing: give {key}=<path>, {meaning}. "
                "Example: python data_pipelines/prune.py source=annotations.jsonl output=data/shards"
            )
    try:
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(PruneConfig), cfg))
    except OmegaConfBaseException as error:
        problem = str(error).split("\n")[0]
        raise ConfigError(f"{error.full_key}: {problem}. See conf/prune.yaml for what it means.") from error
    assert isinstance(config, PruneConfig)
    return config


@hydra.main(version_base="1.3", config_path="../conf", config_name="prune")
def main(cfg: DictConfig) -> None:
    """Entry point."""
    with report_errors():
        config = typed_config(cfg)
        # Every worker process imports this file again: webdataset, which brings torch, is for this process only.
        from data_pipelines.pipeline import prune

        prune(config)


if __name__ == "__main__":
    main()
