"""Each file of conf/evaluation makes a suite, wants the official numbers, and goes together with any other."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from recot.errors import DataError
from recot.evaluation.suites import SUITES
from recot.evaluation.suites.needle import NeedleInAHaystack

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "evaluation").glob("*.yaml") if path.stem != "needle")
OFFICIAL = {
    "charades_sta": {"items": [3720], "videos": [1334]},
    "longvideobench": {"items": [1337]},
    "longvideobench_subtitles": {"items": [1337]},
    "lvbench": {"items": [1549, 1519]},
    "mlvu_dev": {"items": [2174, 2175], "unanswerable": [0, 2]},
    "mlvu_test": {"items": [502]},
    "tempcompass": {"task=multi-choice": [1580], "task=yes_no": [2453], "task=caption_matching": [1503]},
    "tiny_world": None,
    "video_mme": {"items": [2700], "videos": [900]},
    "video_mme_subtitles": {"items": [2700], "videos": [900], "subtitled": [744]},
    "vnbench": {"items": [5400]},
    "vstar": {"items": [2094]},
}


def suite(name: str) -> Any:
    config = OmegaConf.load(CONF / "evaluation" / f"{name}.yaml")
    return instantiate(OmegaConf.merge({"paths": {"data": "/nowhere"}}, config)[name])


def test_every_suite_has_a_config() -> None:
    assert {type(suite(name)) for name in [*NAMES, "needle"]} == set(SUITES.values())
    assert set(NAMES) == set(OFFICIAL)


@pytest.mark.parametrize("name", NAMES)
def test_config_makes_a_suite(name: str) -> None:
    made = suite(name)
    assert name in (made.name, f"{made.name}_subtitles")
    assert made.tells_subtitles == name.endswith("_subtitles")
    assert made.counts == OFFICIAL[name]
    with pytest.raises(DataError, match=r"/nowhere/benchmarks/\S+ isn't there. Get it from"):
        made.load()


def test_mlvu_counts_are_right_for_a_mirror(tmp_path: Path) -> None:
    row = {"video_name": "v.mp4", "question": "?", "candidates": ["x", "y"], "answer": "A", "task_type": "ego"}
    path = tmp_path / "mlvu_dev.json"
    path.write_text(json.dumps([row] * 2174))
    assert len(replace(suite("mlvu_dev"), annotations=path).load()) == 2174


def test_config_of_needles_is_the_grid_of_the_report() -> None:
    needle = suite("needle")
    assert isinstance(needle, NeedleInAHaystack)
    assert (min(needle.lengths), max(needle.lengths), needle.depths) == (64, 4096, 11)
    assert needle.needles >= 20
    with pytest.raises(DataError, match=r"/nowhere/benchmarks/haystacks isn't there"):
        needle.load()


def test_suites_are_chosen_together_and_changed_apart(tmp_path: Path) -> None:
    (tmp_path / "evaluation").symlink_to(CONF / "evaluation")
    (tmp_path / "paths").symlink_to(CONF / "paths")
    (tmp_path / "eval.yaml").write_text("defaults:\n- paths: default\n- evaluation: []\n- _self_\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        chosen = compose("eval", ["evaluation=[mlvu_dev,tiny_world]", "evaluation.mlvu_dev.counts.items=[16]"])
        assert list(chosen.evaluation) == ["mlvu_dev", "tiny_world"]
        assert chosen.evaluation.mlvu_dev.counts == {"items": [16], "unanswerable": [0, 2]}
        assert list(compose("eval", ["evaluation=vnbench"]).evaluation) == ["vnbench"]
        assert "evaluation" not in compose("eval")
