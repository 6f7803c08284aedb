"""Scorers of what models say, on numbers worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.signals.blind import blind_choice, blind_reply, right_option, rotations, video_gain
from data_pipelines.signals.redundancy import effective_frames, effective_per_minute
from data_pipelines.signals.relevance import relevance, sentences, statement
from data_pipelines.signals.signal import Signal
from data_pipelines.signals.single_frame import single_frame, single_frame_proxy, temporal_words

NO_CUTS, CUTS, UNKNOWN = Signal(0.0), Signal(12.0), Signal(None, "na")


def at(*degrees: float) -> np.ndarray:
    """(n, 2) float32 vectors of length 1, whose cosines are those of the differences of their angles."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_relevance_is_the_mean_over_sentences_of_the_best_cosines() -> None:
    frames, texts = at(0, 30, 90), at(0, 60)
    best = relevance(frames, texts, top_k=1)
    assert best.value == pytest.approx((1 + math.cos(math.radians(30))) / 2)
    two = relevance(frames, texts, top_k=2)
    assert two.value == pytest.approx((1 + 3 * math.cos(math.radians(30))) / 4)
    every = relevance(frames, texts, top_k=99)
    assert every.value == pytest.approx(float((texts @ frames.T).mean()))
    assert best.status == "ok"


@given(st.lists(st.floats(0, 360), min_size=1, max_size=8), st.lists(st.floats(0, 360), min_size=1, max_size=4))
def test_relevance_heeds_no_order_and_is_a_cosine(frames: list[float], texts: list[float]) -> None:
    value = relevance(at(*frames), at(*texts), top_k=1).value
    assert value is not None
    assert -1.000001 <= value <= 1.000001
    assert relevance(at(*frames[::-1]), at(*texts[::-1]), top_k=1).value == pytest.approx(value)
    assert relevance(at(*frames, *frames), at(*texts), top_k=1).value == pytest.approx(value)


def test_relevance_of_nothing_is_na() -> None:
    assert relevance(at(0), np.empty((0, 2), np.float32), top_k=1).status == "na"
    assert relevance(np.empty((0, 2), np.float32), at(0), top_k=1).status == "na"


def test_sentences() -> None:
    assert sentences("A red circle, from 1.50 s. At 2.00 s the scene cuts: a dog!  Why?\n- \nEnd") == [
        "A red circle, from 1.50 s.",
        "At 2.00 s the scene cuts: a dog!",
        "Why?",
        "End",
    ]
    assert sentences("红色的圆。然后是狗。") == ["红色的圆。", "然后是狗。"]
    assert sentences(" \n... ") == []


@given(st.text(max_size=60))
def test_sentences_lose_no_letter(text: str) -> None:
    assert [s for s in "".join(sentences(text)) if s.isalnum()] == [s for s in text if s.isalnum()]


def test_statement() -> None:
    assert statement("What colour is it?", "red") == ["What colour is it? red"]
    assert statement("What happens?", "A man gets up. Then he opens the door.") == [
        "A man gets up.",
        "Then he opens the door.",
    ]
    assert statement("", "A dog.") == ["A dog."]


def test_effective_frames_are_greedy_clusters() -> None:
    # cos 25 = 0.906, cos 26 = 0.899
    assert effective_frames(at(0, 25, 0), cosine=0.9).value == 1
    assert effective_frames(at(0, 26, 0), cosine=0.9).value == 2
    # 20 is like 0, and so starts no cluster that 40 could belong to.
    assert effective_frames(at(0, 20, 40), cosine=0.9).value == 2
    assert effective_frames(at(0, 90, 180, 270), cosine=0.9).value == 4
    assert effective_frames(np.empty((0, 2), np.float32), cosine=0.9).status == "na"


@given(st.lists(st.floats(0, 360), min_size=1, max_size=8))
def test_copies_of_frames_add_nothing(degrees: list[float]) -> None:
    value = effective_frames(at(*degrees), cosine=0.9).value
    assert value is not None
    assert 1 <= value <= len(degrees)
    assert effective_frames(at(*degrees, *degrees), cosine=0.9).value == value


def test_effective_frames_a_minute() -> None:
    assert effective_per_minute(Signal(6.0), 90.0) == Signal(4.0)
    assert effective_per_minute(Signal(6.0), 0.0).status == "na"
    assert effective_per_minute(UNKNOWN, 90.0).status == "na"


@given(st.integers(2, 26))
def test_each_option_has_each_place_once(count: int) -> None:
    turned = rotations(count)
    assert (turned[0] == np.arange(count)).all()
    for lines in (turned, turned.T):
        assert (np.sort(lines, axis=1) == np.arange(count)).all()


def by_option(by_place: np.ndarray) -> np.ndarray:
    found = np.empty_like(by_place)
    np.put_along_axis(found, rotations(len(by_place)), by_place, axis=1)
    return found


def test_a_model_that_loves_a_letter_is_right_once() -> None:
    nll = by_option(np.array([[0.1, 3.0, 3.0, 3.0]] * 4))  # always A
    for right in range(4):
        share, margin = blind_choice(nll, right)
        assert share == Signal(0.25)
        assert margin.value == pytest.approx(0)


def test_a_model_that_knows_is_right_under_every_rotation() -> None:
    nll = np.array([[2.0, 0.5, 4.0], [1.0, 0.3, 4.0], [3.0, 0.1, 1.0]])
    share, margin = blind_choice(nll, 1)
    assert share == Signal(1.0)
    assert margin.value == pytest.approx(2.0 - 0.3)
    share, margin = blind_choice(nll, 0)
    assert share == Signal(0.0)
    assert margin.value == pytest.approx(0.3 - 2.0)


def test_the_margin_of_a_free_form_answer_is_its_log_odds() -> None:
    for p in (0.01, 0.4, 0.6, 0.99):
        right, margin = blind_reply(-math.log(p), 1000.0)
        assert margin.value == pytest.approx(math.log(p / (1 - p)))
        assert right == Signal(float(p > 0.5))
    assert blind_reply(0.0, 1.0)[1].value == pytest.approx(-math.log(1e-9))
    assert blind_reply(1000.0, 1.0) == (Signal(0.0), Signal(-1000.0))
    values = [blind_reply(nll, 1.0)[1].value for nll in (699.9, 700.1)]
    assert values == [pytest.approx(-699.9), pytest.approx(-700.1)]


def test_what_is_said_to_any_question_is_not_known() -> None:
    def margin(p: float, p_unasked: float) -> float:
        found = blind_reply(-math.log(p), -math.log(p_unasked))[1].value
        assert found is not None
        return found

    assert margin(0.99, 0.99) == pytest.approx(0)
    assert margin(0.99, 0.9) == pytest.approx(math.log(99) - math.log(9))
    assert margin(0.99, 0.5) == margin(0.99, 0.001) == pytest.approx(math.log(99))  # rare answers gain nothing by it
    assert blind_reply(-math.log(0.9), -math.log(0.99))[0] == Signal(0.0)


def test_the_right_option_by_words_or_letter() -> None:
    options = ["a cat", "a dog", "B"]
    assert right_option("a dog", options) == 1
    assert right_option("B", options) == 2  # its words, before its letter
    assert [right_option(answer, options[:2]) for answer in ("B", "(B)", "B.", "B) a dog", " A: a cat")] == [
        1,
        1,
        1,
        1,
        0,
    ]
    assert [right_option(answer, options) for answer in ("D", "A dog", "A. a dog", "", "dog")] == [None] * 5


def test_differences_of_nll() -> None:
    assert video_gain(2.5, 0.5) == Signal(2.0)
    assert single_frame(0.75, 0.5) == Signal(0.25)


def test_temporal_words() -> None:
    assert temporal_words("What does the man do after he sits down the second time? From 1.50 to 2 s.") == [
        "after",
        "second time",
        "2 s",
    ]
    assert temporal_words("How many times does the blue cross appear before 0:15?") == [
        "times",
        "appear",
        "before",
        "0:15",
    ]
    assert temporal_words("What kind of background does the video have? striped") == []
    assert temporal_words("A removed van near Lastovo, thenceforth") == []


def test_single_frame_proxy() -> None:
    def value(text: str, effective: Signal, cuts: Signal = UNKNOWN) -> float | None:
        signal = single_frame_proxy(text, effective=effective, frames=8, cuts=cuts)
        assert signal.status == "proxy"
        return signal.value

    assert value("What colour is it? red", Signal(1.0)) == 0
    assert value("What colour is it? red", Signal(8.0)) == 1
    assert value("What colour is it? red", Signal(2.0), CUTS) == pytest.approx(1 / 7)
    assert value("What comes first, then last? a dog", Signal(1.0)) == 3
    assert value("What colour is it? red", UNKNOWN, NO_CUTS) == 0
    assert value("What colour is it? red", UNKNOWN, CUTS) == 1
    assert single_frame_proxy("red?", effective=UNKNOWN, frames=8, cuts=UNKNOWN).status == "na"
    assert single_frame_proxy("", effective=Signal(1.0), frames=8, cuts=CUTS).status == "na"
    assert single_frame_proxy("red?", effective=Signal(1.0), frames=1, cuts=NO_CUTS).value == 0
