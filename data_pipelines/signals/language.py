"""Which language a text is in."""

from collections.abc import Collection
from functools import cache

import numpy as np
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from data_pipelines.signals.signal import Signal

ENGLISH = ("en",)
SHORTEST = 24
"""Bytes of letters in UTF-8. Below it, names and single words look like any language."""


def language(text: str, languages: Collection[str] = ENGLISH) -> Signal:
    """Probability that a text is in one of ``languages``, from 0 to 1.

    Sum of the naive Bayes posteriors over byte n-grams that py3langid (https://github.com/adbar/py3langid, after
    Lui and Baldwin's langid.py, ACL 2012) gives to 139 languages. Its model, 4.6 MB and free of pickles, is part of
    the package; it is loaded once a process, in half a second, and takes 130 MiB.

    Default threshold: 0.05 (ours: of 1,308 sentences in the docstrings of Python packages, the lowest has 0.052 and 1 %
    have less than 0.22; sentences in other languages have less than 0.01). Judge a question together with its answer:
    the longer the text, the surer. A text mostly in capitals is judged in small letters, which the model knows better.

    Args:
        text: any text.
        languages: ISO 639 codes.

    Returns:
        ``na`` where the text has less than ``SHORTEST`` bytes of letters.

    Raises:
        ValueError: for a code that the model doesn't know.
    """
    model, known = _model()
    if not languages or not known.issuperset(languages):
        raise ValueError(f"languages={list(languages)}: expected some of {', '.join(sorted(known))}")
    letters = sum(len(sign.encode()) for sign in text if sign.isalpha())
    if letters < SHORTEST:
        return Signal(None, "na", f"{letters} bytes of letters, fewer than {SHORTEST}")
    if sum(map(str.isupper, text)) > sum(map(str.islower, text)):
        text = text.lower()
    likeliest, probability = model.classify(text)
    if likeliest not in languages or len(languages) > 1:  # the ranks of all take twice as long
        probability = sum(share for code, share in model.rank(text) if code in languages)
    # Further digits depend on how many threads the matrix product has.
    return Signal(min(1.0, round(probability, 5)), detail="" if likeliest in languages else f"most likely {likeliest}")


@cache
def _model() -> tuple[LanguageIdentifier, frozenset[str]]:
    """The model and the codes that it knows."""
    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    model.nb_ptc = model.nb_ptc.astype(np.float32)  # as float16, a third of the time goes into converting it
    return model, frozenset(model.labels)
