"""Small tokenizers trained on the project's own text, in the format of the big ones."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from recot.errors import ConfigError, DataError
from recot.models.quiet import quiet

END_OF_TEXT = "<|endoftext|>"
SPECIAL_TOKENS = (
    END_OF_TEXT,
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""Qwen2's; they have the ids 0, 1, ... in this order."""
MIN_VOCAB_SIZE = len(SPECIAL_TOKENS) + 256


def train_bpe(
    texts: Iterable[str], *, vocab_size: int, max_length: int | None = None, append_eos: bool = False
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer; the same texts, in any order, give the same tokenizer.

    As in Qwen2, each digit is a token of its own, every text can be encoded (bytes are the smallest units), and
    ``<|endoftext|>`` is both padding and end of text. Unlike there, text isn't brought to a Unicode normal form, so
    decoding gives back exactly what was encoded.

    Args:
        texts: what to learn merges from.
        vocab_size: largest number of tokens, special ones included; fewer if the texts have no more pairs to merge.
        max_length: tokens to truncate or pad to when a call asks for that; None for no limit.
        append_eos: whether encoding ends with ``<|endoftext|>``, as SigLIP's text tower expects.

    Raises:
        ConfigError: if ``vocab_size`` has no room for the bytes and the special tokens.
    """
    if vocab_size < MIN_VOCAB_SIZE:
        raise ConfigError(
            f"vocab_size={vocab_size}, but bytes and special tokens take {MIN_VOCAB_SIZE}: give {MIN_VOCAB_SIZE} or "
            "more"
        )
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    if append_eos:
        core.post_processor = processors.TemplateProcessing(
            single=f"$A {END_OF_TEXT}", special_tokens=[(END_OF_TEXT, SPECIAL_TOKENS.index(END_OF_TEXT))]
        )
    limit = {} if max_length is None else {"model_max_length": max_length}
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        clean_up_tokenization_spaces=False,
        **limit,
    )


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerFast:
    """Load a tokenizer by hub name or from a local folder.

    Raises:
        DataError: if there is none.
    """
    try:
        with quiet():  # a whole model's config.json beside the tokenizer is none that transformers knows
            return AutoTokenizer.from_pretrained(str(path))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: no tokenizer could be loaded from there. Give a hub name (downloaded once, needs a network) or "
            f"a folder with tokenizer.json and tokenizer_config.json. ({str(error).splitlines()[0]})"
        ) from error
