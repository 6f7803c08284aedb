"""Videos in which there is little or nothing to see, or that don't play. Their texts are those of a whole scene."""

from collections.abc import Iterable

import numpy as np

from recot.tiny_world.elements import Scene
from recot.tiny_world.junk.case import Case, Made, ask
from recot.tiny_world.junk.damage import cut_off, damage_frames, damage_index, index_first
from recot.tiny_world.junk.pixels import add_noise, plain_frame
from recot.tiny_world.render import render, render_frame
from recot.tiny_world.video import encode_mp4

_DARK = (0, 9)  # levels
_BRIGHT = (40, 253)
_SHORT = (1, 4)  # frames
_CUT = (0.3, 0.7)
_DAMAGE_START, _DAMAGE_PART = (0.1, 0.4), (0.3, 0.5)


def static(case: Case) -> Made:
    """One frame of a scene for the whole length; half of them with a little noise."""
    scene, rng = case.scene(0), case.rng
    shown, noisy = int(rng.integers(scene.frames)), bool(rng.random() < 0.5)
    frames = [render_frame(scene, shown)] * scene.frames
    content = _encode(add_noise(frames, rng) if noisy else frames, scene)
    return Made(content, ask(scene, rng, case.asked), {"frame": shown, "noise": noisy})


def black(case: Case) -> Made:
    """Black, or almost."""
    level = int(case.rng.integers(*_DARK))
    return _plain(case, (level, level, level))


def blank(case: Case) -> Made:
    """Another colour, the same everywhere."""
    red, green, blue = (int(v) for v in case.rng.integers(*_BRIGHT, 3))
    return _plain(case, (red, green, blue))


def too_short(case: Case) -> Made:
    """The first 1 to 3 frames."""
    scene, rng = case.scene(0), case.rng
    kept = int(rng.integers(*_SHORT))
    content = _encode((render_frame(scene, i) for i in range(kept)), scene)
    return Made(content, ask(scene, rng, case.asked), {"frames": kept})


def truncated(case: Case) -> Made:
    """The first 30 to 70 % of the bytes. In half of them the index came first, so that it is whole; else it is lost."""
    scene, rng = case.scene(0), case.rng
    part, in_front = float(rng.uniform(*_CUT)), bool(rng.random() < 0.5)
    content = _encode(render(scene), scene)
    content = cut_off(index_first(content) if in_front else content, part)
    return Made(content, ask(scene, rng, case.asked), {"part": round(part, 4), "index_first": in_front})


def corrupt(case: Case) -> Made:
    """Random bytes over 30 to 50 % of the frames' bytes, in one piece, or over the index."""
    scene, rng = case.scene(0), case.rng
    content, rows = _encode(render(scene), scene), ask(scene, rng, case.asked)
    if rng.random() < 0.5:
        return Made(damage_index(content, rng), rows, {"damaged": "index"})
    start, part = float(rng.uniform(*_DAMAGE_START)), float(rng.uniform(*_DAMAGE_PART))
    parameters = {"damaged": "frames", "start": round(start, 4), "part": round(part, 4)}
    return Made(damage_frames(content, rng, start=start, part=part), rows, parameters)


def _plain(case: Case, colour: tuple[int, int, int]) -> Made:
    scene = case.scene(0)
    frame = plain_frame(colour, scene.size, case.rng)
    content = _encode([frame] * scene.frames, scene)
    return Made(content, ask(scene, case.rng, case.asked), {"colour": list(colour)})


def _encode(frames: Iterable[np.ndarray], scene: Scene) -> bytes:
    return encode_mp4(frames, size=scene.size, fps=scene.fps)
