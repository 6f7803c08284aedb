"""A budget is kept, shared fairly, and spent the same way whatever order the rows come in."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.selection import Selection, select
from recot.errors import ConfigError
from tests.data_pipelines.policy_tables import selection

TYPES = {"id": pa.string(), "video": pa.int64(), "source": pa.string(), "task_type": pa.string()}
TYPES |= dict.fromkeys(("duration_s", "relevance"), pa.float64())
TYPES |= dict.fromkeys(("visual_tokens", "text_tokens"), pa.int64())


def candidates(rows: list[dict[str, Any]]) -> pa.Table:
    found = [
        {"id": f"c{i}", "video": i, "source": "a", "task_type": "t", "duration_s": 36.0, **r}
        for i, r in enumerate(rows)
    ]
    names = list(dict.fromkeys([*TYPES, *(name for row in found for name in row)]))
    return pa.table({name: pa.array([row.get(name) for row in found], TYPES.get(name)) for name in names})


def kept(table: pa.Table, chosen: Selection) -> list[str]:
    codes = select(table, chosen).codes
    return [name for name, code in zip(table["id"].to_pylist(), codes, strict=True) if code < 0]


def sizes(groups: dict[str, int], **changes: Any) -> dict[str, int]:
    """How many of each source are kept, from the number that there are."""
    table = candidates([{"source": name} for name, count in groups.items() for _ in range(count)])
    source = dict(zip(table["id"].to_pylist(), table["source"].to_pylist(), strict=True))
    return dict(Counter(source[name] for name in kept(table, selection(**changes))))


def test_without_a_budget_all_is_kept_and_ranked() -> None:
    table = candidates([{"relevance": r} for r in (0.1, 0.9, None, 0.5)])
    chosen = select(table, selection(weights={"relevance": 1.0}))
    assert chosen.codes.tolist() == [-1] * 4
    # of the three values, 0, 1 and 2 are lower, and each is half below itself; no value is the middle
    assert chosen.score == pytest.approx([1 / 6, 5 / 6, 1 / 2, 1 / 2])
    assert chosen.rank[1] == 0
    assert chosen.rank[0] == 3
    assert chosen.strata.to_pylist() == ["a/t"] * 4


def test_strata_are_named_and_durations_cut() -> None:
    table = candidates(
        [{"duration_s": s, "embedding_cluster": c} for s, c in ((29.9, 0), (30.0, 1), (59.9, 1), (60.0, 0), (9e4, 0))]
    )
    chosen = select(table, selection(strata=["source", "duration_s", "embedding_cluster"]))
    assert chosen.strata.to_pylist() == [
        "a/under 30 s/0",
        "a/30-60 s/1",
        "a/30-60 s/1",
        "a/from 60 s/0",
        "a/from 60 s/0",
    ]
    assert chosen.rank[3:].tolist() in ([0, 1], [1, 0])
    bare = candidates([{"task_type": None}, {"task_type": "order"}])
    assert select(bare, selection(strata=["task_type", "embedding_cluster"])).strata.to_pylist() == ["none", "order"]


def test_alpha_lies_between_equal_and_proportional() -> None:
    groups = {"a": 900, "b": 100}
    assert sizes(groups, budget=100, alpha=1.0) == {"a": 90, "b": 10}
    assert sizes(groups, budget=100, alpha=0.0) == {"a": 50, "b": 50}
    assert sizes(groups, budget=100, alpha=0.5) == {"a": 75, "b": 25}  # 30 : 10
    assert sizes({"a": 900, "b": 5}, budget=100, alpha=0.0) == {"a": 95, "b": 5}


def test_shares_are_those_of_websters_method() -> None:
    # Sainte-Lague quotients of 53 : 24 : 23 for 7 seats, by hand: 106, 35.3, 21.2, 15.1 | 48, 16 | 46, 15.3
    assert sizes({"a": 53, "b": 24, "c": 23}, budget=7, alpha=1.0) == {"a": 3, "b": 2, "c": 2}
    assert sizes({"a": 53, "b": 24, "c": 23}, budget=8, alpha=1.0) == {"a": 4, "b": 2, "c": 2}


def test_the_floor_comes_first() -> None:
    groups = {"a": 1000, "b": 3, "c": 1}
    assert sizes(groups, budget=10, alpha=1.0, floor=2) == {"a": 7, "b": 2, "c": 1}
    assert sizes(groups, budget=10, alpha=1.0, floor=0) == {"a": 10}
    assert sum(sizes(groups, budget=2, alpha=1.0, floor=2).values()) == 2


def test_the_best_of_a_stratum_stay() -> None:
    table = candidates([{"relevance": i / 10, "single_frame": 0.5} for i in range(10)])
    chosen = selection(budget=3, weights={"relevance": 1.0, "single_frame": -1.0, "unmeasured": 9.0})
    assert kept(table, chosen) == ["c7", "c8", "c9"]
    worst = selection(budget=3, weights={"relevance": -1.0})
    assert kept(table, worst) == ["c0", "c1", "c2"]


def test_scales_of_sources_do_not_matter() -> None:
    rows = [{"source": s, "motion": (i + 1) * scale} for s, scale in (("a", 1.0), ("b", 100.0)) for i in range(4)]
    chosen = selection(budget=4, strata=["task_type"], weights={"motion": 1.0})
    assert kept(candidates(rows), chosen) == ["c2", "c3", "c6", "c7"]


def test_a_video_has_no_more_questions_than_allowed_and_tasks_take_turns() -> None:
    tasks = ["x"] * 10 + ["y"] * 2 + ["z"]
    table = candidates([{"video": 0, "task_type": t} for t in tasks] + [{"video": 1}, {"video": 1}])
    chosen = select(table, selection(max_qa_per_video=5))
    assert Counter(t for t, c in zip(tasks, chosen.codes[:13], strict=True) if c < 0) == {"x": 2, "y": 2, "z": 1}
    assert set(chosen.codes[13:]) == {-1}
    assert (chosen.rank[chosen.codes == 0] == -1).all()
    picks = {tuple(kept(table, selection(max_qa_per_video=5, seed=seed))) for seed in range(5)}
    assert len(picks) > 1


def test_hours_are_those_of_videos_and_all_questions_come_along() -> None:
    # 3 videos of 36 s and 2 questions, and one that is longer than the budget: 0.02 h pay two videos.
    rows = [{"video": i // 2} for i in range(6)] + [{"video": 9, "duration_s": 1e6}]
    found = kept(candidates(rows), selection(budget=0.02, unit="hours"))
    videos = {int(name[1:]) // 2 for name in found}
    assert len(videos) == 2
    assert len(found) == 4
    assert max(videos) < 3


def test_tokens_count_a_video_once() -> None:
    rows = [{"video": 0, "visual_tokens": 100, "text_tokens": 10} for _ in range(4)]
    assert len(kept(candidates(rows), selection(budget=129, unit="tokens"))) == 2
    assert len(kept(candidates(rows), selection(budget=130, unit="tokens"))) == 3
    with pytest.raises(ConfigError, match=r"selection.unit=tokens"):
        kept(candidates([{}]).drop_columns("text_tokens"), selection(budget=1, unit="tokens"))


@pytest.mark.parametrize(("unit", "budget", "expected"), [("samples", 3, 3), ("hours", 0.03, 3), ("tokens", 330, 3)])
def test_videos_without_questions_cost_what_they_show(unit: str, budget: float, expected: int) -> None:
    """One sample each, 36 s and 100 tokens; the one with a question has 10 tokens of text, too."""
    rows = [{"visual_tokens": 100, "task_type": None} for _ in range(4)]
    table = candidates([{"visual_tokens": 100, "text_tokens": 10}, *rows])
    assert len(kept(table, selection(budget=budget, unit=unit))) == expected
    alone = table.slice(1)
    assert alone["text_tokens"].null_count == 4
    assert len(kept(alone, selection(budget=1e8, unit=unit))) == 4


def test_nothing_to_select_from() -> None:
    empty = candidates([{}]).slice(0, 0)
    for unit in ("samples", "hours"):
        chosen = select(empty, selection(budget=1, unit=unit, max_qa_per_video=1, weights={"duration_s": 1.0}))
        assert len(chosen.codes) == len(chosen.strata) == len(chosen.rank) == 0


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"unit": "days"}, "unit"),
        ({"budget": 0}, "budget"),
        ({"budget": 0.5}, "budget"),
        ({"budget": 0.5, "unit": "tokens"}, "budget"),
        ({"max_qa_per_video": 0}, "max_qa_per_video"),
        ({"strata": ["licence"]}, "strata"),
        ({"duration_edges_s": [60, 30]}, "duration_edges_s"),
        ({"floor": -1}, "floor"),
        ({"alpha": 2}, "alpha"),
    ],
)
def test_a_value_that_cannot_work_is_named(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"pruning.policy.selection.{key}="):
        selection(**changes).check()


def test_only_a_budget_in_hours_may_be_below_1() -> None:
    selection(budget=0.5, unit="hours").check()
    for unit in ("samples", "tokens"):
        with pytest.raises(ConfigError, match="expected at least 1"):
            selection(budget=0.5, unit=unit).check()


pools = st.lists(
    st.fixed_dictionaries(
        {
            "video": st.integers(0, 5),
            "source": st.sampled_from("abc"),
            "task_type": st.sampled_from(["x", "y", None]),
            "relevance": st.sampled_from([None, 0.1, 0.2, 0.3]),
        }
    ),
    max_size=30,
)


def with_videos(rows: list[dict[str, Any]]) -> pa.Table:
    """Duration and tokens are the video's."""
    lengths = [5.0, 20.0, 40.0, 40.0, 70.0, 300.0]
    return candidates(
        [{**r, "duration_s": lengths[r["video"]], "visual_tokens": 7 * r["video"] + 1, "text_tokens": 2} for r in rows]
    )


def cost(table: pa.Table, names: list[str], unit: str) -> float:
    rows = [row for row in table.to_pylist() if row["id"] in names]
    videos = {row["video"]: row for row in rows}.values()
    if unit == "samples":
        return len(rows)
    if unit == "hours":
        return sum(row["duration_s"] for row in videos) / 3600
    return sum(row["visual_tokens"] for row in videos) + sum(row["text_tokens"] for row in rows)


@settings(max_examples=60)
@given(pools, st.sampled_from(["samples", "hours", "tokens"]), st.integers(1, 40), st.integers(0, 2), st.randoms())
def test_a_budget_is_spent_within_one_sample_whatever_the_order(
    rows: list[dict[str, Any]], unit: str, amount: int, floor: int, random: Any
) -> None:
    table = with_videos(rows)
    budget = amount / 200 if unit == "hours" else amount
    chosen = selection(budget=budget, unit=unit, floor=floor, max_qa_per_video=4, weights={"relevance": 1.0})
    result = select(table, chosen)
    names = np.array(table["id"].to_pylist(), dtype=str)
    found = names[result.codes < 0].tolist()
    assert cost(table, found, unit) <= budget + 1e-9
    others = names[result.codes == 1].tolist()
    possible = [name for name in others if cost(table, [name], unit) <= budget]
    if possible:
        assert max(cost(table, [*found, name], unit) for name in possible) > budget
    order = list(range(len(rows)))
    random.shuffle(order)
    again = select(table.take(pa.array(order, pa.int64())), chosen)
    assert again.codes.tolist() == result.codes[order].tolist()
    assert again.rank.tolist() == result.rank[order].tolist()
    assert again.strata.to_pylist() == [result.strata[i].as_py() for i in order]


@settings(max_examples=40)
@given(pools, st.integers(1, 20), st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0]))
def test_more_samples_keep_what_fewer_kept_and_every_stratum_has_its_floor(
    rows: list[dict[str, Any]], budget: int, floor: int, alpha: float
) -> None:
    table = with_videos(rows)
    less, more = (
        set(kept(table, selection(budget=amount, floor=floor, alpha=alpha))) for amount in (budget, budget + 3)
    )
    assert less <= more
    strata = select(table, selection()).strata.to_pylist()
    all_of, found = (
        Counter(strata),
        Counter(s for s, name in zip(strata, table["id"].to_pylist(), strict=True) if name in less),
    )
    if floor * len(all_of) <= budget:
        assert all(found[stratum] >= min(floor, count) for stratum, count in all_of.items())
