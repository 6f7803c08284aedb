"""Two runs on the same questions: the difference, its interval and its p-value, against theory; and what is refused."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import permutation_test, ttest_rel

from recot.errors import DataError
from recot.evaluation.aggregation import Units
from recot.evaluation.compare import difference, main, read_run, report
from recot.evaluation.controls import CONTROLS, Control
from recot.evaluation.items import Failure, Item, Result
from recot.evaluation.results import ResultsFolder
from recot.evaluation.suites import SUITES

RUN = {"suite": "mlvu_dev", "data_hash": "d", "checkpoint": "one", "settings": {"control": asdict(Control())}}


def units(values: Sequence[float], videos: Sequence[object], strata: Sequence[str] | None = None) -> Units:
    names = tuple(str(i) for i in range(len(values)))
    own = ("",) * len(values) if strata is None else tuple(strata)
    return Units(names, np.array(values, dtype=float), tuple(map(str, videos)), own)


def write(folder: Path, scores: Sequence[float | None], **run: Any) -> Path:
    """A finished folder of results on questions of two tasks, two a video; a score of None is a failure."""
    results = ResultsFolder(folder, {**RUN, **run})
    items = []
    for i, score in enumerate(scores):
        groups = {"task": (("count", "order")[i % 2],)}
        item = Item(
            id=f"q{i}",
            video_id=f"v{i // 2}",
            video=Path("v"),
            question="?",
            form="letter",
            options=("a", "b"),
            groups=groups,
        )
        items.append(item)
        if score is None:
            results.add(Failure(item.id, item.video_id, "missing", "no such file"))
        else:
            results.add(Result(id=item.id, video_id=item.video_id, groups=groups, reply="A", answer=0, score=score))
    results.finish(items, SUITES["mlvu_dev"].summary, {})
    return folder


def test_exact_p_value_by_hand() -> None:
    # B is better on all 4 videos: of 16 swaps, only none and all give a difference as large.
    better = difference(units([0, 0, 0, 0], "abcd"), units([1, 1, 1, 1], "abcd"))
    assert (better.value, better.p_value) == (1.0, 2 / 16)
    # Four alike don't show that all are: with 0.025 ** (1/4) of the others alike, four would be in 1 of 40 draws.
    assert (better.low, better.high) == (pytest.approx(2 * 0.025**0.25 - 1), 1.0)
    # Alike but for the last bits of their sums: 0.3 of those alike, and the rest anything from -1 to 1.
    alike, unseen = difference(units([0.1] * 10, range(10)), units([0.4] * 10, range(10))), 1 - 0.025**0.1
    assert (alike.low, alike.high) == pytest.approx((0.3 * (1 - unseen) - unseen, 0.3 * (1 - unseen) + unseen))
    # 3 better, 1 worse: 10 of 16 sums of four signs are at least 2 in size.
    mixed = difference(units([0, 0, 0, 1], "abcd"), units([1, 1, 1, 0], "abcd"))
    assert (mixed.value, mixed.p_value) == (0.5, 10 / 16)


def test_equal_runs_don_t_differ() -> None:
    values = (np.random.default_rng(0).random(50) < 0.5).tolist()
    same = difference(units(values, range(50)), units(values, range(50)))
    unseen = 1 - 0.025 ** (1 / 50)
    assert (same.value, same.p_value) == (0, 1)
    assert (same.low, same.high) == (pytest.approx(-unseen), pytest.approx(unseen))


def test_p_value_is_scipy_s_permutation_test() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random(60) < 0.5, rng.random(60) < 0.65
    found = difference(units(a.tolist(), range(60)), units(b.tolist(), range(60)))
    expected = permutation_test(
        (b.astype(float), a.astype(float)),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        n_resamples=20_000,
        rng=np.random.default_rng(2),
        vectorized=True,
    )
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.02)


def test_p_value_of_ious_is_that_of_the_paired_t_test() -> None:
    rng = np.random.default_rng(3)
    a = rng.random(40)
    b = np.clip(a + rng.normal(0.03, 0.1, 40), 0, 1)
    found = difference(units(a.tolist(), range(40)), units(b.tolist(), range(40)))
    assert found.p_value == pytest.approx(ttest_rel(b, a).pvalue, abs=0.02)


def test_false_alarms_are_as_rare_as_promised() -> None:
    rng = np.random.default_rng(4)
    videos = np.repeat(np.arange(10), 6)
    alarms, missed = 0, 0
    for _ in range(150):
        hardness = np.repeat(rng.random(10), 6)  # questions about a video are alike, and so are both runs' luck with it
        luck = np.repeat(rng.normal(0, 0.3, (2, 10)), 6, axis=1)
        a, b = (rng.random((2, 60)) < np.clip(hardness + luck, 0, 1)).astype(float)
        found = difference(units(a.tolist(), videos.tolist()), units(b.tolist(), videos.tolist()))
        alarms += found.p_value < 0.05
        assert found.low is not None
        assert found.high is not None
        missed += not found.low <= 0 <= found.high
    assert alarms / 150 <= 0.09
    assert missed / 150 <= 0.17  # the bootstrap of 10 videos is a little too sure


def test_copies_of_questions_are_no_evidence() -> None:
    a, b = [0.0, 1, 0, 0, 1, 0, 0, 0], [1.0, 1, 0, 1, 1, 0, 1, 0]
    once = difference(units(a, range(8)), units(b, range(8)))
    often = difference(units(a * 20, list(range(8)) * 20), units(b * 20, list(range(8)) * 20))
    assert (often.p_value, often.low, often.high) == pytest.approx((once.p_value, once.low, once.high))


def test_tasks_count_alike_in_a_difference_of_means_over_tasks() -> None:
    strata = ["x", "x", "x", "y"]
    found = difference(units([0, 0, 0, 0], "abcd", strata), units([1, 0, 0, 1], "abcd", strata))
    assert found.value == pytest.approx((1 / 3 + 1) / 2)


def test_report_and_what_it_leaves_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path / "a" / "mlvu_dev", [0, 0, 1, 0, None, None, 1, 0])
    write(tmp_path / "b" / "mlvu_dev", [1, 1, 1, 0, 1, 1, 1, 0], checkpoint="two")
    main([str(tmp_path / "a"), str(tmp_path / "b")])
    told = capsys.readouterr().out
    assert "- checkpoint: one in A, two in B" in told
    assert "- left out, as they failed in A or B: 2" in told
    row = next(line for line in told.splitlines() if line.startswith("| accuracy"))
    # Of the 6 scored by both, 2 and 4 are right; one of 3 videos differs: swapping it or not is as large as observed.
    assert [cell.strip() for cell in row.split("|")[2:5]] == ["0.3333", "0.6667", "+0.3333"]
    assert [cell.strip() for cell in row.split("|")[6:9]] == ["1.0000", "6", "3"]
    assert "| m_avg | 0.3333 | 0.6667 |" in told
    assert row in report(read_run(a), read_run(tmp_path / "b" / "mlvu_dev")).splitlines()
    by_task = [line.split("|")[1].strip() for line in told.splitlines() if line.startswith("| task=")]
    assert by_task == ["task=count", "task=order"]


def test_a_selector_s_measures_are_compared_where_both_have_them(tmp_path: Path) -> None:
    a, b = (write(tmp_path / name, [1, 0, 1, 0]) for name in "ab")
    for folder, recalls in ((a, {0: 0.5, 1: 1.0}), (b, {1: 0.25, 2: 1.0})):
        lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
        for i, recall in recalls.items():
            lines[i]["saw"] |= {"evidence_recall": recall} | ({"evidence_auroc": 0.5} if folder == a else {})
        (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = report(read_run(a), read_run(b))
    assert "| evidence_recall | 1.0000 | 0.2500 | -0.7500 |  | 1.0000 | 1 | 1 |" in told
    assert "evidence_auroc" not in told, "only A has it"
    assert "leaves out" not in told


def test_groups_that_a_mean_lacks_are_told(tmp_path: Path) -> None:
    a = read_run(write(tmp_path / "a", [1, None, 1, None]))  # all of order failed
    whole = read_run(write(tmp_path / "b", [1, 0, 1, 0]))
    part = read_run(write(tmp_path / "c", [None, 0, None, 0, 1, 0]))
    expected = "- m_avg leaves out order: no score there"
    for told in (report(a, whole), report(whole, a), report(a, a)):
        assert expected in told.splitlines()
    assert "leaves out" not in report(whole, whole)
    assert "- m_avg leaves out count: no score there" in report(whole, part), "both have some, but none in common"


def test_questions_that_only_one_was_asked_are_left_out(tmp_path: Path) -> None:
    a, b = (read_run(write(tmp_path / name, [0, 1] * n)) for name, n in (("a", 2), ("b", 3)))
    told = report(a, b)
    assert "- left out, as only A or B was asked: 2" in told
    assert "| accuracy | 0.5000 | 0.5000 | +0.0000 |  | 1.0000 | 4 | 2 |" in told


def test_circular_options_are_compared(tmp_path: Path) -> None:
    control = {"settings": {"control": asdict(CONTROLS["circular_options"])}}
    for name, scores in (("a", (1.0, 0.0)), ("b", (1.0, 1.0))):
        results = ResultsFolder(tmp_path / name, {**RUN, **control})
        groups = {"task": ("count",), "circular": ("q",), "turns": ("2",)}
        item = Item(id="q", video_id="v", video=Path("v"), question="?", form="letter", options=("a",), groups=groups)
        turns = [replace(item, id=f"q#turn{n}") for n in range(2)]
        for own, score in zip(turns, scores, strict=True):
            results.add(Result(id=own.id, video_id="v", groups=groups, reply="A", answer=0, score=score))
        results.finish(turns, SUITES["mlvu_dev"].summary, {})
    assert "| circular_options | 0.0000 | 1.0000 | +1.0000 |" in report(
        read_run(tmp_path / "a"), read_run(tmp_path / "b")
    )


def test_a_suite_s_own_folder_is_compared_with_the_one_of_its_name(tmp_path: Path) -> None:
    for name, scores in (("told", [1, 1]), ("bare", [0, 0])):
        write(tmp_path / "a" / name, scores)
        write(tmp_path / "b" / name, scores)
    whole, told, bare = (read_run(tmp_path / path) for path in ("a", "b/told", "b/bare"))
    assert f"- A: {tmp_path}/a/told" in report(whole, told)
    assert "In one run only: bare." in report(whole, told)
    assert f"- B: {tmp_path}/a/bare" in report(bare, whole)
    assert f"- A: {tmp_path}/b/told\n- B: {tmp_path}/b/bare" in report(told, bare)
    write(tmp_path / "c", [0, 1])
    with pytest.raises(DataError, match=r"bare, told in A and c in B have several of one suite: give the two folders"):
        report(whole, read_run(tmp_path / "c"))


def test_only_common_suites_are_compared(tmp_path: Path) -> None:
    for run in "ab":
        write(tmp_path / run / "mlvu_dev", [0, 1])
    write(tmp_path / "a" / "mlvu_test", [0, 1], suite="mlvu_test")
    assert "In one run only: mlvu_test." in report(read_run(tmp_path / "a"), read_run(tmp_path / "b"))


def no_results(folder: Path) -> None:
    (folder / "results.json").unlink()


def no_samples(folder: Path) -> None:
    (folder / "samples.jsonl").unlink()


def damaged_run(folder: Path) -> None:
    (folder / "run.json").write_text("{")


def damaged_results(folder: Path) -> None:
    (folder / "results.json").write_text("[]")


def unknown_suite(folder: Path) -> None:
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**run, "suite": "mine"}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_results, "isn't finished"),
        (no_samples, r"samples\.jsonl is missing"),
        (damaged_run, r"run\.json or results\.json is damaged"),
        (damaged_results, r"run\.json or results\.json is damaged"),
        (unknown_suite, "no suite 'mine'"),
    ],
)
def test_folders_that_can_t_be_read(damage: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    damage(write(tmp_path / "a", [0, 1]))
    with pytest.raises(DataError, match=message):
        read_run(tmp_path / "a")


@pytest.mark.parametrize(
    ("scores", "run", "message"),
    [
        ([0, 1], {"data_hash": "e"}, r"data_hash is 'd' and 'e'"),
        ([0, 1], {"suite": "mlvu_test"}, r"no suite in common: mlvu_dev in A, mlvu_test in B"),
        ([None, 1], {}, "no scored question in common"),
    ],
)
def test_runs_that_can_t_be_compared(scores: list, run: dict, message: str, tmp_path: Path) -> None:
    a = read_run(write(tmp_path / "a", [0, None]))
    b = read_run(write(tmp_path / "b", scores, **run))
    with pytest.raises(DataError, match=message):
        report(a, b)


def test_question_about_another_video_is_refused(tmp_path: Path) -> None:
    a, b = (read_run(write(tmp_path / name, [0, 1])) for name in "ab")
    (own,) = b.values()
    own.samples.results["q1"] = replace(own.samples.results["q1"], video_id="elsewhere")  # type: ignore[index]
    with pytest.raises(DataError, match="q1 is about another video"):
        report(a, b)


def test_command_says_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recot.evaluation.compare", str(tmp_path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path} holds no results")
