"""Training tokenizers: the same every time, lossless, and loaded as the big ones are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from recot.errors import ConfigError, DataError
from recot.models.tokenizer import MIN_VOCAB_SIZE, SPECIAL_TOKENS, load_tokenizer, train_bpe

TEXTS = [
    "a red circle at the top left and a blue square moves down and right from 12.50 s.",
    "When does the blue square appear? At 12.50 s.",
    "In front of a striped background, a red circle stays still.",
] * 5
TOKENIZER = train_bpe(TEXTS, vocab_size=400)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_decoding_gives_back_what_was_encoded(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_it_learnt_words_and_splits_digits() -> None:
    assert TOKENIZER.tokenize("a red circle") == ["a", "Ġred", "Ġcircle"]
    assert TOKENIZER.tokenize(" at 12.50") == ["Ġat", "Ġ", "1", "2", ".", "5", "0"]
    assert len(TOKENIZER) <= 400


def test_special_tokens_are_one_token_each() -> None:
    assert TOKENIZER.encode("".join(SPECIAL_TOKENS)) == list(range(len(SPECIAL_TOKENS)))
    assert TOKENIZER.decode(list(range(len(SPECIAL_TOKENS))), skip_special_tokens=True) == ""
    assert TOKENIZER.pad_token == TOKENIZER.eos_token == "<|endoftext|>"
    assert "<|im_end|>" in TOKENIZER.all_special_tokens


def test_padding_truncation_and_end_of_text() -> None:
    tokenizer = train_bpe(TEXTS, vocab_size=400, max_length=8, append_eos=True)
    short, long = tokenizer(["a red circle", " ".join(TEXTS)], padding="max_length", truncation=True)["input_ids"]
    eos = tokenizer.eos_token_id
    assert short[3:] == [eos] * 5
    assert len(long) == 8
    assert long[-1] == eos
    assert eos not in long[:-1]


def test_a_saved_tokenizer_loads_as_any_other(tmp_path: Path) -> None:
    tokenizer = train_bpe(TEXTS, vocab_size=400, max_length=16, append_eos=True)
    tokenizer.save_pretrained(tmp_path)
    for loaded in (AutoTokenizer.from_pretrained(tmp_path), load_tokenizer(tmp_path)):
        text = "<|im_start|>user\nWhere is the  ünïcode square at 3.75 s ?<|im_end|>"
        assert loaded.encode(text) == tokenizer.encode(text)
        assert loaded.decode(loaded.encode(text), skip_special_tokens=False) == text + "<|endoftext|>"
        assert loaded.get_vocab() == tokenizer.get_vocab()
        assert loaded.model_max_length == 16
        assert (loaded.pad_token_id, loaded.eos_token_id) == (0, 0)


def test_two_trainings_give_equal_files_whatever_the_order(tmp_path: Path) -> None:
    code = (
        "import sys; from recot.models.tokenizer import train_bpe; "
        "train_bpe(sys.argv[2:], vocab_size=400).save_pretrained(sys.argv[1])"
    )
    for name, texts in (("first", TEXTS), ("second", TEXTS[::-1])):
        environment = os.environ | {"PYTHONHASHSEED": "0" if name == "first" else "1"}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name), *texts], check=True, env=environment)
    files = sorted(p.name for p in (tmp_path / "first").iterdir())
    assert "tokenizer.json" in files
    assert files == sorted(p.name for p in (tmp_path / "second").iterdir())
    for name in files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"vocab_size={MIN_VOCAB_SIZE - 1}.*{MIN_VOCAB_SIZE} or more"):
        train_bpe(TEXTS, vocab_size=MIN_VOCAB_SIZE - 1)
    with pytest.raises(DataError, match=r"nothing: no tokenizer.*tokenizer\.json"):
        load_tokenizer(tmp_path / "nothing")
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(DataError, match="no tokenizer"):
        load_tokenizer(tmp_path)
