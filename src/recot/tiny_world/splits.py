"""Which scenes are in which split of a world: pure functions of the world's seed."""

from collections.abc import Sequence
from dataclasses import dataclass

from recot.errors import DataError
from recot.randomness import derive_seed
from recot.tiny_world.elements import Scene
from recot.tiny_world.planting import deal
from recot.tiny_world.scene import DEFAULT_FPS, DEFAULT_SIZE, make_scene, tasks_for

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Split(Sequence[Scene]):
    """The scenes of a split, made when they are asked for.

    Args:
        world: seed of the world.
        name: one of ``SPLITS``.
        videos: how many.
        frames: frames a video.
        size: side of a frame in pixels, even.
        fps: frames a second.
        twins: each scene is followed by its twin: the same questions with other answers.
    """

    world: int
    name: str
    videos: int
    frames: int
    size: int = DEFAULT_SIZE
    fps: float = DEFAULT_FPS
    twins: bool = False

    def __len__(self) -> int:
        return self.videos

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        """The scene at an index; a slice gives a list."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        number, twin = divmod(index, 2) if self.twins else (index, 0)
        deals = {task: deal(self.world, self.name, task, number, twin=bool(twin)) for task in tasks_for(self.frames)}
        return make_scene(
            self.seed(index), frames=self.frames, size=self.size, fps=self.fps, deals=deals, twin=bool(twin)
        )

    def seed(self, index: int) -> int:
        """The seed of a scene, the same for twins."""
        return derive_seed("tiny_world", self.world, self.name, index // 2 if self.twins else index)


def check_disjoint(splits: Sequence[Split]) -> None:
    """Refuse splits that have a scene in common.

    Raises:
        DataError: naming both splits and the seed.
    """
    found: dict[int, str] = {}
    for split in splits:
        for i in range(len(split)):
            seed = split.seed(i)
            if found.setdefault(seed, split.name) != split.name:
                raise DataError(
                    f"tiny world: the scene {seed} is in both {found[seed]} and {split.name}. Set another seed."
                )
