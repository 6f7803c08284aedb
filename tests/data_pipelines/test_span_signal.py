"""Questions about moments after the end of their video go."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipelines.config import PruneConfig
from data_pipelines.pipeline import Models, prune
from data_pipelines.span_signal import span_columns

MakeConfig = Callable[..., PruneConfig]
SAMPLES = pa.schema(
    [("video_id", pa.string()), ("t_start", pa.float64()), ("evidence", pa.list_(pa.list_(pa.float64())))]
)


def test_seconds_beyond_the_end_of_the_last_span() -> None:
    videos = pa.table({"video_id": ["a", "b", "broken"], "duration_s": [10.0, 3.0, None]})
    rows = [("b", None, [[0, 1], [4, 5], [2, 9]]), ("a", 4.0, []), ("a", 12.0, [[1, 2]]), ("a", None, [])]
    rows += [("broken", 4.0, [[1, 2]]), ("a", None, [[9, 20]]), ("b", None, None)]
    samples = pa.Table.from_pylist([dict(zip(SAMPLES.names, row, strict=True)) for row in rows], SAMPLES)
    found = span_columns(videos, samples)
    assert found["span_beyond_s"].to_pylist() == [1, -6, 2, None, None, -1, None]
    assert found["span_beyond_s_status"].to_pylist() == ["ok", "ok", "ok", "na", "na", "ok", "na"]
    assert len(span_columns(videos, samples.slice(0, 0))) == 0


@pytest.mark.parametrize(("preset", "lost"), [("balanced", ["late", "late start"]), ("none", [])])
def test_they_are_dropped_with_a_reason(
    clips: Path, tmp_path: Path, make_config: MakeConfig, preset: str, lost: list[str]
) -> None:
    """The video lasts 1 s."""
    spans = {"inside": [[0.2, 9.0]], "within a second": [[1.0, 2.0], [1.9, 3.0]], "late": [[0.0, 1.0], [2.5, 3.0]]}
    rows = [{"id": name, "evidence": evidence} for name, evidence in spans.items()]
    rows += [{"id": "late start", "t_start": 60.0}, {"id": "no span"}]
    common = {"video": "a/2.mp4", "question": "What happens?"}
    (tmp_path / "rows.json").write_text(
        json.dumps([{**common, "answer": f"It is {row['id']}.", **row} for row in rows])
    )
    prune(
        make_config(
            f"source={tmp_path / 'rows.json'}", f"video_root={clips}", f"output={tmp_path / 'out'}", f"pruning={preset}"
        ),
        Models(),
    )
    manifest = pq.read_table(tmp_path / "out/manifest.parquet").to_pylist()
    reasons = {row["sample_id"]: row["reason_codes"] for row in manifest}
    assert reasons == {str(row["id"]): ["span_beyond_end"] if row["id"] in lost else [] for row in rows}
    assert {row["sample_id"]: row["span_beyond_s"] for row in manifest}["late"] == pytest.approx(1.5)
