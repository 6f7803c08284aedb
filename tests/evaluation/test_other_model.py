"""Models that aren't ours: the script of docs/evaluation.md as it stands there, and the controls that they can have."""

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from recot.errors import ConfigError
from recot.evaluation.answerer import NO_VIDEO, Answered, Answerer, PromptOf
from recot.evaluation.controls import CONTROLS, Control
from recot.evaluation.items import Item
from recot.evaluation.processes import Place
from recot.evaluation.results import read_samples
from recot.evaluation.runner import OtherModel, evaluate
from recot.evaluation.suites import TinyWorld
from tests.conftest import REPO
from tests.evaluation import benchmark_files

(SCRIPT,) = re.findall(r"```python\n(.*?)```", (REPO / "docs/evaluation.md").read_text(), re.DOTALL)
THERE = 4
"""Videos of 900, so that 12 questions are asked; one of them is damaged."""


@pytest.fixture
def root(world: Path, tmp_path: Path) -> Path:
    """A folder to give the script in: the configs, and Video-MME with all its questions and a few of its videos."""
    (tmp_path / "conf").symlink_to(REPO / "conf")
    folder = tmp_path / "data/benchmarks/video_mme"
    case = benchmark_files.video_mme(folder)
    row = benchmark_files.read(case.file)[0]
    names = [(f"{i // 3:03d}", f"v{i // 3:03d}", f"{i // 3:03d}-{i % 3 + 1}") for i in range(2700)]
    fields = ("video_id", "videoID", "question_id")
    benchmark_files.write(case.file, [row | dict(zip(fields, own, strict=True)) for own in names])
    for i in range(THERE - 1):
        (folder / f"data/v{i:03d}.mp4").symlink_to(world / f"{i % 2:06d}.mp4")
    benchmark_files.videos(folder / "data", f"v{THERE - 1:03d}.mp4")
    return tmp_path


def test_the_documented_script(root: Path) -> None:
    """All answers are D, and it says A."""
    (root / "mine.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "mine.py"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    scored = 3 * (THERE - 1)
    assert done.stdout.startswith(f"video_mme: {scored} of 2700 questions scored, {2700 - scored} failed\n")
    assert "| accuracy | 0.000 | " in done.stdout
    samples = read_samples(root / "outputs/eval/my-model-1/none/video_mme/samples.jsonl")
    assert {own.saw["frames"] for own in samples.results.values()} == {8}
    reasons = [own.reason for own in samples.failures.values() if own.reason != "missing"]
    assert reasons == ["unreadable_container"] * 3


@pytest.fixture
def documented(tmp_path: Path) -> dict[str, Any]:
    """Names of the script."""
    (tmp_path / "mine.py").write_text(SCRIPT)
    return runpy.run_path(str(tmp_path / "mine.py"))


def test_the_documented_model_shows_no_video_under_blind(
    documented: dict[str, Any], world: Path, tmp_path: Path
) -> None:
    report = asked(documented["MyModel"], "blind", world, Path("/nowhere"), tmp_path)
    assert report["samples"]["scored"] == report["samples"]["all"] > 0
    results = read_samples(tmp_path / "blind/tiny_world/samples.jsonl").results.values()
    assert {own.saw["frames"] for own in results} == {0}


def test_the_documented_failure(
    documented: dict[str, Any], world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> str:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(documented["MyModel"], "reply", full)
    failed = asked(documented["MyModel"], "none", world, world, tmp_path)["failed"]
    assert {own["reason"] for own in failed} == {"out_of_memory"}
    assert "set FRAMES lower (full)" in failed[0]["message"]


class Asked:
    """Says A, and remembers what it was asked."""

    def __init__(self, shown: tuple[float, ...] = ()) -> None:
        self.shown = shown
        self.items: list[Item] = []
        self.told: list[str] = []

    def __call__(self, place: Place) -> "Asked":
        return self

    def answer(self, item: Item, prompt_of: PromptOf) -> Answered:
        self.items.append(item)
        self.told.append(prompt_of(self.shown).user)
        return Answered("A")


def asked(make: Callable[[Place], Answerer], control: str, world: Path, videos: Path, folder: Path) -> dict[str, Any]:
    suite = TinyWorld(annotations=world, videos=videos, counts=None)
    use = OtherModel(digest="a", given={}, make=make, control=CONTROLS[control])
    return evaluate({"tiny_world": suite}, use, folder / control, processes=1)["tiny_world"]


def test_controls_of_what_is_asked(world: Path, tmp_path: Path) -> None:
    models = {name: Asked() for name in ("none", "wrong_video", "shuffled_options", "circular_options", "blind")}
    reports = {name: asked(model, name, world, world, tmp_path) for name, model in models.items()}
    plain = {item.id: item for item in models["none"].items}
    for name in ("wrong_video", "shuffled_options", "blind"):
        assert {item.id for item in models[name].items} == set(plain)
        assert reports[name]["run"]["settings"]["control"]["seed"] == 0
    assert {item.video for item in models["blind"].items} == {NO_VIDEO}
    assert sorted(models["blind"].told) == sorted(models["none"].told)
    assert all(item.video != plain[item.id].video for item in models["wrong_video"].items)
    turned = [item for item in models["shuffled_options"].items if item.options != plain[item.id].options]
    assert len(turned) > 0
    assert "circular_options" in reports["circular_options"]["figures"]
    assert len(models["circular_options"].items) == sum(len(item.options) for item in plain.values())


def test_what_a_control_leaves_out_is_told(tmp_path: Path) -> None:
    """Of TempCompass' tasks, the options of one only have letters; no video is opened."""
    suite = benchmark_files.tempcompass(tmp_path).suite
    use = OtherModel(digest="a", given={}, make=Asked(), control=CONTROLS["shuffled_options"])
    report = evaluate({"x": suite}, use, tmp_path / "out", processes=1)["x"]
    assert report["unscored"] == {"macro": ["caption_matching", "yes_no"]}
    plain = OtherModel(digest="a", given={}, make=Asked())
    assert evaluate({"x": suite}, plain, tmp_path / "plain", processes=1)["x"]["unscored"] == {}


def test_lines_of_subtitles_are_told_of_any_model(tmp_path: Path) -> None:
    case = benchmark_files.video_mme(tmp_path)
    suite = replace(case.suite, subtitles=True)
    shown = next(item.subtitles[0].start for item in suite.load() if item.subtitles)
    use = OtherModel(digest="a", given={}, make=Asked(shown=(shown,)))
    evaluate({"x": suite}, use, tmp_path / "out", processes=1)
    told = {own.saw["subtitle_lines"] for own in read_samples(tmp_path / "out/x/samples.jsonl").results.values()}
    assert max(told) == 1


def test_a_model_that_shows_frames_under_blind_ends_the_run(world: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"control.video=none, but the model shows 2 frames of question .*NO_VIDEO"):
        asked(Asked(shown=(0.0, 1.0)), "blind", world, world, tmp_path)


@pytest.mark.parametrize(
    "control",
    [Control(video="blank"), Control(frames="shuffled"), Control(selector="random"), Control(selector="oracle")],
)
def test_controls_of_frames_and_tokens_are_refused(control: Control) -> None:
    with pytest.raises(ConfigError, match=r"control.video=\w+, control.frames=\w+, control.selector=\w+: .* Use "):
        OtherModel(digest="a", given={}, make=Asked(), control=control)
