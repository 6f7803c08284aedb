"""Phrases that a trained model learns as one token: what it knew stays as it was."""

from pathlib import Path

import pytest
import torch

from recot.errors import ConfigError
from recot.models.llm import chat_bpe, pretrained_llm, seeded_llm
from recot.models.new_phrases import llm_with, tokenizer_with
from recot.models.tokenizer import load_tokenizer

PHRASES = ["Time 0001.5s:", "red circle", "Time 0002.0s:"]


def save(folder: Path, *, tied: bool = True) -> str:
    tokenizer = chat_bpe(["a red circle moves left"], vocab_size=280, phrases=["red circle"])
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = {"vocab_size": len(tokenizer) + 3, "num_key_value_heads": 2, "tie_word_embeddings": tied} | sizes
    seeded_llm(config=config, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@torch.no_grad()
def test_a_phrase_is_one_token_that_starts_as_the_mean_of_its_parts(tmp_path: Path) -> None:
    folder = save(tmp_path)
    old, new = load_tokenizer(folder), tokenizer_with(path=folder, phrases=PHRASES)
    before, after = pretrained_llm(name_or_path=folder), llm_with(name_or_path=folder, phrases=PHRASES)
    assert len(new) == len(old) + 2  # one was there
    for phrase in PHRASES:
        (token,) = new(phrase, add_special_tokens=False)["input_ids"]
        parts = old(phrase, add_special_tokens=False)["input_ids"]
        mean = before.get_input_embeddings().weight[parts].mean(dim=0)
        torch.testing.assert_close(after.get_input_embeddings().weight[token], mean)
    ids = torch.tensor([new("a red circle moves left", add_special_tokens=False)["input_ids"]])
    assert ids.tolist() == [old("a red circle moves left", add_special_tokens=False)["input_ids"]]
    known = len(old)
    torch.testing.assert_close(after(input_ids=ids).logits[..., :known], before(input_ids=ids).logits[..., :known])


def test_saved_and_loaded_it_takes_the_same_phrases_again_unchanged(tmp_path: Path) -> None:
    folder = save(tmp_path / "old")
    grown = llm_with(name_or_path=folder, phrases=PHRASES)
    grown.save_pretrained(tmp_path / "new")
    tokenizer_with(path=folder, phrases=PHRASES).save_pretrained(tmp_path / "new")
    again = llm_with(name_or_path=str(tmp_path / "new"), phrases=PHRASES)
    assert len(tokenizer_with(path=str(tmp_path / "new"), phrases=PHRASES)) <= again.config.vocab_size
    assert again.state_dict().keys() == grown.state_dict().keys()
    assert all(torch.equal(again.state_dict()[key], value) for key, value in grown.state_dict().items())


def test_an_output_layer_of_its_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="isn't tied to its embeddings"):
        llm_with(name_or_path=save(tmp_path, tied=False), phrases=PHRASES)
