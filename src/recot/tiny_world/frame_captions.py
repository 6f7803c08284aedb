"""Captions of single frames, with what each claims, so that any caption can be checked against any frame.

A caption says something about some objects and maybe the background. It is true of a frame if everything that it
claims is there; other things may be there too. Movements and times can't be seen on one frame, so they are said in
some captions, as in those of videos, but are no claims.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np

from recot.tiny_world.elements import Scene, Shot, Sprite
from recot.tiny_world.render import sprite_box
from recot.tiny_world.sprites import movement
from recot.tiny_world.vocabulary import BACKGROUNDS, COLOURS, SHAPES

Claim = tuple[str | None, str | None, str | None, str | None]
"""(background, colour, shape, place) of one thing, None for what isn't said of it."""
PLACES = (
    ("at the top left", "at the top", "at the top right"),
    ("at the left", "in the centre", "at the right"),
    ("at the bottom left", "at the bottom", "at the bottom right"),
)
"""Of a centre in the rows and columns of a division of the frame into thirds."""
MAX_TIMED = 2  # objects in a caption with times, so that it isn't longer than others (our choice)
STYLES = {"mention": 0.25, "question": 0.05, "moving": 0.2, "placed": 0.5}
"""Shares of drawn captions (our choice). Long captions are told apart by colours, mentions teach shapes, places and
backgrounds too."""


PAIRS_SHAPE = 0.7
"""Share of pairs of mentions that differ in the shape, which is harder to see than the colour (our choice)."""
PAIRS_PLACED = 0.5


@dataclass(frozen=True)
class FrameCaption:
    """A sentence, or a bare mention or question, and what it claims."""

    text: str
    claims: frozenset[Claim]


def facts(scene: Scene, frame: int) -> frozenset[Claim]:
    """Every claim that is true of a frame."""
    found: set[Claim] = {(_shot(scene, frame).background.kind, None, None, None)}
    for sprite in visible(scene, frame):
        told = (sprite.colour, sprite.shape, place(sprite, scene, frame))
        found |= {
            (None, *(word if kept else None for word, kept in zip(told, choice, strict=True)))  # type: ignore[misc]
            for choice in product((True, False), repeat=3)
            if any(choice)
        }
    return frozenset(found)


def full_caption(scene: Scene, frame: int) -> FrameCaption:
    """Every visible object with colour, shape and place, in drawing order, and the background."""
    background = _shot(scene, frame).background.kind
    sprites = visible(scene, frame)
    told = [(sprite.colour, sprite.shape, place(sprite, scene, frame)) for sprite in sprites]
    parts = [f"{_article(colour)} {colour} {shape} {where}" for colour, shape, where in told]
    claims: set[Claim] = {(None, *words) for words in told} | {(background, None, None, None)}
    text = f"{_listed(parts)} in front of a {background} background" if parts else f"a {background} background"
    return FrameCaption(text, frozenset(claims))


def draw_caption(scene: Scene, frame: int, rng: np.random.Generator) -> FrameCaption:
    """A caption in a style drawn at random.

    One mention alone, such as "the red object" or "a striped background"; a question about one object, which claims
    that the object is there; or some or all of the visible objects, in any order, with movements (as in captions of
    videos, with or without times), with places or with neither, and with or without the background.
    """
    seen = visible(scene, frame)
    sprites = [seen[i] for i in rng.permutation(len(seen))]
    shot = _shot(scene, frame)
    background = shot.background.kind
    style = rng.choice(list(STYLES), p=list(STYLES.values()))
    if not sprites or (style == "mention" and rng.random() < 0.25):
        return FrameCaption(f"a {background} background", frozenset({(background, None, None, None)}))
    if style == "mention":
        return _mention(sprites[0], place(sprites[0], scene, frame), rng)
    if style == "question":
        return _question(sprites[0], rng)
    if rng.random() < 0.5:
        sprites = sprites[: int(rng.integers(1, len(sprites) + 1))]
    if style == "moving":
        parts, claims = _moving(sprites, shot, scene.fps, rng)
    else:
        parts, claims = _placed(sprites, scene, frame, rng)
    return _sentence(parts, claims, background, rng)


def draw_pair(scene: Scene, frame: int, rng: np.random.Generator) -> tuple[FrameCaption, FrameCaption]:
    """A mention of a visible object, and the same with another shape or colour: what a model must tell apart.

    The second may be true as well, of another object; its claims say so. Of a frame without objects, it is two
    backgrounds.
    """
    sprites = visible(scene, frame)
    if not sprites:
        shown = _shot(scene, frame).background.kind
        other = _another(BACKGROUNDS, shown, rng)
        first, second = (
            FrameCaption(f"a {kind} background", frozenset({(kind, None, None, None)})) for kind in (shown, other)
        )
        return first, second
    sprite = sprites[int(rng.integers(len(sprites)))]
    where = place(sprite, scene, frame) if rng.random() < PAIRS_PLACED else None
    if rng.random() < PAIRS_SHAPE:
        changed = sprite.colour, _another(SHAPES, sprite.shape, rng)
    else:
        changed = _another(tuple(COLOURS), sprite.colour, rng), sprite.shape
    return _named(sprite.colour, sprite.shape, where), _named(*changed, where)


def visible(scene: Scene, frame: int) -> tuple[Sprite, ...]:
    """Sprites on a frame, in drawing order, without those whose box is covered to a half or more by a later one's."""
    shown = [sprite for sprite in _shot(scene, frame).sprites if sprite.shown(frame)]
    boxes = [sprite_box(sprite, frame, scene) for sprite in shown]
    return tuple(
        sprite
        for i, sprite in enumerate(shown)
        if all(2 * _shared_area(boxes[i], later) < _shared_area(boxes[i], boxes[i]) for later in boxes[i + 1 :])
    )


def place(sprite: Sprite, scene: Scene, frame: int) -> str:
    """Where its centre is on a frame, one of ``PLACES``."""
    x, y = (min(2, int(3 * value / scene.size)) for value in sprite.centre(frame, scene.fps))
    return PLACES[y][x]


def _shot(scene: Scene, frame: int) -> Shot:
    return next(shot for shot in scene.shots if shot.start <= frame < shot.stop)


def _shared_area(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> int:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(0, width) * max(0, height)


def _placed(
    sprites: Iterable[Sprite], scene: Scene, frame: int, rng: np.random.Generator
) -> tuple[list[str], set[Claim]]:
    """Mentions, with places or without."""
    with_place, article = rng.random() < 0.7, rng.random() < 0.8
    parts: list[str] = []
    claims: set[Claim] = set()
    for sprite in sprites:
        where = place(sprite, scene, frame) if with_place else None
        name = f"{_article(sprite.colour) if article else 'the'} {sprite.colour} {sprite.shape}"
        parts.append(name if where is None else f"{name} {where}")
        claims.add((None, sprite.colour, sprite.shape, where))
    return parts, claims


def _moving(sprites: list[Sprite], shot: Shot, fps: float, rng: np.random.Generator) -> tuple[list[str], set[Claim]]:
    """Mentions with movements, as in captions of videos; what is claimed are the objects."""
    timed, cut = rng.random() < 0.4, rng.random() < 0.3
    parts: list[str] = []
    claims: set[Claim] = set()
    for sprite in sprites[:MAX_TIMED] if timed else sprites:
        text = f"{_article(sprite.colour)} {sprite.colour} {sprite.shape} {movement(sprite, fps) or 'is shown'}"
        if timed and sprite.start > shot.start:
            text += f" from {sprite.start / fps:.2f} s"
        if timed and sprite.stop < shot.stop:
            text += f" until {sprite.stop / fps:.2f} s"
        parts.append(text)
        claims.add((None, sprite.colour, sprite.shape, None))
    if cut and not timed:
        parts[0] = f"at {shot.start / fps:.2f} s the scene cuts: {parts[0]}"
    return parts, claims


def _question(sprite: Sprite, rng: np.random.Generator) -> FrameCaption:
    colour, shape = _some_of((sprite.colour, sprite.shape), rng)
    asked = ["Where is the {}?", "How does the {} move?", "When does the {} appear?"]
    if colour is None:
        asked.append("What colour is the {}?")
    if shape is None:
        asked.append("What shape is the {}?")
    text = asked[int(rng.integers(len(asked)))].format(_name(colour, shape))
    return FrameCaption(text, frozenset({(None, colour, shape, None)}))


def _mention(sprite: Sprite, where: str, rng: np.random.Generator) -> FrameCaption:
    """By colour, shape and place, or some of these."""
    colour, shape, told = _some_of((sprite.colour, sprite.shape, where), rng)
    name = _name(colour, shape)
    article = "the" if rng.random() < 0.5 else _article(name)
    return FrameCaption(f"{article} {name} {told or ''}".rstrip(), frozenset({(None, colour, shape, told)}))


def _named(colour: str, shape: str, where: str | None) -> FrameCaption:
    text = f"{_article(colour)} {colour} {shape} {where or ''}".rstrip()
    return FrameCaption(text, frozenset({(None, colour, shape, where)}))


def _another(words: tuple[str, ...], but: str, rng: np.random.Generator) -> str:
    others = [word for word in words if word != but]
    return others[int(rng.integers(len(others)))]


def _some_of(words: tuple[str, ...], rng: np.random.Generator) -> list[str | None]:
    """Each word or None, but not None alone; every choice is as likely as any other."""
    kept = int(rng.integers(1, 2 ** len(words)))
    return [word if kept >> i & 1 else None for i, word in enumerate(words)]


def _name(colour: str | None, shape: str | None) -> str:
    return " ".join(word for word in (colour, shape or "object") if word is not None)


def _sentence(parts: list[str], claims: set[Claim], background: str, rng: np.random.Generator) -> FrameCaption:
    text = _listed(parts)
    how = rng.integers(4)
    if how == 0:
        text = f"in front of a {background} background, {text}"
    elif how == 1:
        text = f"{text} in front of a {background} background"
    if how < 2:
        claims = claims | {(background, None, None, None)}
    if rng.random() < 0.3:
        text = f"{text[0].upper()}{text[1:]}."
    return FrameCaption(text, frozenset(claims))


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
