"""Reading inputs in tests as the pipeline reads them."""

from pathlib import Path
from typing import Any

import pytest

from data_pipelines.ingest.locations import local_path
from data_pipelines.ingest.read import read_records
from data_pipelines.ingest.records import Records, VideoRecord
from recot.errors import DataError


def read(source: Path | str, video_root: Path | str | None = None) -> Records:
    """``read_records`` where no copy is needed: the scratch folder can't be made."""
    root = None if video_root is None else str(video_root)
    return read_records(str(source), video_root=root, scratch=Path("/dev/null/scratch"))


def path_of(video: VideoRecord) -> Path:
    path = local_path(video.uri)
    assert path is not None
    return path


def error_of(source: Path | str, video_root: Path | str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read(source, video_root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def conversation(*texts: str) -> list[dict[str, Any]]:
    return [{"from": "human" if i % 2 == 0 else "gpt", "value": text} for i, text in enumerate(texts)]
