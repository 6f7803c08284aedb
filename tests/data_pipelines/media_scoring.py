"""Short ways to score a file and to read a signal."""

from dataclasses import replace
from pathlib import Path

from data_pipelines.media import MediaScores, MediaSettings, score_media
from data_pipelines.supervised import Failure
from recot.video_io import VideoLimits

SETTINGS = MediaSettings(frame_size=64)
FRAMES = 64


def score(path: Path, **changes: int) -> MediaScores:
    scores = try_to_score(path, **changes)
    assert isinstance(scores, MediaScores), scores
    return scores


def try_to_score(path: Path, **changes: int) -> MediaScores | Failure:
    return score_media(path, settings=replace(SETTINGS, **changes), limits=VideoLimits(), max_bytes=2**30)


def value(scores: MediaScores, signal: str) -> float:
    found = scores.signals[signal]
    assert found.value is not None, found
    return found.value
