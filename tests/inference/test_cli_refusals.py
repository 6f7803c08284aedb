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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budget", 0), "budget=0"),
        (("--keep", 0), r"ratio=0.0"),
        (("--keep", 2), r"ratio=2.0"),
        (("--keep", "nan"), r"ratio=nan"),
        (("--keep", 0.5, "--budget", 4), "not allowed with"),
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


def test_plots_that_cannot_be_written(refused: Refused, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "plot.png", tmp_path):
        assert f"--plot {path}: no file can be written there" in refused("--plot", path)
    Image.new("RGB", (64, 64)).save(tmp_path / "image.jpg")
    assert "is an image" in refused("--plot", tmp_path / "plot.png", video=tmp_path / "image.jpg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "image.jpg"]


def test_a_process_ends_with_one_line(checkpoint: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recot.cli", "ask", str(tmp_path / "absent.mp4"), "What?", "--checkpoint"]
    done = subprocess.run([*command, str(checkpoint)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
