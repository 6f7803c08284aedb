"""Whether one frame of the video is enough to answer a question. It then teaches nothing about time."""

import re

from data_pipelines.signals.signal import Signal

# What tells of change, of order or of a moment. English; ours.
_TEMPORAL = re.compile(
    r"""\b(?:
        before | after(?:wards?)? | first | last | finally | eventually | then | next | previous(?:ly)? | later
        | earlier | earliest | latest | second\ time | again | once | twice | times | when | while | whenever | during
        | until | till | since | moments? | meanwhile | simultaneously | at\ the\ same\ time | how\ (?:long|often|fast)
        | order | sequence | steps? | (?:be)?gin(?:s|ning)? | began | start(?:s|ed|ing)? | end(?:s|ed|ing)?
        | finish(?:es|ed)? | stop(?:s|ped)? | continue[sd]? | seconds? | minutes? | duration | speed | faster | slower
        | appear(?:s|ed|ing)? | disappear(?:s|ed)? | chang(?:e|es|ed|ing) | becom(?:e|es|ing) | became | turn(?:s|ed)?
        | mov(?:e|es|ed|ing|ement|ements) | motion | direction | rotat(?:e|es|ed|ing) | bounc(?:e|es|ed|ing)
        | happen(?:s|ed|ing)? | actions? | count | repeat(?:s|ed|edly)?
    )\b
    | \b\d+(?:\.\d+)?\ ?s(?:ec)?\b  # 1.50 s
    | \b\d{1,2}:\d\d\b  # 0:15""",
    re.IGNORECASE | re.VERBOSE,
)


def temporal_words(text: str) -> list[str]:
    """What in a text tells of change, order or a moment, in order, in lower case. English only."""
    return [found.group().lower() for found in _TEMPORAL.finditer(text)]


def single_frame(nll_frame: float, nll_video: float) -> Signal:
    """NLL(answer | question, one frame) - NLL(answer | question, video), nats a token: what the other frames tell.

    Small or below 0: one frame is enough. Ours; a rank, with no threshold that fits all corpora.

    Args:
        nll_frame: given the frame in the middle of the video alone.
        nll_video: given all frames.
    """
    return Signal(nll_frame - nll_video)


def single_frame_proxy(text: str, *, effective: Signal, frames: int, cuts: Signal) -> Signal:
    """The same without a video language model: temporal words in the text, plus how much the pictures change.

    The value is the number of ``temporal_words`` plus (``effective_frames`` - 1) / (frames - 1): from 0 for all alike
    to 1 for all different. Without an encoder, cuts stand in: 1 where there are any. Below 1, nothing in the text is
    about time; near 0, the pictures don't change either, and any frame will do.

    Default: drop below 0.3 (ours; the tiny world has 0 to 0.14 where one frame is enough, else 0.7 and more).

    Args:
        text: question and answer. Of captions, which have no question, nothing can be said.
        effective: see ``redundancy.effective_frames``.
        frames: how many frames that was made of.
        cuts: cuts a minute.

    Returns:
        Status ``proxy``; ``na`` for an empty text, or if neither frames nor cuts are known.
    """
    if not text.strip():
        return Signal(None, "na", "no question")
    if effective.value is not None and frames > 1:
        change = (effective.value - 1) / (frames - 1)
    elif cuts.value is not None:
        change = float(cuts.value > 0)
    else:
        return Signal(None, "na", "neither frames nor cuts are known")
    words = temporal_words(text)
    return Signal(len(words) + change, "proxy", ", ".join(words))
