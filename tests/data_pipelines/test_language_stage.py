"""The stage ``language`` with small Qwen2 models, against transformers' own loss and full forward passes."""

import math
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from data_pipelines.language_stage import (
    LANGUAGE_COLUMNS,
    LANGUAGE_VERSION,
    SAMPLE_SIGNALS,
    LanguageSettings,
    LanguageWork,
    blind,
    language_item,
)
from data_pipelines.ledger import Ledger, config_hash
from data_pipelines.option_prompts import choice_prompt
from data_pipelines.sample_signals import Question, sample_columns
from recot.data.schema import QA
from recot.errors import DataError
from recot.models.llm import CHATML, chat_bpe, seeded_llm
from recot.models.reply_likelihood import ReplyLikelihood, pretrained_likelihood
from recot.models.tokenizer import train_bpe

CONFIG = {
    "vocab_size": 320,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
SETTINGS = LanguageSettings(choice_instruction="")
KNOWN = Question("What colour is grass?", "green", ["green", "red", "blue"], "open")
UNSEEN = Question("How does the cube move?", "left", ["up", "left", "down"], "open")
FREE = Question("What shape has the red ball?", "round", [], "open")
TEXTS = ["user assistant", *(f"{q.question} {' '.join(q.options)} {q.answer}" for q in (KNOWN, UNSEEN, FREE))]


def untrained() -> ReplyLikelihood:
    return ReplyLikelihood(seeded_llm(config=CONFIG, seed=0), chat_bpe(TEXTS, vocab_size=320))


def test_reply_nll_is_the_loss_of_transformers() -> None:
    scorer = untrained()
    chat = [{"role": "user", "content": FREE.question}]
    before = scorer.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    asked = scorer.tokenizer(before)["input_ids"]
    said = scorer.tokenizer("round<|im_end|>")["input_ids"]
    ids = torch.tensor([asked + said])
    labels = torch.tensor([[-100] * len(asked) + said])
    with torch.no_grad():
        loss = scorer.model(input_ids=ids, labels=labels).loss
    assert said[-1] == CONFIG["eos_token_id"]
    assert scorer.reply_nll(FREE.question, "round") == pytest.approx(float(loss) * len(said), rel=1e-5)


def test_letter_nll_is_that_of_each_prompt_alone() -> None:
    scorer = untrained()
    prompts = ["short", "a prompt that is much longer than the other", "?"]
    found = scorer.letter_nll(prompts, "ABCD")
    letters = [scorer.tokenizer(letter)["input_ids"][0] for letter in "ABCD"]
    for prompt, nll in zip(prompts, found, strict=True):
        text = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        with torch.no_grad():
            logits = scorer.model(input_ids=torch.tensor([scorer.tokenizer(text)["input_ids"]])).logits[0, -1]
        assert nll == pytest.approx(-logits.log_softmax(-1)[letters].numpy(), abs=1e-4)
    assert found.dtype == np.float64
    assert (scorer.letter_nll(prompts, "ABCD") == found).all()


def test_letters_must_be_tokens() -> None:
    scorer = untrained()
    with pytest.raises(DataError, match="each capital letter as one token"):
        scorer.letter_nll(["?"], "A\u00c4")


def turned(question: Question) -> list[tuple[str, int]]:
    """Prompt and place of the right option for each rotation, written down once more."""
    n = len(question.options)
    found = []
    for by in range(n):
        options = question.options[by:] + question.options[:by]
        lines = [question.question, *(f"{'ABC'[i]}. {option}" for i, option in enumerate(options))]
        found.append(("\n".join(lines), options.index(question.answer)))
    return found


@pytest.fixture(scope="module")
def taught() -> ReplyLikelihood:
    """A model that was told the answers to ``KNOWN`` and ``FREE``, and to say A to ``UNSEEN`` whatever A is."""
    scorer = untrained()
    told = [(prompt, "ABC"[place]) for prompt, place in turned(KNOWN)]
    told += [(prompt, "A") for prompt, _ in turned(UNSEEN)]
    told += [(FREE.question, FREE.answer)]
    rows = []
    for prompt, reply in told:
        text = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        rows.append((scorer.tokenizer(text)["input_ids"], scorer.tokenizer(f"{reply}<|im_end|>")["input_ids"]))
    length = max(len(asked) + len(said) for asked, said in rows)
    ids, labels = torch.zeros(len(rows), length, dtype=torch.int64), torch.full((len(rows), length), -100)
    for i, (asked, said) in enumerate(rows):
        end = len(asked) + len(said)
        ids[i, :end] = torch.tensor(asked + said)
        labels[i, len(asked) : end] = torch.tensor(said)
    optimizer = torch.optim.AdamW(scorer.model.parameters(), lr=5e-3, weight_decay=0.0)
    for _ in range(100):
        logits = scorer.model(input_ids=ids).logits
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    return scorer


def test_rotations_tell_knowledge_from_a_favourite_letter(taught: ReplyLikelihood) -> None:
    right, margin = blind(KNOWN, model=taught, settings=SETTINGS)
    assert right.value == 1
    assert margin.value is not None
    assert margin.value > 2
    right, margin = blind(UNSEEN, model=taught, settings=SETTINGS)
    assert right.value == pytest.approx(1 / 3)
    assert margin.value == pytest.approx(0, abs=0.5)
    wrong = Question(KNOWN.question, "red", KNOWN.options, "open")
    right, margin = blind(wrong, model=taught, settings=SETTINGS)
    assert right.value == 0
    assert margin.value is not None
    assert margin.value < -2


def test_free_form_answers_that_would_be_said(taught: ReplyLikelihood) -> None:
    right, margin = blind(FREE, model=taught, settings=SETTINGS)
    assert right.value == 1
    p, p_unasked = (math.exp(-taught.reply_nll(prompt, "round")) for prompt in (FREE.question, "?"))
    assert margin.value == pytest.approx(math.log(p / (1 - p)) - max(math.log(p_unasked / (1 - p_unasked)), 0))
    for answer in ("flat", "round and heavy"):
        right, margin = blind(Question(FREE.question, answer, [], "open"), model=taught, settings=SETTINGS)
        assert right.value == 0
        assert margin.value is not None
        assert margin.value < 0


def test_what_has_no_answer_to_guess(taught: ReplyLikelihood) -> None:
    nothing = [
        Question("Describe the video.", "green", [], "caption"),
        Question("What colour is grass?", "purple", ["green", "red"], "open"),
        Question("What colour is grass?", "green", ["green"], "open"),
        Question("What colour is grass?", "green", ["green"] * 27, "open"),
    ]
    for question in nothing:
        assert {signal.status for signal in blind(question, model=taught, settings=SETTINGS)} == {"na"}


def test_choice_prompt() -> None:
    assert choice_prompt("What?", ["x", "y"], "") == "What?\nA. x\nB. y"
    assert choice_prompt("What?", ["x", "y"], "Say the letter.") == "What?\nA. x\nB. y\nSay the letter."


QUESTIONS = [
    QA("1", "Describe the video.", "green", "caption"),
    QA("2", KNOWN.question, KNOWN.answer, "open", KNOWN.options),
    QA("3", FREE.question, FREE.answer),
]


def test_items_through_work_and_ledger_and_into_a_table(tmp_path: Path) -> None:
    scorer = untrained()
    scorer.model.save_pretrained(tmp_path / "model")
    scorer.tokenizer.save_pretrained(tmp_path / "model")
    make = partial(pretrained_likelihood, name_or_path=str(tmp_path / "model"))
    other = ReplyLikelihood(seeded_llm(config=CONFIG, seed=1), make().tokenizer)
    assert make().fingerprint() == make().fingerprint() != other.fingerprint()
    items = [language_item("a" * 64, QUESTIONS), language_item("b" * 64, QUESTIONS[1:2])]
    contents = []
    for name, order in (("one", [0, 1]), ("other", [1, 0])):
        ledger = Ledger(tmp_path / name, config_hash({}, LANGUAGE_VERSION), LANGUAGE_COLUMNS)
        with pickle.loads(pickle.dumps(LanguageWork(make, SETTINGS)))() as run:
            for i, outcome in zip(order, run([items[i] for i in order]), strict=True):
                assert outcome.failure is None, outcome.failure
                ledger.write(items[i]["id"], outcome.result)
                assert {c: ledger.read(items[i]["id"])[c] for c in LANGUAGE_COLUMNS.names} == outcome.result
        contents.append([ledger.path(item["id"]).read_bytes() for item in items])
    assert contents[0] == contents[1]
    ids = [item["id"] for item in items]
    samples = sample_columns(ledger.read_table(ids), SAMPLE_SIGNALS, ids, [3, 1])
    assert samples["blind_right_status"].to_pylist() == ["na", "ok", "ok", "ok"]
    assert samples["blind_margin"][1] == samples["blind_margin"][3]
    right, margin = blind(KNOWN, model=scorer, settings=SETTINGS)
    assert (samples["blind_right"][1].as_py(), samples["blind_margin"][1].as_py()) == (right.value, margin.value)


def test_a_tokenizer_without_a_chat_template(tmp_path: Path) -> None:
    seeded_llm(config=CONFIG, seed=0).save_pretrained(tmp_path)
    tokenizer = train_bpe(TEXTS, vocab_size=320)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(DataError, match=r"has no chat template.*Give a chat model"):
        pretrained_likelihood(name_or_path=str(tmp_path))
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(tmp_path)
    assert pretrained_likelihood(name_or_path=str(tmp_path)).reply_nll("?", "!") > 0
