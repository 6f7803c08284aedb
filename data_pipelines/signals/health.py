"""How much of a video plays."""

from data_pipelines.signals.signal import Signal


def health(*, decoded: int, shown: int, lost: int) -> Signal:
    """Decoded over expected frames: ``decoded / (shown + lost)``, a share from 0 to 1.

    A frame counts as decoded where it comes out clean: not flagged by the decoder, and none flagged or lost since the
    last key frame. Source and usual threshold: ours, at least 0.95.

    Args:
        decoded: frames that come out clean.
        shown: frames that a player shows, by the packets that are there, at least 1.
        lost: further frames that the container promises and that aren't there, because the file is cut off.
    """
    detail = f"{decoded} of {shown + lost} frames decode"
    return Signal(decoded / (shown + lost), detail=f"{detail}; the file ends {lost} frames early" if lost else detail)
