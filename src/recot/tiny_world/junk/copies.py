"""Videos that show what another one shows: exact and near duplicates, and leaks of the evaluation set."""

import math
from typing import Any

import numpy as np

from recot.tiny_world.elements import Scene
from recot.tiny_world.junk import scenes
from recot.tiny_world.junk.case import Case, Made, Source, ask
from recot.tiny_world.junk.damage import index_first
from recot.tiny_world.junk.pixels import Frames, brighten, crop, decode_frames, mirror, resize
from recot.tiny_world.video import encode_mp4

_PRESETS = ("ultrafast", "superfast", "faster", "medium")
_CRF = (18, 31)
_GOPS = (8, 16, 64, 250)
_SMALLER = 0.75
_CROPPED, _MARGIN = (
    (0.06, 0.14),
    0.08,
)  # frame sides: of both margins together, at most of one (a sprite's least radius)
_BRIGHTER = (16, 33)  # levels; farther, orange could be taken for yellow
_KEPT = (0.6, 0.9)
_WINDOWS = 100  # tried until one keeps enough questions


def exact_duplicate(case: Case) -> Made:
    """The same bytes under another name, with questions of its own about the same scene."""
    source = case.source()
    return Made(source.content, ask(source.scene, case.rng, case.asked), shows=source.scene, of=source.video)


def reencoded(case: Case) -> Made:
    """Encoded anew: another quality, preset, GOP and perhaps place of the index; half of them at 3/4 of the size."""
    source, rng = case.source(), case.rng
    rows = ask(source.scene, rng, case.asked)
    content, parameters = _reencode(source, case.rng)
    same_size = parameters["size"] == source.scene.size
    return Made(content, rows, parameters, source.scene if same_size else None, source.video)


def cropped(case: Case) -> Made:
    """6 to 14 % of the side cut off, and enlarged to the size it had. No sprite that is asked about leaves the view."""
    source, rng = case.source(), case.rng
    size = source.scene.size
    largest = int(_MARGIN * size)
    both = int(np.clip(round(size * rng.uniform(*_CROPPED)), 1, 2 * largest))
    left, top = (int(v) for v in rng.integers(max(0, both - largest), min(both, largest) + 1, 2))
    frames = crop(decode_frames(source.content), left=left, top=top, side=size - both)
    rows = ask(source.scene, rng, case.asked)
    parameters = {"left": left, "top": top, "side": size - both}
    return Made(_encode(frames, source.scene), rows, parameters, of=source.video)


def mirrored(case: Case) -> Made:
    """Left and right swapped, in the texts too."""
    source = case.source()
    scene = scenes.mirrored(source.scene)
    content = _encode(mirror(decode_frames(source.content)), scene)
    return Made(content, ask(scene, case.rng, case.asked), shows=scene, of=source.video)


def brightness(case: Case) -> Made:
    """16 to 32 levels of 255 brighter or darker."""
    source, rng = case.source(), case.rng
    levels = int(rng.integers(*_BRIGHTER)) * int(rng.choice((-1, 1)))
    content = _encode(brighten(decode_frames(source.content), levels), source.scene)
    return Made(content, ask(source.scene, rng, case.asked), {"levels": levels}, of=source.video)


def trimmed(case: Case) -> Made:
    """60 to 90 % of the frames, in one piece; the questions whose evidence is still there, with their new seconds."""
    source, rng = case.source(), case.rng
    total = source.scene.frames
    best: tuple[Scene, int] | None = None
    for _ in range(_WINDOWS):
        length = int(rng.integers(math.ceil(_KEPT[0] * total), math.floor(_KEPT[1] * total) + 1))
        start = int(rng.integers(total - length + 1))
        scene = scenes.trimmed(source.scene, start, start + length)
        if best is None or len(scene.planted) > len(best[0].planted):
            best = (scene, start)
        if len(scene.planted) >= case.asked:
            break
    assert best is not None
    scene, start = best
    content = _encode(decode_frames(source.content)[start : start + scene.frames], scene)
    parameters = {"start": start, "stop": start + scene.frames}
    return Made(content, ask(scene, rng, case.asked), parameters, scene, source.video)


def leaked(case: Case) -> Made:
    """A video of the evaluation set with its questions there; the same bytes, or encoded anew."""
    source = case.source()
    if case.rng.random() < 0.5:
        return Made(source.content, source.rows, {"bytes": "same"}, source.scene, source.video)
    content, parameters = _reencode(source, case.rng)
    same_size = parameters["size"] == source.scene.size
    shows = source.scene if same_size else None
    return Made(content, source.rows, {"bytes": "reencoded", **parameters}, shows, source.video)


def _reencode(source: Source, rng: np.random.Generator) -> tuple[bytes, dict[str, Any]]:
    frames, size = decode_frames(source.content), source.scene.size
    if rng.random() < 0.5:
        size = 2 * round(size * _SMALLER / 2)
        frames = resize(frames, size)
    crf, preset, gop = int(rng.integers(*_CRF)), str(rng.choice(_PRESETS)), int(rng.choice(_GOPS))
    content = encode_mp4(frames, size=size, fps=source.scene.fps, crf=crf, preset=preset, gop=gop)
    in_front = bool(rng.random() < 0.5)
    parameters = {"size": size, "crf": crf, "preset": preset, "gop": gop, "index_first": in_front}
    return index_first(content) if in_front else content, parameters


def _encode(frames: Frames, scene: Scene) -> bytes:
    return encode_mp4(frames, size=scene.size, fps=scene.fps)
