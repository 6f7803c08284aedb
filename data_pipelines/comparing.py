"""Compares all videos and questions of a corpus with each other and with those of the evaluation sets."""

from collections.abc import Sequence
from dataclasses import replace

from data_pipelines.duplicates import DuplicateSettings, find_duplicates
from data_pipelines.leaks import text_leaks, video_leaks
from data_pipelines.scoring import Scored, beside


def compare(scored: Scored, evaluation: Sequence[Scored], settings: DuplicateSettings) -> Scored:
    """The corpus with columns that tell of duplicates and, if there are evaluation sets, of leaks.

    Args:
        scored: the corpus.
        evaluation: the evaluation sets, measured in the same way.
        settings: what counts as the same.
    """
    found = find_duplicates(scored.videos, settings=settings).drop_columns(["video_id"])
    videos, samples = beside(scored.videos, found), scored.samples
    if evaluation:
        videos = beside(videos, video_leaks(videos, [other.videos for other in evaluation], settings))
        samples = beside(samples, text_leaks(samples, [other.samples for other in evaluation]))
    return replace(scored, videos=videos, samples=samples)
