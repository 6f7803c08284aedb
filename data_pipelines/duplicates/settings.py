"""What counts as a duplicate."""

from dataclasses import dataclass

from recot.errors import ConfigError


@dataclass(kw_only=True)
class DuplicateSettings:
    """Bounds of the perceptual and the semantic step. Defaults are from tiny-world seed 1, see each.

    Attributes:
        radius: bits of 64 in which the hashes of two frames that show the same may differ.
        share: part of the shorter video's frames that has to be within the radius at one common offset. There it was
            0.73 or more for a copy (cropped by 6 to 14 %, trimmed between two samples) and its source, and at most 0.62
            among 400,000 pairs of other scenes with enough evidence to be taken for copies.
        chance: how many other videos may look like a given one by chance; see ``alignment.evidence``.
        eps: the mean frame embeddings of semantic duplicates have a cosine of 1 - eps or more (SemDeDup, arXiv
            2303.09540; 0.1 is NeMo Curator's default). Copies of one length had 0.907 or more, other scenes 0.965 or
            less.
        frame_cosine: and so have, on average, their frames one by one, in order. Copies of one length had 0.911 or
            more, other scenes 0.694 or less.
        looks: frames of which no two have a cosine of 0.9 or more, that a video needs to be compared by embeddings: the
            order of frames that are all alike says nothing. Of all 8 frames, scenes of 8 shots had 6 or more; clips of
            one camera, seen by an encoder that never saw a photo, up to 5, and from 4 on no two were too similar.
        seed: of all chance (order of bits, k-means).
    """

    radius: int = 16
    share: float = 0.65
    chance: float = 1 / 32
    eps: float = 0.1
    frame_cosine: float = 0.9
    looks: int = 4
    seed: int = 0

    def check(self, where: str) -> None:
        """Refuse what can't be meant; ``where`` is the config key that holds these settings.

        Raises:
            ConfigError: naming the key, the value, and what is possible.
        """
        bounds = {
            "radius": (0, 31),
            "share": (0.05, 1),
            "chance": (1e-6, 1),
            "eps": (0, 1),
            "frame_cosine": (0, 1),
            "looks": (1, 64),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{where}.{name} is {value}, expected a number from {low} to {high}")
