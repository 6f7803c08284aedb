"""Scenes into files: one mp4 and one JSON of ground truth a video, each whole or not there."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recot.atomic import write_file
from recot.tiny_world.elements import Scene
from recot.tiny_world.render import render
from recot.tiny_world.truth import caption, captions, events, questions, video_id
from recot.tiny_world.video import encode_mp4


def render_videos(folder: Path, scenes: Iterable[tuple[str, Scene]]) -> None:
    """Write ``<name>.mp4`` and ``<name>.json`` for every named scene that has none yet.

    The JSON comes last: where there is one, the video is finished. So a call after an interrupted one goes on with the
    video that it stopped at.

    Args:
        folder: made if it is not there.
        scenes: names and scenes; consumed one by one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for temporary in folder.glob(".*.tmp"):
        temporary.unlink()
    for name, scene in scenes:
        truth = folder / f"{name}.json"
        if not truth.exists():
            content = encode_mp4(render(scene), size=scene.size, fps=scene.fps)
            write_file(folder / f"{name}.mp4", content)
            write_file(truth, to_json(ground_truth(scene, f"{name}.mp4", content)))


def ground_truth(scene: Scene, video: str, content: bytes) -> dict[str, Any]:
    """All that is known of a video; the fields are described in ``docs/tiny_world.md``."""
    return {
        "video": video,
        "video_id": video_id(scene),
        "sha256": hashlib.sha256(content).hexdigest(),
        "seed": scene.seed,
        "twin": scene.twin,
        "frames": scene.frames,
        "size": scene.size,
        "fps": scene.fps,
        "duration_s": scene.duration_s,
        "caption": caption(scene),
        "captions": captions(scene),
        "events": events(scene),
        "qa": [asdict(qa) for qa in questions(scene)],
    }


def to_json(value: Any) -> bytes:
    """Indented, with a newline at the end."""
    return (json.dumps(value, indent=1) + "\n").encode()
