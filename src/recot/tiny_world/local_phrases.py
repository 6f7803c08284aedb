"""What each patch of a frame shows, in words: an object, or the background behind it.

A contrast of whole frames and captions leaves open where on a frame the encoder knows of a thing, and tokens are
selected one by one. So the small encoder learns it of every patch, as RegionCLIP does of boxes (arXiv 2112.09106); the
phrases and the rule for a patch are ours.
"""

import numpy as np

from recot.tiny_world.elements import Scene
from recot.tiny_world.render import sprite_box
from recot.tiny_world.vocabulary import BACKGROUNDS, OBJECTS

PHRASES = (*OBJECTS, *(f"{kind} background" for kind in BACKGROUNDS))


def phrase_map(scene: Scene, frame: int, grid: int) -> np.ndarray:
    """(grid, grid) int64: the place in ``PHRASES`` of what each patch shows.

    A patch shows the front one of the objects whose box holds the patch's middle, or whose own middle is in the patch.
    """
    shot = next(shot for shot in scene.shots if shot.start <= frame < shot.stop)
    shown = np.full((grid, grid), PHRASES.index(f"{shot.background.kind} background"))
    side = scene.size / grid
    middles = (np.arange(grid) + 0.5) * side
    for sprite in shot.sprites:
        if sprite.shown(frame):
            left, top, right, bottom = sprite_box(sprite, frame, scene)
            held = ((middles >= top) & (middles < bottom))[:, None] & ((middles >= left) & (middles < right))
            x, y = (min(int(value / side), grid - 1) for value in sprite.centre(frame, scene.fps))
            held[y, x] = True
            shown[held] = OBJECTS.index(sprite.name)
    return shown
