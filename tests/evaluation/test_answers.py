"""Replies are read strictly: by hand-made tables of replies, and by what must hold for any."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recot.errors import ConfigError, DataError
from recot.evaluation.answers import (
    judge,
    letters,
    likeliest,
    read,
    read_letter,
    read_named,
    read_span,
    read_yes_no,
    temporal_iou,
)
from recot.evaluation.items import Form, Item

OPTIONS = ("A dog", "Washington D.C.", "A man runs. B", "not shown", "7", "Eve")


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("B", 1),
        (" (B) ", 1),
        ("B.", 1),
        ("B)", 1),
        ("B:", 1),
        ("F", 5),
        ("F) Eve", 5),
        ("B. Washington D.C.", 1),
        ("B. Washington D.C. It says so.", 1),
        ("B) Washing", 1),  # cut off by the length
        ("B\nBecause it is.", 1),
        ("Answer: B", 1),
        ("The answer is (B).", 1),
        ("The best answer is: B", 1),
        ("Best Option: (B) Washington D.C.", 1),
        ("washington d.c.", 1),
        ("A dog", 0),
        ("C. A man runs. B", 2),
        ("7", 4),
        ("", None),
        ("G", None),  # beyond the options
        ("Answer", None),
        ("A cat", None),
        ("Because of the dog", None),
        ("b", None),
        ("AB", None),
        ("A or B", None),
        ("(A) (B)", None),
        ("A. or B.", None),
        ("I don't know", None),
        ("Dog", None),
        ("Error: the video can't be read", None),
    ],
)
def test_letters_are_read_strictly(reply: str, answer: int | None) -> None:
    assert read_letter(reply, OPTIONS) == answer


@pytest.mark.parametrize("count", [2, 4, 5, 6, 26])
def test_letters_come_from_the_option_count(count: int) -> None:
    options = [f"option number {i}" for i in range(count)]
    for i, letter in enumerate(letters(count)):
        assert read_letter(f"({letter})", options) == i
    if count < 26:
        assert read_letter(chr(ord("A") + count), options) is None


def test_a_letter_alone_is_a_letter_whatever_the_options_read() -> None:
    assert [read_letter(reply, ("c", "b", "a")) for reply in ("A", "(A)", "C.", "a")] == [0, 0, 2, 2]


@pytest.mark.parametrize("count", [0, 27])
def test_impossible_counts_are_refused(count: int) -> None:
    with pytest.raises(DataError, match=str(count)):
        letters(count)


@given(st.text())
def test_any_reply_names_one_option_or_none(reply: str) -> None:
    assert read_letter(reply, OPTIONS) in {None, *range(len(OPTIONS))}
    assert read_yes_no(reply) in {None, 0, 1}
    span = read_span(reply)
    assert span is None or span[0] <= span[1]


@given(st.integers(0, 5), st.sampled_from(["{}", "({})", "{}.", "{}) {text}", "The answer is {}."]))
def test_an_option_said_properly_is_always_read(right: int, how: str) -> None:
    assert read_letter(how.format("ABCDEF"[right], text=OPTIONS[right]), OPTIONS) == right


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        *(("yes", 0), ("Yes, it is.", 0), ("NO", 1), (" no.", 1), ('"Yes"', 0)),
        *(("nothing moves", None), ("not really", None), ("yesterday", None), ("It does: yes", None), ("", None)),
    ],
)
def test_yes_and_no_are_whole_words_at_the_beginning(reply: str, answer: int | None) -> None:
    assert read_yes_no(reply) == answer


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Caption B: A dog sits.", 1),
        ("Caption B", 1),
        ("caption b.", 1),
        ("A dog runs.", 0),
        ("Caption A: A dog ru", 0),
        # The official scorer takes the last part of a name too, where no LLM judges.
        ("B", 1),
        (" A. ", 0),
        ("B)", 1),
        ("B) A dog sits.", 1),
        ("A. The dog runs\nvery fast.", 0),
        ("b", None),
        ("1", None),
        ("C", None),
        ("B: A dog", None),
        ("B.A dog", None),
        ("A or B", None),
        ("A A dog runs.", None),
        ("A) A dog sits.", None),
        ("A. B.", None),
        ("AB", None),
        ("Caption C", None),
        ("A dog", None),
        ("Caption A or Caption B", None),
        ("", None),
    ],
)
def test_captions_are_read_by_name_or_sentence(reply: str, answer: int | None) -> None:
    assert read_named(reply, ("Caption A: A dog runs.", "Caption B: A dog sits.")) == answer


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        *(("1", 0), ("2.", 1), ("2) sentence", 1), ("Option 1", 0), ("option 2: A dog sits.", 1)),
        *(
            ("(2) A dog sits.", 1),
            ("Option 2) A dog sits.", 1),
            ("(option 1) A dog runs.", 0),
            ("(2) A dog runs.", None),
            ("Option 2) A dog runs.", None),
            ("(2)", 1),
        ),
        *(("1.5", None), ("12", None), ("A", None), ("3", None), ("2 dogs run.", None)),
    ],
)
def test_captions_may_have_numbers(reply: str, answer: int | None) -> None:
    assert read_named(reply, ("Option 1: A dog runs.", "Option 2: A dog sits.")) == answer


@pytest.mark.parametrize(
    ("reply", "span"),
    [
        ("The event happens in the 24.3 - 30.4 seconds.", (24.3, 30.4)),
        ("24.3-30.4", (24.3, 30.4)),
        ("from 2 to 9.5 seconds", (2.0, 9.5)),
        ("[1.5, 4.5]", (1.5, 4.5)),
        ("It starts at 3s and ends at 5s.", (3.0, 5.0)),
        ("In 1 of the scenes, 24.3 - 30.4 seconds.", (24.3, 30.4)),
        ("3.0 - 3.0", (3.0, 3.0)),
        ("24.3 -30.4", (24.3, 30.4)),
        ("24.3 s -30.4 s", (24.3, 30.4)),
        ("-2 - 4", None),
        ("[-2, 4]", None),
        ("from -2 to 4 seconds", None),
        ("30.4 - 24.3", None),
        ("12", None),
        ("1 2 3", None),
        ("1 - 2 or 3 - 4", None),
        ("[1.5,4.5]", (1.5, 4.5)),
        ("24,3 - 30,4", None),
        ("1e2 - 2e2", None),
        ("1e-1 - 5", None),
        ("1.5E1", None),
        ("00:24 - 00:30", None),
        ("0:24 and 0:30", None),
        ("at the beginning", None),
        ("", None),
    ],
)
def test_spans_are_two_numbers_in_order(reply: str, span: tuple[float, float] | None) -> None:
    assert read_span(reply) == span


@pytest.mark.parametrize(
    ("reply", "span"),
    [("[1.5, 4.5]", (1.5, 4.5)), ("5 s - 7 s (30)", None), ("2 - 3 - 4", None), ("In 1 scene, 2 - 3 s.", None)],
)
def test_two_times_are_the_only_numbers(reply: str, span: tuple[float, float] | None) -> None:
    assert judge(item("two_times", span=(1.5, 4.5)), reply, {}).answer == span


def test_temporal_iou_by_hand() -> None:
    assert temporal_iou((0, 4), (2, 6)) == pytest.approx(2 / 6)
    assert temporal_iou((2, 3), (0, 10)) == pytest.approx(0.1)
    assert temporal_iou((0, 1), (2, 3)) == 0
    assert temporal_iou((1, 1), (1, 1)) == 0


seconds = st.floats(0, 1e4)
spans = st.tuples(seconds, seconds).map(lambda pair: (min(pair), max(pair)))


@given(spans, spans)
def test_temporal_iou_counted_over_a_grid(a: tuple[float, float], b: tuple[float, float]) -> None:
    iou = temporal_iou(a, b)
    assert iou == temporal_iou(b, a)
    assert 0 <= iou <= 1 + 1e-9
    if a[1] > a[0]:
        assert temporal_iou(a, a) == pytest.approx(1)
    hull = max(a[1], b[1]) - min(a[0], b[0])  # the union too, where the spans overlap
    shared = min(a[1], b[1]) - max(a[0], b[0])
    assert iou == pytest.approx(shared / hull if shared > 0 else 0)


def item(form: Form, **given: object) -> Item:
    return Item(id="i", video_id="v", video=Path("v.mp4"), question="?", form=form, **given)  # type: ignore[arg-type]


def test_results_of_replies() -> None:
    choice = item("letter", options=OPTIONS, right=5, groups={"task": ("t",)})
    right, wrong, unread = (judge(choice, reply, {"frames": 8}) for reply in ("F", "A", "Answer"))
    assert (right.score, right.answer, right.reply, right.saw) == (1, 5, "F", {"frames": 8})
    assert (wrong.score, wrong.answer) == (0, 0)
    assert (unread.score, unread.answer) == (0, None)
    assert right.groups == choice.groups
    moment = item("span", span=(0.0, 4.0))
    assert judge(moment, "2 - 6", {}).score == pytest.approx(1 / 3)
    assert judge(moment, "no idea", {}).score == 0
    assert read(item("yes_no", options=("yes", "no"), right=1), "No.") == 1


def test_likelihood_takes_the_first_of_the_likeliest_letters() -> None:
    choice = item("letter", options=OPTIONS, right=2)
    scored = likeliest(choice, [3.0, 2.0, 0.5, 9.0, 0.5, 1.0], {})
    assert (scored.answer, scored.reply, scored.score) == (2, "C", 1)
    with pytest.raises(ConfigError, match="has none"):
        likeliest(item("yes_no", options=("yes", "no"), right=0), [0.0, 1.0], {})


def test_no_reply_is_right_where_no_option_is() -> None:
    unanswerable = item("letter", options=("x", "y"), right=None)
    assert [judge(unanswerable, reply, {}).score for reply in ("A", "B", "none")] == [0, 0, 0]
