"""Signals of words, and what words and pictures together stand in for, as columns of the tables."""

from collections.abc import Sequence

import pyarrow as pa

from data_pipelines.ingest.records import VideoRecord
from data_pipelines.sample_signals import Question, video_fields, video_values
from data_pipelines.signals.language import language
from data_pipelines.signals.signal import Signal
from data_pipelines.signals.single_frame import single_frame_proxy
from data_pipelines.signals.text_length import word_count
from data_pipelines.signals.text_repetition import repetition
from recot.data.schema import QA

CAPTION_SIGNALS = ("caption_length", "caption_repetition")
QUESTION_SIGNALS = ("question_length", "answer_length", "repetition", "language_english")
_NO_CAPTION = Signal(None, "na", "no caption")


def caption_columns(records: Sequence[VideoRecord]) -> pa.Table:
    """A row a video: words of its shortest caption, and the repetition of the most repetitive one."""
    return _table(
        CAPTION_SIGNALS, [_of_captions([qa.answer for qa in video.qa if _is_caption(qa)]) for video in records]
    )


def question_columns(records: Sequence[VideoRecord]) -> pa.Table:
    """A row a question: words of question and answer, repetition in the answer, language of both together."""
    return _table(QUESTION_SIGNALS, [_of_question(qa) for video in records for qa in video.qa])


def frame_proxy_columns(samples: pa.Table, videos: pa.Table, counts: Sequence[int], frames: int) -> pa.Table:
    """A row a question: ``single_frame`` by ``signals.single_frame.single_frame_proxy``.

    Args:
        samples: with ``question``, ``answer``, ``options`` and ``task_type``.
        videos: with ``cuts_per_min`` and, after the stage ``embed``, ``effective_frames``.
        counts: questions of each video.
        frames: that ``effective_frames`` was made of, at most.
    """
    nothing = [None] * len(videos)
    seen = "effective_frames" in videos.column_names
    effective = videos["effective_frames"].to_pylist() if seen else nothing
    cuts = videos["cuts_per_min"].to_pylist()
    changes = [(effective[i], cuts[i]) for i, count in enumerate(counts) for _ in range(count)]
    texts = zip(*(samples[name].to_pylist() for name in ("question", "answer", "options", "task_type")), strict=True)
    found = []
    for (question, answer, options, kind), (shown, cut) in zip(texts, changes, strict=True):
        text = "" if Question(question, answer, options, kind).is_caption else f"{question} {answer}"
        signal = single_frame_proxy(text, effective=_signal(shown), frames=frames, cuts=_signal(cut))
        found.append({"single_frame": signal})
    return _table(("single_frame",), found)


def _of_captions(captions: list[str]) -> dict[str, Signal]:
    if not captions:
        return dict.fromkeys(CAPTION_SIGNALS, _NO_CAPTION)
    lengths = [word_count(caption) for caption in captions]
    said = [repetition(caption) for caption in captions]
    measured = [signal for signal in said if signal.value is not None]
    worst = max(measured, key=lambda signal: signal.value or 0.0) if measured else said[0]
    return {"caption_length": min(lengths, key=lambda signal: signal.value or 0.0), "caption_repetition": worst}


def _of_question(qa: QA) -> dict[str, Signal]:
    return {
        "question_length": word_count(qa.question),
        "answer_length": word_count(qa.answer),
        "repetition": repetition(qa.answer),
        "language_english": language(f"{qa.question} {qa.answer}"),
    }


def _is_caption(qa: QA) -> bool:
    return Question(qa.question, qa.answer, qa.options, qa.task_type).is_caption


def _signal(value: float | None) -> Signal:
    return Signal(None, "na") if value is None else Signal(value)


def _table(names: Sequence[str], rows: list[dict[str, Signal]]) -> pa.Table:
    return pa.Table.from_pylist([video_values(row) for row in rows], pa.schema(video_fields(names)))
