"""A video, and the tiny model in a folder."""

from pathlib import Path

import pytest

from recot.checkpoints.hf_folder import save_video_lm
from recot.checkpoints.inference import Inference
from recot.models.generation import GenerationSettings
from recot.models.selection import KeepRule
from recot.tiny_world.render import render
from recot.tiny_world.scene import make_scene
from recot.tiny_world.video import encode_mp4
from recot.video_io import FrameSampling
from tests.models.tiny_video_lm import tiny_video_lm


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 frames, 8 a second."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    path.write_bytes(encode_mp4(render(make_scene(3, frames=64, size=64, fps=8.0)), size=64, fps=8.0))
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sees 8 frames a second, reads a quarter of the tokens, says 8 tokens at most."""
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    inference = Inference(
        frame_size=(64, 64),
        sampling=FrameSampling(fps=8.0, max_frames=1024),
        keep=KeepRule(ratio=0.25),
        generation=GenerationSettings(max_new_tokens=8),
    )
    save_video_lm(tiny_video_lm(), folder, inference)
    return folder
