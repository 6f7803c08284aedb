"""Small real videos."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from data_pipelines.config import PruneConfig
from data_pipelines.prune import typed_config
from recot.tiny_world.video import encode_mp4
from tests.conftest import REPO


def mp4(seed: int, frames: int = 12, fps: float = 10.0) -> bytes:
    """A video of noise that differs with ``seed``."""
    rng = np.random.default_rng(seed)
    return encode_mp4(rng.integers(0, 256, (frames, 32, 32, 3), dtype=np.uint8), size=32, fps=fps)


@pytest.fixture(scope="session")
def clip_bytes() -> list[bytes]:
    """Six videos of 6 to 16 frames."""
    return [mp4(seed, frames=6 + 2 * seed) for seed in range(6)]


@pytest.fixture
def clips(tmp_path: Path, clip_bytes: list[bytes]) -> Path:
    """A folder with the six videos, ``a/0.mp4`` to ``b/5.mp4``."""
    folder = tmp_path / "clips"
    for i, content in enumerate(clip_bytes):
        path = folder / ("a" if i < 3 else "b") / f"{i}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture
def make_config() -> Callable[..., PruneConfig]:
    """``conf/prune.yaml`` with changes, given as ``key=value`` strings like on the command line."""

    def make(*overrides: str) -> PruneConfig:
        cfg = OmegaConf.load(REPO / "conf" / "prune.yaml")
        del cfg["defaults"], cfg["hydra"]
        OmegaConf.set_struct(cfg, True)
        return typed_config(OmegaConf.merge(cfg, OmegaConf.from_dotlist(["workers=2", *overrides])))

    return make
