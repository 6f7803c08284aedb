"""Stage ``embed``: frames and texts of a video in a vision-text encoder's space, and what their cosines tell.

The encoder is handed in, as a picklable callable that loads it, once in each worker. Everything
is computed for one video by itself, so that no result depends on which videos went before it or along with it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import pyarrow as pa

from data_pipelines.ledger import Ledger, Row
from data_pipelines.media_pictures import decode_picture
from data_pipelines.sample_signals import (
    Question,
    questions_of,
    sample_fields,
    sample_values,
    text_item,
    video_fields,
    video_values,
)
from data_pipelines.signals.redundancy import effective_frames, effective_per_minute
from data_pipelines.signals.relevance import relevance, sentences, statement
from data_pipelines.signals.signal import Signal
from data_pipelines.stage_worker import Item, Work, one_by_one
from recot.data.schema import QA

EMBED_VERSION = 1
"""Rises with every change of what is measured, for ``ledger.config_hash``."""
VIDEO_SIGNALS = ("effective_frames", "effective_per_min", "relevance_caption")
SAMPLE_SIGNALS = ("relevance",)
EMBED_COLUMNS = pa.schema(
    [
        ("embedding_frames", pa.int64()),
        *video_fields(VIDEO_SIGNALS),
        *sample_fields(SAMPLE_SIGNALS),
        ("embeddings", pa.list_(pa.float32())),  # frame after frame
    ]
)


class VisionTextEncoder(Protocol):
    """Embeds frames and texts into one space, where they are the closer the better they fit."""

    def embed_frames(self, frames: np.ndarray) -> np.ndarray:
        """(k, S, S, 3) uint8 RGB -> (k, C) float32, of any length."""

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """n texts -> (n, C) float32, of any length; a text that is too long for the encoder is cut off."""


@dataclass(frozen=True)
class EmbedSettings:
    """What decides the scores beside the encoder.

    Attributes:
        top_k: see ``signals.relevance``.
        same_cosine: see ``signals.redundancy``.
    """

    top_k: int
    same_cosine: float


@dataclass(frozen=True)
class EmbedWork:
    """Gives the work of this stage (``stage_worker.MakeWork``); picklable.

    Attributes:
        media: ledger of the stage ``media``, from which the frames are read.
        make_encoder: loads the encoder, on which frames of the ledger's size are put.
        settings: see there.
    """

    media: Ledger
    make_encoder: Callable[[], VisionTextEncoder]
    settings: EmbedSettings

    @contextmanager
    def __call__(self) -> Iterator[Work]:
        """Load the encoder."""
        one_thread()
        yield one_by_one(partial(_embed, media=self.media, encoder=self.make_encoder(), settings=self.settings))


def one_thread() -> None:
    """Let torch compute on one thread: workers are as many as there are cores, and sums come in one order."""
    import torch  # here, so that the driver needn't load it

    torch.set_num_threads(1)


def embed_item(media: str, questions: Sequence[QA], *, duration_s: float) -> Item:
    """Item of this stage: a video that the stage ``media`` could decode, and its questions."""
    return text_item(media, questions, duration_s=duration_s)


def _embed(item: Item, *, media: Ledger, encoder: VisionTextEncoder, settings: EmbedSettings) -> Row:
    stored = media.read(item["media"], ["frame_size", "pictures"])
    pictures = [decode_picture(code, stored["frame_size"]) for code in stored["pictures"]]
    frames = np.stack(pictures)
    return embed_video(frames, questions_of(item), item["duration_s"], encoder=encoder, settings=settings)


def embed_video(
    frames: np.ndarray,
    questions: Sequence[Question],
    duration_s: float,
    *,
    encoder: VisionTextEncoder,
    settings: EmbedSettings,
) -> Row:
    """Embed a video and compare.

    ``relevance`` of a question is that of ``statement``, of a caption that of its sentences; ``relevance_caption`` is
    that of the sentences of all captions.

    Args:
        frames: (k, S, S, 3) uint8 RGB in order of time, k at least 1.
        questions: of the video.
        duration_s: of the video.
        encoder: what embeds.
        settings: see there.

    Returns:
        A row of ``EMBED_COLUMNS``.
    """
    embedded = _unit(encoder.embed_frames(frames))
    claims = [sentences(q.answer) if q.is_caption else statement(q.question, q.answer) for q in questions]
    captions = [claim for claim, question in zip(claims, questions, strict=True) if question.is_caption]
    known = _embed_texts(encoder, [text for claim in claims for text in claim])

    def compare(texts: Sequence[str]) -> Signal:
        vectors = np.stack([known[text] for text in texts]) if texts else np.empty((0, embedded.shape[1]))
        return relevance(embedded, vectors, top_k=settings.top_k)

    effective = effective_frames(embedded, cosine=settings.same_cosine)
    about = compare([text for claim in captions for text in claim])
    of_video = (effective, effective_per_minute(effective, duration_s), about if captions else _no_caption())
    return {
        "embedding_frames": len(embedded),
        **video_values(dict(zip(VIDEO_SIGNALS, of_video, strict=True))),
        **sample_values(SAMPLE_SIGNALS, [{"relevance": compare(claim)} for claim in claims]),
        "embeddings": embedded.ravel().tolist(),
    }


def _no_caption() -> Signal:
    return Signal(None, "na", "no caption")


def _embed_texts(encoder: VisionTextEncoder, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Each different text with its vector of length 1."""
    different = list(dict.fromkeys(texts))
    if not different:
        return {}
    return dict(zip(different, _unit(encoder.embed_texts(different)), strict=True))


def _unit(vectors: np.ndarray) -> np.ndarray:
    """(n, C) float32 of length 1.

    Raises:
        ValueError: for a vector that has no direction or isn't finite.
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise ValueError("the encoder gave an embedding that is zero or not finite")
    return (vectors / lengths).astype(np.float32)
