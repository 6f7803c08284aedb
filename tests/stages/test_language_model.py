"""The language-model stage: its loss, its measure against real decoding, and training on a task that can be learned."""

import json
from pathlib import Path

import lightning
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from recot.data.qa_text import question_text, reply_text
from recot.data.schema import QA
from recot.errors import ConfigError
from recot.models.llm import chat_bpe, pretrained_llm, seeded_llm
from recot.models.tokenizer import load_tokenizer
from recot.stages.language_model import LanguageModel, accuracies, export, predict_replies, report, said_right
from recot.tiny_world.text_batch import ChatEncoder, Document, TextBatch

WORDS = "red green blue circle square cross"
TOKENIZER = chat_bpe([f"user assistant scene is what here? {WORDS} {WORDS}"] * 9, vocab_size=330)
CONFIG = {
    "vocab_size": len(TOKENIZER),
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
DOCUMENTS = [
    Document(["scene 1: red."], [QA("", "what is here?", "red", "colour"), QA("", "scene?", "1", "number")]),
    Document(["scene 2: green circle."], [QA("", "what?", "circle", "shape", ["square", "circle"])]),
    Document([], [QA("", "what is red?", "a colour", "common")]),
]


def batch() -> TextBatch:
    return ChatEncoder(TOKENIZER).batch(DOCUMENTS)


class Data(lightning.LightningDataModule):
    tokenizer = TOKENIZER

    def train_dataloader(self) -> DataLoader[TextBatch]:
        return DataLoader([batch()] * 60, batch_size=None)

    def val_dataloader(self) -> DataLoader[TextBatch]:
        return DataLoader([batch()], batch_size=None)

    def spec(self) -> dict[str, int]:
        return {"documents": len(DOCUMENTS)}

    def data_hash(self) -> str:
        return "0" * 64


def stage(**changes: float) -> LanguageModel:
    settings = {"learning_rate": 3e-3, "weight_decay": 0.01, "betas": (0.9, 0.98), "warmup_steps": 5} | changes
    return LanguageModel(model=seeded_llm(config=CONFIG, seed=0), **settings)  # type: ignore[arg-type]


def prompt(qa: QA, document: Document) -> torch.Tensor:
    chat = [{"role": "user", "content": "\n".join([*document.facts, question_text(qa)])}]
    text = TOKENIZER.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    return torch.tensor(TOKENIZER(text)["input_ids"])[None]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_loss_is_that_of_each_question_on_its_own(attention: str) -> None:
    """Sharing the facts and packing documents into rows changes nothing."""
    module = stage()
    model = module.model.eval()
    model.set_attn_implementation(attention)
    losses = []
    for document in DOCUMENTS:
        for qa in document.asked:
            reply = torch.tensor(TOKENIZER(f"{reply_text(qa)}<|im_end|>")["input_ids"])
            start = prompt(qa, document)
            logits = model(input_ids=torch.cat([start, reply[None]], dim=1)).logits[0, start.shape[1] - 1 : -1]
            losses.append(F.cross_entropy(logits, reply, reduction="none"))
    logits, labels, _ = predict_replies(model, batch())
    shared = F.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(shared.sort().values, torch.cat(losses).sort().values, rtol=1e-4, atol=1e-5)


def test_training_learns_and_the_measure_is_what_greedy_decoding_says(tmp_path: Path) -> None:
    module = stage()
    trainer = lightning.Trainer(
        max_steps=60,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    untrained = trainer.validate(module, Data(), verbose=False)[0]
    trainer.fit(module, Data())
    metrics = trainer.validate(module, Data(), verbose=False)[0]
    assert untrained["val/accuracy"] < 0.5
    assert metrics["val/accuracy"] == 1.0

    export(module, tmp_path / "model", metrics, title="Small", command="train", seed=0)
    model = pretrained_llm(name_or_path=str(tmp_path / "model"))
    tokenizer = load_tokenizer(tmp_path / "model")
    for document in DOCUMENTS:
        for qa in document.asked:
            start = prompt(qa, document)
            said = model.generate(start, do_sample=False, max_new_tokens=12)[0, start.shape[1] :]
            assert tokenizer.decode(said) == f"{reply_text(qa)}<|im_end|>"
    chat = [{"role": "user", "content": "what?"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == TOKENIZER.apply_chat_template(chat, tokenize=False)
    card = json.loads((tmp_path / "model/card.json").read_text())
    assert (card["data"], card["figures"]) == ({"documents": 3}, metrics)


def test_a_reply_is_right_only_as_a_whole() -> None:
    made = batch()
    kept = made.labels != -100
    labels = made.labels[kept]
    logits = F.one_hot(labels, len(TOKENIZER)).float()
    assert all(right for _, right in said_right(logits, labels, kept, made))
    for wrong in range(len(labels)):
        changed = logits.clone()
        changed[wrong] = changed[wrong].roll(1)
        assert sum(not right for _, right in said_right(changed, labels, kept, made)) == 1


def test_means_weigh_tasks_alike() -> None:
    figures = accuracies({"a/choice": [True] * 8, "a/open": [False, True], "b/choice": [False]})
    assert figures["accuracy/choice"] == 0.5
    assert figures["accuracy/open"] == 0.5
    assert figures["accuracy"] == pytest.approx(1.5 / 3)


def test_report_has_a_row_a_task() -> None:
    figures = accuracies({"a/choice": [True], "a/open": [False], "b/choice": [False], "b/open": [True]})
    text = report({f"val/{k}": v for k, v in figures.items()} | {"val/loss": 0.5}, title="seed 0")
    assert "| a | 1.0000 | 0.0000 |" in text
    assert "| mean | 0.5000 | 0.5000 |" in text


@pytest.mark.parametrize("wrong", [{"learning_rate": -1.0}, {"warmup_steps": -1}])
def test_impossible_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"stage.{next(iter(wrong))}"):
        stage(**wrong)
