"""Checks that aren't a bound on a signal: whether a video decodes, leaks, copies another one or has questions left."""

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipelines.checks import Check
from data_pipelines.copies import KINDS, Copies
from data_pipelines.selection import REASONS

LEAKED = "leaked_video"
NO_QUESTION_LEFT = "no_question_left"
DUPLICATES = tuple(f"duplicate_{kind}" for kind in KINDS)


def decodable(videos: pa.Table, ours: Collection[str]) -> Check:
    """Whether the video can be used at all: it can't where it has an ``error_reason``, held where that is ``ours``."""
    encoded = videos["error_reason"].combine_chunks().dictionary_encode()
    codes = pc.fill_null(encoded.indices, -1).to_numpy().astype(np.int16)
    reasons = tuple(encoded.dictionary.to_pylist())
    held = np.isin(codes, [number for number, reason in enumerate(reasons) if reason in ours])
    return Check(
        stage="media",
        signal="decodable",
        values=pa.array(np.ones(len(videos)), mask=codes >= 0),
        codes=codes,
        reasons=reasons,
        held=held,
        error_class=videos["error_class"].combine_chunks().cast(pa.string()),
        detail=videos["error_detail"].combine_chunks().cast(pa.string()),
    )


def leaked(videos: pa.Table, drop: bool) -> Check:
    """Whether the video is one of an evaluation set, that is, has a ``leak_kind``; ``drop`` False lets it pass."""
    found = np.asarray(videos["leak_kind"].combine_chunks().is_valid()) & drop
    return Check(
        stage="compare",
        signal="leak",
        values=videos["leak_score"].combine_chunks().cast(pa.float64()),
        codes=np.where(found, 0, -1).astype(np.int16),
        reasons=(LEAKED,),
        held=np.zeros(len(found), bool),
        detail=videos["leak_of"].combine_chunks().cast(pa.string()),
    )


def questions_left(dropped: np.ndarray, held: np.ndarray, owner: np.ndarray, videos: int) -> Check:
    """Whether a video that came with questions has one without a reason of its own.

    Args:
        dropped: (samples,) bool.
        held: (samples,) bool.
        owner: (samples,) int64, row of the video.
        videos: number of videos.
    """
    asked = np.bincount(owner, minlength=videos)
    left = np.bincount(owner[~(dropped | held)], minlength=videos)
    only_held = np.bincount(owner[held & ~dropped], minlength=videos) > 0
    return Check(
        stage="policy",
        signal="questions_left",
        values=pa.array(left.astype(np.float64), mask=asked == 0),
        codes=np.where((asked > 0) & (left == 0), 0, -1).astype(np.int16),
        reasons=(NO_QUESTION_LEFT,),
        held=only_held,
        threshold=1.0,
        threshold_source="a video that came with questions needs one",
    )


def duplicate(videos: pa.Table, copies: Copies) -> Check:
    """Whether another video stays instead of this one; ``detail`` is its id."""
    score = videos["dup_score"].combine_chunks() if "dup_score" in videos.column_names else None
    return Check(
        stage="compare",
        signal="duplicate",
        values=score,
        codes=copies.kind,
        reasons=DUPLICATES,
        held=np.zeros(len(videos), bool),
        detail=kept_instead(videos, copies),
    )


def kept_instead(videos: pa.Table, copies: Copies) -> pa.Array:
    """(n,) string, id of the video that stays instead; null where none does."""
    return videos["video_id"].combine_chunks().take(pa.array(copies.of, mask=copies.of < 0))


def selected(codes: np.ndarray, score: pa.ChunkedArray, stratum: pa.ChunkedArray) -> Check:
    """What the selection leaves out; the value is the score, ``detail`` the stratum.

    Args:
        codes: (n,) int16, place in ``selection.REASONS``, or -1.
        score: double, null for what wasn't there to be selected.
        stratum: string.
    """
    return Check(
        stage="policy",
        signal="selection",
        values=score.combine_chunks(),
        codes=codes,
        reasons=REASONS,
        held=np.zeros(len(codes), bool),
        detail=stratum.combine_chunks(),
    )
