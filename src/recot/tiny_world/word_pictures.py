"""Pictures written in words: a video as a language model may come to see it, before there is anything to see with.

Each 4 frames become the time that stands before a group's tokens (``recot.grouping.time_text``) and 4 x 4 words,
row by row, where the video language model has 4 x 4 compact tokens: the background's kind, and where something is seen,
its name and, in the next free place, its movement. A language model that reads these has learned what can be learned
without eyes: to find, count, order and follow things over groups. All of it is our choice.
"""

from collections import Counter
from collections.abc import Container

import numpy as np

from recot.grouping import GROUP_SIZE, time_text
from recot.tiny_world.elements import Scene, Shot, Sprite
from recot.tiny_world.sprites import movement

SIDE = 4
MOVEMENT_TOLD = 0.75  # of the videos; in others, it shows from where things are in successive groups


def written(
    scene: Scene,
    rng: np.random.Generator,
    *,
    shots: Container[int] | None = None,
    whole: float = 0.5,
    kept: tuple[float, float] = (0.2, 1.0),
) -> list[str]:
    """All groups of a video, one behind the other: the time and the words of each, to be encoded each by itself.

    Args:
        scene: the video.
        rng: draws whether movements are told, which words are left out, and what stands for a cell that the
            background of two shots is seen in.
        shots: numbers of the shots that are shown, from 0; of others nothing is, as if nothing of them were selected.
            None is all.
        whole: share of the videos that have all words; others lack a part of those for background, as after selection.
        kept: least and most of these that they have. A group without words has no time either.
    """
    moving = rng.random() < MOVEMENT_TOLD
    share = 1.0 if rng.random() < whole else float(rng.uniform(*kept))
    texts = []
    for start in range(0, scene.frames, GROUP_SIZE):
        numbers = [_shot(scene, frame) for frame in range(start, min(start + GROUP_SIZE, scene.frames))]
        frames = [start + i for i, number in enumerate(numbers) if shots is None or number in shots]
        if not frames:
            continue
        words, things = _group(scene, frames, moving, rng)
        shown = [word for i, word in enumerate(words) if i in things or rng.random() < share]
        if shown:
            texts += [time_text(start / scene.fps), "".join(shown)]
    return texts


def _shot(scene: Scene, frame: int) -> int:
    """The number of the shot that a frame is of."""
    return next(number for number, shot in enumerate(scene.shots) if shot.start <= frame < shot.stop)


def _group(scene: Scene, frames: list[int], moving: bool, rng: np.random.Generator) -> tuple[list[str], set[int]]:
    """The words of frames of a group, and the places of those that aren't background."""
    shots = Counter(scene.shots[_shot(scene, frame)] for frame in frames)
    kinds = [shot.background.kind for shot in shots]
    shares = np.array(list(shots.values())) / len(frames)
    # With the space before it, a kind of background is one token, as all other words are.
    words = [f" {kinds[i]}" for i in rng.choice(len(kinds), SIDE * SIDE, p=shares)]
    things: set[int] = set()
    for sprite, seen in _seen(list(shots), frames):
        place = next(place for place in _nearest(sprite, scene, seen) if place not in things)
        words[place] = sprite.name
        things.add(place)
        move = movement(sprite, scene.fps)
        if moving and move is not None:
            behind = next(p % len(words) for p in range(place + 1, place + len(words)) if p % len(words) not in things)
            words[behind] = move
            things.add(behind)
    return words, things


def _seen(shots: list[Shot], frames: list[int]) -> list[tuple[Sprite, list[int]]]:
    """Sprites of a group, each with the frames that show it."""
    found = [(sprite, [f for f in frames if sprite.shown(f)]) for shot in shots for sprite in shot.sprites]
    return [(sprite, seen) for sprite, seen in found if seen]


def _nearest(sprite: Sprite, scene: Scene, seen: list[int]) -> list[int]:
    """Places by their distance from where the sprite is in the middle of the frames that show it."""
    x, y = (value * SIDE / scene.size - 0.5 for value in sprite.centre(seen[len(seen) // 2], scene.fps))
    return sorted(range(SIDE * SIDE), key=lambda place: (place % SIDE - x) ** 2 + (place // SIDE - y) ** 2)
