"""The stages after the first on a user's own shards, by the commands of the README."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from recot import run
from recot.errors import DataError
from recot.tiny_world import TinyWorld
from tests.run.small import REPO


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody's shards, which no experiment knows of."""
    root = tmp_path_factory.mktemp("mine") / "shards"
    TinyWorld(root=str(root), train_videos=4, val_videos=2, frames=16, seed=5)()
    return root


def train(folder: Path, shards: Path, *overrides: str) -> dict[str, float]:
    with initialize_config_dir(config_dir=str(REPO / "conf"), version_base="1.3"):
        cfg = compose(
            "train",
            overrides=[
                "data=shards_questions",
                f"data.train=[{shards}/train]",
                f"data.val=[{shards}/val]",
                "data.num_workers=0",
                "init_from=null",
                "trainer.accelerator=cpu",
                "trainer.max_steps=1",
                f"paths.run={folder / 'run'}",
                f"paths.data={folder / 'data'}",
                *overrides,
            ],
        )
    return run.train(cfg)


@pytest.mark.parametrize("experiment", ["word_align", "projector_align", "selector_finetune", "sft_lora"])
def test_every_later_stage_takes_a_step(experiment: str, shards: Path, tmp_path: Path) -> None:
    metrics = train(tmp_path, shards, f"experiment={experiment}")
    assert 0 < metrics["val/loss"] < 100
    asked = {name.split("/")[2] for name in metrics if name.startswith("val/accuracy/") and name.count("/") == 3}
    assert (asked == {"caption"}) == (experiment in ("word_align", "projector_align"))
    assert not (tmp_path / "data").exists()  # no tiny world is made


def test_shards_without_captions_say_which_key_to_set(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"question of the types poem.*data\.questions\.tasks"):
        train(tmp_path, shards, "experiment=projector_align", "data.questions.tasks=[poem]")
    assert train(tmp_path, shards, "experiment=projector_align", "data.questions.tasks=null")["val/loss"] < 100
