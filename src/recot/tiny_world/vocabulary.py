"""The words of the tiny world: what can be seen in it, and how it is said. All of it is our choice."""

COLOURS = {
    "red": (230, 50, 45),
    "green": (60, 200, 80),
    "blue": (60, 100, 245),
    "yellow": (245, 225, 60),
    "magenta": (225, 70, 225),
    "cyan": (70, 220, 230),
    "orange": (250, 145, 40),
    "white": (250, 250, 250),
}
SHAPES = ("circle", "square", "triangle", "diamond", "cross")
BACKGROUNDS = ("plain", "gradient", "striped", "checkered", "cloudy")
DIRECTIONS = ("right", "down and right", "down", "down and left", "left", "up and left", "up", "up and right")

STAYS, BOUNCES, CIRCLES = "stays still", "bounces off the edges", "moves in a circle"
STRAIGHT = tuple(f"moves {direction}" for direction in DIRECTIONS)
MOVEMENTS = (STAYS, *STRAIGHT)
"""Seen within a second, and never confused."""

NOT_SHOWN = "not shown"

OBJECTS = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
"""``red circle`` and so on: all that a question can name."""
