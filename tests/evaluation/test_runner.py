"""Runs of suites into results folders: what is asked, listed, resumed and refused, and by how many processes."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from recot.errors import ConfigError, DataError, VideoError
from recot.evaluation.answerer import Answered, PromptOf
from recot.evaluation.compare import compare, read_run, report
from recot.evaluation.controls import CONTROLS, Control
from recot.evaluation.evidence import normalised_gain, seen
from recot.evaluation.items import Item, Needle, Result
from recot.evaluation.processes import Place, run
from recot.evaluation.prompts import TEMPLATES
from recot.evaluation.report.page import write_report
from recot.evaluation.report.runs import read_runs
from recot.evaluation.results import ResultsFolder, read_samples
from recot.evaluation.runner import (
    ModelUse,
    OtherModel,
    answer_items,
    answer_share,
    by_video,
    evaluate,
    folder_hash,
    prepare,
    prompts_hash,
)
from recot.evaluation.suites import NeedleInAHaystack, TinyWorld
from tests.evaluation import benchmark_files
from tests.evaluation.conftest import INFERENCE
from tests.evaluation.failing_process import fail_on, kill_self


def use(checkpoint: Path, **changes: Any) -> ModelUse:
    given = ModelUse(
        folder=checkpoint, digest=folder_hash(checkpoint), inference=INFERENCE, control=Control(), scoring="generate"
    )
    return replace(given, **changes)


@pytest.fixture
def suite(world: Path) -> TinyWorld:
    return TinyWorld(annotations=world, videos=world, counts=None)


def told(folder: Path) -> list[dict[str, Any]]:
    """Lines of samples.jsonl without what differs from run to run."""
    lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    for line in lines:
        for name in ("seconds", "peak_memory_mib", "video_read"):
            line.get("saw", {}).pop(name, None)
    return lines


class Fake:
    """A model that isn't ours: answers with the first letter, and can't read some videos."""

    def __init__(self, damaged: Sequence[str] = ()) -> None:
        self.damaged = damaged
        self.asked: list[str] = []

    def answer(self, item: Item, prompt_of: PromptOf) -> Answered:
        self.asked.append(item.id)
        if item.video_id in self.damaged:
            raise VideoError(str(item.video), "decode_failed", "it is damaged")
        assert prompt_of((0.0,)).user.startswith(item.question)
        return Answered("A")


def test_results_are_the_same_on_two_processes(suite: TinyWorld, checkpoint: Path, tmp_path: Path) -> None:
    suites = {"tiny_world": suite, "again": suite}
    reports = [evaluate(suites, use(checkpoint), tmp_path / str(n), processes=n) for n in (1, 2)]
    for name in suites:
        one, two = (told(tmp_path / str(n) / name) for n in (1, 2))
        assert one == two
        assert [line["id"] for line in one] == [item.id for item in suite.load()]
        assert reports[0][name]["figures"] == reports[1][name]["figures"]
        settings = reports[0][name]["suite_settings"]
        assert settings == {"annotations": str(suite.annotations), "videos": str(suite.videos)} | {
            "counts": None,
            "ignore_fields": settings["ignore_fields"],
        }
    costs = json.loads((tmp_path / "2/tiny_world/costs.json").read_text())
    assert costs["mean"]["frames"] == 32
    assert 0 < costs["own_share"] < 1
    assert set(costs["seconds"]) == {"probe", "decode", "compress", "tokenize", "select", "generate", "own"}
    lines = read_samples(tmp_path / "2/tiny_world/samples.jsonl").results.values()
    assert costs["seconds"]["own"] == pytest.approx(sum(own.saw["seconds"]["own"] for own in lines))  # type: ignore[index]


def test_processes_need_not_start_together(suite: TinyWorld, checkpoint: Path, tmp_path: Path) -> None:
    """One has finished its share before the other looks at what is left."""
    blind = use(checkpoint, control=CONTROLS["blind"])
    task = prepare("tiny_world", suite, blind, tmp_path)
    answer_share([task], blind, Place(0, 2, 0))
    first = set(task.results().read().results)
    answer_share([task], blind, Place(1, 2, 1))
    assert 0 < len(first) < len(task.asked)
    assert task.left() == []
    lines = (tmp_path / "tiny_world/samples.jsonl").read_text().splitlines()
    assert len(lines) == len(task.asked), "none is asked twice"


def test_a_finished_run_needs_no_model_and_another_one_is_refused(
    suite: TinyWorld, checkpoint: Path, tmp_path: Path
) -> None:
    blind = use(checkpoint, control=CONTROLS["blind"])
    first = evaluate({"tiny_world": suite}, blind, tmp_path, processes=1)
    before = (tmp_path / "tiny_world/samples.jsonl").read_bytes()
    assert evaluate({"tiny_world": suite}, replace(blind, folder=Path("/gone")), tmp_path, processes=1) == first
    assert (tmp_path / "tiny_world/samples.jsonl").read_bytes() == before
    with pytest.raises(DataError, match=r"settings.control.video"):
        evaluate({"tiny_world": suite}, use(checkpoint), tmp_path, processes=1)
    with pytest.raises(DataError, match="another model"):
        evaluate({"tiny_world": suite}, replace(blind, digest="0"), tmp_path, processes=1)


@pytest.mark.parametrize("part", ["user", "option", "system", "reply"])
def test_other_prompts_are_refused_and_compared(
    part: str, suite: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = OtherModel(digest="a", given={}, make=lambda place: Fake())
    evaluate({"tiny_world": suite}, model, tmp_path / "a", processes=1)
    template = TEMPLATES["tiny_world"]
    monkeypatch.setitem(TEMPLATES, "tiny_world", replace(template, **{part: getattr(template, part) + " x"}))
    with pytest.raises(DataError, match=r"another run \(the model is told other words\)"):
        prepare("tiny_world", suite, model, tmp_path / "a")
    evaluate({"tiny_world": suite}, model, tmp_path / "b", processes=1)
    told = report(read_run(tmp_path / "a"), read_run(tmp_path / "b"))
    assert told.count("- prompts: ") == 1


def test_what_is_told_of_subtitles_and_durations_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subtitled = benchmark_files.video_mme(tmp_path / "video_mme").suite
    before = prompts_hash(subtitled, subtitled.load())
    template = TEMPLATES["video_mme_subtitles"]
    monkeypatch.setitem(TEMPLATES, "video_mme_subtitles", replace(template, user=template.user + "x"))
    assert prompts_hash(subtitled, subtitled.load()) != before
    vstar = benchmark_files.vstar(tmp_path / "vstar").suite
    items = vstar.load()
    other = [replace(items[0], duration_s=21.0), *items[1:]]
    assert prompts_hash(vstar, items) == prompts_hash(vstar, vstar.load()) != prompts_hash(vstar, other)


def test_another_haystack_of_the_same_name_is_refused(world: Path, tmp_path: Path) -> None:
    hay = tmp_path / "videos/hay.mp4"
    hay.parent.mkdir()
    suite = NeedleInAHaystack(videos=hay.parent, lengths=[16], depths=2, needles=1, frames=1, seed=0)
    model = OtherModel(digest="a", given={}, make=lambda place: Fake())
    hay.symlink_to(world / "000000.mp4")
    prepare("needle", suite, model, tmp_path / "results")
    prepare("needle", suite, model, tmp_path / "results")
    hay.unlink()
    hay.symlink_to(world / "000001.mp4")
    with pytest.raises(DataError, match=r"another run \(other questions: "):
        prepare("needle", suite, model, tmp_path / "results")


def test_missing_videos_are_listed_and_blind_runs_need_none(world: Path, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/000000.mp4").symlink_to(world / "000000.mp4")
    suite = TinyWorld(annotations=world, videos=tmp_path / "videos", counts=None)
    report = evaluate({"tiny_world": suite}, use(checkpoint), tmp_path / "results", processes=1)["tiny_world"]
    there = [item for item in suite.load() if item.video.is_file()]
    assert report["samples"]["scored"] == len(there) < report["samples"]["all"]
    assert {failure["reason"] for failure in report["failed"]} == {"missing"}
    again = evaluate({"tiny_world": suite}, use(checkpoint), tmp_path / "results", processes=1)["tiny_world"]
    assert again == report
    nowhere = TinyWorld(annotations=world, videos="/nowhere", counts=None)
    with pytest.raises(DataError, match="none of the 2 videos is there"):
        evaluate({"tiny_world": nowhere}, use(checkpoint), tmp_path / "none", processes=1)
    blind = evaluate(
        {"tiny_world": nowhere}, use(checkpoint, control=CONTROLS["blind"]), tmp_path / "blind", processes=1
    )
    assert blind["tiny_world"]["samples"] == {
        "all": report["samples"]["all"],
        "scored": report["samples"]["all"],
        "failed": 0,
    }


def test_needles_in_one_haystack_cost_one_reading(world: Path, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/hay.mp4").symlink_to(world / "000000.mp4")
    suite = NeedleInAHaystack(videos=tmp_path / "videos", lengths=[16, 32], depths=2, needles=1, frames=1, seed=0)
    report = evaluate({"needle": suite}, use(checkpoint), tmp_path / "results", processes=1)["needle"]
    assert report["samples"] == {"all": 16, "scored": 16, "failed": 0}
    assert {"cell=16, 0%", "cell=32, 100%", "evidence_recall"} <= report["figures"].keys()
    results = read_samples(tmp_path / "results/needle/samples.jsonl").results.values()
    assert {(own.groups["length"], own.saw["frames"]) for own in results} == {(("16",), 16), (("32",), 32)}
    assert {own.saw["subtitle_lines"] for own in results} == {0}
    assert sum("probe" in own.saw["seconds"] for own in results) == 2  # type: ignore[operator]


def test_a_damaged_video_fails_alone_and_is_tried_again(suite: TinyWorld, tmp_path: Path) -> None:
    items = suite.load()
    damaged = items[0].video_id
    folder = ResultsFolder(tmp_path / "x", {"run": 1})
    answer_items(folder, suite, items, Fake([damaged]), stop=lambda: False)
    report = folder.finish(items, suite.summary, {})
    assert {failure["video_id"] for failure in report["failed"]} == {damaged}
    assert report["failed"][0]["reason"] == "decode_failed"
    assert report["failed"][0]["message"].startswith(f"{items[0].video}: ")
    assert report["figures"]["accuracy"]["videos"] == 1
    done = folder.read().results
    repaired = Fake()
    answer_items(folder, suite, [item for item in items if item.id not in done], repaired, stop=lambda: False)
    assert repaired.asked == [item.id for item in items if item.video_id == damaged]
    assert folder.finish(items, suite.summary, {})["failed"] == []


def test_another_model_s_results_are_reported_and_compared(suite: TinyWorld, tmp_path: Path) -> None:
    for name in ("a", "b"):
        model = OtherModel(digest=name, given={"frames": 1}, make=lambda place: Fake())
        report = evaluate({"tiny_world": suite}, model, tmp_path / name / "plain", processes=1)["tiny_world"]
        assert report["samples"]["scored"] == len(suite.load())
    runs, unfinished = read_runs([tmp_path])
    assert [run.run["checkpoint"] for run in runs] == ["a", "b"]
    assert unfinished == []
    assert "tiny_world" in write_report(tmp_path / "report", runs, unfinished).read_text()
    compared = compare(*(read_run(tmp_path / name / "plain")["tiny_world"] for name in ("a", "b")))
    assert compared["accuracy"].value == 0


def test_a_suite_of_damaged_videos_doesn_t_cost_another_one_its_results(suite: TinyWorld, tmp_path: Path) -> None:
    class Other(TinyWorld):
        def load(self) -> list[Item]:
            return [replace(item, video_id="damaged") for item in super().load()]

    broken = Other(annotations=suite.annotations, videos=suite.videos, counts=None)
    model = OtherModel(digest="a", given={}, make=lambda place: Fake(["damaged"]))
    reports = evaluate({"broken": broken, "tiny_world": suite}, model, tmp_path, processes=1)
    assert [reports[name]["samples"]["scored"] for name in reports] == [0, len(suite.load())]
    assert json.loads((tmp_path / "broken/results.json").read_text())["failed"][0]["reason"] == "decode_failed"
    runs, unfinished = read_runs([tmp_path])
    assert [run.folder.name for run in runs] == ["tiny_world"]
    assert unfinished == [tmp_path / "broken"]


def test_a_stop_ends_it_before_the_next_question(suite: TinyWorld, tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "x", {"run": 1})
    model = Fake()
    answer_items(folder, suite, suite.load(), model, stop=lambda: len(model.asked) == 2)
    assert len(folder.read().results) == 2


def test_questions_about_the_same_frames_come_one_after_the_other(suite: TinyWorld) -> None:
    item = suite.load()[0]
    needle = Needle("red circle", 64, 0, 1, 0.5, 0.5, 0.2)
    asked = [
        replace(item, id=f"{video}{length}{turn}", video=Path(video), needle=replace(needle, length=length))
        for turn in range(2)
        for length in (128, 64)
        for video in ("b", "a")
    ]
    assert [own.id for own in by_video(asked)] == ["b640", "b641", "b1280", "b1281", "a640", "a641", "a1280", "a1281"]


def test_likelihoods_need_options_with_letters(suite: TinyWorld, checkpoint: Path, tmp_path: Path) -> None:
    class Spans(TinyWorld):
        def load(self) -> list[Item]:
            return [replace(super().load()[0], form="span", options=(), right=None, span=(0.0, 1.0))]

    spans = Spans(annotations=suite.annotations, videos=suite.videos, counts=None)
    with pytest.raises(ConfigError, match=r"scoring=likelihood with evaluation=x: question .* Use scoring=generate"):
        evaluate({"x": spans}, use(checkpoint, scoring="likelihood"), tmp_path, processes=1)


def test_the_hash_of_a_checkpoint_is_of_its_content(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}" if name != "c" else "{ }")
    assert folder_hash(tmp_path / "a") == folder_hash(tmp_path / "b") != folder_hash(tmp_path / "c")
    with pytest.raises(DataError, match=r"checkpoint=\S+final.ckpt: no such folder. Give a model's folder"):
        folder_hash(tmp_path / "final.ckpt")


def test_a_killed_process_is_told_as_such() -> None:
    with pytest.raises(DataError, match=r"killed by signal 9.*set processes lower.*same command again"):
        run(kill_self, 2)


def test_a_mistake_in_one_process_ends_all() -> None:
    with pytest.raises(DataError, match="full"):
        run(partial(fail_on, 1, DataError), 2)
    with pytest.raises(ConfigError, match="processes=0: give a whole number, 1 or more"):
        run(partial(fail_on, 1, DataError), 0)


def test_under_torchrun_the_processes_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="processes=2 under torchrun"):
        run(partial(fail_on, 1, DataError), 2)
    with pytest.raises(DataError, match="full"):
        run(partial(fail_on, 1, DataError), 1)
    monkeypatch.delenv("LOCAL_RANK")
    with pytest.raises(ConfigError, match="LOCAL_RANK"):
        run(partial(fail_on, 1, DataError), 1)


def test_torchrun_s_processes_wait_for_each_other(tmp_path: Path) -> None:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = Path(__file__).with_name("meeting_process.py")
    done = subprocess.run(
        [sys.executable, *command, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    told = {path.name: path.read_text() for path in tmp_path.glob("* sums_up=*")}
    both = {job: f"job {job}: 0 of 2 and job {job}: 1 of 2" for job in range(3)}
    expected = {f"{job} sums_up={first}": both[job] for job in range(3) for first in (False, True)}
    assert told == expected, "one sums up, when both are done"


def results(values: Sequence[float]) -> dict[str, Result]:
    return {
        f"q{i}": Result(
            id=f"q{i}", video_id=f"v{i // 2}", groups={}, reply="", answer=0, score=0, saw={"evidence_recall": value}
        )
        for i, value in enumerate(values)
    }


def test_normalised_gain_by_hand() -> None:
    measure = seen("evidence_recall")
    gain = normalised_gain(results([0.6, 0.8] * 4), results([0.2, 0.4] * 4), results([1.0, 1.0] * 4), measure)
    assert (gain.selector, gain.random, gain.oracle) == pytest.approx((0.7, 0.3, 1.0))
    assert gain.value == pytest.approx(4 / 7)
    assert (gain.low, gain.high) == pytest.approx((4 / 7, 4 / 7)), "all videos gain the same"
    assert gain.units == 8
    few = normalised_gain(results([0.6, 0.8]), results([0.2, 0.4]), results([1.0, 1.0]), measure)
    assert few.value == pytest.approx(4 / 7)
    assert few.low is few.high is None
    assert normalised_gain(results([1.0, 1.0]), results([0.0, 0.0, 9.0]), results([1.0, 1.0]), measure).value == 1
    nothing = normalised_gain(results([1.0]), results([0.5]), results([0.5]), measure)
    assert nothing.value is nothing.low is None
    with pytest.raises(DataError, match="nothing to compare"):
        normalised_gain({}, results([1.0]), results([1.0]), measure)
