"""How much of a text says again what it has said."""

from data_pipelines.signals.signal import Signal
from data_pipelines.signals.text_length import words

NGRAM = 5


def repetition(text: str, *, n: int = NGRAM) -> Signal:
    """Share of a text's letters that lie in an n-gram of words which occurred before.

    ``sum of len(w) over the words w that any second or later occurrence of an n-gram covers / sum of len(w) over all
    words``, case ignored; a word that two n-grams cover counts once. From 0 (nothing is repeated) up to less than 1
    (the first occurrence doesn't count, as in datatrove's ``GopherRepetitionFilter``). Source: the duplicate n-gram
    rules of Gopher (arXiv 2112.11446, table A1), which drop web pages above 0.15 for n = 5 and 0.10 for n = 10.

    Args:
        text: any text.
        n: words in an n-gram.

    Returns:
        ``na`` for a text of at most ``n`` words: nothing in it can occur twice.
    """
    found = [word.casefold() for word in words(text)]
    if len(found) <= n:
        return Signal(None, "na", f"{len(found)} words, fewer than {n + 1}")
    seen: set[tuple[str, ...]] = set()
    repeated, covered_until = 0, 0
    for start, gram in enumerate(zip(*(found[i:] for i in range(n)), strict=False)):
        if gram in seen:
            repeated += sum(map(len, found[max(start, covered_until) : start + n]))
            covered_until = start + n
        seen.add(gram)
    return Signal(repeated / sum(map(len, found)))
