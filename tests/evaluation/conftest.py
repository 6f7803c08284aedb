"""A tiny world of plain files, and the untrained tiny model in a folder."""

from pathlib import Path

import pytest

from recot.checkpoints.hf_folder import save_video_lm
from recot.checkpoints.inference import Inference
from recot.models.generation import GenerationSettings
from recot.models.selection import KeepRule
from recot.tiny_world.export import export
from recot.tiny_world.splits import Split
from recot.video_io import FrameSampling
from tests.models.tiny_video_lm import tiny_video_lm

INFERENCE = Inference(
    frame_size=(64, 64),
    sampling=FrameSampling(fps=4.0, max_frames=256),
    keep=KeepRule(ratio=0.25),
    generation=GenerationSettings(max_new_tokens=2),
)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of 64 frames, 8 a second, with their questions."""
    folder = tmp_path_factory.mktemp("world") / "test"
    export(folder, Split(world=5, name="test", videos=2, frames=64))
    return folder / "videos"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sees 4 frames a second, reads a quarter of the tokens, says 2 tokens at most."""
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    save_video_lm(tiny_video_lm(), folder, INFERENCE)
    return folder
