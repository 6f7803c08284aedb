"""Samples, and videos without samples, as the rows of one table."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipelines.selection import Selection


def gather(
    videos: pa.Table, samples: pa.Table, sample_rows: np.ndarray, video_rows: np.ndarray, names: Iterable[str]
) -> pa.Table:
    """The columns ``names`` of samples, or else of their videos; those that neither table has are left out.

    Args:
        videos: one row a video.
        samples: one row a sample.
        sample_rows: (s,) int64, rows of ``samples``.
        video_rows: (s + b,) int64, the rows of their videos, and then of b videos without samples, for which the
            columns of ``samples`` are null.
        names: columns.
    """
    wanted, owners = pa.array(sample_rows), pa.array(video_rows)
    bare = len(video_rows) - len(sample_rows)
    columns = {}
    for name in names:
        if name in samples.column_names:
            column = samples[name].take(wanted)
            columns[name] = pa.chunked_array([*column.chunks, pa.nulls(bare, column.type)])
        elif name in videos.column_names:
            columns[name] = videos[name].take(owners)
    return pa.table(columns)


def candidates(
    videos: pa.Table,
    samples: pa.Table,
    sample_rows: np.ndarray,
    video_rows: np.ndarray,
    home: np.ndarray,
    selection: Selection,
) -> pa.Table:
    """What ``selection.select`` reads, of rows as for ``gather``.

    Args:
        home: (s + b,) int64, row of the video that a sample will be kept with.
    """
    used = ["source", "task_type", "visual_tokens", "text_tokens", *selection.strata, *selection.weights]
    table = gather(videos, samples, sample_rows, video_rows, dict.fromkeys(used))
    names = gather(videos, samples.select(["sample_id"]), sample_rows, video_rows, ["video_id", "sample_id"])
    ids = pc.binary_join_element_wise(names["video_id"], names["sample_id"], "\x1f", null_handling="replace")
    return table.append_column("id", ids).append_column("video", pa.array(home))
