"""How long a text is."""

import re

from data_pipelines.signals.signal import Signal

# Chinese, Japanese and Korean write words without spaces between them: each of their signs counts as a word.
_SIGNS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff"
_WORD = re.compile(rf"[{_SIGNS}]|[^\W{_SIGNS}]+(?:['\u2019\-.][^\W{_SIGNS}]+)*")


def words(text: str) -> list[str]:
    """The words of a text in order: letters and digits, with single marks inside them ("don't", "7.25").

    Punctuation is no word.
    """
    return _WORD.findall(text)


def word_count(text: str) -> Signal:
    """Number of ``words``.

    Default threshold: at least 1, so that only an empty text is too short (ours: the answer to a question with
    options is often one word).
    """
    return Signal(float(len(words(text))))
