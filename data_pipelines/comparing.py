"""Compares all videos and questions of a corpus with each other and with those of the evaluation sets."""

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from data_pipelines.decontamination import LeakSettings, text_leaks, video_leaks
from data_pipelines.duplicates import DuplicateSettings, find_duplicates
from data_pipelines.embedding_clusters import ClusterSettings, embedding_clusters
from data_pipelines.scoring import Scored, beside
from data_pipelines.span_signal import span_columns

_PICTURES = ("video_id", "key", "packet_md5", "duration_s", "hashes", "mirrored_hashes")
_EMBEDDED = ("embeddings", "embedding_frames")  # there with an encoder only
_TEXTS = ("sample_id", "question", "options", "answer")


def compare(
    scored: Scored,
    evaluation: Sequence[Scored],
    *,
    duplicates: DuplicateSettings,
    decontamination: LeakSettings,
    clusters: ClusterSettings,
) -> Scored:
    """The corpus with columns that tell of duplicates, of leaks (if there are evaluation sets), of what is alike, and
    of questions about moments that their video doesn't have.

    Args:
        scored: the corpus.
        evaluation: the evaluation sets, measured in the same way. They count as one.
        duplicates: which videos count as the same, within the corpus and in the evaluation sets.
        decontamination: which texts do.
        clusters: how videos are grouped by their embeddings, if they have any.
    """
    found = find_duplicates(scored.videos, settings=duplicates).drop_columns(["video_id"])
    videos = beside(scored.videos, found)
    samples = beside(scored.samples, span_columns(videos, scored.samples))
    if "embeddings" in videos.column_names:
        videos = videos.append_column("embedding_cluster", embedding_clusters(videos, clusters))
    if evaluation:
        pictures = [*_PICTURES, *(name for name in _EMBEDDED if name in videos.column_names)]
        known = pa.concat_tables([other.videos.select(pictures) for other in evaluation])
        leaks = video_leaks(videos, known, duplicates)
        videos = beside(videos, leaks.drop_columns(["video_id"]))
        asked = pa.concat_tables([other.samples.select(_TEXTS) for other in evaluation])
        samples = beside(samples, text_leaks(samples, asked, decontamination).drop_columns(["sample_id"]))
    return replace(scored, videos=videos, samples=samples)
