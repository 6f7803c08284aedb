"""Every reason is given, every check recorded, and nothing is lost."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.checks import VERDICT_SCHEMA
from data_pipelines.decisions import decide
from data_pipelines.rules import Rule
from tests.data_pipelines.policy_tables import films, policy, selection, table, texts, what, why

HEALTH = Rule("health", "test", min=0.95)
BLIND = Rule("blind_right", "test", max=0.5)


def test_a_video_that_does_not_decode_has_that_reason_and_not_one_a_signal() -> None:
    videos = films(
        {"error_reason": "truncated", "health_status": "error", "health": None},
        {"error_reason": "ours", "health_status": "error"},
    )
    samples = texts(
        {"blind_right": None, "blind_right_status": "error"},
        {"video_id": "v1", "blind_right": 0.9, "blind_right_status": "ok"},
    )
    decided = decide(videos, samples, policy(low_health=HEALTH, guessed=BLIND))
    assert why(decided) == {
        "v0": ["truncated"],
        "v1": ["ours", "no_question_left"],
        "s0": ["truncated"],
        "s1": ["ours", "guessed"],
    }
    assert what(decided) == {"v0": "drop", "v1": "drop", "s0": "drop", "s1": "drop"}


def test_what_our_own_failure_left_unmeasured_is_set_aside() -> None:
    videos = films({"error_reason": "ours"}, {}, {})
    samples = texts(
        {"blind_right": 0.0, "blind_right_status": "ok"},
        {"video_id": "v1", "blind_right": None, "blind_right_status": "error"},
        {"video_id": "v1", "blind_right": 0.9, "blind_right_status": "ok"},
        {"video_id": "v2", "blind_right": None, "blind_right_status": "error"},
        {"video_id": "v2", "blind_right": 0.1, "blind_right_status": "ok"},
    )
    decided = decide(videos, samples, policy(guessed=BLIND))
    assert what(decided) == {
        **{"v0": "quarantine", "v1": "quarantine", "v2": "keep"},
        **{"s0": "quarantine", "s1": "quarantine", "s2": "drop", "s3": "quarantine", "s4": "keep"},
    }
    assert why(decided)["v1"] == ["no_question_left"]


def test_a_sample_has_the_reasons_of_its_video_and_its_own() -> None:
    videos = films({"health": 0.1, "dark": 0.9, "leak_kind": "exact"}, {"health": 1.0, "dark": 0.9})
    samples = texts({"blind_right": 0.9}, {"video_id": "v1", "blind_right": 0.1})
    decided = decide(videos, samples, policy(low_health=HEALTH, dark=Rule("dark", "test", max=0.5), guessed=BLIND))
    assert why(decided) == {
        "v0": ["low_health", "dark", "leaked_video", "no_question_left"],
        "v1": ["dark"],
        "s0": ["low_health", "dark", "leaked_video", "guessed"],
        "s1": ["dark"],
    }


def test_a_video_goes_with_its_last_question_unless_it_came_without() -> None:
    videos = films({}, {}, {})
    samples = texts(
        {"blind_right": 0.9},
        {"blind_right": 0.9},
        {"video_id": "v1", "blind_right": 0.9},
        {"video_id": "v1", "blind_right": 0.0},
    )
    decided = decide(videos, samples, policy(guessed=BLIND))
    assert why(decided) == {
        **{"v0": ["no_question_left"], "v1": [], "v2": []},
        **{"s0": ["guessed"], "s1": ["guessed"], "s2": ["guessed"], "s3": []},
    }


def test_every_check_has_a_row_in_the_audit() -> None:
    videos = films(
        {"health": 0.5, "health_status": "ok", "motion": 2.0, "motion_status": "ok"},
        {"error_reason": "timeout", "error_class": "SIGKILL", "error_detail": "slow"},
    )
    samples = texts({"blind_right": 0.9, "blind_right_status": "proxy"})
    decided = decide(videos, samples, policy(low_health=HEALTH, guessed=BLIND))
    parts = list(decided.verdicts("hash"))
    assert all(part.schema == VERDICT_SCHEMA for part in parts)
    rows = [row for part in parts for row in part.to_pylist()]
    named = {(row["sample_id"], row["signal"]): row for row in rows}
    assert len(named) == len(rows) == 2 * 7 + 1 * 2 + 1
    assert named["v0", "health"] == {
        **{"sample_id": "v0", "stage": "media", "signal": "health", "value": 0.5, "threshold": 0.95},
        **{"threshold_source": "pruning.policy.rules.low_health.min (test)", "verdict": "drop"},
        **{"reason_code": "low_health", "error_class": None, "config_hash": "hash", "detail": None},
    }
    assert named["v1", "decodable"] == {
        **{"sample_id": "v1", "stage": "media", "signal": "decodable", "value": None, "threshold": None},
        **{"threshold_source": None, "verdict": "drop", "reason_code": "timeout", "error_class": "SIGKILL"},
        **{"config_hash": "hash", "detail": "slow"},
    }
    assert named["s0", "health"] == {**named["v0", "health"], "sample_id": "s0"}
    assert (named["v0", "motion"]["verdict"], named["v0", "motion"]["threshold"]) == ("pass", None)
    assert (named["s0", "blind_right"]["verdict"], named["s0", "blind_right"]["detail"]) == ("drop", "proxy")


def test_the_audit_has_every_reason_of_every_row() -> None:
    near = {"cluster_id": 0, "dup_kind": "perceptual"}
    videos = films(
        {**near, "health": 1.0},
        {**near, "health": 1.0, "duration_s": 5.0, "key": "same"},
        {"health": 0.1, "leak_kind": "exact"},
        {"error_reason": "ours"},
        {"health": 1.0, "key": "twice"},
        {"health": 1.0, "key": "twice"},
    )
    samples = texts(*({"video_id": f"v{i % 6}", "blind_right": i / 18} for i in range(18)))
    decided = decide(videos, samples, policy(low_health=HEALTH, guessed=BLIND, chosen=selection(budget=2)))
    found: dict[str, set[str]] = {}
    verdicts: dict[str, set[str]] = {}
    for row in (row for part in decided.verdicts("hash") for row in part.to_pylist()):
        found.setdefault(row["sample_id"], set()).update({row["reason_code"]} - {None})
        verdicts.setdefault(row["sample_id"], set()).add(row["verdict"])
    assert found == {name: set(reasons) for name, reasons in why(decided).items()}
    for name, decision in what(decided).items():
        assert (decision == "keep") == (verdicts[name] == {"pass"})
    assert {"duplicate_perceptual", "leaked_video", "low_health", "ours", "over_budget"} <= set().union(*found.values())


numbers = st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
statuses = st.sampled_from(["ok", "na", "error", "proxy"])
video_rows = st.fixed_dictionaries(
    {
        "key": st.sampled_from(["a", "b", "c", None]),
        "cluster_id": st.sampled_from([None, 0, 1]),
        "dup_kind": st.sampled_from([None, "exact", "packets", "perceptual", "semantic"]),
        "duration_s": st.sampled_from([1.0, 40.0, 90.0]),
        "error_reason": st.sampled_from([None, None, None, "truncated", "ours"]),
        "leak_kind": st.sampled_from([None, None, None, "exact"]),
        "health": numbers,
        "health_status": statuses,
    }
)
sample_rows = st.fixed_dictionaries(
    {"video_id": st.sampled_from(["v0", "v1", "v2"]), "blind_right": numbers, "blind_right_status": statuses}
)


@settings(max_examples=80)
@given(
    st.lists(video_rows, min_size=3, max_size=6),
    st.lists(sample_rows, max_size=8),
    st.sampled_from([None, 1, 2, 3]),
    st.sampled_from([None, 1, 2]),
)
def test_nothing_is_lost_and_what_is_kept_fits_together(
    videos: list[dict], samples: list[dict], budget: int | None, most: int | None
) -> None:
    chosen = selection(budget=budget, max_qa_per_video=most)
    rules = policy(low_health=HEALTH, guessed=BLIND, chosen=chosen)
    found = decide(films(*videos), texts(*samples), rules)
    of_video = {row["video_id"]: row for row in found.videos.to_pylist()}
    of_sample = found.samples.to_pylist()
    assert list(of_video) == [f"v{i}" for i in range(len(videos))]
    assert [row["sample_id"] for row in of_sample] == [f"s{i}" for i in range(len(samples))]
    for row in (*of_video.values(), *of_sample):
        assert (row["decision"] == "keep") == (row["reason_codes"] == [])
        assert len(set(row["reason_codes"])) == len(row["reason_codes"])
        stays = of_video.get(row["dup_of"])
        assert stays is None or (stays["dup_of"] is None and set(stays["reason_codes"]) <= {"over_budget"})
    homes = set()
    for row in of_sample:
        of_its_video = [
            r for r in of_video[row["video_id"]]["reason_codes"] if r not in ("no_question_left", "over_budget")
        ]
        if row["decision"] == "keep":
            homes.add(row["dup_of"] or row["video_id"])
            assert set(of_its_video) <= {"duplicate_exact", "duplicate_packets"}
        elif not of_video[row["video_id"]]["dup_of"]:
            assert set(of_its_video) <= set(row["reason_codes"])
    kept = {name for name, row in of_video.items() if row["decision"] == "keep"}
    assert homes <= kept
    keys = [videos[int(name[1:])]["key"] for name in kept]
    assert all(keys.count(key) == 1 for key in keys if key is not None)
    asked = {row["video_id"] for row in samples}
    assert not (kept & asked) - homes
    total = sum(row["decision"] == "keep" for row in of_sample) + len(kept - homes)
    assert budget is None or total <= budget


@settings(max_examples=40)
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=8), st.floats(0, 1))
def test_a_higher_bar_keeps_no_more(values: list[tuple], bar: float) -> None:
    videos = films(*({"health": health} for health, _ in values))
    samples = table(
        [
            {"sample_id": f"s{i}", "video_id": f"v{i}", "task_type": "t", "blind_right": b}
            for i, (_, b) in enumerate(values)
        ]
    )
    videos = videos.set_column(videos.column_names.index("health"), "health", videos["health"].cast(pa.float64()))
    samples = samples.set_column(3, "blind_right", samples["blind_right"].cast(pa.float64()))
    kept = []
    for low, high in ((bar, 1.0), (bar + 0.2, 0.5)):
        rules = policy(low_health=Rule("health", "test", min=low), guessed=Rule("blind_right", "test", max=high))
        kept.append({name for name, decision in what(decide(videos, samples, rules)).items() if decision == "keep"})
    assert kept[1] <= kept[0]
