"""Hand-made tables of videos and samples, and a policy to judge them by."""

from typing import Any

import pyarrow as pa

from data_pipelines.decisions import Decisions, Policy
from data_pipelines.rules import Rule
from data_pipelines.selection import Selection

_TYPES = {
    "task_type": pa.string(),
    "health_detail": pa.string(),
    "error_reason": pa.string(),
    "error_class": pa.string(),
    "error_detail": pa.string(),
    "key": pa.string(),
    "packet_md5": pa.string(),
    "cluster_id": pa.int64(),
    "dup_kind": pa.string(),
    "dup_score": pa.float64(),
    "leak_kind": pa.string(),
    "leak_score": pa.float64(),
    "leak_of": pa.string(),
}


def table(rows: list[dict[str, Any]], **defaults: Any) -> pa.Table:
    """One row a dict; a key that a row lacks is null there, or its default."""
    names = list(dict.fromkeys([*defaults, *(name for row in rows for name in row)]))

    def kind(name: str) -> pa.DataType | None:
        return pa.string() if name.endswith(("_status", "_id")) and name != "cluster_id" else _TYPES.get(name)

    return pa.table({name: pa.array([row.get(name, defaults.get(name)) for row in rows], kind(name)) for name in names})


def films(*rows: dict[str, Any]) -> pa.Table:
    """Videos, ``v0``, ``v1``, ... of one source and 10 s unless they say otherwise, each with a content of its own."""
    found = [{"video_id": f"v{i}", "key": f"key{i}", **row} for i, row in enumerate(rows)]
    nothing = dict.fromkeys(("error_reason", "error_class", "error_detail", "leak_kind", "leak_score", "leak_of"))
    return table(found, source="films", duration_s=10.0, **nothing)


def texts(*rows: dict[str, Any]) -> pa.Table:
    """Samples, ``s0``, ``s1``, ..., of the video ``v0`` unless they say otherwise."""
    found = [{"sample_id": f"s{i}", "video_id": "v0", **row} for i, row in enumerate(rows)]
    if not found:
        return pa.table({name: pa.array([], pa.string()) for name in ("sample_id", "video_id", "task_type")})
    return table(found, task_type="open")


def selection(**changes: Any) -> Selection:
    """No budget and no limits, strata by source and task."""
    values: dict[str, Any] = {
        "budget": None,
        "unit": "samples",
        "max_qa_per_video": None,
        "strata": ["source", "task_type"],
        "duration_edges_s": [30, 60],
        "floor": 0,
        "alpha": 0.5,
        "weights": {},
        "seed": 0,
    }
    return Selection(**(values | changes))


def policy(
    *,
    duplicates: tuple[str, ...] = ("packets", "perceptual", "semantic"),
    chosen: Selection | None = None,
    **rules: Rule,
) -> Policy:
    """Leaks go, what ``ours`` broke is set aside, and rules as given."""
    return Policy(rules, list(duplicates), True, ["ours"], chosen or selection())


def why(decisions: Decisions) -> dict[str, list[str]]:
    """Video or sample id -> its reasons."""
    rows = [*decisions.videos.to_pylist(), *decisions.samples.to_pylist()]
    return {row.get("sample_id", row["video_id"]): row["reason_codes"] for row in rows}


def what(decisions: Decisions) -> dict[str, str]:
    """Video or sample id -> keep, drop or quarantine."""
    rows = [*decisions.videos.to_pylist(), *decisions.samples.to_pylist()]
    return {row.get("sample_id", row["video_id"]): row["decision"] for row in rows}
