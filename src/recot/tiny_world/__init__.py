"""The embedded default data: a seeded renderer of moving shapes as real mp4, with its ground truth."""

from recot.tiny_world.dataset import TinyWorld

__all__ = ["TinyWorld"]
