"""Files into the model: pieces against the whole, padding, images, and the memory of a long video."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recot.checkpoints.hf_folder import load_video_lm
from recot.cli import DEMO_CHECKPOINT
from recot.errors import DataError, VideoError
from recot.inference.ask import question_sample
from recot.inference.video import choose_frames, read_image, read_video
from recot.models.preprocess import resize_bicubic
from recot.models.selection import KeepRule
from recot.models.video_input import VisualInput
from recot.models.video_lm import VideoLM
from recot.tiny_world.video import encode_mp4
from recot.video_io import FrameSampling, decode, probe
from tests.models.tiny_video_lm import tiny_video_lm

SIZE = (64, 64)


@pytest.fixture(scope="module")
def model() -> VideoLM:
    return tiny_video_lm()


@pytest.mark.parametrize(
    ("sampling", "shown"),
    [
        (FrameSampling(fps=8.0, max_frames=30), [i * 64 // 30 for i in range(30)] + [61, 61]),
        (FrameSampling(stride=9), [0, 9, 18, 27, 36, 45, 54, 63]),
        (FrameSampling(count=1), [0, 0, 0, 0]),
        (FrameSampling(count=5, max_frames=1), [0, 0, 0, 0]),
    ],
)
@torch.no_grad()
def test_pieces_equal_the_whole_at_any_size(
    model: VideoLM, clip: Path, sampling: FrameSampling, shown: list[int]
) -> None:
    decoded = decode(clip, shown, SIZE)
    frames = torch.from_numpy(decoded.frames).view(-1, 4, *SIZE, 3)
    still = len(set(shown)) == 1
    expected = model.compress([VisualInput(times_s=torch.zeros(len(frames), 4), frames=frames, still=still)])[0]
    for chunk_frames in (4, 16, 64):
        visual = read_video(model, clip, choose_frames(clip, sampling), frame_size=SIZE, chunk_frames=chunk_frames)
        assert visual.times_s.flatten().tolist() == [n / 8 for n in shown]
        assert visual.still is still
        assert visual.tokens is not None
        torch.testing.assert_close(visual.tokens, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_frame_that_is_chosen_several_times_is_one_image(model: VideoLM, tmp_path: Path) -> None:
    """A video of one frame, sampled more often than it changes."""
    path = tmp_path / "one.mp4"
    path.write_bytes(encode_mp4(iter([np.full((64, 64, 3), 90, dtype=np.uint8)]), size=64, fps=1.0))
    chosen = choose_frames(path, FrameSampling(count=9))
    assert chosen.indices.tolist() == [0] * 9
    visual = read_video(model, path, chosen, frame_size=SIZE)
    frames = torch.from_numpy(decode(path, [0] * 4, SIZE).frames)[None]
    (expected,) = model.compress([VisualInput(times_s=torch.zeros(1, 4), frames=frames, still=True)])
    assert visual.still
    assert visual.tokens is not None
    torch.testing.assert_close(visual.tokens, expected, rtol=1e-4, atol=1e-5)


def test_a_piece_is_made_of_whole_groups(model: VideoLM, clip: Path) -> None:
    chosen = choose_frames(clip, FrameSampling(stride=1))
    for chunk_frames in (0, 6):
        with pytest.raises(ValueError, match="multiple of 4"):
            read_video(model, clip, chosen, frame_size=SIZE, chunk_frames=chunk_frames)


@torch.no_grad()
def test_an_image_is_shown_upright_four_times_and_not_pooled(model: VideoLM, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(48, 80, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    visual = read_image(model, tmp_path / "turned.png", frame_size=SIZE)
    upright = torch.from_numpy(np.rot90(pixels, -1).copy())[None]
    frames = resize_bicubic(upright, SIZE).expand(4, -1, -1, -1)
    expected = model.projector(model.dts(model.vision_encoder(frames)[None]), pool=False)
    assert visual.still
    assert visual.tokens is not None
    assert visual.tokens.shape == (1, 64, model.llm.config.hidden_size)
    torch.testing.assert_close(visual.tokens, expected, rtol=1e-4, atol=1e-5)


def test_what_is_no_image_is_refused_by_name(model: VideoLM, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(clip.read_bytes())
    Image.new("RGB", (300, 200), "red").save(tmp_path / "whole.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-40])
    for name in ("a.png", "b.png", "absent.png"):
        with pytest.raises(DataError, match=name):
            read_image(model, tmp_path / name, frame_size=SIZE)
    Image.new("1", (9000, 10)).save(tmp_path / "wide.png")
    with pytest.raises(VideoError, match="9000x10"):
        read_image(model, tmp_path / "wide.png", frame_size=SIZE)


def moving_dot(frames: int) -> bytes:
    """An mp4 of 64 x 64 pixels and 60 frames a second, no two frames alike."""

    def pictures() -> Iterator[np.ndarray]:
        for number in range(frames):
            picture = np.full((64, 64, 3), (0, 0, number // 32), dtype=np.uint8)
            picture[number // 56 % 56 :][:8, number % 56 :][:, :8] = 255
            yield picture

    return encode_mp4(pictures(), size=64, fps=60.0, preset="ultrafast", gop=250)


def test_the_demo_has_room_for_8192_frames_and_a_question() -> None:
    """At the share that it keeps, or a quarter with each group's time; and for a reply as long as it gives."""
    model, inference = load_video_lm(DEMO_CHECKPOINT)
    shown = VisualInput(
        times_s=torch.arange(8192, dtype=torch.float64).view(-1, 4) / 8,
        tokens=torch.zeros(2048, 16, model.projector.llm_width),
    )
    asked = question_sample(model, "Which of these objects is shown in the video: red circle or blue square?")
    quarter = KeepRule(ratio=0.25)
    for rule, times in ((inference.keep, 1), (quarter, 2048)):
        packed, _ = model.prepare([shown], [asked], [rule])
        assert rule.ratio is not None
        assert packed.embeddings.shape[1] > 2048 * 16 * rule.ratio + times
        assert packed.embeddings.shape[1] + inference.generation.max_new_tokens <= model.max_tokens


def test_8192_frames_take_the_memory_of_a_piece(tmp_path: Path) -> None:
    """In a process of its own. The frames alone are more than what is allowed here."""
    path = tmp_path / "long.mp4"
    path.write_bytes(moving_dot(8192))
    assert probe(path).frames == 8192
    command = [sys.executable, "-m", "tests.inference.long_video_worker", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    print(found)
    assert found["frames"] == 8192
    assert found["difference"] < 1e-4
    assert found["streamed_mib"] < found["frames_mib"] * 2 / 3
    assert found["whole_mib"] > found["frames_mib"]
