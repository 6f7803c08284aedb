"""What is true of a scene: a caption, questions with the seconds that hold the evidence, events.

Answers follow from the scene, never from pixels. A motion is named by what is visible: a sprite that would
bounce but disappears before it meets an edge moves in a straight line.
"""

import math
from collections import Counter
from dataclasses import replace
from typing import Any

from recot.data.schema import QA
from recot.randomness import keyed_rng
from recot.tiny_world.motion import Bouncing, Circular, Static
from recot.tiny_world.render import sprite_box
from recot.tiny_world.scene import COLOURS, DIRECTIONS, SHAPES, Scene, Shot, Sprite

MAX_QUESTIONS = 4  # a video, beside the caption (our choice)
STAYS, BOUNCES, CIRCLES = "stays still", "bounces off the edges", "moves in a circle"
STRAIGHT = tuple(f"moves {direction}" for direction in DIRECTIONS)


def movement(sprite: Sprite, fps: float) -> str | None:
    """What a sprite is seen to do: ``STAYS``, ``BOUNCES``, ``CIRCLES`` or one of ``STRAIGHT``.

    None where frames don't show it clearly: a single frame, or less than a third of a circle.
    """
    seconds = (sprite.stop - 1 - sprite.start) / fps
    motion = sprite.motion
    if seconds == 0:
        return None
    if isinstance(motion, Static):
        return STAYS
    if isinstance(motion, Circular):
        return CIRCLES if abs(motion.turn) * seconds >= 2 * math.pi / 3 else None
    if isinstance(motion, Bouncing) and motion.has_bounced(seconds):
        return BOUNCES
    return STRAIGHT[round(math.atan2(motion.vy, motion.vx) / (math.pi / 4)) % 8]


def caption(scene: Scene) -> str:
    """One sentence a shot."""
    return " ".join(_describe(shot, scene) for shot in scene.shots)


def questions(scene: Scene) -> list[QA]:
    """The caption as a first question, then up to ``MAX_QUESTIONS`` drawn with the scene's seed.

    ``t_start`` and ``t_end`` are the seconds in which the answer can be seen. Where there are options, the
    answer is one of them, word for word.
    """
    whole = QA("", "Describe the video.", caption(scene), "caption", t_start=0.0, t_end=scene.duration_s)
    candidates = _about_scene(scene)
    shapes = Counter(sprite.shape for sprite in scene.sprites)
    for shot in scene.shots:
        for sprite in shot.sprites:
            candidates += _about_sprite(sprite, shot, scene.fps, is_only_of_shape=shapes[sprite.shape] == 1)
    order = keyed_rng("tiny_world", scene.seed, "questions").permutation(len(candidates))
    chosen = [whole] + [candidates[i] for i in sorted(order[:MAX_QUESTIONS])]
    return [replace(qa, sample_id=f"{video_id(scene)}-{i}") for i, qa in enumerate(chosen)]


def events(scene: Scene) -> list[dict[str, Any]]:
    """One entry a sprite, plus one a cut, by time.

    ``t0`` and ``t1`` are presentation seconds (shown at t0 <= t < t1); ``box`` and ``box_end`` are
    ``[left, top, right, bottom]`` pixels on the first and the last frame that show the sprite.
    """
    found: list[dict[str, Any]] = [
        {"kind": "cut", "t0": shot.start / scene.fps, "t1": shot.start / scene.fps} for shot in scene.shots[1:]
    ]
    for sprite in scene.sprites:
        found.append(
            {
                "kind": "sprite",
                "t0": sprite.start / scene.fps,
                "t1": sprite.stop / scene.fps,
                "box": list(sprite_box(sprite, sprite.start, scene)),
                "box_end": list(sprite_box(sprite, sprite.stop - 1, scene)),
                "attributes": {
                    "shape": sprite.shape,
                    "colour": sprite.colour,
                    "rgb": list(COLOURS[sprite.colour]),
                    "radius_px": sprite.radius,
                    "motion": type(sprite.motion).__name__.lower(),
                    "movement": movement(sprite, scene.fps),
                },
            }
        )
    return sorted(found, key=lambda event: event["t0"])


def video_id(scene: Scene) -> str:
    """Names a scene among those of one format."""
    return f"tiny-{scene.seed:019d}"


def _name(sprite: Sprite) -> str:
    return f"{sprite.colour} {sprite.shape}"


def _describe(shot: Shot, scene: Scene) -> str:
    parts = []
    for sprite in shot.sprites:
        article = "an" if sprite.colour[0] in "aeiou" else "a"
        text = f"{article} {_name(sprite)} {movement(sprite, scene.fps) or 'is shown'}"
        if sprite.start > shot.start:
            text += f" from {sprite.start / scene.fps:.2f} s"
        if sprite.stop < shot.stop:
            text += f" until {sprite.stop / scene.fps:.2f} s"
        parts.append(text)
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    cut = f"at {shot.start / scene.fps:.2f} s the scene cuts: " if shot.start else ""
    text = f"{cut}in front of a {shot.background.kind} background, {listed}."
    return text[0].upper() + text[1:]


def _about_scene(scene: Scene) -> list[QA]:
    end = scene.duration_s
    number = str(len(scene.sprites))
    asked = [QA("", "How many shapes appear in the video?", number, "count", t_start=0.0, t_end=end)]
    for shot in scene.shots[1:]:
        asked.append(_when("When does the scene cut to another one?", shot.start, scene.fps))
    return asked


def _about_sprite(sprite: Sprite, shot: Shot, fps: float, *, is_only_of_shape: bool) -> list[QA]:
    t0, t1 = sprite.start / fps, sprite.stop / fps
    question = f"What shape is the {sprite.colour} object?"
    asked = [QA("", question, sprite.shape, "shape", options=list(SHAPES), t_start=t0, t_end=t1)]
    if is_only_of_shape:
        question = f"What colour is the {sprite.shape}?"
        asked.append(QA("", question, sprite.colour, "colour", options=list(COLOURS), t_start=t0, t_end=t1))
    moves = movement(sprite, fps)
    if moves is not None:
        options = [STAYS, BOUNCES, CIRCLES, *STRAIGHT]
        question = f"How does the {_name(sprite)} move?"
        asked.append(QA("", question, moves, "motion", options=options, t_start=t0, t_end=t1))
    if sprite.start > shot.start:
        asked.append(_when(f"When does the {_name(sprite)} appear?", sprite.start, fps))
    return asked


def _when(question: str, frame: int, fps: float) -> QA:
    """A change is seen on the frame before it and the frame at it."""
    answer = f"At {frame / fps:.2f} s."
    return QA("", question, answer, "temporal", t_start=(frame - 1) / fps, t_end=(frame + 1) / fps)
