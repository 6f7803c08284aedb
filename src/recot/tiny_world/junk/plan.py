"""Which videos a corpus with junk has: names, kinds and scenes, all pure functions of the world's seed."""

from dataclasses import dataclass, replace

import numpy as np

from recot.errors import ConfigError
from recot.randomness import derive_seed, keyed_rng
from recot.tiny_world.elements import Scene
from recot.tiny_world.export import check_split
from recot.tiny_world.junk.kinds import KINDS
from recot.tiny_world.junk.texts import TRIES
from recot.tiny_world.scene import tasks_for
from recot.tiny_world.splits import Split

SEEN, EVALUATION = "corpus", "evaluation"
"""What a pipeline may see: folders, and keys of what is random."""

EVALUATION_SPLIT = "test"
MAX_JUNK = 0.9
MIN_FRAMES = 32
_EVALUATION_PART, _MIN_EVALUATION = 0.1, 4


@dataclass(frozen=True)
class Corpus:
    """A corpus of which a part is junk. Numbers below ``clean`` are good videos, the others junk.

    Args:
        split: which scenes, and how many videos in all; not the one that is evaluated on.
        junk: fraction of the videos that is junk.
    """

    split: Split
    junk: float

    @property
    def junk_videos(self) -> int:
        """How many of the videos are junk."""
        return round(self.split.videos * self.junk)

    @property
    def clean(self) -> int:
        """How many are not."""
        return self.split.videos - self.junk_videos

    @property
    def evaluation(self) -> Split:
        """The scenes of the evaluation set."""
        videos = max(_MIN_EVALUATION, round(self.split.videos * _EVALUATION_PART))
        return replace(self.split, name=EVALUATION_SPLIT, videos=videos)

    @property
    def pool(self) -> Split:
        """The good videos' scenes, then ``TRIES`` for every junk video."""
        return replace(self.split, videos=self.clean + TRIES * self.junk_videos)

    @property
    def asked(self) -> int:
        """Planted questions a video: half of those that its length has room for, so that a trimmed one has as many."""
        return max(1, len(tasks_for(self.split.frames)) // 2)

    def check(self) -> None:
        """Refuse a corpus that can't be made.

        Raises:
            ConfigError: naming the value and what to do.
        """
        check_split(self.split)
        if not 0 <= self.junk <= MAX_JUNK:
            raise ConfigError(
                f"tiny world: junk={self.junk:g}, but it is the fraction of the videos that is junk, 0 to {MAX_JUNK}. "
                "Set junk=0.4, for example."
            )
        if self.split.name == EVALUATION_SPLIT or self.split.twins:
            raise ConfigError(
                f"tiny world: a corpus with junk of the split {self.split.name}{' with twins' * self.split.twins}, but "
                f"{EVALUATION_SPLIT} is its evaluation set, and twins would be near-duplicates that aren't junk. "
                "Set split=train, without twins."
            )
        if self.split.frames < MIN_FRAMES:
            raise ConfigError(
                f"tiny world: frames={self.split.frames} with junk, but trimmed videos need something to cut off. "
                f"Set frames={MIN_FRAMES} or more."
            )
        if self.junk_videos < len(KINDS):
            raise ConfigError(
                f"tiny world: videos={self.split.videos} with junk={self.junk:g} are {self.junk_videos} junk videos, "
                f"but there are {len(KINDS)} kinds of junk. Set more videos, or more junk."
            )

    def name(self, part: str, number: int) -> str:
        """File name of a video of ``SEEN`` or ``EVALUATION`` without its ending."""
        return self._opaque("video", part, number)

    def row_id(self, part: str, number: int, row: int) -> str:
        """Id of a video's ``row``-th annotation."""
        return self._opaque("row", part, number, row)

    def kind(self, number: int) -> str | None:
        """What kind of junk a video is; of as many successive ones as there are kinds, one is of each."""
        block, place = divmod(number - self.clean, len(KINDS))
        if block < 0:
            return None
        return list(KINDS)[self._rng("kinds", block).permutation(len(KINDS))[place]]

    def scene(self, number: int, attempt: int = 0) -> Scene:
        """The scene of a good video, or one that a junk video has to itself."""
        return self.pool[number if number < self.clean else self.clean + TRIES * (number - self.clean) + attempt]

    def source(self, number: int) -> int:
        """What a junk video copies: number of a good one (of the evaluation set for leaks), once by each kind."""
        kind, block = self.kind(number), (number - self.clean) // len(KINDS)
        assert kind is not None
        available = self.evaluation.videos if kind == "leaked" else self.clean
        return int(self._rng("sources", kind).permutation(available)[block % available])

    def rng(self, part: str, number: int) -> np.random.Generator:
        """All chance in a video but its scenes."""
        return self._rng("video", part, number)

    def order(self, part: str, rows: int) -> np.ndarray:
        """``(rows,)`` int64: a random order of all annotations."""
        return self._rng("order", part).permutation(rows)

    def _rng(self, *key: int | str) -> np.random.Generator:
        return keyed_rng("tiny_world", self.split.world, self.split.name, "corpus", *key)

    def _opaque(self, *key: int | str) -> str:
        return f"{derive_seed('tiny_world', self.split.world, self.split.name, 'corpus', *key):016x}"
