"""The text of a reply while its tokens come: stop strings, and what may be shown already."""

from collections.abc import Callable, Sequence
from typing import Any

UNFINISHED = "\ufffd"  # what decoders write for bytes that aren't a whole character


class ReplyText:
    """Decodes a reply token by token.

    Special tokens appear as they are written in the vocabulary, so that a stop string can name one. Bytes at the end
    of the reply that aren't a whole character are left out.

    Args:
        tokenizer: a Hugging Face tokenizer.
        stop: strings, not empty; the text ends before the first of them.
        on_text: called with each new piece of the text as soon as it's certain: with whole characters only, and with
            nothing that may still turn out to be the beginning of a stop string. The pieces add up to the text.

    Attributes:
        text: all so far, without stop strings.
    """

    def __init__(self, tokenizer: Any, *, stop: Sequence[str], on_text: Callable[[str], None] | None) -> None:
        self.text = ""
        self._tokenizer = tokenizer
        self._stop = stop
        self._on_text = on_text
        self._ids: list[int] = []
        self._shown = 0

    def add(self, token: int) -> bool:
        """Take the next token. True if a stop string is complete now."""
        self._ids.append(token)
        # All of it again: tokens are bytes of characters, and what one of them says depends on those before.
        decoded = self._tokenizer.decode(self._ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        self.text = decoded.rstrip(UNFINISHED)
        found = [at for stop in self._stop if (at := self.text.find(stop)) >= 0]
        if found:
            self.text = self.text[: min(found)]
        else:
            self._show(len(self.text) - self._may_be_stop())
        return bool(found)

    def finish(self) -> str:
        """Show what is left. The whole text."""
        self._show(len(self.text))
        return self.text

    def _may_be_stop(self) -> int:
        """Characters of the longest end of the text that is the beginning of a stop string."""
        lengths = [n for stop in self._stop for n in range(1, len(stop)) if self.text.endswith(stop[:n])]
        return max(lengths, default=0)

    def _show(self, end: int) -> None:
        if self._on_text is not None and end > self._shown:
            self._on_text(self.text[self._shown : end])
            self._shown = end
