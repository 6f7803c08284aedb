"""The commands in the documentation and in the presets are ones that Hydra understands."""

import re
import shlex
from collections.abc import Callable

import pytest

from data_pipelines.config import PruneConfig
from tests.conftest import REPO

DOCS = (REPO / "docs/pruning.md").read_text()
COMMANDS = [line for line in DOCS.splitlines() if re.match(r"python data_pipelines/prune.py [^-]", line)]
RULES = sorted({*re.findall(r"pruning\.policy\.rules\.[\w.]+=[\w.]+", DOCS)})
REQUIRED = ("source=rows.json", "output=out")


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str, make_config: Callable[..., PruneConfig]) -> None:
    config = make_config(*shlex.split(command)[2:])
    assert config.output == "data/mine"
    assert config.source in ("annotations.jsonl", "s3://bucket/shards-{000..099}.tar")


@pytest.mark.parametrize("override", RULES)
def test_rules(override: str, make_config: Callable[..., PruneConfig]) -> None:
    key, _, value = override.partition("=")
    name, field = key.split(".")[-2:]
    assert str(getattr(make_config(*REQUIRED, override).pruning.policy.rules[name], field)).lower() == value


@pytest.mark.parametrize("preset", ["balanced", "strict"])
def test_every_rule_of_a_preset_can_be_switched_off(preset: str, make_config: Callable[..., PruneConfig]) -> None:
    rules = make_config(*REQUIRED, f"pruning={preset}").pruning.policy.rules
    off = [f"pruning.policy.rules.{name}.enabled=false" for name in rules]
    switched = make_config(*REQUIRED, f"pruning={preset}", *off).pruning.policy.rules
    assert rules
    assert not any(rule.enabled for rule in switched.values())


def test_quoted_values_arrive_as_they_are(make_config: Callable[..., PruneConfig]) -> None:
    examples = re.findall(r'`"((?:source|evaluation_sets)=.*?)"`', DOCS)
    assert examples == ["source='my clips/{a,b}.json'", "evaluation_sets=['my sets/a.json']"]
    config = make_config("output=out", *examples)
    assert (config.source, config.evaluation_sets) == ("my clips/{a,b}.json", ["my sets/a.json"])
    assert make_config("output=out", "source='a = b, c'").source == "a = b, c"
