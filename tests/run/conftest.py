"""Training in this process, on data that are made once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from recot import run
from tests.run.small import OTHERS, REPO, SMALL


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose ``tiny_world`` the first run makes and the others find."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def train(world: Path, tmp_path: Path) -> Callable[..., dict[str, float]]:
    """Compose and run in this process, into ``tmp_path/<name>``."""

    def go(*overrides: str, name: str = "run", entry: str = "train") -> dict[str, float]:
        with initialize_config_dir(config_dir=str(REPO / "conf"), version_base="1.3"):
            experiment = next(o.removeprefix("experiment=") for o in overrides if o.startswith("experiment="))
            small = OTHERS[experiment][0] if experiment in OTHERS else SMALL
            overrides = (f"paths.data={world}", f"paths.run={tmp_path / name}", *small, *overrides)
            cfg = compose(entry, overrides=list(overrides))
        return {"train": run.train, "eval": run.evaluate}[entry](cfg)

    return go
