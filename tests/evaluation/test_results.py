"""Results survive kills, full disks, any number of processes; and are never mixed."""

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from recot.errors import DataError
from recot.evaluation.answers import judge
from recot.evaluation.items import Failure
from recot.evaluation.results import ResultsFolder, differences, read_figures, read_samples
from recot.evaluation.suites import SUITES
from tests.evaluation.write_results import ITEMS, RUN

SUMMARY = SUITES["tiny_world"].summary
SCRIPT = "tests.evaluation.write_results"
FAILED = {"q21", "q22", "q23"}


def start(folder: Path, rank: int = 0, world: int = 1, *limit: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", SCRIPT, *map(str, (folder, rank, world, *limit))]
    root = Path(__file__).parents[2]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=root, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate()
    return process.returncode, out, err


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of one process that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "tiny_world"
    assert finish(start(folder))[0] == 0
    ResultsFolder(folder, RUN).finish(ITEMS, SUMMARY, {})
    return folder


def same(folder: Path, whole: Path) -> bool:
    return all(
        (folder / name).read_bytes() == (whole / name).read_bytes() for name in ("results.json", "samples.jsonl")
    )


def test_results_hold_figures_and_failures(whole: Path) -> None:
    report = json.loads((whole / "results.json").read_text())
    assert report["run"] == RUN
    assert report["samples"] == {"all": 60, "scored": 57, "failed": 3}
    assert {failure["id"] for failure in report["failed"]} == FAILED
    right = [i for i in range(60) if f"q{i}" not in FAILED and i % 3 == i % 4]
    assert read_figures(report)["accuracy"].value == pytest.approx(len(right) / 57)  # the failed aren't scored
    assert read_figures(report)["accuracy"].videos == 19
    assert [line["id"] for line in lines(whole)] == [item.id for item in ITEMS]
    sample = read_samples(whole / "samples.jsonl").results["q5"]
    assert (sample.reply, sample.answer, sample.groups) == ("C", 2, {"task": ("order",)})
    assert sample.saw == {"frames": 64, "spans": [[0.0, 1.5]]}


@pytest.mark.parametrize("world", [2, 3])
def test_results_don_t_depend_on_the_number_of_processes(world: int, whole: Path, tmp_path: Path) -> None:
    processes = [start(tmp_path / "r", rank, world) for rank in range(world)]
    assert [finish(process)[0] for process in processes] == [0] * world
    ResultsFolder(tmp_path / "r", RUN).finish(ITEMS, SUMMARY, {})
    assert same(tmp_path / "r", whole)


def test_killed_run_goes_on_with_other_processes(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    process = start(folder, 0, 1, 0, 25)
    assert process.stdout is not None
    for _ in range(25):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = [line["id"] for line in lines(folder)]
    assert before == [item.id for item in ITEMS[:25]], "a line that was written stays, flushed or not"
    processes = [start(folder, rank, 2) for rank in range(2)]
    again = [name for process in processes for name in finish(process)[1].split()]
    assert not (set(again) & set(before)) - FAILED  # nothing is done twice, but what had failed is tried again
    ResultsFolder(folder, RUN).finish(ITEMS, SUMMARY, {})
    assert same(folder, whole)


def test_torn_last_line_is_done_again(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    assert finish(start(folder))[0] == 0
    path = folder / "samples.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    assert "q59" not in read_samples(path).results
    with pytest.raises(DataError, match=r"1 of 60 samples are not finished, q59"):
        ResultsFolder(folder, RUN).finish(ITEMS, SUMMARY, {})
    code, out, _ = finish(start(folder))
    assert code == 0
    assert set(out.split()) == {"q59"} | FAILED
    ResultsFolder(folder, RUN).finish(ITEMS, SUMMARY, {})
    assert same(folder, whole)


def test_full_disk_is_told_and_leaves_whole_lines(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    code, out, err = finish(start(folder, 0, 1, 2000))
    assert code == 2
    assert "the disk is full" in err
    assert "Traceback" not in err
    content = (folder / "samples.jsonl").read_bytes()
    assert content.endswith(b"\n")
    assert [line["id"] for line in lines(folder)] == out.split()
    assert finish(start(folder))[0] == 0
    ResultsFolder(folder, RUN).finish(ITEMS, SUMMARY, {})
    assert same(folder, whole)


def test_lines_are_flushed_once_a_second_and_at_the_end(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = list(read_samples(whole / "samples.jsonl").results.values())
    now, flushed = [100.0], []
    folder = ResultsFolder(tmp_path / "r", RUN)
    path = tmp_path / "r" / "samples.jsonl"
    monkeypatch.setattr("recot.evaluation.results.time.monotonic", lambda: now[0])
    monkeypatch.setattr("recot.evaluation.results.os.fsync", lambda _: flushed.append(len(path.read_bytes())))
    folder.sync()
    for answer in answers[:20]:  # five seconds
        now[0] += 0.25
        folder.add(answer)
        assert len(read_samples(path).results) == answers.index(answer) + 1, "others see it at once"
    assert len(flushed) == 1 + 5
    folder.add(answers[20])
    folder.sync()
    assert flushed[-1] == len(path.read_bytes())


def test_answer_replaces_failure_and_nothing_counts_twice(tmp_path: Path, whole: Path) -> None:
    folder = ResultsFolder(tmp_path / "r", RUN)
    answer = read_samples(whole / "samples.jsonl").results["q0"]
    folder.add(Failure("q0", "v0", "missing", "v0.mp4: no such file"))
    assert set(folder.read().failures) == {"q0"}
    folder.add(answer)
    folder.add(answer)
    assert folder.read().failures == {}
    assert folder.read().results == {"q0": answer}
    report = folder.finish(ITEMS[:1], SUMMARY, {})
    assert report["samples"] == {"all": 1, "scored": 1, "failed": 0}
    folder.add(Failure("q1", "v0", "missing", "v0.mp4: no such file"))
    assert not (tmp_path / "r" / "results.json").exists()  # it says no more than what it was made from


def test_what_was_seen_are_values_of_json(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "r", RUN)
    folder.add(judge(ITEMS[0], "A", {"frames": np.int64(3), "share": np.float32(0.5)}))
    assert folder.read().results["q0"].saw == {"frames": 3, "share": 0.5}
    with pytest.raises(DataError, match=r"values that JSON can hold, and array"):
        folder.add(judge(ITEMS[1], "A", {"frames": np.arange(3)}))


def test_the_last_failure_is_told(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "r", RUN)
    for reason in ("missing", "damaged"):
        folder.add(Failure("q0", "v0", reason, "v0.mp4"))
        assert [own["reason"] for own in folder.finish(ITEMS[:1], SUMMARY, {})["failed"]] == [reason]


def test_all_failed_has_no_figures(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "r", RUN)
    folder.add(Failure("q0", "v0", "missing", "v0.mp4: no such file"))
    report = folder.finish(ITEMS[:1], SUMMARY, {})
    assert report["figures"] == {}
    assert report["samples"] == {"all": 1, "scored": 0, "failed": 1}
    assert report["failed"][0]["message"] == "v0.mp4: no such file"
    assert json.loads((tmp_path / "r" / "results.json").read_text()) == report


def test_folder_of_another_config_is_refused(tmp_path: Path) -> None:
    ResultsFolder(tmp_path / "r", RUN)
    ResultsFolder(tmp_path / "r", RUN)
    with pytest.raises(DataError, match=r"another run \(settings.frames: 64 there, 128 now\)"):
        ResultsFolder(tmp_path / "r", {**RUN, "settings": {"frames": 128}})
    with pytest.raises(DataError, match=r"another run \(another model\).*set results=<another folder>"):
        ResultsFolder(tmp_path / "r", {**RUN, "checkpoint": "abc"})
    with pytest.raises(DataError, match=r"another run \(other questions: of other files, other settings"):
        ResultsFolder(tmp_path / "r", {**RUN, "data_hash": "abc"})


def test_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="holds other files"):
        ResultsFolder(tmp_path, RUN)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="can't be written"):
        ResultsFolder(tmp_path / "file" / "r", RUN)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "run.json").write_text('{"suite": ')
    with pytest.raises(DataError, match=r"run.json is damaged"):
        ResultsFolder(damaged, RUN)


def test_damaged_line_in_the_middle_is_told(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    content = (whole / "samples.jsonl").read_text().splitlines(keepends=True)
    for damage in ("not json\n", '{"failed": false}\n', "[]\n"):
        path.write_text("".join([*content[:3], damage, *content[4:]]))
        with pytest.raises(DataError, match=r"samples.jsonl, line 4"):
            read_samples(path)


def test_lines_of_processes_that_write_at_once_are_whole(tmp_path: Path) -> None:
    processes = [start(tmp_path / "r", rank, 4) for rank in range(4)]
    assert [finish(process)[0] for process in processes] == [0] * 4
    assert Counter(line["id"] for line in lines(tmp_path / "r")) == Counter(item.id for item in ITEMS)


def test_differences_by_key() -> None:
    assert differences({"a": {"b": 1, "c": [1]}}, {"a": {"b": 2, "c": [1]}, "d": 0}) == {"a.b": (1, 2), "d": (None, 0)}
