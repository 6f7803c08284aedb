"""Decontamination: what a corpus has in common with evaluation sets, so that none of it gets into training.

Videos are compared as duplicates are. Texts are compared with their options and answers, because question texts alone
recur word for word in good corpora.
"""

from collections.abc import Sequence

import pyarrow as pa

from data_pipelines.duplicates import DuplicateSettings, find_duplicates
from data_pipelines.sample_signals import video_fields, video_values
from data_pipelines.signals.signal import Signal
from data_pipelines.signals.text_length import words

NGRAM = 12
"""Words, as in datatrove's decontamination."""
_COMPARED = [
    "video_id",
    "key",
    "packet_md5",
    "duration_s",
    "hashes",
    "mirrored_hashes",
    "embeddings",
    "embedding_frames",
]


def video_leaks(videos: pa.Table, evaluation: Sequence[pa.Table], settings: DuplicateSettings) -> pa.Table:
    """Videos that are duplicates of an evaluation video, by the same measures as within a corpus.

    Args:
        videos: of the corpus, see ``find_duplicates``.
        evaluation: of the evaluation sets, likewise.
        settings: what counts as the same.

    Returns:
        A row for each of ``videos``: ``leak_kind`` (how it is tied to its cluster), ``leak_score``, and ``leak_of``,
        the first evaluation video of the cluster; null for the others.
    """
    columns = [name for name in _COMPARED if name in videos.column_names]
    # Two sets may name their videos alike, so each gets a prefix of its own.
    tables = [_prefixed(table.select(columns), f"{number} ") for number, table in enumerate([videos, *evaluation])]
    found = find_duplicates(pa.concat_tables(tables), settings=settings).to_pylist()
    own, others = found[: len(videos)], found[len(videos) :]
    seen: dict[int, str] = {}
    for row in others:
        seen.setdefault(row["cluster_id"], row["video_id"].partition(" ")[2])
    leaks = [row if row["cluster_id"] in seen else None for row in own]
    return pa.table(
        {
            # A cluster's centre has no kind where the evaluation video was tied to it; then that one's counts.
            "leak_kind": pa.array([None if row is None else row["dup_kind"] or "exact" for row in leaks], pa.string()),
            "leak_score": pa.array([None if row is None else row["dup_score"] or 1.0 for row in leaks], pa.float64()),
            "leak_of": pa.array([None if row is None else seen[row["cluster_id"]] for row in leaks], pa.string()),
        }
    )


def text_leaks(samples: pa.Table, evaluation: Sequence[pa.Table]) -> pa.Table:
    """How much of each question's words the evaluation sets have, as the signal ``leak_text``.

    1 where question, options (in any order) and answer are those of an evaluation question, case and punctuation
    ignored; else the share of its n-grams of 12 words (datatrove's length) that some evaluation question has.

    Args:
        samples: ``question``, ``options`` and ``answer`` of the corpus.
        evaluation: the same of the evaluation sets.

    Returns:
        ``leak_text`` with status and detail. ``na`` for a text without options of fewer than 12 words, which can recur
        by chance.
    """
    known, grams = set(), set()
    for table in evaluation:
        for text in _texts(table):
            known.add(_normalised(*text))
            grams.update(_ngrams(*text))
    signals = [_leak(text, known, grams) for text in _texts(samples)]
    return pa.Table.from_pylist(
        [video_values({"leak_text": signal}) for signal in signals], pa.schema(video_fields(["leak_text"]))
    )


_Text = tuple[str, list[str], str]


def _texts(table: pa.Table) -> list[_Text]:
    columns = (table[name].to_pylist() for name in ("question", "options", "answer"))
    return list(zip(*columns, strict=True))


def _leak(text: _Text, known: set[tuple[str, ...]], grams: set[tuple[str, ...]]) -> Signal:
    own = _ngrams(*text)
    if not text[1] and not own:
        return Signal(None, "na", f"no options, and fewer than {NGRAM} words")
    if _normalised(*text) in known:
        return Signal(1.0, detail="the same question in an evaluation set")
    return Signal(sum(gram in grams for gram in own) / len(own) if own else 0.0)


def _normalised(question: str, options: list[str], answer: str) -> tuple[str, ...]:
    return tuple(" ".join(_words(text)) for text in (question, *sorted(options), answer))


def _ngrams(question: str, options: list[str], answer: str) -> list[tuple[str, ...]]:
    said = _words(" ".join([question, *options, *([] if options else [answer])]))
    return [tuple(said[i : i + NGRAM]) for i in range(len(said) - NGRAM + 1)]


def _words(text: str) -> list[str]:
    return [word.casefold() for word in words(text)]


def _prefixed(table: pa.Table, prefix: str) -> pa.Table:
    ids = pa.array([prefix + video for video in table["video_id"].to_pylist()], pa.string())
    return table.set_column(0, "video_id", ids)
