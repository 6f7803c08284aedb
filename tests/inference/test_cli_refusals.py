"""What ``recot ask`` can't do: one clear line, status 2, and nothing on stdout."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from recot import cli
from recot.models.lora import LoraSettings, add_lora, save_adapter
from tests.models.tiny_video_lm import tiny_video_lm

Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], clip: Path, checkpoint: Path) -> Refused:
    """Asks about the clip, or another file, with further arguments; gives what was said on stderr."""

    def ask(*arguments: object, video: object = clip, question: str = "What moves?", model: object = checkpoint) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.main(["ask", str(video), question, "--checkpoint", str(model), *map(str, arguments)])
        assert ended.value.code == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("error: ") == 1
        return said.err[said.err.index("error: ") :]

    return ask


def sound_only() -> bytes:
    """An mp4 without a picture."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def test_videos_that_cannot_be_used(refused: Refused, clip: Path, tmp_path: Path) -> None:
    assert "absent.mp4: no such file" in refused(video=tmp_path / "absent.mp4")
    (tmp_path / "sound.mp4").write_bytes(sound_only())
    assert "[no_video_stream]" in refused(video=tmp_path / "sound.mp4")
    whole = clip.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    assert "cut.mp4: " in refused(video=tmp_path / "cut.mp4")
    at = whole.index(b"mdat") + 4
    middle = at + (len(whole) - at) // 2
    (tmp_path / "holes.mp4").write_bytes(whole[:middle] + bytes(1500) + whole[middle + 1500 :])
    assert "could not be decoded or is damaged" in refused(video=tmp_path / "holes.mp4")
    (tmp_path / "torn.png").write_bytes(whole[:500])
    assert "torn.png: no image can be read" in refused(video=tmp_path / "torn.png")


def test_questions_that_cannot_be_asked(refused: Refused) -> None:
    assert "question is empty" in refused(question=" \n")
    assert "ask a shorter question" in refused(question="unheard-of " * 10_000)
    assert "not valid" in refused(question="what is \udcff?")


@pytest.mark.parametrize("word", ["red ", "unheard-of "])
def test_a_question_of_10_000_words_is_refused_by_the_demo(refused: Refused, word: str) -> None:
    """Also of words that are one token each, which would leave some room for a video."""
    said = refused(question=word * 10_000, model=cli.DEMO_CHECKPOINT)
    assert "only 8192 are left to it, a quarter of the 32768 that the model reads" in said
    assert "ask a shorter question" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budget", 0), "error: --budget 0: must be"),
        (("--keep", 0), "error: --keep 0.0: must be"),
        (("--keep", 2), "error: --keep 2.0: must be"),
        (("--keep", "nan"), "error: --keep nan: must be"),
        (("--keep", 0.5, "--budget", 4), "not allowed with"),
        (("--times", "some"), "invalid choice: 'some'"),
        (("--fps", 0), "fps must be a positive number"),
        (("--max-frames", 0), "max_frames must be"),
        (("--max-new-tokens", 0), "max_new_tokens=0"),
        (("--max-new-tokens", 40_000), "shorten the reply"),
        (("--temperature", -1), "temperature=-1.0"),
    ],
)
def test_settings_that_are_impossible(refused: Refused, arguments: tuple, message: str) -> None:
    assert message in refused(*arguments)


def test_checkpoints_that_are_not_whole(
    refused: Refused,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "nowhere: no such folder" in refused(model=tmp_path / "nowhere")

    half = shutil.copytree(checkpoint, tmp_path / "half")
    weights = (half / "model.safetensors").read_bytes()
    (half / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    assert "half/model.safetensors" in refused(model=half)
    (half / "model.safetensors").unlink()
    assert str(half) in refused(model=half)

    other = shutil.copytree(checkpoint, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["projector"]["width"] = config["dts"]["width"] = 32
    (other / "config.json").write_text(json.dumps(config))
    assert str(other) in refused(model=other)

    monkeypatch.setattr(cli, "DEMO_CHECKPOINT", tmp_path / "demo")
    with pytest.raises(SystemExit) as ended:
        cli.main(["ask", "clip.mp4", "What moves?"])
    assert ended.value.code == 2
    assert "demo: no such folder" in capsys.readouterr().err


def test_what_is_no_model_yet_says_how_it_becomes_one(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "final.ckpt").write_bytes(b"")
    assert "`python -m recot.checkpoints.export stage" in refused(model=tmp_path / "final.ckpt")
    settings = LoraSettings(rank=2, alpha=4.0, targets=["q_proj"], dropout=0.0, use_rslora=False, use_dora=False)
    llm = tiny_video_lm().llm
    add_lora(llm, settings, seed=0)
    save_adapter(llm, tmp_path / "adapter")
    said = refused(model=tmp_path / "adapter")
    assert "adapter: LoRA adapters alone, which need the model that they were trained with" in said
    assert "export stage" in said


def test_a_budget_without_room_for_a_group_names_the_option(refused: Refused, checkpoint: Path, tmp_path: Path) -> None:
    grouped = shutil.copytree(checkpoint, tmp_path / "grouped")
    config = json.loads((grouped / "config.json").read_text())
    config["keep"]["level"] = "group"
    (grouped / "config.json").write_text(json.dumps(config))
    assert "error: --budget 3 has no room for one group" in refused("--budget", 3, model=grouped)


def test_plots_that_cannot_be_written(refused: Refused, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "plot.png", tmp_path):
        assert f"--plot {path}: no file can be written there" in refused("--plot", path)
    Image.new("RGB", (64, 64)).save(tmp_path / "image.jpg")
    assert "is an image" in refused("--plot", tmp_path / "plot.png", video=tmp_path / "image.jpg")
    assert "is seen at one frame" in refused("--plot", tmp_path / "plot.png", "--max-frames", 1)
    for name in ("plot.jpg", "plot"):
        assert "give a name that ends in .png" in refused("--plot", tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "image.jpg"]


def test_a_process_ends_with_one_line(checkpoint: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recot.cli", "ask", str(tmp_path / "absent.mp4"), "What?", "--checkpoint"]
    done = subprocess.run([*command, str(checkpoint)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
