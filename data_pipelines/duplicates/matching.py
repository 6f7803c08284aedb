"""Comparing videos by what they show: perceptual hashes first, frame embeddings where these find nothing."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from data_pipelines.duplicates.alignment import Aligner, Rivals
from data_pipelines.duplicates.nearby import Hits, find_nearby
from data_pipelines.duplicates.semantic import Embedded
from data_pipelines.duplicates.sequences import find_looks, joined, read_sequences
from data_pipelines.duplicates.settings import DuplicateSettings

PERCEPTUAL, SEMANTIC = 0, 1
KINDS = ("perceptual", "semantic")


class Matcher:
    """Videos that can be compared with each other.

    Args:
        videos: columns ``hashes``, ``mirrored_hashes``, ``duration_s``, ``embeddings`` and ``embedding_frames``; the
            last two may be missing.
        rows: ``(V,)`` int64: the videos, as rows of this table.
        settings: what is a copy.
        others: another table. Then the videos are searched for what is like one of these, and not for each other.
        other_rows: ``(W,)`` int64: its videos, numbered from V on.
    """

    def __init__(
        self,
        videos: pa.Table,
        rows: np.ndarray,
        settings: DuplicateSettings,
        others: pa.Table | None = None,
        other_rows: np.ndarray | None = None,
    ) -> None:
        self._settings, self.searched = settings, len(rows)
        sequences = read_sequences(videos).take(rows)
        among = sequences.durations_s
        if others is not None and other_rows is not None:
            sequences = joined(sequences, read_sequences(others).take(other_rows))
            among = sequences.durations_s[self.searched :]
            rows = np.concatenate([rows, other_rows + len(videos)])
        self.lengths = sequences.lengths
        looks = find_looks(sequences, settings.radius // 2)
        self._aligner = Aligner(sequences, looks, Rivals.among(sequences.durations_s, among), settings)
        self._embedded = _embedded(videos, others, rows, sequences.durations_s, settings)

    def compare(self, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores of pairs, 0 for no copy, and their kinds; the same whichever comes first."""
        left, right = np.minimum(left, right), np.maximum(left, right)
        score = self._aligner.best(left, right)
        kind = np.full(len(left), PERCEPTUAL)
        if self._embedded is not None:
            rest = np.flatnonzero(score == 0)
            score[rest] = self._embedded.compare(left[rest], right[rest])
            kind[rest[score[rest] > 0]] = SEMANTIC
        return score, kind

    def nearby(self) -> Iterator[Hits]:
        """Pairs with frames whose hashes are almost equal; a pair may come again."""
        return find_nearby(self._aligner.sequences, self._aligner.looks, self.searched, self._settings.seed)

    def perceptual(self, hits: Hits) -> np.ndarray:
        """``(n,)`` float64: the share of frames that match, 0 where it is no copy."""
        return self._aligner.compare(hits)[0]

    def semantic(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pairs whose embeddings are alike, and that are copies: left, right and score, ``(n,)`` each."""
        pairs = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
        if self._embedded is not None:
            for left, right in self._embedded.find_alike(self.searched):
                score = self._embedded.compare(left, right)
                found = score > 0
                pairs.append((left[found], right[found], score[found]))
        left, right, score = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        return left, right, score


def _embedded(
    videos: pa.Table, others: pa.Table | None, rows: np.ndarray, durations_s: np.ndarray, settings: DuplicateSettings
) -> Embedded | None:
    """None where there are no embeddings, or of another width for the others."""
    tables = [videos] if others is None else [videos, others]
    columns = [table["embeddings"] for table in tables if "embeddings" in table.column_names]
    types = {column.type for column in columns}
    if len(columns) < len(tables) or len(types) > 1 or pa.types.is_null(columns[0].type):
        return None
    chunks = [chunk for column in columns for chunk in column.chunks]
    frames = [chunk for table in tables for chunk in table["embedding_frames"].cast(pa.int64()).chunks]
    embeddings = pa.chunked_array(chunks, types.pop())
    return Embedded(embeddings, pa.chunked_array(frames, pa.int64()), rows, durations_s, settings)
