"""Whether a text is about the video that it comes with."""

import re

import numpy as np

from data_pipelines.signals.signal import Signal

LONG_ANSWER = 8
"""Words from which on an answer is taken to say by itself what it is about (our choice)."""
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])|\n+")


def sentences(text: str) -> list[str]:
    """The sentences of a text: cut after a full stop, ``!`` or ``?`` before a space or of
    Chinese and Japanese, and at the end of a line.

    "1.50 s" holds no end, "Dr. Who" does: what is embedded is then two halves, and no word is lost.
    """
    parts = (part.strip() for part in _SENTENCE_END.split(text))
    return [part for part in parts if any(sign.isalnum() for sign in part)]


def statement(question: str, answer: str) -> list[str]:
    """What a question with its answer claims, as sentences to compare with frames.

    A long answer, and the text of a caption, stand for themselves. A short one is put behind its question, in one
    sentence: "What colour is the car? red".
    """
    if not question.strip() or len(answer.split()) >= LONG_ANSWER:
        return sentences(answer)
    return [f"{question.strip()} {answer.strip()}"]


def relevance(frames: np.ndarray, texts: np.ndarray, *, top_k: int) -> Signal:
    """Mean over sentences of the mean of the ``top_k`` largest cosines between the sentence and a frame, -1 to 1.

    A sentence is often about one shot, so it is compared with the frames that fit it best. How large a cosine is
    depends on the encoder and on the kind of text: compare it within a corpus. On the tiny world (8 frames, seed 1),
    ``top_k=1`` tells other videos' captions from their own (area under the ROC curve 0.993). Short questions with
    their answers say too little: other videos' are told apart hardly better than by chance (0.55, and 0.54 for the
    right option's lead over the others; measured with an earlier encoder).

    Source: similarity filters of data-juicer (arXiv 2309.02033), floor 0.1 with CLIP, and DataComp (arXiv 2304.14108),
    0.25 or the best 30 %, both of one frame or image and the whole text; cutting into sentences is ours.

    Args:
        frames: (k, C) float32 frame embeddings of length 1.
        texts: (n, C) float32 sentence embeddings of length 1.
        top_k: from 1 up; with fewer frames, all of them.

    Returns:
        ``na`` where there is no frame or no sentence.
    """
    if not len(frames) or not len(texts):
        return Signal(None, "na", f"{len(frames)} frames and {len(texts)} sentences")
    cosines = np.sort(texts.astype(np.float64) @ frames.astype(np.float64).T, axis=1)
    return Signal(float(cosines[:, -top_k:].mean()))
