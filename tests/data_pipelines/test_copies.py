"""One of each content stays, and of each cluster of near duplicates; leaks don't."""

import pytest

from data_pipelines.decisions import Policy, decide
from data_pipelines.rules import Rule
from recot.errors import ConfigError
from tests.data_pipelines.policy_tables import films, policy, selection, texts, what, why

HEALTH = Rule("health", "test", min=0.95)
BLIND = Rule("blind_right", "test", max=0.5)


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


def test_the_questions_of_the_same_packets_in_another_rotation_go() -> None:
    """Left is right there, so its questions don't hold for the one that stays."""
    same = {"packet_md5": "m", "cluster_id": 0, "dup_kind": "packets"}
    videos = films({**same, "rotation": 0}, {**same, "rotation": 180}, {**same, "rotation": 0})
    samples = texts({}, {"video_id": "v1"}, {"video_id": "v2"})
    decided = decide(videos, samples, policy())
    assert why(decided) == {
        **{"v0": [], "v1": ["duplicate_perceptual"], "v2": ["duplicate_packets"]},
        **{"s0": [], "s1": ["duplicate_perceptual"], "s2": []},
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


def test_who_goes_as_an_exact_copy_does_not_stand_for_a_cluster() -> None:
    near = {"cluster_id": 0, "dup_kind": "perceptual"}
    videos = films({"key": "a"}, {**near, "key": "a"}, {**near, "duration_s": 5.0})
    assert decide(videos, texts(), policy()).videos["dup_of"].to_pylist() == [None, "v0", None]


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


def test_a_kind_of_duplicates_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match=r"pruning.policy.duplicates=\['visual'\]"):
        decide(films({}), texts(), policy(duplicates=("visual",)))
