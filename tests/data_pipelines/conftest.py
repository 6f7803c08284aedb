"""Small real videos."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from data_pipelines.config import PruneConfig
from data_pipelines.prune import typed_config
from recot.tiny_world.video import encode_mp4
from tests.conftest import REPO


def mp4(seed: int, frames: int = 12, fps: float = 10.0) -> bytes:
    """A video of noise that differs with ``seed``, in each frame as well."""
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
def make_config(tmp_path: Path) -> Callable[..., PruneConfig]:
    """``conf/prune.yaml`` with changes, given as ``key=value`` strings like on the command line."""

    def make(*overrides: str) -> PruneConfig:
        given = ["workers=2", f"scores={tmp_path / 'scores'}", *overrides]
        with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
            return typed_config(compose("prune", overrides=given))

    return make
