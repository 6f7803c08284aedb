"""Each benchmark's own figures, on results whose figures were worked out by hand; intervals against theory."""

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy

from recot.evaluation.aggregation import (
    Figure,
    Summary,
    Units,
    circular,
    estimate,
    mean_over,
    pooled,
    recall_at,
    unparsed,
)
from recot.evaluation.items import Result
from recot.evaluation.suites import SUITES

GOLDEN = json.loads((Path(__file__).parent / "golden_figures.json").read_text())


def result(
    identity: str, score: float, *, video: str = "", answer: int | None = 0, **groups: str | tuple[str, ...]
) -> Result:
    own = {name: (value,) if isinstance(value, str) else value for name, value in groups.items()}
    return Result(id=identity, video_id=video or identity, groups=own, reply="", answer=answer, score=score)


def golden_results(suite: str) -> list[Result]:
    """Rows of ``[video, score, answer, groups]``."""
    return [
        result(str(i), score, video=video, answer=answer, **{k: tuple(v) for k, v in groups.items()})
        for i, (video, score, answer, groups) in enumerate(GOLDEN[suite]["results"])
    ]


@pytest.mark.parametrize("suite", sorted(GOLDEN))
def test_figures_by_hand(suite: str) -> None:
    figures = SUITES[suite].summary.figures(golden_results(suite))
    assert {name: figure.value for name, figure in figures.items()} == pytest.approx(GOLDEN[suite]["figures"])


@pytest.mark.parametrize("suite", sorted(GOLDEN))
def test_order_of_results_changes_nothing(suite: str) -> None:
    results = golden_results(suite)
    shuffled = random.Random(0).sample(results, len(results))
    assert SUITES[suite].summary.figures(shuffled) == SUITES[suite].summary.figures(results)


def test_every_suite_has_figures_by_hand() -> None:
    assert set(GOLDEN) == set(SUITES)


def test_first_measure_is_the_one_that_the_benchmark_ranks_by() -> None:
    ranked = {name: next(iter(suite.summary.measures)) for name, suite in SUITES.items()}
    assert ranked["mlvu_dev"] == ranked["mlvu_test"] == "m_avg"
    assert ranked["vnbench"] == "circular"
    assert ranked["charades_sta"] == ranked["vstar"] == "mIoU"
    assert {ranked[name] for name in ("video_mme", "longvideobench", "lvbench")} == {"accuracy"}


def test_pooled_accuracy_is_torchmetrics_micro() -> None:
    rng = np.random.default_rng(0)
    answers, right = rng.integers(0, 6, 200), rng.integers(0, 6, 200)
    results = [
        result(str(i), float(a == r), answer=int(a)) for i, (a, r) in enumerate(zip(answers, right, strict=True))
    ]
    expected = multiclass_accuracy(torch.tensor(answers), torch.tensor(right), num_classes=6, average="micro")
    assert estimate(pooled(results)).value == pytest.approx(float(expected))


def test_mean_over_tasks_is_torchmetrics_macro_where_classes_are_tasks() -> None:
    # A reply is its task's class if it is right, and no class if not: recall of a class is the accuracy in the task.
    rng = np.random.default_rng(1)
    tasks = rng.choice(5, 300, p=[0.5, 0.2, 0.1, 0.1, 0.1])
    scores = rng.random(300) < 0.3 + 0.1 * tasks
    results = [
        result(str(i), float(s), task=f"t{t}") for i, (t, s) in enumerate(zip(tasks.tolist(), scores, strict=True))
    ]
    predicted = torch.tensor(np.where(scores, tasks, 5))
    recall = multiclass_accuracy(predicted, torch.tensor(tasks), num_classes=6, average=None)
    assert estimate(mean_over("task")(results)).value == pytest.approx(float(recall[:5].mean()))
    assert estimate(pooled(results)).value == pytest.approx(scores.mean())


def units(values: Sequence[float], videos: Sequence[object]) -> Units:
    names = tuple(str(i) for i in range(len(values)))
    return Units(names, np.array(values, dtype=float), tuple(map(str, videos)), ("",) * len(values))


def half_width(figure: Figure) -> float:
    assert figure.low is not None
    assert figure.high is not None
    return (figure.high - figure.low) / 2


def test_interval_of_independent_questions_is_the_binomial_one() -> None:
    values = np.random.default_rng(0).random(2700) < 0.6
    figure = estimate(units(values.astype(float).tolist(), range(2700)))
    expected = 1.96 * math.sqrt(figure.value * (1 - figure.value) / 2700)
    assert half_width(figure) == pytest.approx(expected, rel=0.06)  # 0.018, as said of Video-MME


def test_interval_is_the_cluster_robust_one() -> None:
    # Liang and Zeger's sandwich for a mean: the sum over videos of squared sums of residuals.
    rng = np.random.default_rng(3)
    videos = np.repeat(np.arange(400), rng.integers(1, 8, 400))
    hardness = rng.random(400)
    values = (rng.random(len(videos)) < hardness[videos]).astype(float)
    residuals = np.bincount(videos, values - values.mean())
    expected = 1.96 * math.sqrt((residuals**2).sum()) / len(videos)
    figure = estimate(units(values.tolist(), videos.tolist()))
    assert half_width(figure) == pytest.approx(expected, rel=0.06)
    assert expected > 1.2 * 1.96 * values.std() / math.sqrt(len(values))  # clustering matters here


def test_copies_of_a_question_tell_nothing_new() -> None:
    values = (np.random.default_rng(4).random(100) < 0.5).astype(float)
    once = estimate(units(values.tolist(), range(100)))
    often = estimate(units(np.repeat(values, 5).tolist(), np.repeat(np.arange(100), 5).tolist()))
    assert (often.value, often.low, often.high) == pytest.approx((once.value, once.low, once.high))
    assert (once.units, once.videos, often.units, often.videos) == (100, 100, 500, 100)


def test_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        values = (rng.random(60) < 0.7).astype(float)
        figure = estimate(units(values.tolist(), range(60)))
        assert figure.low is not None
        assert figure.high is not None
        covered += figure.low <= 0.7 <= figure.high
    assert 0.88 <= covered / 200 <= 0.99


@pytest.mark.parametrize("videos", [4, 8])
def test_intervals_of_few_videos_cover_the_truth(videos: int) -> None:
    """Ten questions a video, some videos harder than others: beta-binomial with a correlation of 0.2."""
    rng = np.random.default_rng(6)
    covered = 0
    for _ in range(300):
        hardness = rng.beta(0.6 * 4, 0.4 * 4, videos)
        values = (rng.random((videos, 10)) < hardness[:, None]).astype(float).ravel()
        figure = estimate(units(values.tolist(), np.repeat(np.arange(videos), 10).tolist()))
        assert figure.low is not None
        assert figure.high is not None
        covered += figure.low <= 0.6 <= figure.high
    assert covered / 300 >= 0.9


def test_two_videos_that_agree_prove_nothing() -> None:
    figure = estimate(units([1.0, 0.0, 1.0, 0.0, 1.0, 0.0], ["u", "u", "v", "v", "w", "w"]))
    assert (figure.value, figure.low, figure.high) == (0.5, None, None)


def test_groups_are_in_the_order_of_their_numbers() -> None:
    results = [result(name, 1.0, depth=name) for name in ("100%", "0%", "50%", "5%")]
    figures = Summary({"accuracy": pooled}, ("depth",)).figures(results)
    assert [name for name in figures if "=" in name] == ["depth=0%", "depth=5%", "depth=50%", "depth=100%"]


def test_a_mean_over_tasks_says_which_it_lacks() -> None:
    asked = [result(str(i), 0.0, task=f"t{i % 3}") for i in range(9)]
    summary = Summary({"m_avg": mean_over("task"), "accuracy": pooled})
    assert summary.unscored(asked, asked) == {}
    assert summary.unscored(asked[:1] + asked[3:4], asked) == {"m_avg": ["t1", "t2"]}


def test_all_right_isn_t_certain() -> None:
    # Clopper-Pearson for 20 of 20: the lower bound L has L^20 = 0.025.
    figure = estimate(units([1.0] * 40, np.repeat(np.arange(20), 2).tolist()))
    assert (figure.low, figure.high) == pytest.approx((0.025 ** (1 / 20), 1.0))
    figure = estimate(units([0.0] * 20, range(20)))
    assert (figure.low, figure.high) == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)))


def test_videos_that_are_all_alike_aren_t_certain() -> None:
    # Of twins, one is right: the most of others that there may be, all wrong or all right.
    figure = estimate(units([1.0, 0.0] * 20, np.repeat(np.arange(20), 2).tolist()))
    others = 1 - 0.025 ** (1 / 20)
    assert (figure.value, figure.low, figure.high) == pytest.approx((0.5, 0.5 - 0.5 * others, 0.5 + 0.5 * others))
    answers = [result(f"{task}{i}", float(task == "a"), task=task) for task in "ab" for i in range(5)]
    figure = estimate(mean_over("task")(answers))
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low < 0.3
    assert figure.high > 0.7


def test_one_video_has_no_interval() -> None:
    figure = estimate(units([1.0, 0.0], ["v", "v"]))
    assert (figure.value, figure.low, figure.high) == (0.5, None, None)


def test_circular_leaves_out_questions_with_a_failed_try() -> None:
    tries = [result(f"{q}{t}", float((q, t) != ("b", 2)), question=q, type="x") for q in "abc" for t in range(4)]
    measured = circular("question", 4, "type")(tries[:-1])
    assert measured.ids == ("a", "b")
    assert measured.values.tolist() == [1, 0]


def test_questions_may_tell_how_many_tries_they_have() -> None:
    asked = {"a": 4, "b": 4, "c": 3}
    named = [(q, t, str(n)) for q, n in asked.items() for t in range(n)]
    tries = [result(f"{q}{t}", float((q, t) != ("b", 2)), question=q, turns=n) for q, t, n in named]
    assert circular("question", "turns", None)(tries).values.tolist() == [1, 0, 1]
    failed = [one for one in tries if one.id != "a1"]
    assert circular("question", "turns", None)(failed).ids == ("b", "c")


def test_recall_counts_the_threshold_itself() -> None:
    results = [result(str(i), iou) for i, iou in enumerate((0.29, 0.3, 0.5, 0.7, 1.0))]
    assert [estimate(recall_at(iou)(results)).value for iou in (0.3, 0.5, 0.7)] == pytest.approx([0.8, 0.6, 0.4])


def test_unparsed_is_wrong_and_counted() -> None:
    results = [result("a", 1), result("b", 0, answer=None), result("c", 0), result("d", 0, answer=None)]
    assert estimate(pooled(results)).value == 0.25
    assert estimate(unparsed(results)).value == 0.5
