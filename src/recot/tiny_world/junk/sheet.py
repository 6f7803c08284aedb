"""A picture of planted junk: one video of each kind, beside it what it copies."""

import textwrap
from pathlib import Path
from typing import Any

import av
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recot.tiny_world.junk.kinds import KINDS
from recot.tiny_world.junk.plan import EVALUATION, SEEN

_FRAMES = 6


def junk_sheet(folder: Path, junk: list[dict[str, Any]]) -> Figure:
    """A row a kind: frames of the first video of that kind, frames of its source, and a question that is junk.

    Args:
        folder: of the corpus, with its videos.
        junk: truth of the junk videos.
    """
    figure = Figure(figsize=(15, 1.7 * len(KINDS)), dpi=70, layout="constrained")
    grid = figure.subplots(len(KINDS), 2, squeeze=False)
    for (left, right), kind in zip(grid, KINDS, strict=True):
        truth = next(truth for truth in junk if truth["kind"] == kind)
        parameters = ", ".join(f"{name} {value}" for name, value in truth["parameters"].items())
        _draw(left, folder / SEEN / "videos" / truth["video"], f"{kind}   {parameters}")
        if truth["of"]:
            part = EVALUATION if kind == "leaked" else SEEN
            _draw(
                right, folder / part / truth["of"], f"of {'the evaluation set' if part == EVALUATION else 'a good one'}"
            )
        else:
            right.set_axis_off()
            right.text(0, 0.5, _question(truth), fontsize=10, va="center", transform=right.transAxes)
    return figure


def _question(truth: dict[str, Any]) -> str:
    row = next(row for row in truth["rows"] if row["id"] in truth["junk_rows"] and row["options"])
    question = row["conversations"][0]["value"].removeprefix("<image>\n")
    text = f"{question} [{' / '.join(row['options'])}] {row['conversations'][1]['value']}"
    return "\n".join(textwrap.wrap(text, 80))


def _draw(axes: Axes, path: Path, title: str) -> None:
    axes.set_axis_off()
    axes.set_title(title, fontsize=10, loc="left")
    frames = _readable(path)
    if not frames:
        axes.text(0, 0.5, "can't be decoded", fontsize=10, va="center", transform=axes.transAxes)
        return
    places = sorted({int(i) for i in np.linspace(0, len(frames) - 1, _FRAMES)})
    shown = [np.pad(frames[i], ((0, 0), (0, 2), (0, 0)), constant_values=255) for i in places]
    shown += [np.full_like(shown[0], 255)] * (_FRAMES - len(shown))
    axes.imshow(np.concatenate(shown, axis=1), aspect="equal")
    axes.set_anchor("W")


def _readable(path: Path) -> list[np.ndarray]:
    """The frames that come out of a file, damaged ones too."""
    frames: list[np.ndarray] = []
    try:
        with av.open(str(path)) as container:
            for packet in container.demux(video=0):
                frames += _decode(packet)
    except (av.error.FFmpegError, IndexError):  # IndexError: no video stream is left
        pass
    return frames


def _decode(packet: av.Packet) -> list[np.ndarray]:
    try:
        return [frame.to_ndarray(format="rgb24") for frame in packet.decode()]
    except av.error.FFmpegError:
        return []
