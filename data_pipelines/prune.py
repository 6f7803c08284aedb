"""From raw videos and annotations to shards: ``python data_pipelines/prune.py source=... output=...``."""

from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from data_pipelines.config import PruneConfig, Scorers
from data_pipelines.model_files import files_hash
from data_pipelines.scoring import Model
from recot.errors import ConfigError, report_errors

_REQUIRED = {
    "source": "annotations (.json, .jsonl, .csv, .parquet), a folder of videos or shards, or a .tar",
    "output": "the folder to make: it will hold train/, val/, manifest.parquet, audit.parquet and report.html",
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


def model_of(node: dict[str, Any] | None) -> Model | None:
    """What a stage is given to load a model. A folder is known by its files, a hub name by itself."""
    if node is None:
        return None
    place = str(node.get("name_or_path", ""))
    if not place or not Path(place).is_dir():
        return Model(partial(instantiate, node), {**node, "name_or_path": place})
    folder = Path(place).resolve()
    known_by = {**node, "name_or_path": files_hash(folder)}
    return Model(partial(instantiate, {**node, "name_or_path": str(folder)}), known_by)


def video_lm_node(scorers: Scorers) -> dict[str, Any] | None:
    """Our own model, from the folder that ``scorers.video_lm`` names."""
    if scorers.video_lm is None:
        return None
    target = "recot.checkpoints.likelihood.exported_likelihood"
    return {"_target_": target, "name_or_path": scorers.video_lm, "device": scorers.video_lm_device}


@hydra.main(version_base="1.3", config_path="../conf", config_name="prune")
def main(cfg: DictConfig) -> None:
    """Entry point."""
    with report_errors():
        # Every worker process imports this file again: torch and Lightning are for this process only, if at all.
        if cfg.scorers.encoder is not None or cfg.scorers.language_model is not None:
            import recot.run  # noqa: F401  resolvers that the configs of models use
        config = typed_config(cfg)
        from data_pipelines.pipeline import Models, prune

        config.check()  # before models are looked for
        nodes = (config.scorers.encoder, config.scorers.language_model, video_lm_node(config.scorers))
        prune(config, Models(*map(model_of, nodes)))


if __name__ == "__main__":
    main()
