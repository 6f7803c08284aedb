"""What a scene is made of.

Lengths are pixels (x to the right, y downwards), frames count from 0, and frame k is shown at k / fps seconds.
"""

from dataclasses import dataclass

from recot.tiny_world.motion import Motion


@dataclass(frozen=True)
class Sprite:
    """One shape, shown on frames ``start <= frame < stop``; ``radius`` is half the side of its box."""

    shape: str
    colour: str
    radius: float
    motion: Motion
    start: int
    stop: int

    @property
    def name(self) -> str:
        """``red circle``, say."""
        return f"{self.colour} {self.shape}"

    def shown(self, frame: int) -> bool:
        """Whether the sprite is on this frame."""
        return self.start <= frame < self.stop

    def centre(self, frame: int, fps: float) -> tuple[float, float]:
        """Where its centre is on a frame; always inside the frame while the sprite is shown."""
        return self.motion.at((frame - self.start) / fps)


@dataclass(frozen=True)
class Background:
    """What is behind the sprites; it never moves. ``angle`` in radians, ``period`` in pixels."""

    kind: str
    first: tuple[int, int, int]
    second: tuple[int, int, int]
    angle: float
    period: float
    seed: int


@dataclass(frozen=True)
class Shot:
    """Frames ``start <= frame < stop`` between two cuts. Later sprites are drawn over earlier ones.

    The first sprite is there for the whole shot, and no two of a shot have both colour and shape in common.
    """

    start: int
    stop: int
    background: Background
    sprites: tuple[Sprite, ...]


@dataclass(frozen=True)
class Planted:
    """A question that the scene was made for.

    Attributes:
        task: one of ``recot.tiny_world.planting.TASKS``.
        question: with a question mark; the options are not in it.
        options: four different answers.
        right: index of the true one.
        evidence: ``(t0, t1)`` seconds, by time: all that has to be seen to answer.
    """

    task: str
    question: str
    options: tuple[str, ...]
    right: int
    evidence: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Scene:
    """A whole video: ``frames`` frames of ``size`` x ``size`` pixels.

    A twin has the seed, the cuts, the backgrounds and the questions of another scene, and other answers.
    """

    seed: int
    frames: int
    size: int
    fps: float
    shots: tuple[Shot, ...]
    planted: tuple[Planted, ...] = ()
    twin: bool = False

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return self.frames / self.fps

    @property
    def sprites(self) -> tuple[Sprite, ...]:
        """The sprites of all shots, shot by shot."""
        return tuple(sprite for shot in self.shots for sprite in shot.sprites)
