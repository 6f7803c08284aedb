"""Decisions follow from the tables alone, every reason is given, and nothing is lost."""

import math

import pyarrow as pa
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from data_pipelines.checks import VERDICT_SCHEMA
from data_pipelines.decisions import Policy, decide
from data_pipelines.rules import Rule
from recot.errors import ConfigError
from tests.conftest import REPO
from tests.data_pipelines.policy_tables import films, policy, selection, table, texts, what, why

HEALTH = Rule("health", "test", min=0.95)
BLIND = Rule("blind_right", "test", max=0.5)


def test_bounds_are_good_and_the_rule_names_the_reason() -> None:
    videos = films({"health": 0.95}, {"health": 0.9499}, {"health": math.nan})
    decided = decide(videos, texts(), policy(low_health=HEALTH))
    assert why(decided) == {"v0": [], "v1": ["low_health"], "v2": ["low_health"]}


def test_status_says_how_a_value_counts() -> None:
    videos = films(
        {"health": None, "health_status": "na"},
        {"health": None, "health_status": "error"},
        {"health": 0.1, "health_status": "proxy"},
        {"health": None, "health_status": None},
        {"health": None, "health_status": "ok"},
    )
    decided = decide(videos, texts(), policy(low_health=HEALTH))
    assert what(decided) == {"v0": "keep", "v1": "quarantine", "v2": "drop", "v3": "keep", "v4": "quarantine"}
    assert why(decided)["v1"] == ["health_error"]
    rows = [row for part in decided.verdicts("hash") for row in part.to_pylist() if row["signal"] == "health"]
    assert [row["detail"] for row in rows] == ["na", "error", "proxy", None, None]
    assert [row["verdict"] for row in rows] == ["pass", "quarantine", "drop", "pass", "quarantine"]


def test_a_failed_signal_that_no_rule_needs_harms_nobody() -> None:
    videos = films({"motion": None, "motion_status": "error"})
    assert what(decide(videos, texts(), policy())) == {"v0": "keep"}


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


def test_quantiles_are_taken_within_groups_of_what_was_measured() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]  # of ten values the lowest three go, of five one, of two none
    rows = [{"source": "a", "motion": v + 10 * k} for k in (0, 1) for v in values]
    rows += [{"source": "b", "motion": v} for v in values] + [{"source": "c", "motion": 0.0}, {"source": "c"}]
    rows += [{"source": "b"}] * 20  # na: they count for nobody
    rule = Rule("motion", "test", min_quantile=0.3, within="source")
    decided = decide(films(*rows), texts(), policy(slow=rule))
    dropped = [rows[i]["motion"] for i, d in enumerate(decided.videos["decision"].to_pylist()) if d == "drop"]
    assert dropped == [1.0, 2.0, 3.0, 1.0]
    upper = decide(films(*rows), texts(), policy(fast=Rule("motion", "test", max_quantile=0.7, within="source")))
    dropped = [rows[i]["motion"] for i, d in enumerate(upper.videos["decision"].to_pylist()) if d == "drop"]
    assert dropped == [15.0, 14.0, 13.0, 5.0]


def test_a_quantile_lets_ties_stay_and_samples_have_the_groups_of_their_videos() -> None:
    videos = films({"source": "a"}, {"source": "b"})
    scores = [("v0", 1.0), ("v0", 1.0), ("v0", 1.0), ("v0", 2.0), ("v1", 7.0), ("v1", 8.0), ("v1", 9.0), ("v1", 9.0)]
    samples = texts(*({"video_id": v, "relevance": r} for v, r in scores))
    rule = Rule("relevance", "test", min_quantile=0.5, within="source")
    assert [k for k, r in why(decide(videos, samples, policy(least=rule))).items() if r] == ["s4", "s5"]
    everywhere = Rule("relevance", "test", min_quantile=0.5)
    assert [k for k, r in why(decide(videos, samples, policy(least=everywhere))).items() if r] == [
        *("v0", "s0", "s1", "s2", "s3"),
    ]


def test_the_questions_of_exact_copies_go_to_the_one_that_stays() -> None:
    videos = films({"key": "k"}, {"key": "k"}, {"key": "other"}, {"key": "k", "relevance_caption": 0.0})
    samples = texts(
        {"blind_right": 0.1},
        {"video_id": "v1", "blind_right": 0.1},
        {"video_id": "v1", "blind_right": 0.9},
        {"video_id": "v3"},
    )
    rule = Rule("relevance_caption", "test", min=0.1)
    decided = decide(videos, samples, policy(guessed=BLIND, caption=rule, duplicates=()))
    assert why(decided) == {
        **{"v0": [], "v1": ["duplicate_exact"], "v2": [], "v3": ["caption", "duplicate_exact"]},
        **{"s0": [], "s1": [], "s2": ["guessed"], "s3": ["caption"]},
    }
    assert decided.videos["dup_of"].to_pylist() == [None, "v0", None, "v0"]
    assert decided.samples["dup_of"].to_pylist() == [None, "v0", "v0", "v0"]


def test_a_copy_stays_where_the_first_one_has_no_good_question() -> None:
    videos = films({"key": "k"}, {"key": "k"})
    samples = texts({"blind_right": 0.9}, {"video_id": "v1", "blind_right": 0.1})
    decided = decide(videos, samples, policy(guessed=BLIND))
    assert why(decided) == {
        **{"v0": ["no_question_left", "duplicate_exact"], "v1": []},
        **{"s0": ["guessed"], "s1": []},
    }


def test_the_best_of_a_cluster_stays() -> None:
    near = {"cluster_id": 3, "dup_kind": "perceptual", "health": 1.0}
    videos = films(
        {**near, "duration_s": 9.0, "width": 640, "height": 480},
        {**near, "duration_s": 10.04, "width": 64, "height": 64},  # as long as the next one, to 0.1 s
        {**near, "duration_s": 9.96, "width": 320, "height": 240},
        {**near, "duration_s": 10.0, "width": 320, "height": 240, "health": 0.99},
        {**near, "duration_s": 99.0, "health": 0.5, "width": 1, "height": 1},  # is broken
        {**near, "duration_s": 10.0, "width": 320, "height": 240},  # comes later
    )
    samples = texts({"video_id": "v0"}, {"video_id": "v2"}, {"video_id": "v5"})
    decided = decide(videos, samples, policy(low_health=HEALTH))
    near_reason = ["duplicate_perceptual"]
    assert why(decided) == {
        **{"v0": near_reason, "v1": near_reason, "v2": [], "v3": near_reason},
        **{"v4": ["low_health", *near_reason], "v5": near_reason},
        **{"s0": near_reason, "s1": [], "s2": near_reason},
    }
    assert set(decided.videos["dup_of"].to_pylist()) == {"v2", None}


def test_kinds_of_duplicates_that_are_not_asked_for_stay() -> None:
    videos = films(
        {"key": "a", "cluster_id": 0, "dup_kind": "exact"},
        {"key": "a", "cluster_id": 0, "dup_kind": "exact"},
        {"cluster_id": 0, "dup_kind": "semantic"},
        {"cluster_id": 1, "dup_kind": "packets", "packet_md5": "p"},
        {"cluster_id": 1, "dup_kind": "packets", "packet_md5": "p"},
    )
    samples = texts({"video_id": "v4"})
    assert why(decide(videos, samples, policy(duplicates=()))) == {
        **{"v0": [], "v1": ["duplicate_exact"], "v2": [], "v3": [], "v4": [], "s0": []}
    }
    decided = decide(videos, samples, policy())
    assert why(decided) == {
        **{"v0": [], "v1": ["duplicate_exact"], "v2": ["duplicate_semantic"], "v3": [], "v4": ["duplicate_packets"]},
        "s0": [],  # the same pictures at the same times: it holds for v3
    }
    assert decided.samples["dup_of"].to_pylist() == ["v3"]


def test_copies_of_a_near_duplicate_follow_it() -> None:
    near = {"cluster_id": 0, "dup_kind": "perceptual"}
    videos = films({**near, "key": "a"}, {**near, "key": "a", "dup_kind": "exact"}, {**near, "duration_s": 20.0})
    samples = texts({"video_id": "v1"})
    decided = decide(videos, samples, policy())
    assert decided.videos["dup_of"].to_pylist() == ["v2", "v2", None]
    assert why(decided)["s0"] == ["duplicate_perceptual"]


def test_leaks_go_and_do_not_stay_for_their_copies() -> None:
    videos = films(
        {
            "cluster_id": 0,
            "dup_kind": "perceptual",
            "leak_kind": "exact",
            "leak_score": 1.0,
            "leak_of": "e",
            "duration_s": 20.0,
        },
        {"cluster_id": 0, "dup_kind": "perceptual"},
    )
    decided = decide(videos, texts(), policy())
    assert why(decided) == {"v0": ["leaked_video", "duplicate_perceptual"], "v1": []}
    kept = Policy({}, [], False, [], selection())
    assert what(decide(videos, texts(), kept)) == {"v0": "keep", "v1": "keep"}


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
    assert len(named) == len(rows) == 2 * 7 + 1 * 2
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
    assert (named["v0", "motion"]["verdict"], named["v0", "motion"]["threshold"]) == ("pass", None)
    assert (named["s0", "blind_right"]["verdict"], named["s0", "blind_right"]["detail"]) == ("drop", "proxy")


def test_a_rule_about_what_was_not_measured_is_named() -> None:
    decided = decide(films({}), texts({}), policy(irrelevant=Rule("relevance", "test", min=0.1)))
    assert decided.not_judged == ("irrelevant",)
    assert what(decided) == {"v0": "keep", "s0": "keep"}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Rule("health", "test"), "exactly one of"),
        (Rule("health", "test", min=0, max=1), "exactly one of"),
        (Rule("health", "test", min_quantile=1.5), "between 0 and 1"),
        (Rule("health", "test", min=1, within="source"), "only min_quantile"),
        (Rule("health", "test", min_quantile=0.1, within="sauce"), "no such column"),
        (Rule("helth", "test", min=1), "Did you mean health"),
        (Rule("source", "test", min=1), "column of numbers"),
        (Rule("both", "test", min=1), "both videos and samples"),
    ],
)
def test_a_rule_that_cannot_work_is_named(rule: Rule, message: str) -> None:
    videos, samples = films({"health": 1.0, "both": 1.0}), texts({"both": 1.0})
    with pytest.raises(ConfigError, match=f"pruning.policy.rules.odd.*{message}"):
        decide(videos, samples, policy(odd=rule))


def test_a_kind_of_duplicates_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match=r"pruning.policy.duplicates=\['visual'\]"):
        decide(films({}), texts(), policy(duplicates=("visual",)))


needs_presets = pytest.mark.skipif(not (REPO / "conf" / "pruning").is_dir(), reason="conf/pruning isn't there yet")


@needs_presets
@pytest.mark.parametrize("name", ["strict", "balanced", "none"])
def test_presets_are_policies(name: str) -> None:
    preset(name).check()


@needs_presets
def test_preset_none_keeps_all_that_decodes() -> None:
    videos = films(
        {
            "health": 0.1,
            "leak_kind": "exact",
            "leak_score": 1.0,
            "leak_of": "e",
            "cluster_id": 0,
            "dup_kind": "semantic",
        },
        {"health": None, "health_status": "error", "cluster_id": 0, "dup_kind": "semantic"},
        {"error_reason": "truncated"},
        {"key": "key0"},
    )
    samples = texts(*[{"blind_right": 1.0}] * 20, {"video_id": "v3"}, {"video_id": "v2"})
    decided = decide(videos, samples, preset("none"))
    assert [row for row, found in why(decided).items() if found] == ["v2", "v3", "s21"]
    assert decided.videos["dup_of"].to_pylist() == [None, None, None, "v0"]  # its question is kept


def preset(name: str) -> Policy:
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        cfg = compose(overrides=[f"+pruning={name}"])
    found = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Policy), cfg.pruning.policy))
    assert isinstance(found, Policy)
    return found


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
        assert row["dup_of"] is None or row["dup_of"] != row["video_id"]
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
