"""What a model reads of a question, what counts as its evidence, and which settings are refused."""

import re
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from recot.data.qa_text import question_text, reply_text
from recot.data.questions import Questions, evidence
from recot.data.schema import QA, Media, VideoSample
from recot.errors import ConfigError, DataError
from recot.randomness import keyed_rng
from recot.video_io import FrameSampling
from tests.data.asking import asking
from tests.data.clips import data

REPO = Path(__file__).resolve().parents[2]

# --- the text of a question


def test_texts_of_questions_and_replies() -> None:
    qa = QA("", "Which?", "b", options=["a", "b"])
    assert (question_text(qa), reply_text(qa)) == ("Which?\nA. a\nB. b", "B")
    assert (question_text(replace(qa, options=[])), reply_text(replace(qa, options=[]))) == ("Which?", "b")
    assert question_text(replace(qa, question=" ", options=[])) == "Describe the video."
    with pytest.raises(DataError, match=r"'c' is none of the options"):
        reply_text(replace(qa, answer="c"))
    many = [str(i) for i in range(27)]
    with pytest.raises(DataError, match="26 at most"):
        reply_text(replace(qa, answer="3", options=many))
    assert reply_text(replace(qa, answer="25", options=many[:26])) == "Z"


# --- evidence

MEDIA = Media("mov", "h264", 32, 32, 2.0, False, 2.5, 5, 0)
TIMES = torch.tensor([[0.0, 0.5, 1.0, 1.5], [2.0, 2.0, 2.0, 2.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ()),
        ({"evidence": [[0.5, 1.0]]}, ((0.5, 1.0),)),
        ({"evidence": [[0, 1]], "t_start": 0.0, "t_end": 1.0}, ((0.0, 1.0),)),
        ({"t_start": 0.5, "t_end": 0.5}, ((0.5, 0.5),)),
        ({"t_start": 0.5}, ()),
        ({"evidence": [[0.0, 2.5]]}, ()),
        ({"t_start": 0.0, "t_end": 2.0}, ()),
        ({"evidence": [[1.2, 2.0], [0.0, 1.1]]}, ()),
        ({"evidence": [[1.2, 2.0], [0.0, 0.9]]}, ((1.2, 2.0), (0.0, 0.9))),
        ({"evidence": [[0.6, 0.7]]}, ((0.6, 0.7),)),
    ],
)
def test_evidence_is_what_tells_frames_apart(given: dict[str, Any], expected: tuple[tuple[float, float], ...]) -> None:
    assert evidence(QA("x", "q", "a", **given), TIMES) == expected


@pytest.mark.parametrize("spans", [[[1.0]], [[0.0, 1.0, 2.0]], [[2.0, 1.0]]])
def test_broken_evidence_names_the_question(spans: list[list[float]]) -> None:
    with pytest.raises(DataError, match=r"question x: evidence must be a list of \[start, end\]"):
        evidence(QA("x", "q", "a", evidence=spans), TIMES)


# --- which are drawn


def test_all_questions_are_drawn_alike() -> None:
    """Each of 5 in 2 of 5 draws: within 5 standard deviations of a binomial count."""
    sample = VideoSample("v", "", "", "", MEDIA, [QA(str(i), f"q{i}", "a", f"t{i % 2}") for i in range(10)])
    questions = Questions(per_video=2, tasks=["t1"])
    pairs = Counter(
        tuple(chat.sample_id for chat in questions.chats(sample, TIMES, keyed_rng(seed))) for seed in range(1000)
    )
    assert set(pairs) == set(combinations("13579", 2))
    single = Counter(name for pair in pairs.elements() for name in pair)
    assert all(abs(count - 400) < 5 * (1000 * 0.4 * 0.6) ** 0.5 for count in single.values())
    assert [chat.sample_id for chat in questions.chats(sample, TIMES, None)] == list("13579")
    with pytest.raises(DataError, match=r"video v has no question of data\.questions\.tasks"):
        Questions(per_video=2, tasks=["t2"]).chats(sample, TIMES, None)


# --- misuse


@pytest.mark.parametrize("key", ["groups_per_sample", "val_groups_per_sample"])
def test_a_window_of_a_video_cannot_be_asked_about(key: str) -> None:
    questions = Questions(per_video=1, tasks=None)
    whole = {"groups_per_sample": None, "val_groups_per_sample": None, "questions": questions}
    with pytest.raises(ConfigError, match=rf"data\.{key} is 2, .* Set data\.{key}=null; data\.sampling\.max_frames"):
        data(Path("a"), Path("b"), **(whole | {key: 2}))


def test_a_whole_video_over_the_budget_names_what_bounds_it(clips: Path, val_clips: Path) -> None:
    with pytest.raises(ConfigError, match=r"Raise data\.token_budget to \d+, or lower data\.sampling\.max_frames"):
        asking(clips, val_clips, token_budget=60)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"per_video": 0, "tasks": None}, "data.questions.per_video must be a whole number from 1 up, got 0"),
        ({"per_video": 1, "tasks": "caption"}, "data.questions.tasks must be null for all task types, or a list such"),
        ({"per_video": 1, "tasks": []}, "data.questions.tasks"),
        ({"per_video": 1, "tasks": [3]}, "data.questions.tasks"),
    ],
)
def test_impossible_questions_are_refused_by_key(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Questions(**values)


def test_the_config_of_the_tiny_world_with_questions() -> None:
    given = ["data=tiny_world_questions", "data.questions.tasks=[caption]"]
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        cfg = compose("train", overrides=["experiment=recot_pretrain", *given, "data.sampling.max_frames=64"])
    module = instantiate(cfg.data)
    assert module.questions == Questions(per_video=4, tasks=["caption"])
    assert (module.groups_per_sample, module.val_groups_per_sample) == (None, None)
    assert module.sampling == FrameSampling(fps=8.0, max_frames=64)
    assert (module.prepare.train_videos, module.prepare.val_videos, module.prepare.frames) == (512, 32, 64)
    assert Path(module.train_paths[0]).parent.name == "tiny_world_questions"
