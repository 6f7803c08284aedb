"""A picture of what the selector made of a video: scores over time, and its top moments.

Legend: G groups, M moments, H W thumbnail size in pixels.
"""

import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from recot.evaluation.pictures import write_png
from recot.inference.moments import KeptGroups
from recot.inference.video import ChosenFrames
from recot.video_io import VideoLimits, VideoProbe, decode

THUMBNAIL = 224
"""Pixels of a thumbnail's longer side."""


def thumbnails(
    path: str | os.PathLike[str], chosen: ChosenFrames, groups: KeptGroups, numbers: list[int], limits: VideoLimits
) -> np.ndarray:
    """(M, H, W, 3) uint8: the first frame of each of these groups, in the video's own aspect ratio.

    Raises:
        VideoError: if a frame can't be decoded.
    """
    times = chosen.probe.times_s[chosen.indices]
    frames = chosen.indices[np.searchsorted(times, groups.seconds[numbers, 0])]
    return decode(path, frames, _size(chosen.probe), chosen.probe, limits).frames


def moments_figure(groups: KeptGroups, numbers: list[int], frames: np.ndarray, *, title: str, path: Path) -> None:
    """Draw thumbnails of moments above the scores and kept shares of all groups, as a PNG.

    Args:
        groups: of a video.
        numbers: M groups to show.
        frames: (M, H, W, 3) uint8 RGB, one of each.
        title: heading, e.g. the question.
        path: the PNG, which appears whole or not at all.
    """
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    figure.suptitle(title, parse_math=False)
    grid = figure.add_gridspec(2, max(len(numbers), 1), height_ratios=(1.3, 1))
    in_order = sorted(zip(numbers, frames, strict=True), key=lambda shown: shown[0])
    for column, (number, frame) in enumerate(in_order):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(frame)
        axes.set_title(f"{groups.seconds[number, 0]:.1f} s, {groups.share[number]:.0%} kept", fontsize="small")
        axes.set_axis_off()
    axes = figure.add_subplot(grid[1, :])
    starts, end = groups.seconds[:, 0], groups.seconds[-1, 1]
    edges = np.append(starts, max(end, starts[-1] + 1e-3))
    axes.stairs(groups.share, edges, fill=True, color="tab:orange", alpha=0.4, label="share of tokens kept")
    axes.stairs(groups.score, edges, color="tab:blue", label="mean score", baseline=None)
    for number, _ in in_order:
        axes.axvline(groups.seconds[number].mean(), color="black", linewidth=0.8, linestyle=":")
    axes.set(xlabel="seconds", ylim=(0, 1.05), xlim=(edges[0], edges[-1]))
    axes.legend(fontsize="small", loc="upper right")
    write_png(figure, path)


def _size(facts: VideoProbe) -> tuple[int, int]:
    scale = THUMBNAIL / max(facts.height, facts.width)
    return max(1, round(facts.height * scale)), max(1, round(facts.width * scale))
