"""Pictures written in words: a video as a language model may come to see it, before there is anything to see with.

Each 4 frames become the time that stands before a group's tokens (``recot.grouping.time_text``) and 4 x 4 words,
row by row, where the video language model has 4 x 4 compact tokens: the background's kind, and where something is seen,
its name and, in the next free place, its movement. A language model that reads these has learned what can be learned
without eyes: to find, count, order and follow things over groups. All of it is our choice.
"""

from collections import Counter

import numpy as np

from recot.grouping import GROUP_SIZE, time_text
from recot.tiny_world.elements import Scene, Shot, Sprite
from recot.tiny_world.sprites import movement

SIDE = 4
MOVEMENT_TOLD = 0.75  # of the videos; in others, it shows from where things are in successive groups
ALL_WORDS = 0.5  # of the videos; others lack a part of what shows nothing but background, as after selection
LEAST_WORDS = 0.2  # of these


def written(scene: Scene, rng: np.random.Generator) -> list[str]:
    """All groups of a video, one behind the other: the time and the words of each, to be encoded each by itself.

    Args:
        scene: the video.
        rng: draws whether movements are told, which words are left out, and what stands for a cell that the
            background of two shots is seen in.
    """
    moving = rng.random() < MOVEMENT_TOLD
    kept = 1.0 if rng.random() < ALL_WORDS else float(rng.uniform(LEAST_WORDS, 1))
    texts = []
    for start in range(0, scene.frames, GROUP_SIZE):
        words, things = _group(scene, range(start, min(start + GROUP_SIZE, scene.frames)), moving, rng)
        shown = [word for i, word in enumerate(words) if i in things or rng.random() < kept]
        if shown:
            texts += [time_text(start / scene.fps), "".join(shown)]
    return texts


def _group(scene: Scene, frames: range, moving: bool, rng: np.random.Generator) -> tuple[list[str], set[int]]:
    """The words of a group, and the places of those that aren't background."""
    shots = Counter(next(shot for shot in scene.shots if shot.start <= frame < shot.stop) for frame in frames)
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


def _seen(shots: list[Shot], frames: range) -> list[tuple[Sprite, list[int]]]:
    """Sprites of a group, each with the frames that show it."""
    found = [(sprite, [f for f in frames if sprite.shown(f)]) for shot in shots for sprite in shot.sprites]
    return [(sprite, seen) for sprite, seen in found if seen]


def _nearest(sprite: Sprite, scene: Scene, seen: list[int]) -> list[int]:
    """Places by their distance from where the sprite is in the middle of the frames that show it."""
    x, y = (value * SIDE / scene.size - 0.5 for value in sprite.centre(seen[len(seen) // 2], scene.fps))
    return sorted(range(SIDE * SIDE), key=lambda place: (place % SIDE - x) ** 2 + (place // SIDE - y) ** 2)
