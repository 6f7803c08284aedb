"""The embedded default data: a train and a validation folder of shards, made on first use."""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from tqdm import tqdm

from recot.atomic import new_folder
from recot.data.schema import Media, VideoSample, content_key
from recot.data.shard_index import sample_columns
from recot.data.shard_writer import ShardWriter
from recot.data.shards import ShardFolder
from recot.errors import DataError
from recot.tiny_world.contact_sheet import SHEET_VIDEOS, write_contact_sheet
from recot.tiny_world.elements import Scene
from recot.tiny_world.export import RECIPE, check_split
from recot.tiny_world.rendering import render_videos
from recot.tiny_world.scene import DEFAULT_FPS, DEFAULT_SIZE
from recot.tiny_world.splits import Split, check_disjoint
from recot.tiny_world.truth import questions, video_id
from recot.tiny_world.video import CODEC, CONTAINER


@dataclass(frozen=True, kw_only=True)
class TinyWorld:
    """Seeded videos of moving shapes, as shard folders ``<root>/train`` and ``<root>/val``, and a picture of some.

    Args:
        root: folder for both splits; made by ``prepare``.
        train_videos: how many videos to train on.
        val_videos: how many other videos to validate on.
        frames: frames a video.
        size: side of a frame in pixels, even.
        fps: frames a second.
        seed: another seed gives other videos.
        twins: every second video is the twin of the one before: the same questions with other answers.
    """

    root: str | Path
    train_videos: int
    val_videos: int
    frames: int
    seed: int
    size: int = DEFAULT_SIZE
    fps: float = DEFAULT_FPS
    twins: bool = False

    def prepare(self) -> None:
        """Make the two folders unless they are there already; both appear at once or not at all.

        An interrupted call leaves what it rendered, hidden; the next one goes on from there. Any number of processes
        may call this at the same time: one renders, the others wait.

        Raises:
            ConfigError: if no such videos can be made.
            DataError: if ``root`` can't be written, or holds something else: shards of another spec, a
                damaged split, other files.
        """
        for split in self.splits():
            check_split(split)
        check_disjoint(self.splits())
        root = Path(self.root).resolve()
        if self._is_ready(root):
            return
        try:
            root.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(root.with_name(f".{root.name}.lock")):
                if not self._is_ready(root):
                    with new_folder(root, resume=self.spec_hash()) as folder:
                        self._render(folder)
        except OSError as error:
            raise DataError(
                f"The tiny world can't be written to {root}: {error}. Set root to a folder that you may "
                "write to, on a disk with free space."
            ) from error

    def __call__(self) -> None:
        """``prepare``, so that a config can hand a world over as the step that makes the data."""
        self.prepare()

    def spec(self) -> dict[str, Any]:
        """Everything that decides the videos' bytes."""
        spec = {**asdict(self), "fps": float(self.fps), "recipe": RECIPE}
        del spec["root"]
        return spec

    def spec_hash(self) -> str:
        """Hex SHA-256 of ``spec``."""
        return hashlib.sha256(json.dumps(self.spec(), sort_keys=True).encode()).hexdigest()

    def splits(self) -> tuple[Split, Split]:
        """The scenes of ``train`` and ``val``."""
        counts = {"train": self.train_videos, "val": self.val_videos}
        train, val = (
            Split(
                world=self.seed,
                name=name,
                videos=videos,
                frames=self.frames,
                size=self.size,
                fps=float(self.fps),
                twins=self.twins,
            )
            for name, videos in counts.items()
        )
        return train, val

    def _is_ready(self, root: Path) -> bool:
        """Whether ``root`` holds this spec's shards, whole."""
        if not root.exists() or (root.is_dir() and not any(root.iterdir())):
            return False
        remedy = "Delete it and it is rendered again, or set another root."
        for split in self.splits():
            if not (root / split.name).is_dir():
                raise DataError(f"{root} holds other files than a tiny world: there is no {split.name}/. {remedy}")
            try:
                shards = ShardFolder(root / split.name)
            except DataError as error:
                raise DataError(f"The tiny world in {root} is damaged: {error} {remedy}") from error
            if shards.config_hash != self.spec_hash():
                raise DataError(
                    f"{root / split.name} was made with other settings: {shards.meta}, now {self.spec()}. {remedy}"
                )
        return True

    def _render(self, folder: Path) -> None:
        """Render both splits into files inside ``folder``, then pack these into shards."""
        files = folder / "files"
        split_of: dict[str, str] = {}
        with tqdm(total=self.train_videos + self.val_videos, desc="rendering tiny world", unit="video") as bar:
            for split in self.splits():
                for i, scene in enumerate(split):
                    render_videos(files / split.name, [(f"{i:06d}", scene)])
                    bar.update()
        for split in self.splits():
            shutil.rmtree(folder / split.name, ignore_errors=True)
            with ShardWriter(folder / split.name, config_hash=self.spec_hash(), meta=self.spec()) as writer:
                for i, scene in enumerate(split):
                    payload = (files / split.name / f"{i:06d}.mp4").read_bytes()
                    key = content_key(payload)
                    if split_of.setdefault(key, split.name) != split.name:
                        raise DataError(f"tiny world: {split.name} video {key} is also in train. Set another seed.")
                    sample = make_sample(scene)
                    writer.add(key, sample.to_json(), payload, "mp4", sample_columns(sample, fps=self.fps))
        write_contact_sheet(folder / "contact_sheet.png", self.splits()[0][:SHEET_VIDEOS])
        shutil.rmtree(files)


def make_sample(scene: Scene) -> VideoSample:
    """The JSON member for a scene."""
    media = Media(
        container=CONTAINER,
        codec=CODEC,
        width=scene.size,
        height=scene.size,
        fps=float(scene.fps),
        is_vfr=False,
        duration_s=scene.duration_s,
        frames=scene.frames,
        rotation=0,
    )
    return VideoSample(video_id(scene), "tiny_world", f"tiny_world:{scene.seed}", "CC0-1.0", media, questions(scene))
