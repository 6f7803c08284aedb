"""``manifest.parquet``: what became of every question, with everything that is known of it and of its video.

One row a question, or one for a video without questions (``sample_id`` is null there), in order of the input.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipelines.parquet_file import ROWS_PER_GROUP, write_parquet

MANIFEST_NAME = "manifest.parquet"
DECISIONS = ("keep", "drop", "quarantine")
PLACES = pa.schema([("key", pa.string()), ("split", pa.string()), ("shard", pa.string()), ("shard_row", pa.int64())])
"""Where a video is in the shards: ``shard_row`` counts the videos of its shard."""


def _fields(**types: pa.DataType) -> list[pa.Field]:
    return [pa.field(name, kind) for name, kind in types.items()]


_TEXT, _WHOLE, _NUMBER = pa.string(), pa.int64(), pa.float64()
_VIDEO_FIELDS = [
    *_fields(video_id=_TEXT, uri=_TEXT, source_uri=_TEXT, source=_TEXT, licence=_TEXT),
    *_fields(key=_TEXT, extension=_TEXT, container=_TEXT, codec=_TEXT, width=_WHOLE, height=_WHOLE, fps=_NUMBER),
    *_fields(is_vfr=pa.bool_(), media_duration_s=_NUMBER, media_frames=_WHOLE, rotation=_WHOLE, packet_md5=_TEXT),
    *_fields(error_reason=_TEXT, error_class=_TEXT, error_detail=_TEXT),
    *_fields(cluster_id=_WHOLE, dup_kind=_TEXT, dup_score=_NUMBER, dup_nearest=_TEXT),
    *_fields(leak_kind=_TEXT, leak_score=_NUMBER, leak_of=_TEXT, embedding_cluster=_WHOLE),
]
"""Columns that every manifest has, null where a step didn't run. ``frames`` and ``duration_s`` are signals."""
_SAMPLE_FIELDS = [
    *_fields(sample_id=_TEXT, task_type=_TEXT, t_start=_NUMBER, t_end=_NUMBER),
    *_fields(leak_text=_NUMBER, leak_text_of=_TEXT),
]
_DECISION_FIELDS = _fields(dup_of=_TEXT, stratum=_TEXT, decision=_TEXT, reason_codes=pa.list_(_TEXT), rank=_WHOLE)


@dataclass(frozen=True)
class Counts:
    """Of videos or of rows of the manifest."""

    input: int
    kept: int
    dropped: int
    quarantined: int


def count(decided: pa.Table, expected: int) -> Counts:
    """Count decisions, and see that none is lost.

    Args:
        decided: ``decision`` and ``reason_codes``.
        expected: how many there must be.

    Raises:
        RuntimeError: unless kept + dropped + quarantined is ``expected``, and exactly those kept have no reason.
    """
    found = {row["values"]: row["counts"] for row in pc.value_counts(decided["decision"]).to_pylist()}
    counts = Counts(expected, *(found.get(decision, 0) for decision in DECISIONS))
    if counts.kept + counts.dropped + counts.quarantined != expected or len(decided) != expected:
        raise RuntimeError(f"lost count: {expected} in, and {found} decided")
    reasons = pc.fill_null(pc.list_value_length(decided["reason_codes"]), 0)
    contradictory = pc.sum(pc.equal(pc.equal(decided["decision"], "keep"), pc.greater(reasons, 0))).as_py()
    if contradictory:
        raise RuntimeError(f"{contradictory} decisions contradict their reasons")
    return counts


def write_manifest(
    folder: Path,
    *,
    videos: pa.Table,
    samples: pa.Table,
    decided_videos: pa.Table,
    decided_samples: pa.Table,
    places: pa.Table,
    config_hash: str,
) -> Counts:
    """Write ``manifest.parquet`` into ``folder``; equal tables give equal bytes.

    Its columns: provenance, licence and media facts; every signal of the tables (what has a ``_status`` beside it) with
    its status; duplicates and leaks; the decision; ``split``, ``shard`` and ``shard_row`` of what is kept. A kept
    question of a copy is where the video is that it was given to (``dup_of``).

    Args:
        folder: where it goes.
        videos: the videos with all columns.
        samples: the questions with all columns; each ``video_id`` is in ``videos``.
        decided_videos: a row for each of ``videos``, in their order: ``decision, reason_codes, dup_of, stratum, rank``.
        decided_samples: a row for each of ``samples``, likewise.
        places: ``PLACES`` of every video in the shards.
        config_hash: noted in the schema's metadata.

    Returns:
        Counts of the manifest's rows.

    Raises:
        RuntimeError: unless input = kept + dropped + quarantined, and what is kept is in the shards.
    """
    count(decided_videos, len(videos))
    count(decided_samples, len(samples))
    owner = pc.index_in(samples["video_id"], value_set=videos["video_id"]).combine_chunks()
    if owner.null_count:
        raise RuntimeError(f"{owner.null_count} questions are of videos that aren't there")
    film, text = _order(owner.to_numpy().astype(np.int64), len(videos))
    decided = pa.concat_tables([_decisions(decided_samples), _decisions(decided_videos)])
    decided = decided.take(np.where(text >= 0, text, len(samples) + film))
    place = _place_rows(videos, decided, film, places)
    parts = [
        (_typed(videos, _with_signals(_VIDEO_FIELDS, videos)), film),
        (_typed(samples, _with_signals(_SAMPLE_FIELDS, samples)), text),
        (decided, np.arange(len(film))),
        (_typed(places, list(PLACES)[1:]), place),
    ]
    schema = pa.schema([field for table, _ in parts for field in table.schema])
    if len(set(schema.names)) != len(schema.names):
        raise RuntimeError(f"videos and questions have columns of one name: {sorted(schema.names)}")

    def groups() -> Iterator[pa.Table]:
        for start in range(0, len(film), ROWS_PER_GROUP):
            stop = start + ROWS_PER_GROUP
            taken = [table.take(pa.array(rows[start:stop], mask=rows[start:stop] < 0)) for table, rows in parts]
            yield pa.table([column for table in taken for column in table.columns], schema=schema)

    write_parquet(folder / MANIFEST_NAME, groups(), schema, {"config_hash": config_hash})
    bare = len(videos) - pc.count_distinct(owner).as_py()
    return count(decided, len(samples) + bare)


def _order(owner: np.ndarray, videos: int) -> tuple[np.ndarray, np.ndarray]:
    """Of every row of the manifest, the row of its video and of its question; -1 where a video has none."""
    bare = np.setdiff1d(np.arange(videos), owner)
    film = np.concatenate((owner, bare))
    text = np.concatenate((np.arange(len(owner)), np.full(len(bare), -1)))
    order = np.lexsort((text, film))
    return film[order], text[order]


def _place_rows(videos: pa.Table, decided: pa.Table, film: np.ndarray, places: pa.Table) -> np.ndarray:
    """(rows,) row of ``places`` where the row's video is, or the video that it was given to; -1 for what isn't kept."""
    kept = pc.equal(decided["decision"], "keep").to_numpy(zero_copy_only=False)
    taken_over = pc.index_in(decided["dup_of"], value_set=videos["video_id"])
    home = np.where(pc.is_valid(decided["dup_of"]), pc.fill_null(taken_over, -1), film)
    of_video = pc.fill_null(pc.index_in(videos["key"], value_set=places["key"]), -1).to_numpy()
    rows = np.where(kept, of_video[home], -1)
    if (rows[kept] < 0).any() or len(np.unique(rows[kept])) != len(places):
        raise RuntimeError(
            f"{np.count_nonzero(rows[kept] < 0)} kept rows are in no shard, and {len(places)} videos in the shards are "
            f"{len(np.unique(rows[kept]))} of the kept rows"
        )
    return rows


def _decisions(table: pa.Table) -> pa.Table:
    return _typed(table, _DECISION_FIELDS)


def _typed(table: pa.Table, fields: Sequence[pa.Field]) -> pa.Table:
    """These columns with these types; null where the table has no such column."""
    names = set(table.column_names)
    columns = [
        table[field.name].cast(field.type) if field.name in names else pa.nulls(len(table), field.type)
        for field in fields
    ]
    return pa.table(columns, schema=pa.schema(fields))


def _with_signals(fields: Sequence[pa.Field], table: pa.Table) -> list[pa.Field]:
    """The fields, and value and status of every signal of the table that isn't among them."""
    names = [name for name in table.column_names if f"{name}_status" in table.column_names]
    wanted = [field for name in names for field in _fields(**{name: _NUMBER, f"{name}_status": _TEXT})]
    fixed = {field.name for field in fields}
    return [*fields, *(field for field in wanted if field.name not in fixed)]
