"""Whether the moments that a question names are in its video."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SPAN = "span_beyond_s"


def span_columns(videos: pa.Table, samples: pa.Table) -> pa.Table:
    """The signal ``span_beyond_s`` of every question: seconds from the video's end to the start of its last span.

    Spans are ``evidence`` and, if there is one, ``t_start``. What starts within the video is negative. ``na`` where a
    question names no moment, or its video's duration is unknown.

    Args:
        videos: ``video_id`` and ``duration_s``, null where unknown.
        samples: ``video_id``, ``t_start`` and ``evidence``, a list of [start, end], in presentation seconds.

    Returns:
        ``span_beyond_s``, ``span_beyond_s_status`` and ``span_beyond_s_detail``, a row for each of ``samples``.
    """
    owner = pc.index_in(samples["video_id"], value_set=videos["video_id"].combine_chunks())
    ends = videos["duration_s"].cast(pa.float64()).take(owner)
    beyond = pc.subtract(_last_starts(samples), ends.combine_chunks())
    status = pc.if_else(beyond.is_valid(), "ok", "na")
    return pa.table({SPAN: beyond, f"{SPAN}_status": status, f"{SPAN}_detail": pa.nulls(len(samples), pa.string())})


def _last_starts(samples: pa.Table) -> pa.Array:
    """(n,) float64 seconds, null for a question without a span."""
    evidence = samples["evidence"].combine_chunks()
    last = samples["t_start"].cast(pa.float64()).to_numpy(zero_copy_only=False).copy()
    starts = pc.list_element(pc.list_flatten(evidence), 0).to_numpy(zero_copy_only=False)
    np.fmax.at(last, pc.list_parent_indices(evidence).to_numpy(), starts)  # NaN is none
    return pa.array(last, from_pandas=True)
