"""Tiny world as plain files: mp4s, ground truth beside them, annotations for the pruning pipeline."""

import hashlib
import json
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from recot.atomic import new_folder, write_file
from recot.data.schema import QA
from recot.errors import ConfigError, DataError
from recot.randomness import derive_seed
from recot.tiny_world.render import render
from recot.tiny_world.scene import Scene, check_format, make_scene
from recot.tiny_world.truth import caption, events, questions
from recot.tiny_world.video import encode_mp4

SHEET_VIDEOS = 12
SHEET_FRAMES = 6


def export(out: Path, *, videos: int, frames: int, size: int, fps: float, seed: int) -> None:
    """Write a folder of videos; it appears whole or not at all.

    ``videos/<number>.mp4`` with ``videos/<number>.json`` (events, caption, questions, seed, SHA-256),
    ``annotations.json`` (LLaVA-Video style, paths relative to it) and ``contact_sheet.png`` (the first videos,
    a few frames each).

    Raises:
        ConfigError: if no such videos can be made.
        DataError: if ``out`` can't be written, or exists and isn't an empty folder.
    """
    check_format(frames=frames, size=size, fps=fps)
    if videos < 1:
        raise ConfigError(f"tiny world: videos={videos}, but at least 1 is needed. Set videos to 1 or more.")
    scenes = [
        make_scene(derive_seed("tiny_world", seed, "export", i), frames=frames, size=size, fps=fps)
        for i in range(videos)
    ]
    try:
        with new_folder(out.resolve()) as folder:
            (folder / "videos").mkdir()
            rows: list[dict[str, Any]] = []
            for i, scene in enumerate(tqdm(scenes, desc="rendering tiny world", unit="video")):
                rows += _write_video(scene, folder, f"videos/{i:06d}.mp4")
            _contact_sheet(scenes[:SHEET_VIDEOS]).savefig(folder / "contact_sheet.png")
            write_file(folder / "annotations.json", _json(rows))
    except OSError as error:
        raise DataError(
            f"The videos can't be written to {out}: {error}. Choose a folder that you may write to, "
            "on a disk with free space."
        ) from error


def _write_video(scene: Scene, folder: Path, name: str) -> list[dict[str, Any]]:
    """Write the mp4 and its JSON, and return its rows of the annotations."""
    content = encode_mp4(render(scene), size=scene.size, fps=scene.fps)
    asked = questions(scene)
    write_file(folder / name, content)
    truth = {
        "video": name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "seed": scene.seed,
        "frames": scene.frames,
        "size": scene.size,
        "fps": scene.fps,
        "duration_s": scene.duration_s,
        "caption": caption(scene),
        "events": events(scene),
        "qa": [asdict(qa) for qa in asked],
    }
    write_file((folder / name).with_suffix(".json"), _json(truth))
    return [_row(qa, name) for qa in asked]


def _row(qa: QA, video: str) -> dict[str, Any]:
    """A question as a conversation about a video, with the fields that ``data_pipelines/prune.py`` reads beside it."""
    return {
        "id": qa.sample_id,
        "data_source": "tiny_world",
        "video": video,
        "conversations": [
            {"from": "human", "value": f"<image>\n{qa.question}"},
            {"from": "gpt", "value": qa.answer},
        ],
        "task_type": qa.task_type,
        "options": qa.options,
        "t_start": qa.t_start,
        "t_end": qa.t_end,
        "evidence": qa.evidence,
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _contact_sheet(scenes: list[Scene]) -> Figure:
    """A strip of frames a video, with its caption above and the seconds below each frame."""
    columns = 1 if len(scenes) == 1 else 2
    rows = -(-len(scenes) // columns)
    figure = Figure(figsize=(8 * columns, 2.1 * rows), dpi=100, layout="constrained")
    for axes, scene in zip(figure.subplots(rows, columns, squeeze=False).flat, scenes, strict=False):
        shown = np.unique(np.linspace(0, scene.frames - 1, SHEET_FRAMES, dtype=int))
        frames = {i: frame for i, frame in enumerate(render(scene)) if i in shown}
        gap = np.full((scene.size, max(2, scene.size // 20), 3), 255, np.uint8)
        strip = np.concatenate([part for i in shown for part in (frames[int(i)], gap)][:-1], axis=1)
        axes.imshow(strip, interpolation="nearest")
        step = scene.size + gap.shape[1]
        axes.set_xticks(np.arange(len(shown)) * step + scene.size / 2, [f"{i / scene.fps:.2f} s" for i in shown])
        axes.set_title("\n".join(textwrap.wrap(caption(scene), 110)), fontsize=8, loc="left")
    for axes in figure.axes:
        axes.set_anchor("W")
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelsize=8)
        if not axes.images:
            axes.set_xticks([])
    return figure
