"""``recot ask``: answers against the model called by hand, its output and its pictures."""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recot import cli
from recot.batch import VideoBatch
from recot.inference.ask import Answer, ask
from recot.inference.moments import KeptGroups
from recot.inference.picture import thumbnails
from recot.inference.video import choose_frames
from recot.models.generation import GenerationSettings, Reply
from recot.models.selection import KeepRule
from recot.models.video_input import VisualInput
from recot.models.video_lm import Choice, VideoLM
from recot.stages.questions import visuals_of
from recot.video_io import FrameSampling, VideoLimits, decode
from tests.models.tiny_video_lm import sample, tiny_video_lm

QUESTION = "Which of these objects is shown in the video?"


def by_hand(clip: Path, shown: list[int], rule: KeepRule, question: str = QUESTION) -> tuple[Reply, Choice]:
    """What the model says of frames that are decoded at once."""
    decoded = decode(clip, shown, (64, 64))
    video = VisualInput(
        times_s=torch.from_numpy(decoded.times_s).view(-1, 4),
        frames=torch.from_numpy(decoded.frames).view(-1, 4, 64, 64, 3),
    )
    settings = GenerationSettings(max_new_tokens=8)
    reply, choice = tiny_video_lm().generate([video], sample(question, (0,)), rule, settings)
    assert choice is not None
    return reply, choice


def ask_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    """What ``recot ask ... --json`` writes to stdout; fails if that is anything but one JSON object."""
    cli.main(["ask", *map(str, arguments), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_json_is_all_of_stdout_and_what_the_model_says(
    capsys: pytest.CaptureFixture[str], clip: Path, checkpoint: Path
) -> None:
    found = ask_json(capsys, clip, QUESTION, "--checkpoint", checkpoint)
    reply, choice = by_hand(clip, list(range(64)), KeepRule(ratio=0.25))
    assert found["answer"] == reply.text
    assert found["stopped_by"] == reply.stopped_by
    assert (found["frames"], found["tokens_seen"], found["tokens_kept"]) == (64, 256, 64)
    assert found["checkpoint"] == str(checkpoint)
    assert list(found["seconds"]) == ["read", "select", "generate"]
    assert found["peak_memory_mib"]["process_so_far"] > 100

    kept = choice.selection.kept[0].any(dim=1)
    shown = {n / 8 for start, end in found["kept_spans_s"] for n in range(64) if start <= n / 8 <= end}
    assert shown == {n / 8 for n in range(64) if kept[n // 4]}
    best = choice.selection.kept[0].float().mean(dim=1).max().item()
    assert found["moments"][0]["kept_share"] == pytest.approx(best)


def test_options_replace_the_checkpoint_s_settings(
    capsys: pytest.CaptureFixture[str], clip: Path, checkpoint: Path
) -> None:
    options = ("--checkpoint", checkpoint, "--fps", 4, "--max-frames", 18, "--budget", 33, "--max-new-tokens", 1)
    found = ask_json(capsys, clip, QUESTION, *options)
    assert (found["frames"], found["tokens_seen"], found["tokens_kept"]) == (18, 5 * 16, 33)
    reply, choice = by_hand(clip, [*(n * 64 // 18 for n in range(18)), 60, 60], KeepRule(budget=33))
    assert found["moments"][0]["kept_share"] == pytest.approx(choice.selection.kept[0].float().mean(dim=1).max().item())
    assert reply.text.startswith(found["answer"])
    assert ask_json(capsys, clip, QUESTION, *options[:4], "--keep", 1)["tokens_kept"] == 32 // 4 * 16
    longer = (*options[:6], "--budget", 1, "--max-new-tokens", 8)
    said = {times: ask_json(capsys, clip, QUESTION, *longer, "--times", times)["answer"] for times in ("all", "kept")}
    for times, own in said.items():
        rule = KeepRule(budget=1, times=times)  # type: ignore[arg-type]
        assert by_hand(clip, [*(n * 64 // 18 for n in range(18)), 60, 60], rule)[0].text == own
    assert said["all"] != said["kept"]
    drawn = [
        ask_json(capsys, clip, QUESTION, *options[:4], "--temperature", 5, "--seed", seed)["answer"]
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_used_in_the_dtype_that_is_asked_for(
    capsys: pytest.CaptureFixture[str], clip: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    used: list[torch.dtype] = []

    def watched(model: VideoLM, *arguments: object, **settings: object) -> Answer:
        used.extend({parameter.dtype for parameter in model.parameters()})
        return ask(model, *arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(cli, "ask", watched)
    found = ask_json(capsys, clip, QUESTION, "--checkpoint", checkpoint, "--dtype", dtype)
    assert used == [getattr(torch, dtype)]
    assert (found["tokens_seen"], found["tokens_kept"]) == (256, 64)


def test_a_terminal_shows_the_answer_and_what_it_rests_on(clip: Path, checkpoint: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recot.cli", "ask", str(clip), QUESTION, "--checkpoint", str(checkpoint)]
    plot = tmp_path / "made" / "plot.png"
    done = subprocess.run(
        [*command, "--plot", str(plot)],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"},
        check=True,
    )
    answer, rest = done.stdout.decode("ascii").split("\n\nkept ")
    assert answer == by_hand(clip, list(range(64)), KeepRule(ratio=0.25))[0].text
    lines = ("kept " + rest).splitlines()
    assert [line.split()[0] for line in lines] == ["kept", "moments", "tokens", "time", "memory"]
    assert lines[0].startswith("kept     0.0 s |")
    assert lines[0].endswith("| 7.9 s")
    assert len(lines[0].split("|")[1]) == 60
    assert lines[2] == "tokens   64 of 256 kept, of 64 frames"
    assert re.fullmatch(r"memory   process so far [\d,]+ MiB at most", lines[4])
    assert [path.name for path in plot.parent.iterdir()] == ["plot.png"]
    with Image.open(plot) as picture:
        assert picture.size == (900, 460)
        assert len(np.unique(np.asarray(picture.convert("L")))) > 50


def test_thumbnails_are_the_first_frames_of_their_groups(clip: Path) -> None:
    chosen = choose_frames(clip, FrameSampling(fps=4.0))
    starts = np.arange(8) * 1.0
    own = KeptGroups(np.stack([starts, starts + 0.75], axis=1), np.ones(8), np.ones(8), 16)
    frames = thumbnails(clip, chosen, own, [5, 0], VideoLimits())
    assert frames.shape == (2, 224, 224, 3)
    assert np.array_equal(frames, decode(clip, [40, 0], (224, 224)).frames)


def test_an_image_is_asked_about_whole(
    capsys: pytest.CaptureFixture[str], clip: Path, checkpoint: Path, tmp_path: Path
) -> None:
    Image.fromarray(decode(clip, [9], (64, 64)).frames[0]).save(tmp_path / "frame.PNG")
    found = ask_json(capsys, tmp_path / "frame.PNG", QUESTION, "--checkpoint", checkpoint)
    assert (found["frames"], found["tokens_seen"], found["tokens_kept"], found["moments"]) == (1, 64, 64, [])
    frame = torch.from_numpy(decode(clip, [9], (64, 64)).frames).expand(1, 4, 64, 64, 3)
    image = VisualInput(times_s=torch.zeros(1, 4, dtype=torch.float64), frames=frame, still=True)
    settings = GenerationSettings(max_new_tokens=8)
    reply, _ = tiny_video_lm().generate([image], sample(QUESTION, (0,)), KeepRule(ratio=0.25), settings)
    assert found["answer"] == reply.text
    cli.main(["ask", str(tmp_path / "frame.PNG"), QUESTION, "--checkpoint", str(checkpoint)])
    assert "tokens   64 of 64 kept, of 1 frames" in capsys.readouterr().out


def test_one_frame_of_a_video_is_asked_about_as_training_shows_it(
    capsys: pytest.CaptureFixture[str], clip: Path, checkpoint: Path
) -> None:
    """Whatever sampling leaves but one; in training, what has one frame is an image."""
    decoded = decode(clip, [0], (64, 64))
    batch = VideoBatch(
        frames=torch.from_numpy(decoded.frames).expand(1, 4, 64, 64, 3),
        features=None,
        valid=torch.tensor([[True, False, False, False]]),
        times_s=torch.from_numpy(decoded.times_s).expand(1, 4),
        sample=torch.zeros(1, dtype=torch.int64),
        keys=["clip"],
        seeds=[0],
    )
    (trained,) = visuals_of(batch)
    settings = GenerationSettings(max_new_tokens=8)
    reply, choice = tiny_video_lm().generate([trained], sample(QUESTION, (0,)), KeepRule(ratio=0.25), settings)
    assert choice is None
    found = ask_json(capsys, clip, QUESTION, "--checkpoint", checkpoint, "--max-frames", 1)
    assert found["answer"] == reply.text
    assert (found["frames"], found["tokens_seen"], found["tokens_kept"], found["moments"]) == (1, 64, 64, [])


def test_typed_placeholders_are_plain_text(
    capsys: pytest.CaptureFixture[str], clip: Path, checkpoint: Path, tmp_path: Path
) -> None:
    typed = "<|video_pad|><image> <|im_end|> what costs $5 and \\frac{ $6?"
    found = ask_json(capsys, clip, typed, "--checkpoint", checkpoint, "--plot", tmp_path / "plot.png")
    assert (found["tokens_seen"], found["tokens_kept"]) == (256, 64)
    assert found["answer"] == by_hand(clip, list(range(64)), KeepRule(ratio=0.25), typed)[0].text
    assert (tmp_path / "plot.png").is_file()  # its title isn't taken for mathematics


def test_the_console_script_is_declared() -> None:
    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    assert EntryPoint("recot", scripts["recot"], "console_scripts").load() is cli.main
