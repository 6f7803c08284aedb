"""What a corpus has in common with an evaluation set: videos that show the same, and the same questions."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipelines.duplicates import DuplicateSettings
from data_pipelines.duplicates.find import EXACT, PACKETS, known_packets
from data_pipelines.duplicates.matching import KINDS, PERCEPTUAL, SEMANTIC, Matcher
from data_pipelines.sample_signals import video_fields, video_values
from data_pipelines.signals.signal import Signal
from data_pipelines.signals.text_length import words
from recot.errors import ConfigError

_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd: each place in an n-gram counts differently
_COMMON = 100  # rows with one n-gram, from which on it says nothing
_CANDIDATES = 8  # rows of which the share is counted
_UNKNOWN = 0
_BATCH = 1 << 14  # rows in Python at a time


@dataclass(kw_only=True)
class LeakSettings:
    """Which texts count as a leak; videos are compared as duplicates are.

    Attributes:
        ngram: words in a row that are looked for in the evaluation set; 12 as in datatrove's decontamination.
        telling: words that the options together, or an answer without options, need so that a question with them can't
            be the same by chance. In the tiny world (seed 1) 87 to 100 % of good questions recur word for word in the
            evaluation set, 3 % of those about counting even with their options ("1 / 2 / 4 / not shown"), a quarter of
            those about movement with their answer ("moves left"); none with 8 words or more of options or answer.
    """

    ngram: int = 12
    telling: int = 8

    def check(self, where: str) -> None:
        """Refuse what can't be meant; ``where`` is the config key that holds these settings.

        Raises:
            ConfigError: naming the key, the value, and what is possible.
        """
        for name in ("ngram", "telling"):
            if not 1 <= getattr(self, name) <= 1000:
                raise ConfigError(f"{where}.{name} is {getattr(self, name)}, expected a number of words from 1 to 1000")


def video_leaks(videos: pa.Table, evaluation: pa.Table, settings: DuplicateSettings) -> pa.Table:
    """Which videos are in an evaluation set, compared as for duplicates: bytes, packets, perceptual hashes, embeddings.

    Args:
        videos: of the corpus, see ``find_duplicates``.
        evaluation: of the evaluation set, or of several, likewise; an id may come several times.
        settings: what is a copy. By chance, at most ``chance`` videos of the evaluation set look like a given one.

    Returns:
        A row for each of ``videos``, in the same order: ``video_id``, ``leak_kind`` (``exact``, ``packets``,
        ``perceptual``, ``semantic`` or null), ``leak_score`` double (1, 1, share of the shorter one's frames, mean
        cosine) and ``leak_of``, the id in the evaluation set.
    """
    # Equals among the evaluation set are told apart by their ids, whatever the order of rows.
    evaluation = evaluation.take(pc.sort_indices(evaluation["video_id"]))
    kind, score, of = np.full(len(videos), None, object), np.full(len(videos), np.nan), np.full(len(videos), -1)
    for name, column in ((EXACT, "key"), (PACKETS, "packet_md5")):
        same = _same_value(known_packets(videos[column]), known_packets(evaluation[column]))
        found = (of < 0) & (same >= 0)
        kind[found], score[found], of[found] = name, 1.0, same[found]
    rows = np.flatnonzero(of < 0)
    rows = rows[pc.sort_indices(videos["video_id"].take(pa.array(rows))).to_numpy()]
    best, what, which = _best_matches(Matcher(videos, rows, settings, evaluation, np.arange(len(evaluation))))
    matched = which >= 0
    of[rows[matched]], score[rows[matched]] = which[matched], best[matched]
    kind[rows[matched]] = np.array(KINDS, object)[what[matched]]
    columns = {
        "video_id": videos["video_id"],
        "leak_kind": pa.array(kind, pa.string()),
        "leak_score": pa.array(score, mask=np.isnan(score)),
        "leak_of": evaluation["video_id"].take(pa.array(of, mask=of < 0)),
    }
    return pa.table(columns)


def _same_value(values: pa.ChunkedArray, others: pa.ChunkedArray) -> np.ndarray:
    """``(n,)`` int64: the first of the others that is equal; -1 for null and where there is none."""
    first: dict[str, int] = {}
    for number, value in enumerate(others.to_pylist()):
        if value is not None:
            first.setdefault(value, number)
    place = pc.index_in(values, value_set=pa.array(list(first), pa.string()), skip_nulls=True)
    numbers = np.array([*first.values(), -1])
    return numbers[pc.fill_null(place, len(first)).to_numpy()]


def _best_matches(matcher: Matcher) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each video that is searched: best score, its kind, and the other video counted from 0, or -1 for none."""
    count = matcher.searched
    score, kind, other = np.zeros(count), np.full(count, PERCEPTUAL), np.full(count, -1)
    for hits in matcher.nearby():
        _keep_best(score, other, hits.left, hits.right - count, matcher.perceptual(hits))
    left, right, cosine = matcher.semantic()
    alone = other[left] < 0
    kind[left[alone]] = SEMANTIC
    _keep_best(score, other, left[alone], right[alone] - count, cosine[alone])
    return score, kind, other


def _keep_best(score: np.ndarray, other: np.ndarray, left: np.ndarray, right: np.ndarray, new: np.ndarray) -> None:
    """Of equal scores, that of the first other video."""
    order = np.lexsort((-right, new, left))
    order = order[new[order] > 0]
    last = order[np.flatnonzero(np.diff(left[order], append=-1))]  # of each video, the best comes last
    left, right, new = left[last], right[last], new[last]
    better = (new > score[left]) | ((new == score[left]) & (right < other[left]))
    score[left[better]], other[left[better]] = new[better], right[better]


def text_leaks(samples: pa.Table, evaluation: pa.Table, settings: LeakSettings) -> pa.Table:
    """Which texts are in an evaluation set, letters' case and punctuation aside; a question alone decides nothing.

    - A row is there as a whole if one has the same question and the same options in the same order, or without options
      the same answer. Only rows that can't be equal by chance are looked for: those with ``telling`` words of options
      or answer, or ``2 * ngram`` in all.
    - Else the share of its n-grams that one row has, if there are ``ngram`` of them or more that are at least half
      options or answer. In the tiny world (seed 1) captions of different scenes share up to 0.13.

    Args:
        samples: ``sample_id``, ``question``, ``answer`` and ``options`` of each row of the corpus.
        evaluation: the same of the evaluation set.
        settings: ``ngram`` and ``telling``.

    Returns:
        A row for each of ``samples``, in the same order: ``sample_id``; the signal ``leak_text`` with its status and
        detail, 1 for a whole row, else the share, ``na`` for a text that is too short to tell; and ``leak_text_of``,
        the sample of the evaluation set, null where nothing is shared.
    """
    known = _KnownTexts(evaluation.take(pc.sort_indices(evaluation["sample_id"])), settings)
    schema = pa.schema(
        [samples.schema.field("sample_id"), *video_fields(["leak_text"]), pa.field("leak_text_of", pa.string())]
    )
    parts = []
    for batch in samples.to_batches(max_chunksize=_BATCH):
        found = [known.find(*text) for text in _texts(batch)]
        ids = batch["sample_id"].to_pylist()
        rows = [
            {"sample_id": sample, **video_values({"leak_text": signal}), "leak_text_of": of}
            for sample, (signal, of) in zip(ids, found, strict=True)
        ]
        parts.append(pa.Table.from_pylist(rows, schema))
    return pa.concat_tables(parts) if parts else schema.empty_table()


_Text = tuple[str, list[str] | None, str]


def _texts(samples: pa.Table | pa.RecordBatch) -> Iterator[_Text]:
    yield from zip(*(samples[name].to_pylist() for name in ("question", "options", "answer")), strict=True)


class _KnownTexts:
    """The texts of an evaluation set, to be looked up."""

    def __init__(self, samples: pa.Table, settings: LeakSettings) -> None:
        self._settings, self._ids = settings, samples["sample_id"].to_pylist()
        self._whole: dict[str, int] = {}
        self._codes: dict[str, int] = {}
        grams, rows = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for row, text in enumerate(_texts(samples)):
            self._whole.setdefault(_joined(*text), row)
            asked, own = _words(*text)
            self._codes.update((word, _code(word)) for word in (*asked, *own) if word not in self._codes)
            grams.append(self._grams([*asked, *own])[0])
            rows.append(np.full(len(grams[-1]), row))
        gram, row_of = np.concatenate(grams), np.concatenate(rows)
        order = np.argsort(gram, kind="stable")
        self._gram, self._row = gram[order], row_of[order]

    def find(self, question: str, options: list[str] | None, answer: str) -> tuple[Signal, str | None]:
        """How much of a text is there, and in which sample."""
        asked, own = _words(question, options, answer)
        size = self._settings.ngram
        if len(own) < self._settings.telling and len(asked) + len(own) < 2 * size:
            return Signal(None, "na", "too short to tell"), None
        row = self._whole.get(_joined(question, options, answer))
        if row is not None:
            return Signal(1.0, detail="the same text in an evaluation set"), self._ids[row]
        grams, count = self._grams([*asked[max(0, len(asked) - size // 2) :], *own])
        share, row = self._largest_share(grams, count) if count >= size else (0.0, -1)
        return Signal(share), self._ids[row] if share else None

    def _largest_share(self, grams: np.ndarray, count: int) -> tuple[float, int]:
        begin = np.searchsorted(self._gram, grams)
        end = np.searchsorted(self._gram, grams, side="right")
        found_at = np.flatnonzero(end > begin)
        places = [self._row[b:e] for b, e in zip(begin[found_at], end[found_at], strict=True)]
        found = Counter(chain.from_iterable(rows.tolist() for rows in places if len(rows) <= _COMMON))
        ranked = sorted(found, key=lambda row: (-found[row], row))[:_CANDIDATES]
        shares = [(sum(row in rows for rows in places) / count, -row) for row in ranked]
        share, row = max(shares, default=(0.0, 1))
        return share, -row

    def _grams(self, text: list[str]) -> tuple[np.ndarray, int]:
        """``(n,)`` uint64, different: one for all words in a row that are known; and how many there are with others."""
        size = self._settings.ngram
        if len(text) < size:
            return np.zeros(0, np.uint64), 0
        codes = np.array([self._codes.get(word, _UNKNOWN) for word in text], dtype=np.uint64)
        windows = np.lib.stride_tricks.sliding_window_view(codes, size)
        known = (windows != _UNKNOWN).all(1)
        grams = np.unique((windows[known] * np.multiply.accumulate(np.full(size, _FACTOR))).sum(1, dtype=np.uint64))
        return grams, len(grams) + int((~known).sum())


def _words(question: str, options: list[str] | None, answer: str) -> tuple[list[str], list[str]]:
    """Of the question, and of the options or the answer."""
    own = options or [answer]
    return _plain(question), [word for text in own for word in _plain(text)]


def _joined(question: str, options: list[str] | None, answer: str) -> str:
    return "\n".join(" ".join(_plain(text)) for text in (question, *(options or [answer])))


def _plain(text: str) -> list[str]:
    return words(unicodedata.normalize("NFKC", text).casefold())


def _code(word: str) -> int:
    """Not 0."""
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big") | 1
