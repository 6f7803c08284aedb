"""What is known of every video and every question: runs the stages, and puts their results into two tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from data_pipelines.engine import StageRun, run_stage
from data_pipelines.ingest.locations import is_remote
from data_pipelines.ingest.records import VideoRecord
from data_pipelines.language_stage import (
    LANGUAGE_COLUMNS,
    LANGUAGE_VERSION,
    LanguageSettings,
    LanguageWork,
    language_item,
)
from data_pipelines.language_stage import SAMPLE_SIGNALS as LANGUAGE_SIGNALS
from data_pipelines.ledger import Ledger, config_hash
from data_pipelines.media import MEDIA_VERSION
from data_pipelines.media_rows import ROW_SCHEMA
from data_pipelines.media_stage import MediaWork, media_item
from data_pipelines.sample_signals import sample_columns, video_columns
from data_pipelines.stage_worker import Item, MakeWork
from data_pipelines.text_scores import caption_columns, frame_proxy_columns, question_columns
from data_pipelines.video_lm_stage import SAMPLE_SIGNALS as VIDEO_LM_SIGNALS
from data_pipelines.video_lm_stage import VIDEO_LM_COLUMNS, VIDEO_LM_VERSION, VideoLmWork, video_lm_item
from data_pipelines.vision_stage import (
    EMBED_COLUMNS,
    EMBED_VERSION,
    SAMPLE_SIGNALS,
    VIDEO_SIGNALS,
    EmbedSettings,
    EmbedWork,
    embed_item,
)
from recot.data.schema import QA

_TOP_K = 1  # frames that a sentence is compared with; of tiny-world captions, one told right from wrong best
_SAME_COSINE = 0.9  # of greedy frame clusters; ours
TRY_AGAIN = ("exception", "fetch_failed", "stage_failed", "unreadable_file")
"""Failures that may say nothing of the video: they are forgotten, so that the next run tries again."""
MISSING = "not_found"
"""The same for a remote video: unlike a local one, it has no size or time that tells when it comes to be there."""
PICTURES = "pictures"


@dataclass(frozen=True)
class Model:
    """A model that a stage is given: how to load it, and what tells it from others, for the ledger.

    Attributes:
        load: picklable; called once in each worker.
        identity: JSON-able; other weights, another identity.
    """

    load: Callable[[], Any]
    identity: Mapping[str, Any]


@dataclass(frozen=True)
class Stages:
    """How to measure.

    Attributes:
        scores: folder of the ledgers.
        media: work of the stage ``media``.
        encoder: for the stage ``embed``, which is left out without one.
        language_model: for the stage ``language``, likewise.
        video_lm: for the stage ``video_lm``, likewise.
        choice_instruction: see ``language_stage.LanguageSettings``.
        workers: processes.
        model_workers: processes that run a model.
        address: of a cluster, see ``engine.run_stage``.
    """

    scores: Path
    media: MediaWork
    encoder: Model | None
    language_model: Model | None
    video_lm: Model | None
    choice_instruction: str
    workers: int
    model_workers: int
    address: str | None

    def media_ledger(self) -> Ledger:
        """Of the stage ``media``. What videos may cost counts too: it decides which of them fail."""
        work = self.media
        settings = {
            "settings": vars(work.settings),
            "limits": vars(work.limits),
            "max_bytes": work.max_bytes,
            "memory_bytes": work.memory_bytes,
        }
        return Ledger(self.scores / "media", config_hash(settings, MEDIA_VERSION), ROW_SCHEMA)


@dataclass(frozen=True)
class Scored:
    """A corpus with its signals.

    Attributes:
        videos: a row a video, in the order of the input; see ``decisions.decide`` for the columns.
        samples: a row a question, in the order of the videos and of their questions.
        media_items: the item of each video in the stage ``media``.
        runs: stage -> what it took.
    """

    videos: pa.Table
    samples: pa.Table
    media_items: list[str]
    runs: dict[str, StageRun] = field(default_factory=dict)


def score(
    records: Sequence[VideoRecord], stages: Stages, *, licence: str, tokens: Callable[[int, float], int]
) -> Scored:
    """Measure all signals of all videos and questions; what is in the ledgers already isn't measured again.

    Args:
        records: videos with their questions.
        stages: how.
        licence: of videos whose record says none.
        tokens: (shown frames, seconds) -> compact visual tokens that training will make of them.
    """
    ledger = stages.media_ledger()
    items = [media_item(video) for video in records]
    ids = [item["id"] for item in items]
    runs = {"media": _run(stages, items, ledger, stages.media, stages.workers)}
    rows = _results(ledger, ids, [name for name in ledger.schema.names if name != PICTURES])
    remote = pa.array([is_remote(video.uri) for video in records], pa.bool_())
    _forget(ledger, rows.filter(remote), (MISSING,))
    videos = beside(_base(records, licence), rows.drop_columns(["id"]))
    usable = [None if reason else item for item, reason in zip(ids, rows["error_reason"].to_pylist(), strict=True)]
    counts = [len(video.qa) for video in records]
    samples = _samples(records)
    videos = beside(videos, caption_columns(records))
    samples = beside(samples, question_columns(records))
    visual = [
        None if frames is None else tokens(frames, seconds)
        for frames, seconds in zip(
            videos["media_frames"].to_pylist(), videos["media_duration_s"].to_pylist(), strict=True
        )
    ]
    videos = videos.append_column("visual_tokens", pa.array(visual, pa.int64()))
    if stages.encoder is not None:
        runs["embed"], of_videos, of_samples = _embed(records, usable, videos, counts, stages, ledger)
        videos, samples = beside(videos, of_videos), beside(samples, of_samples)
    if stages.language_model is not None:
        runs["language"], of_samples = _language(records, usable, counts, stages, ledger)
        samples = beside(samples, of_samples)
    if stages.video_lm is not None:
        runs["video_lm"], of_samples = _video_lm(records, usable, counts, stages, ledger)
        samples = beside(samples, of_samples)
    if stages.encoder is not None:
        samples = _with_frame_proxy(samples, videos, counts, stages.media.settings.frame_count)
    return Scored(videos, samples, ids, runs)


def _run(stages: Stages, items: list[Item], ledger: Ledger, work: MakeWork, workers: int) -> StageRun:
    return run_stage(items, ledger=ledger, make_work=work, workers=workers, address=stages.address)


def _results(ledger: Ledger, items: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
    """See ``Ledger.read_table``. Only the table returned has the failures that are to be tried again then."""
    rows = ledger.read_table(items, columns)
    _forget(ledger, rows, TRY_AGAIN)
    return rows


def _forget(ledger: Ledger, rows: pa.Table, reasons: Sequence[str]) -> None:
    again = pc.is_in(rows["error_reason"], value_set=pa.array(reasons))
    for item in rows.filter(again)["id"].to_pylist():
        ledger.forget(item)


def _embed(
    records: Sequence[VideoRecord],
    usable: list[str | None],
    videos: pa.Table,
    counts: list[int],
    stages: Stages,
    media: Ledger,
) -> tuple[StageRun, pa.Table, pa.Table]:
    model = stages.encoder
    assert model is not None
    settings = EmbedSettings(top_k=_TOP_K, same_cosine=_SAME_COSINE)
    identity = {"media": media.config, "encoder": dict(model.identity), **vars(settings)}
    ledger = Ledger(stages.scores / "embed", config_hash(identity, EMBED_VERSION), EMBED_COLUMNS)
    work = EmbedWork(media=media, make_encoder=model.load, settings=settings)
    durations = videos["media_duration_s"].to_pylist()
    items = [
        None if item is None else embed_item(item, video.qa, duration_s=seconds)
        for item, video, seconds in zip(usable, records, durations, strict=True)
    ]
    todo = [item for item in items if item is not None]
    run = _run(stages, todo, ledger, work, stages.model_workers)
    rows = _results(ledger, [item["id"] for item in todo])
    ids = [None if item is None else item["id"] for item in items]
    taken = rows.take(pc.index_in(pa.array(ids, pa.string()), value_set=rows["id"].combine_chunks(), skip_nulls=True))
    of_videos = beside(video_columns(rows, VIDEO_SIGNALS, ids), taken.select(["embedding_frames", "embeddings"]))
    return run, of_videos, sample_columns(rows, SAMPLE_SIGNALS, ids, counts)


def _language(
    records: Sequence[VideoRecord], usable: list[str | None], counts: list[int], stages: Stages, media: Ledger
) -> tuple[StageRun, pa.Table]:
    model = stages.language_model
    assert model is not None
    settings = LanguageSettings(choice_instruction=stages.choice_instruction)
    identity = {"media": media.config, "model": dict(model.identity), **vars(settings)}
    ledger = Ledger(stages.scores / "language", config_hash(identity, LANGUAGE_VERSION), LANGUAGE_COLUMNS)
    work = LanguageWork(make_model=model.load, settings=settings)
    items = _asked(records, usable, language_item)
    run = _run(stages, [item for item in items if item is not None], ledger, work, stages.model_workers)
    return run, _answers(items, ledger, LANGUAGE_SIGNALS, counts)


def _video_lm(
    records: Sequence[VideoRecord], usable: list[str | None], counts: list[int], stages: Stages, media: Ledger
) -> tuple[StageRun, pa.Table]:
    model = stages.video_lm
    assert model is not None
    identity = {"media": media.config, "model": dict(model.identity)}
    ledger = Ledger(stages.scores / "video_lm", config_hash(identity, VIDEO_LM_VERSION), VIDEO_LM_COLUMNS)
    items = _asked(records, usable, video_lm_item)
    work = VideoLmWork(media=media, make_model=model.load)
    run = _run(stages, [item for item in items if item is not None], ledger, work, stages.model_workers)
    return run, _answers(items, ledger, VIDEO_LM_SIGNALS, counts)


def _asked(
    records: Sequence[VideoRecord], usable: list[str | None], item_of: Callable[[str, Sequence[QA]], Item]
) -> list[Item | None]:
    """The item of each video that could be decoded and has questions; None for the others."""
    return [
        None if media is None or not video.qa else item_of(media, video.qa)
        for media, video in zip(usable, records, strict=True)
    ]


def _answers(items: list[Item | None], ledger: Ledger, signals: Sequence[str], counts: list[int]) -> pa.Table:
    ids = [None if item is None else item["id"] for item in items]
    return sample_columns(_results(ledger, [item for item in ids if item is not None]), signals, ids, counts)


def _with_frame_proxy(samples: pa.Table, videos: pa.Table, counts: list[int], frames: int) -> pa.Table:
    """``single_frame`` by words and pictures, where no model that sees videos has measured it."""
    measured = "single_frame" in samples.column_names and "ok" in samples["single_frame_status"].to_pylist()
    if measured:
        return samples
    others = [name for name in samples.column_names if not name.startswith("single_frame")]
    return beside(samples.select(others), frame_proxy_columns(samples, videos, counts, frames))


def _base(records: Sequence[VideoRecord], licence: str) -> pa.Table:
    texts = {
        "video_id": [video.video_id for video in records],
        "uri": [video.uri for video in records],
        "source_uri": [video.source_uri for video in records],
        "source": [video.source for video in records],
        "licence": [video.licence or licence for video in records],
    }
    return pa.table({name: pa.array(values, pa.string()) for name, values in texts.items()})


def _samples(records: Sequence[VideoRecord]) -> pa.Table:
    rows = [
        {
            "sample_id": qa.sample_id,
            "video_id": video.video_id,
            "task_type": qa.task_type,
            "question": qa.question,
            "answer": qa.answer,
            "options": qa.options,
            "t_start": qa.t_start,
            "t_end": qa.t_end,
            "evidence": qa.evidence,
            "text_tokens": sum(len(text.split()) for text in (qa.question, qa.answer, *qa.options)),
        }
        for video in records
        for qa in video.qa
    ]
    texts = [pa.field(name, pa.string()) for name in ("sample_id", "video_id", "task_type", "question", "answer")]
    spans = [pa.field("t_start", pa.float64()), pa.field("t_end", pa.float64())]
    evidence = pa.field("evidence", pa.list_(pa.list_(pa.float64())))
    schema = pa.schema(
        [*texts, pa.field("options", pa.list_(pa.string())), *spans, evidence, pa.field("text_tokens", pa.int64())]
    )
    return pa.Table.from_pylist(rows, schema)


def beside(left: pa.Table, right: pa.Table) -> pa.Table:
    """The columns of both, row by row."""
    for name in right.column_names:
        left = left.append_column(right.schema.field(name), right[name])
    return left
