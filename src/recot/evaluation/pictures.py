"""Pictures of stage 1: what the frames show, how tokens score, which are masked, where the reconstruction errs.

Legend: G groups, T frames a group, H W frame size in pixels, h w token grid.
"""

import io
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from recot.atomic import write_file

MOST_GROUPS = 3
"""Groups that fit side by side on one picture; further ones are left out."""
GREY = 128
OVERLAY = 0.65  # opacity of the scores over the frame


def masking_figure(
    frames: np.ndarray,
    scores: np.ndarray | None,
    mask: np.ndarray,
    error: np.ndarray,
    *,
    title: str,
    path: Path,
) -> None:
    """Draw the first groups of a sample side by side as a PNG: one column a frame, one row a quantity.

    Args:
        frames: (G, T, H, W, 3) uint8 RGB.
        scores: (G, T, h, w) importance of each token, or None for a masking kind that gives none: no row then.
        mask: (G, T, h, w) bool, True where a token was masked.
        error: (G, T, h, w) squared error of each reconstructed token, averaged over channels, in units of the
            normalised target (variance 1).
        title: heading, e.g. the masking kind and ratio.
        path: the PNG; its folder is made if it isn't there, and the file appears whole or not at all.

    Raises:
        ValueError: for arrays whose shapes or types don't belong together, or that hold NaN or infinity.
    """
    _check(frames, scores, mask, error)
    groups, length = min(len(frames), MOST_GROUPS), frames.shape[1]
    frames, mask, error = frames[:groups], mask[:groups], error[:groups]
    names = ["frames", "masked", "error"] if scores is None else ["frames", "scores", "masked", "error"]
    figure = Figure(figsize=(1.35 * groups * length + 1.8, 1.45 * len(names) + 0.7), layout="constrained")
    figure.suptitle(title)
    # After each group a narrow column: a gap, and after the last one the colour bars.
    widths = ([1.0] * length + [0.08]) * groups
    grid = figure.add_gridspec(len(names), len(widths), width_ratios=widths)
    rows = {
        name: [figure.add_subplot(grid[row, i]) for i, width in enumerate(widths) if width == 1.0]
        for row, name in enumerate(names)
    }
    _label(rows, length)
    flat = frames.reshape(-1, *frames.shape[2:])
    for axes, frame in zip(rows["frames"], flat, strict=True):
        axes.imshow(frame)
    for axes, frame, masked in zip(rows["masked"], flat, mask.reshape(-1, *mask.shape[2:]), strict=True):
        axes.imshow(_greyed(frame, masked))
    if scores is not None:
        scale = _draw_scores(rows["scores"], scores[:groups], under=flat)
        _add_bar(figure, grid[1, -1], scale, "score\n(high: kept)", extend="both")
    scale = _draw_error(rows["error"], error)
    _add_bar(figure, grid[-1, -1], scale, "squared error\n(target variance 1)", extend="max")
    write_png(figure, path)


def write_png(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG of 100 dots an inch, whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, buffer.getvalue())


def _check(frames: np.ndarray, scores: np.ndarray | None, mask: np.ndarray, error: np.ndarray) -> None:
    if frames.ndim != 5 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise ValueError(f"frames must be (G, T, H, W, 3) uint8, got {frames.shape} {frames.dtype}")
    if mask.ndim != 4 or mask.shape[:2] != frames.shape[:2] or mask.dtype != np.bool_ or 0 in mask.shape:
        raise ValueError(f"mask must be {frames.shape[:2]} + (h, w) bool, got {mask.shape} {mask.dtype}")
    for name, values in (("scores", scores), ("error", error)):
        if values is not None and values.shape != mask.shape:
            raise ValueError(f"{name} must have the shape of mask, {mask.shape}, got {values.shape}")
        if values is not None and not np.isfinite(values).all():
            raise ValueError(f"{name} must be finite, got NaN or infinity")


def _label(rows: dict[str, list[Axes]], length: int) -> None:
    for name, row in rows.items():
        row[0].set_ylabel(name)
        for axes in row:
            axes.set_xticks([])
            axes.set_yticks([])
    for i, axes in enumerate(next(iter(rows.values()))):
        axes.set_title(f"group {i // length}, frame {i % length}", fontsize="small")


def _greyed(frame: np.ndarray, masked: np.ndarray) -> np.ndarray:
    """The frame with the pixels of masked tokens in one grey."""
    height, width = frame.shape[:2]
    rows = np.arange(height) * masked.shape[0] // height
    columns = np.arange(width) * masked.shape[1] // width
    return np.where(masked[rows][:, columns, None], np.uint8(GREY), frame)


def _add_bar(figure: Figure, place: SubplotSpec, scale: ScalarMappable, label: str, *, extend: str) -> None:
    figure.colorbar(scale, cax=figure.add_subplot(place), extend=extend).set_label(label, fontsize="small")


def _draw_scores(row: list[Axes], scores: np.ndarray, *, under: np.ndarray) -> ScalarMappable:
    """Heat maps over the frames in grey, with one colour scale for all."""
    low, high = np.percentile(scores, (1, 99))
    scale = Normalize(float(low), float(high))
    height, width = under.shape[1:3]
    edges = (-0.5, width - 0.5, height - 0.5, -0.5)
    for axes, frame, heat in zip(row, under, scores.reshape(-1, *scores.shape[2:]), strict=True):
        axes.imshow(frame.mean(axis=2), cmap="gray", vmin=0, vmax=255)
        axes.imshow(heat, cmap="viridis", norm=scale, alpha=OVERLAY, extent=edges, interpolation="nearest")
    return ScalarMappable(scale, "viridis")


def _draw_error(row: list[Axes], error: np.ndarray) -> ScalarMappable:
    """Heat maps from 0 up, with one colour scale for all."""
    scale = Normalize(0.0, float(np.percentile(error, 99)))
    for axes, heat in zip(row, error.reshape(-1, *error.shape[2:]), strict=True):
        axes.imshow(heat, cmap="magma", norm=scale, interpolation="nearest")
    return ScalarMappable(scale, "magma")
