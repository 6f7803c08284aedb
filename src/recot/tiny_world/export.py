"""Tiny world as plain files: mp4s, ground truth beside them, annotations for the pruning pipeline."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recot.atomic import new_folder, write_file
from recot.data.schema import QA
from recot.errors import ConfigError, DataError
from recot.tiny_world.contact_sheet import SHEET_VIDEOS, write_contact_sheet
from recot.tiny_world.elements import Scene
from recot.tiny_world.rendering import render_videos, to_json
from recot.tiny_world.scene import check_format
from recot.tiny_world.splits import SPLITS, Split
from recot.tiny_world.truth import questions

RECIPE = 4
"""Part of what tells whether rendered videos are up to date: raise it when a seed gives other videos."""


def export(out: Path, split: Split) -> None:
    """Write the videos of a split; the folder appears whole or not at all.

    ``videos/<number>.mp4`` with ``videos/<number>.json`` (events, captions, questions with evidence, seed, SHA-256),
    ``annotations.json`` (LLaVA-Video style, paths relative to it) and ``contact_sheet.png``. After an interruption, the
    same call goes on where it stopped.

    Raises:
        ConfigError: if no such videos can be made.
        DataError: if ``out`` can't be written, or exists and isn't an empty folder.
    """
    check_split(split)
    try:
        with new_folder(out.resolve(), resume=fingerprint(split)) as folder:
            render_videos(folder / "videos", tqdm(_named(split), total=len(split), desc="rendering", unit="video"))
            rows = [row(qa, f"videos/{name}.mp4") for name, scene in _named(split) for qa in questions(scene)]
            write_contact_sheet(folder / "contact_sheet.png", split[:SHEET_VIDEOS])
            write_file(folder / "annotations.json", to_json(rows))
    except OSError as error:
        raise DataError(
            f"The videos can't be written to {out}: {error}. Choose a folder that you may write to, "
            "on a disk with free space."
        ) from error


def check_split(split: Split) -> None:
    """Refuse a split that can't be made.

    Raises:
        ConfigError: naming the value and what to do.
    """
    check_format(frames=split.frames, size=split.size, fps=split.fps)
    if split.name not in SPLITS:
        raise ConfigError(f"tiny world: split={split.name}, but there are only {', '.join(SPLITS)}. Set one of these.")
    if split.videos < 1:
        raise ConfigError(f"tiny world: {split.name} videos={split.videos}, but at least 1 is needed. Set 1 or more.")
    if split.twins and split.videos % 2:
        raise ConfigError(
            f"tiny world: {split.name} videos={split.videos} with twins, but twins come in pairs. Set an even number."
        )


def fingerprint(*splits: Split) -> str:
    """Hex SHA-256 of all that decides the videos."""
    return hashlib.sha256(to_json([RECIPE, *(asdict(split) for split in splits)])).hexdigest()


def row(qa: QA, video: str) -> dict[str, Any]:
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


def _named(split: Split) -> Iterator[tuple[str, Scene]]:
    return ((f"{i:06d}", scene) for i, scene in enumerate(split))
