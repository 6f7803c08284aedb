"""Conversations as tokens, with the embedded tokenizer."""

import json
from importlib.resources import files
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recot.errors import ConfigError, DataError
from recot.grouping import time_text
from recot.models.prompt import IGNORED, Turn, Visual, build_prompt, time_ids
from recot.models.tokenizer import load_tokenizer
from tests.conftest import REPO

TOKENIZER = load_tokenizer(str(files("recot.tiny_world") / "backbones" / "llm"))
GOLDEN = json.loads((REPO / "tests" / "golden" / "process_video.json").read_text())


def decoded(ids: Any) -> str:
    return TOKENIZER.decode([int(i) for i in ids if i >= 0])


def test_a_conversation_is_what_the_template_makes_of_it() -> None:
    turns = [Turn("user", ("How does the red circle move?",)), Turn("assistant", ("moves left",))]
    prompt = build_prompt(TOKENIZER, turns, reply=False)
    chat = [{"role": turn.role, "content": turn.parts[0]} for turn in turns]
    assert prompt.ids.tolist() == TOKENIZER.apply_chat_template(chat, return_dict=False)
    assert decoded(prompt.ids[prompt.question]) == "How does the red circle move?"
    assert decoded(prompt.ids[prompt.labels != IGNORED]) == "moves left<|im_end|>"
    assert (prompt.labels[prompt.labels != IGNORED] == prompt.ids[prompt.labels != IGNORED]).all()


def test_a_question_is_followed_by_the_assistants_header() -> None:
    prompt = build_prompt(TOKENIZER, [Turn("user", ("Hello?",))], reply=True)
    assert decoded(prompt.ids).endswith("Hello?<|im_end|>\n<|im_start|>assistant\n")
    assert (prompt.labels == IGNORED).all()


def test_videos_keep_their_places() -> None:
    parts = (Visual(1), "Compare", Visual(0), "and", Visual(2))
    prompt = build_prompt(TOKENIZER, [Turn("system", ("Be brief.",)), Turn("user", parts)], reply=True)
    assert [int(i) for i in prompt.ids if i < 0] == [-2, -1, -3]
    places = (prompt.ids < 0).nonzero().squeeze(1).tolist()
    assert decoded(prompt.ids[places[0] : places[1]]) == "Compare"
    assert decoded(prompt.ids[places[1] : places[2]]) == "and"
    assert not prompt.question[places].any()
    assert decoded(prompt.ids[prompt.question]) == "Compareand"  # nothing of the system's turn


@given(st.text(), st.text())
@example("", "\U0002f800")
def test_whatever_is_typed_is_text(asked: str, said: str) -> None:
    """Special tokens in a text neither become a video nor end a turn, and all text comes back.

    It does so in Unicode's composed form, as Qwen2's tokenizer has it.
    """
    typed = f"{asked}<|video_pad|><|im_end|>{said}"
    prompt = build_prompt(TOKENIZER, [Turn("user", (typed, Visual(0))), Turn("assistant", (said,))], reply=False)
    assert decoded(prompt.ids[prompt.question]) == normalize("NFC", typed)
    learned = prompt.ids[prompt.labels != IGNORED]
    assert decoded(learned[:-1]) == normalize("NFC", said)
    assert learned[-1] == TOKENIZER.convert_tokens_to_ids("<|im_end|>")
    specials = [int(i) for i in prompt.ids if int(i) in TOKENIZER.all_special_ids]
    assert len(specials) == 4  # two turns begin and end
    assert (prompt.ids < 0).sum() == 1


def test_answers_change_no_question() -> None:
    both = [
        build_prompt(TOKENIZER, [Turn("user", ("When?", Visual(0))), Turn("assistant", (said,))], reply=False)
        for said in ("at once", "never")
    ]
    assert both[0].ids[both[0].question].tolist() == both[1].ids[both[1].question].tolist()


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['total_frames']}@{case['fps']:.2f}")
def test_times_are_written_as_the_released_model_writes_them(case: dict[str, Any]) -> None:
    firsts = [case["frame_indices"][i] / case["fps"] for i in range(0, len(case["frame_indices"]), 4)]
    assert [time_text(seconds) for seconds in firsts] == case["strings"]


def test_times_are_tokens_of_the_language_model() -> None:
    ids = time_ids(TOKENIZER, [0.0, 3.25, 12345.6])
    assert [decoded(i) for i in ids] == ["Time 0000.0s:", "Time 0003.2s:", "Time 12345.6s:"]
    assert time_ids(TOKENIZER, []) == []


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ([], "without turns"),
        ([Turn("user", (Visual(1),))], r"visuals \[1\]"),
        ([Turn("user", (Visual(0), Visual(0)))], r"visuals \[0, 0\]"),
        ([Turn("user", ("Show me",)), Turn("assistant", (Visual(0),))], "assistant's turn shows"),
    ],
)
def test_impossible_conversations(turns: list[Turn], said: str) -> None:
    with pytest.raises(DataError, match=said):
        build_prompt(TOKENIZER, turns, reply=False)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (None, "no chat template"),
        ("{{ messages[0]['content'] }}", "contents 1 times"),
        ("{% for m in messages %}{{ m['content'] }}{% endfor %}", "doesn't end the assistant's turn"),
    ],
)
def test_templates_that_cannot_serve(template: str | None, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TOKENIZER, "chat_template", template)
    with pytest.raises(ConfigError, match=said):
        build_prompt(TOKENIZER, [Turn("user", ("a",)), Turn("assistant", ("b",))], reply=False)
