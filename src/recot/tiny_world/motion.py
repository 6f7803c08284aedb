"""How sprites move: positions in pixels as closed formulas of the seconds since a sprite appeared."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Static:
    """Stays where it is."""

    x: float
    y: float

    def at(self, seconds: float) -> tuple[float, float]:
        """Centre, ``seconds`` after the sprite appeared."""
        return self.x, self.y


@dataclass(frozen=True)
class Linear:
    """Straight on, at ``(vx, vy)`` pixels a second."""

    x: float
    y: float
    vx: float
    vy: float

    def at(self, seconds: float) -> tuple[float, float]:
        """Centre, ``seconds`` after the sprite appeared."""
        return self.x + self.vx * seconds, self.y + self.vy * seconds


@dataclass(frozen=True)
class Bouncing:
    """Straight on, thrown back where the centre reaches ``low`` or ``high`` on either axis."""

    x: float
    y: float
    vx: float
    vy: float
    low: float
    high: float

    def at(self, seconds: float) -> tuple[float, float]:
        """Centre, ``seconds`` after the sprite appeared."""
        return self._fold(self.x + self.vx * seconds), self._fold(self.y + self.vy * seconds)

    def has_bounced(self, seconds: float) -> bool:
        """Whether it met an edge within ``seconds``."""
        ends = (self.x + self.vx * seconds, self.y + self.vy * seconds)
        return not all(self.low <= end <= self.high for end in ends)

    def _fold(self, value: float) -> float:
        span = self.high - self.low
        beyond = (value - self.low) % (2 * span)
        return self.low + min(beyond, 2 * span - beyond)


@dataclass(frozen=True)
class Circular:
    """Around ``(x, y)`` at distance ``orbit``, from angle ``phase``, at ``turn`` radians a second."""

    x: float
    y: float
    orbit: float
    phase: float
    turn: float

    def at(self, seconds: float) -> tuple[float, float]:
        """Centre, ``seconds`` after the sprite appeared."""
        angle = self.phase + self.turn * seconds
        return self.x + self.orbit * math.cos(angle), self.y + self.orbit * math.sin(angle)


Motion = Static | Linear | Bouncing | Circular
