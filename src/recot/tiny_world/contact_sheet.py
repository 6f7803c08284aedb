"""A picture of a dozen videos: a few frames each, and when what is seen."""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recot.atomic import write_file
from recot.tiny_world.elements import Scene
from recot.tiny_world.render import render_frame
from recot.tiny_world.sprites import movement
from recot.tiny_world.vocabulary import COLOURS

SHEET_VIDEOS = 12
_FRAMES = 8
_ROWS = 8  # of events, at most
_PAPER = "0.93"  # light enough for black text, dark enough for the white sprites' bars


def write_contact_sheet(path: Path, scenes: Sequence[Scene]) -> None:
    """Write ``contact_sheet`` as a PNG."""
    picture = io.BytesIO()
    contact_sheet(scenes).savefig(picture, format="png")
    write_file(path, picture.getvalue())


def contact_sheet(scenes: Sequence[Scene]) -> Figure:
    """Up to ``SHEET_VIDEOS`` scenes: a strip of frames, one bar an event below it, a planted question above.

    Bars have the colour of the object that they stand for; grey lines are cuts. Frames stand where they are in time.
    """
    shown = scenes[:SHEET_VIDEOS]
    columns = 1 if len(shown) == 1 else 2
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(9 * columns, 3.3 * rows), dpi=80, layout="constrained")
    grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[1.1, 1.6] * rows)
    for i in range(rows * columns):
        strip, bars = grid[2 * (i // columns) : 2 * (i // columns) + 2, i % columns]
        if i < len(shown):
            _draw_strip(strip, shown[i])
            _draw_events(bars, shown[i])
        else:
            strip.set_axis_off()
            bars.set_axis_off()
    return figure


def _draw_strip(axes: Axes, scene: Scene) -> None:
    width = scene.duration_s / min(_FRAMES, scene.frames)
    for i in range(min(_FRAMES, scene.frames)):
        frame = render_frame(scene, int((i + 0.5) * width * scene.fps))
        axes.imshow(frame, extent=(i * width + 0.04 * width, (i + 1) * width - 0.04 * width, 0, 1), aspect="auto")
    axes.set_xlim(0, scene.duration_s)
    axes.set_axis_off()
    axes.set_title(_question(scene), fontsize=8, loc="left")


def _question(scene: Scene) -> str:
    if not scene.planted:
        return f"seed {scene.seed}"
    planted = scene.planted[scene.seed % len(scene.planted)]
    options = " ".join(f"{letter}) {text}" for letter, text in zip("ABCD", planted.options, strict=True))
    text = f"{planted.task}: {planted.question} {options} [{'ABCD'[planted.right]}]"
    return "\n".join(textwrap.wrap(text, 120))


def _draw_events(axes: Axes, scene: Scene) -> None:
    """The objects of a scene as bars; in a long one, the rows are used again and again."""
    label = len(scene.sprites) <= 3 * _ROWS
    rows = min(_ROWS, max(1, len(scene.sprites)))
    for i, sprite in enumerate(scene.sprites):
        start, stop = sprite.start / scene.fps, sprite.stop / scene.fps
        colour = np.array(COLOURS[sprite.colour]) / 255
        axes.barh(i % rows, stop - start, left=start, height=0.8, color=[colour], edgecolor="black", linewidth=0.4)
        if label:
            text = f"{sprite.shape} {movement(sprite, scene.fps) or ''}"
            axes.text(start, i % rows, f" {text}", fontsize=6, va="center", clip_on=True)
    for shot in scene.shots[1:]:
        axes.axvline(shot.start / scene.fps, color="0.5", linewidth=0.8)
    axes.set_facecolor(_PAPER)
    axes.set_xlim(0, scene.duration_s)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_xlabel("seconds", fontsize=7, labelpad=1)
    axes.tick_params(labelsize=7)
