"""Options in the text of a question: taken apart where they are clear, and else left as they are."""

import pytest

from data_pipelines.ingest.choices import split_choice
from data_pipelines.ingest.locations import VideoRoot
from data_pipelines.ingest.rows import row_record
from data_pipelines.signals.blind import right_option

ASKED = "What falls?\nA. a cup\nB. a red ball\nC. rain\nPlease answer with the option's letter."


@pytest.mark.parametrize("answer", ["B", "B.", "(B)", "B. a red ball", "B. a red ball.", " B "])
def test_clear_ones(answer: str) -> None:
    for asked in (ASKED, ASKED.replace("\nPlease answer with the option's letter.", ""), ASKED.replace("\n", "\n\n")):
        assert split_choice(asked, answer) == ("What falls?", ["a cup", "a red ball", "rain"], "a red ball")
    bracketed = "What falls?\n(A) a cup\n(B) a red ball\nRespond with only the letter of the correct option."
    assert split_choice(bracketed, answer) == ("What falls?", ["a cup", "a red ball"], "a red ball")


@pytest.mark.parametrize(
    ("ending", "answer"),
    [
        ("Please respond with only the letter of the correct answer.", "B"),
        ("Please provide your answer by stating the letter followed by the full option.", "B. a red car."),
        ("Please provide your answer by stating the letter followed by the full option.", "B. a red car"),
        ("Select the best option.", "B"),
    ],
)
def test_endings_of_llava_video(ending: str, answer: str) -> None:
    """The first two are what the multiple-choice questions of LLaVA-Video-178K end with."""
    asked = f"<image>\nWhat passes?\nA. a bus.\nB. a red car.\nC. a train.\n{ending}"
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}]
    row = {"id": "r", "video": "a.mp4", "conversations": turns}
    (qa,) = row_record(row, VideoRoot("file:///v", closed=True), source="s", row_id="x").qa
    assert (qa.question, qa.options, qa.answer) == ("What passes?", ["a bus.", "a red car.", "a train."], "a red car.")
    assert qa.task_type == "multiple_choice"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (ASKED, "D"),
        (ASKED, "a red ball"),
        (ASKED, "B. a blue ball"),
        (ASKED, "Because of the wind."),
        (ASKED.replace("C. rain", "D. rain"), "B"),
        (ASKED.replace("A. a cup", "B. a cup"), "B"),
        (ASKED.replace("a cup", "a red ball"), "B"),
        (ASKED + "\nExplain why.", "B"),
        (ASKED.replace("Please answer with the option's letter.", "Please provide a reason."), "B"),
        (ASKED.replace("Please answer with the option's letter.", "Then tell me a story."), "B"),
        ("A. a cup\nB. a red ball", "B"),
        ("What falls?\nA. a cup", "A"),
        ("What falls? A. a cup B. a red ball", "B"),
    ],
)
def test_what_is_not_clear_stays_free_form(question: str, answer: str) -> None:
    assert split_choice(question, answer) is None


def test_a_conversation_with_both_kinds_of_turns() -> None:
    said = [("human", "<image>\n" + ASKED), ("gpt", "B."), ("human", "Why?"), ("gpt", "It was pushed.")]
    turns = [{"from": speaker, "value": value} for speaker, value in said]
    row = {"id": "r", "video": "a.mp4", "conversations": turns}
    choice, free = row_record(row, VideoRoot("file:///v", closed=True), source="s", row_id="x").qa
    assert (choice.question, choice.options) == ("What falls?", ["a cup", "a red ball", "rain"])
    assert (choice.answer, choice.task_type) == ("a red ball", "multiple_choice")
    assert right_option(choice.answer, choice.options) == 1
    assert (free.question, free.answer, free.options, free.task_type) == ("Why?", "It was pushed.", [], "open")
