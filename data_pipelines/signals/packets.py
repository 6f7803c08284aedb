"""How much a video changes, by the size of its packets: nothing is decoded for it."""

from data_pipelines.signals.signal import Signal


def packet_activity(*, change_bytes: int, pixels: int, duration_s: float) -> Signal:
    """Bits of the packets that aren't key frames, a pixel and second: ``8 * change_bytes / pixels / duration_s``.

    An encoder spends these bits on what differs from the frames before, so a still scene has almost none; but codec and
    quality matter as much. Source: ours. Usual threshold: a percentile within one source.

    Args:
        change_bytes: size of all packets that aren't key frames.
        pixels: of one frame.
        duration_s: of the video.

    Returns:
        Status ``na`` where no packet builds on another one (one frame, or key frames alone).
    """
    if not change_bytes or duration_s <= 0:
        return Signal(None, "na", "no packets but key frames")
    return Signal(8 * change_bytes / pixels / duration_s)
