"""Which values are let through, and the presets."""

import math

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from data_pipelines.decisions import Policy, decide
from data_pipelines.rules import Rule
from recot.errors import ConfigError
from tests.conftest import REPO
from tests.data_pipelines.policy_tables import films, policy, texts, what, why

HEALTH = Rule("health", "test", min=0.95)


def test_bounds_are_good_and_the_rule_names_the_reason() -> None:
    videos = films({"health": 0.95}, {"health": 0.9499}, {"health": math.nan})
    decided = decide(videos, texts(), policy(low_health=HEALTH))
    assert why(decided) == {"v0": [], "v1": ["low_health"], "v2": ["low_health"]}


def test_status_says_how_a_value_counts() -> None:
    videos = films(
        {"health": None, "health_status": "na"},
        {"health": None, "health_status": "error", "health_detail": "no index"},
        {"health": 0.1, "health_status": "proxy"},
        {"health": None, "health_status": None},
        {"health": 0.1, "health_status": None},
        {"health": None, "health_status": "ok"},
    )
    decided = decide(videos, texts(), policy(low_health=HEALTH))
    assert what(decided) == {
        "v0": "keep",
        "v1": "quarantine",
        "v2": "drop",
        "v3": "keep",
        "v4": "drop",
        "v5": "quarantine",
    }
    assert why(decided)["v1"] == ["health_error"]
    rows = [row for part in decided.verdicts("hash") for row in part.to_pylist() if row["signal"] == "health"]
    assert [row["detail"] for row in rows] == ["na", "error: no index", "proxy", None, None, None]
    assert [row["verdict"] for row in rows] == ["pass", "quarantine", "drop", "pass", "drop", "quarantine"]


def test_what_stands_in_for_a_signal_has_bounds_of_its_own() -> None:
    """Nats a token and numbers of words have nothing in common: each rule judges its own, and says so in the audit."""
    values = [0.1, 0.1, 0.5, 0.5, None, None]
    statuses = ["ok", "proxy", "ok", "proxy", "na", "error"]
    videos = films(*({"look": v, "look_status": s} for v, s in zip(values, statuses, strict=True)))
    rules = {
        "proxies": Rule("look", "test", min=0.3, status="proxy"),
        "real": Rule("look", "test", max=0.3, status="ok"),
        "either": Rule("look", "test", max=0.9),
    }
    decided = decide(videos, texts(), policy(**rules))
    assert list(why(decided).values()) == [[], ["proxies"], ["real"], [], [], ["look_error"]]
    assert decided.not_judged == ()
    rows = [row for part in decided.verdicts("hash") for row in part.to_pylist() if row["signal"] == "look"]
    assert [row["threshold"] for row in rows] == [
        *(None, 0.3, None, 0.3, None, None),
        *(0.3, None, 0.3, None, None, None),
        *[0.9] * 6,
    ]
    lowest = Rule("look", "test", min_quantile=0.5, status="proxy")  # of 0.1 and 0.5
    assert list(why(decide(videos.slice(0, 4), texts(), policy(low=lowest))).values()) == [[], ["low"], [], []]


def test_a_rule_on_what_nobody_measured_is_named() -> None:
    videos = films({"look": 0.1, "look_status": "proxy"})
    rules = {"real": Rule("look", "test", max=0.0, status="ok"), "gone": Rule("motion", "test", min=1.0)}
    decided = decide(videos, texts(), policy(**rules))
    assert (what(decided), decided.not_judged) == ({"v0": "keep"}, ("real", "gone"))


def test_a_failed_signal_that_no_rule_needs_harms_nobody() -> None:
    videos = films({"motion": None, "motion_status": "error"})
    assert what(decide(videos, texts(), policy())) == {"v0": "keep"}


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
        (Rule("health", "test", min=1, status="na"), "status=na: expected ok or proxy"),
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


@pytest.mark.parametrize("name", ["strict", "balanced", "none"])
def test_presets_are_policies(name: str) -> None:
    policy = preset(name)
    policy.check()
    judged = [rule for rule in policy.rules.values() if rule.enabled]
    assert bool(judged) == (name != "none")


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
        cfg = compose("prune", overrides=[f"pruning={name}"])
    values = OmegaConf.to_container(cfg.pruning.policy, resolve=True)
    found = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Policy), values))
    assert isinstance(found, Policy)
    return found
