"""Questions on facts: what is asked is true, what is learned is the reply, and batches depend on their key alone."""

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recot.data.qa_text import question_text, reply_text
from recot.data.schema import QA
from recot.errors import ConfigError, DataError
from recot.models.llm import chat_bpe
from recot.tiny_world.common_knowledge import SIDES, common_questions
from recot.tiny_world.elements import Planted
from recot.tiny_world.planting import TASKS
from recot.tiny_world.scene import make_scene
from recot.tiny_world.text_batch import IGNORED, ChatEncoder, Document, TextBatch
from recot.tiny_world.text_data import STEMS, TinyText, phrases, sample_texts
from recot.tiny_world.text_documents import Level, pictured_document, training_document
from recot.tiny_world.text_questions import View, ask, recast
from recot.tiny_world.truth import facts, questions
from recot.tiny_world.vocabulary import NOT_SHOWN, OBJECTS

LEVEL = Level(until=3, tasks=TASKS, shots=(1, 3), seconds=0.5, documents=5, questions=6, choice=0.5)
TOKENIZER = chat_bpe(sample_texts(scenes=10, frames=64, seed=0), vocab_size=512)


def text_data(**changes: Any) -> TinyText:
    settings: dict[str, Any] = {
        "tokenizer": TOKENIZER,
        "curriculum": [LEVEL, replace(LEVEL, until=None, shots=(4, 8))],
        "frames": 64,
        "val_scenes": 3,
        "val_shots": 5,
        "val_batch_size": 2,
        "seed": 0,
        "num_workers": 0,
    }
    return TinyText(**settings | changes)


def holds(planted: Planted, view: View) -> bool:
    """Whether the answer follows from the view, decided in another way than by those who ask."""
    answer, question = planted.options[planted.right], planted.question
    times = Counter(seen.name for seen in view.seen)
    wrong = [o for i, o in enumerate(planted.options) if i != planted.right and o != NOT_SHOWN]
    asked = next((name for name in OBJECTS if f" {name} " in question.replace("?", " ")), None)
    of_asked = [seen for seen in view.seen if seen.name == asked]
    if planted.task == "needle":
        return not any(times[name] for name in wrong) and (answer == NOT_SHOWN or times[answer] > 0)
    if planted.task == "counting":
        return str(len(of_asked)) == ("0" if answer == NOT_SHOWN else answer)
    if planted.task == "order":
        start = {seen.name: seen.span[0] for seen in reversed(view.seen)}
        if answer == NOT_SHOWN:
            return not any(name in start for name in wrong)
        signs = -1 if "last" in question else 1
        return all(signs * start[answer] < signs * start[name] for name in wrong)
    if planted.task == "multi_hop":
        (anchor,) = of_asked
        after = {seen.name for seen in view.seen if seen.shot == anchor.shot + 1}
        return not after & set(wrong) and (answer == NOT_SHOWN or answer in after)
    if answer == NOT_SHOWN:
        return not of_asked
    (only,) = of_asked
    told = only.movement if planted.task == "binding" else f"from {only.span[0]:.2f} to {only.span[1]:.2f} s"
    return told == answer and answer not in wrong


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 8), st.sampled_from(TASKS), st.integers(3, 12))
def test_what_is_asked_about_any_part_of_a_scene_is_true(seed: int, shots: int, task: str, cast: int) -> None:
    rng = np.random.default_rng(seed)
    scene = recast(make_scene(seed, frames=64), rng, cast)
    numbers = sorted(int(i) for i in rng.permutation(8)[:shots])
    view = View(scene, numbers)
    for _ in range(4):
        planted = ask(task, view, rng)
        if planted is not None:
            assert len(set(planted.options)) == 4
            assert holds(planted, view)


def test_questions_are_worded_like_the_planted_ones() -> None:
    def wording(text: str) -> str:
        return re.sub("|".join(OBJECTS), "OBJECT", re.sub("first|last", "FIRST", text))

    rng = np.random.default_rng(0)
    for seed in range(3):
        scene = make_scene(seed, frames=64)
        assert {p.task for p in scene.planted} == set(TASKS)
        for planted in scene.planted:
            asked = next(a for _ in range(20) if (a := ask(planted.task, View(scene, range(8)), rng)))
            assert wording(asked.question) == wording(planted.question)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_common_knowledge(seed: int) -> None:
    choice, free = common_questions(np.random.default_rng(seed))
    assert (choice.question, choice.answer, free.options) == (free.question, free.answer, [])
    assert len(set(choice.options)) == 4
    assert choice.answer in choice.options
    if "sides" in free.question:
        (shape,) = set(SIDES) & set(free.question.split())
        assert free.answer == SIDES[shape]
    else:
        (thing,) = (name for name in OBJECTS if name in free.question)
        assert free.answer == thing.split()["shape" in free.question]


def spans(batch: TextBatch) -> list[tuple[int, int, int]]:
    """Runs of labels: row, start, stop."""
    found = []
    for row, kept in enumerate((batch.labels != IGNORED).int()):
        steps = torch.diff(kept, prepend=torch.zeros(1), append=torch.zeros(1))
        found += [(row, int(a), int(b)) for a, b in zip((steps == 1).nonzero(), (steps == -1).nonzero(), strict=True)]
    return found


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_labels_are_the_replies_and_nothing_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    documents = [training_document(make_scene(seed + i, frames=64), LEVEL, rng) for i in range(4)]
    batch = ChatEncoder(TOKENIZER).batch(documents)
    assert sorted(spans(batch)) == sorted((r.row, r.start, r.stop) for r in batch.replies)
    said = Counter(TOKENIZER.decode(batch.labels[r.row, r.start : r.stop]) for r in batch.replies)
    assert said == Counter(f"{reply_text(qa)}<|im_end|>" for document in documents for qa in document.asked)
    assert torch.equal(batch.labels[batch.labels != IGNORED], batch.ids[batch.labels != IGNORED])


def test_what_a_reply_sees_is_its_own_prompt_as_the_chat_template_writes_it() -> None:
    rng = np.random.default_rng(0)
    documents = [training_document(make_scene(i, frames=64), LEVEL, rng) for i in range(5)]
    documents.append(Document([], common_questions(rng)))
    batch = ChatEncoder(TOKENIZER).batch(documents)
    prompts: Counter[str] = Counter()
    for reply in batch.replies:
        seen = batch.mask[reply.row, 0, reply.stop - 1]
        assert torch.equal(batch.positions[reply.row][seen], torch.arange(int(seen.sum())))
        prompts[TOKENIZER.decode(batch.ids[reply.row][seen])] += 1
    expected: Counter[str] = Counter()
    for document in documents:
        for qa in document.asked:
            chat = [
                {"role": "user", "content": "\n".join([*document.facts, question_text(qa)])},
                {"role": "assistant", "content": reply_text(qa)},
            ]
            text = TOKENIZER.apply_chat_template(chat, tokenize=False).removesuffix("\n")
            expected[text] += 1
            whole = TOKENIZER(text)["input_ids"]
            assert any(
                torch.equal(batch.ids[r.row][batch.mask[r.row, 0, r.stop - 1]], torch.tensor(whole))
                for r in batch.replies
            )
    assert prompts == expected


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    first, again, other = text_data(), text_data(), text_data(seed=1)
    first.train_batch(1)
    assert torch.equal(first.train_batch(4).ids, again.train_batch(4).ids)
    assert torch.equal(first.val_batch(0).labels, again.val_batch(0).labels)
    for changed in (first.train_batch(5), first.train_batch(4, rank=1), other.train_batch(4)):
        assert changed.ids.shape != first.train_batch(4).ids.shape or not torch.equal(
            changed.ids, first.train_batch(4).ids
        )
    assert first.data_hash() == again.data_hash() != other.data_hash()


def test_levels_follow_each_other() -> None:
    data = text_data()
    assert data.train_batch(2).ids.shape[1] < data.train_batch(3).ids.shape[1]
    assert len(list(data.val_dataloader())) == 2


def test_train_and_val_scenes_differ() -> None:
    data = text_data(val_scenes=20, val_batch_size=20)
    told = {fact for document in data.val_documents(0) for fact in document.facts}
    batches = [data.train_batch(step) for step in range(12)]
    train = " ".join(TOKENIZER.decode(row) for batch in batches for row in batch.ids)
    assert len(told) > 100
    # Lines of one object and without times can be the same by chance.
    assert not [fact for fact in told if ";" in fact and fact in train]


def test_validation_asks_the_planted_questions_and_tells_the_evidence() -> None:
    data = text_data(val_scenes=4, val_batch_size=4)
    documents = data.val_documents(0)
    assert Counter(qa.task_type for d in documents for qa in d.asked) == dict.fromkeys([*TASKS, "common"], 8)
    for document in documents[: len(TASKS)]:
        choice, free = document.asked
        assert (bool(choice.options), bool(free.options)) == (True, False)
        assert len(document.facts) == 5
        if choice.answer in OBJECTS:
            assert choice.answer in " ".join(document.facts)
        if choice.task_type == "counting" and choice.answer != NOT_SHOWN:
            (asked,) = (name for name in OBJECTS if name in choice.question)
            assert " ".join(document.facts).count(asked) == int(choice.answer)


def test_prompts() -> None:
    qa = QA("", "Which?", "b", options=["a", "b"])
    assert question_text(qa) == "Which?\nA. a\nB. b"
    assert (reply_text(qa), reply_text(replace(qa, options=[]))) == ("B", "b")
    with pytest.raises(DataError, match=r"'c' is none of the options"):
        reply_text(replace(qa, answer="c"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"val_scenes": 0}, "val_scenes"),
        ({"val_shots": 3}, "val_shots"),
        ({"curriculum": []}, "curriculum"),
        ({"curriculum": [LEVEL]}, "until: null"),
        ({"curriculum": [replace(LEVEL, until=None, tasks=("sums",))]}, "sums"),
        ({"curriculum": [replace(LEVEL, until=None, shots=(3, 2))]}, "shots"),
        ({"curriculum": [replace(LEVEL, until=None, questions=3)]}, "4 or more questions"),
    ],
)
def test_impossible_settings(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        text_data(**changes)


def test_every_word_of_the_world_is_one_token() -> None:
    tokenizer = chat_bpe(sample_texts(scenes=100, frames=64, seed=0), vocab_size=512)
    scene = make_scene(12345, frames=64)
    text = "\n".join([*facts(scene), *(question_text(qa) for qa in questions(scene)[1:])])
    words = set(re.findall(r" ?[A-Za-z]+", text))
    assert not [word for word in words if len(tokenizer(word)["input_ids"]) > 1]


def test_phrases_are_one_token_wherever_they_stand() -> None:
    tokenizer = chat_bpe(sample_texts(scenes=100, frames=64, seed=0), vocab_size=512, phrases=phrases())
    scene = make_scene(12345, frames=64)
    *_, fact = facts(scene)[0].splitlines()
    (name,) = (name for name in OBJECTS if name in fact)
    start, end = re.findall(r"[\d.]+", fact)[-2:]
    span = [f"from {start}", f" to {end} s"]
    ids = tokenizer(f"{fact}\nA. {span[0]}{span[1]}")["input_ids"]
    said = [tokenizer.decode(token) for token in ids]
    assert said[3] == name  # which the starting heads count from: the movement 2, the start 4 tokens behind it
    assert said[5] in fact
    assert said[7:9] == said[-2:] == span
    for qa in questions(scene)[1:]:
        stem = tokenizer.decode(tokenizer(qa.question)["input_ids"][0])
        assert stem in STEMS
        assert qa.question.startswith(stem)


def test_some_questions_are_asked_of_what_nothing_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Document] = []
    monkeypatch.setattr(ChatEncoder, "batch", lambda self, documents: made.extend(documents))
    data = text_data(curriculum=[replace(LEVEL, until=None, documents=1)])
    for step in range(150):
        data.train_batch(step)
    untold = [qa for document in made if not document.facts for qa in document.asked if qa.task_type != "common"]
    assert {qa.task_type for qa in untold} == set(TASKS)
    letters = Counter(reply_text(qa) for qa in untold)
    assert set(letters) == set("ABCD")
    expected = len(untold) / 4
    assert sum((n - expected) ** 2 / expected for n in letters.values()) < 16.3  # chi-square, p = 0.001


@pytest.mark.parametrize("seed", range(6))
def test_pictures_of_some_shots_are_asked_about_what_they_show(seed: int) -> None:
    level = replace(LEVEL, tasks=["needle"], questions=10, choice=1.0, pictured=1, pictured_frames=[256])
    level = replace(level, pictured_parts=1.0, pictured_whole=0.0, pictured_kept=(0.0, 0.2))
    scene = make_scene(seed, frames=256)
    document = pictured_document(scene, level, np.random.default_rng(seed))
    picture = " ".join(document.picture)
    shown = {name for name in OBJECTS if name in picture}
    assert len(document.asked) == 10  # and nothing is described
    for qa in document.asked:
        right = {qa.answer} - {NOT_SHOWN}
        assert right <= shown
        assert not shown & (set(qa.options) - right)


def test_no_description_of_a_long_picture_is_asked_for() -> None:
    level = replace(LEVEL, pictured=1, pictured_frames=[128])
    scene, rng = make_scene(1, frames=128), np.random.default_rng(0)
    asked = [qa for _ in range(40) for qa in pictured_document(scene, level, rng).asked]
    assert "caption" not in {qa.task_type for qa in asked}
