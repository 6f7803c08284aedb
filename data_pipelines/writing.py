"""Writes the videos that are kept into shards."""

import errno
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from data_pipelines.frames_media import FramesSetting
from data_pipelines.ingest.fetch import ChangedVideoError, local_copy
from data_pipelines.manifest import PLACES
from recot.data.schema import FRAMES_EXTENSION, QA, Media, VideoSample, content_key
from recot.data.shard_index import sample_columns
from recot.data.shards import ShardFolder
from recot.errors import DataError, VideoError

_BLOCK = 1024  # videos whose rows are Python objects at once
_MEDIA = {name: f"media_{name}" if name in ("frames", "duration_s") else name for name in Media.__dataclass_fields__}
"""Field of ``Media`` -> column of the videos: ``frames`` and ``duration_s`` there are signals."""
_QA = tuple(QA.__dataclass_fields__)
_VIDEO_COLUMNS = ["video_id", "uri", "source_uri", "source", "licence", "key", "extension", *_MEDIA.values()]
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class KeptVideo:
    """A video that goes into the shards: where it is, and everything that its shard sample says."""

    uri: str
    key: str
    extension: str
    sample: VideoSample


@dataclass(frozen=True)
class Kept:
    """The kept videos of the input, and their questions, those of copies that they took over among them.

    Attributes:
        videos: all videos of the input, columns of the shard samples only.
        samples: all questions of the input, likewise.
        rows: (n,) int64 rows of ``videos`` that are kept, ascending.
        keys: n shard keys.
        first: (n + 1,) int64; video i has the questions ``samples[order[first[i]:first[i + 1]]]``.
        order: int64 rows of ``samples``: a video's own questions first, then those of its copies.
    """

    videos: pa.Table
    samples: pa.Table
    rows: np.ndarray
    keys: list[str]
    first: np.ndarray
    order: np.ndarray

    def read(self, members: np.ndarray) -> Iterator[KeptVideo]:
        """Some of the videos, one after another.

        Args:
            members: int64, which of the n.
        """
        for start in range(0, len(members), _BLOCK):
            block = members[start : start + _BLOCK]
            facts = self.videos.take(self.rows[block]).to_pylist()
            for member, fact in zip(block.tolist(), facts, strict=True):
                questions = self.samples.take(self.order[self.first[member] : self.first[member + 1]]).to_pylist()
                yield KeptVideo(fact["uri"], fact["key"], fact["extension"], _sample(fact, questions))


def kept_videos(videos: pa.Table, samples: pa.Table, decided_videos: pa.Table, decided_samples: pa.Table) -> Kept:
    """What the decisions keep.

    Args:
        videos: ``video_id, uri, source_uri, source, licence, key, extension``, the fields of ``Media`` (of which
            ``frames`` and ``duration_s`` are called ``media_frames`` and ``media_duration_s``), and others.
        samples: ``video_id`` and the fields of ``QA`` and others.
        decided_videos: ``decision``, a row for each of ``videos``.
        decided_samples: ``decision``, and ``dup_of``, the ``video_id`` that a question of a copy was given to.

    Raises:
        RuntimeError: if a kept question is of a video that isn't kept, or two kept videos have one key.
    """
    rows = np.flatnonzero(pc.equal(decided_videos["decision"], "keep").to_numpy(zero_copy_only=False))
    keys = videos["key"].take(rows).to_pylist()
    asked = np.flatnonzero(pc.equal(decided_samples["decision"], "keep").to_numpy(zero_copy_only=False))
    taken_over = decided_samples["dup_of"].take(asked)
    home = pc.coalesce(taken_over, samples["video_id"].take(asked))
    place = pc.fill_null(pc.index_in(home, value_set=videos["video_id"].take(rows)), -1).to_numpy().astype(np.int64)
    if (place < 0).any() or len(set(keys)) != len(keys):
        raise RuntimeError(
            f"{np.count_nonzero(place < 0)} kept questions are of videos that aren't kept, and "
            f"{len(keys) - len(set(keys))} kept videos have the content of another one"
        )
    order = np.lexsort((asked, pc.is_valid(taken_over).to_numpy(zero_copy_only=False), place))
    first = np.concatenate(([0], np.cumsum(np.bincount(place, minlength=len(rows)))))
    return Kept(videos.select(_VIDEO_COLUMNS), samples.select(_QA), rows, keys, first, asked[order])


def split(keys: list[str], val_fraction: float) -> dict[str, np.ndarray]:
    """``train`` and, if a fraction is asked for, ``val``: int64 places in ``keys``, ascending.

    Validation takes the videos with the smallest keys: a choice that looks random, and never changes for a content.

    Raises:
        DataError: if no video is left for ``train``.
    """
    val_count = math.ceil(val_fraction * len(keys) - 1e-9)  # 0.07 x 100 is more than 7 in binary
    if val_count == len(keys):
        raise DataError(
            f"val_fraction={val_fraction} puts all {len(keys)} usable videos into validation and leaves none to train "
            "on. Give more videos, or val_fraction=0."
        )
    by_key = np.argsort(np.array(keys))
    splits = {"train": np.sort(by_key[val_count:]), "val": np.sort(by_key[:val_count])}
    return {name: members for name, members in splits.items() if len(members)}


def write_split(
    folder: Path,
    kept: Kept,
    members: np.ndarray,
    read_payload: Callable[[KeptVideo], tuple[bytes, str]],
    *,
    config_hash: str,
    max_samples: int,
    max_bytes: int,
    fps: float,
    tokens_per_group: int,
) -> pa.Table:
    """Write the shard folder ``folder``; equal arguments give equal bytes.

    Args:
        folder: appears whole or not at all; its name is that of the split.
        kept: what is kept.
        members: which of the kept videos.
        read_payload: gives a video's content in the shard, and its extension.
        config_hash: noted in the folder.
        max_samples: a shard has at most so many videos,
        max_bytes: and is closed once it is this large.
        fps: frames a second that training is expected to sample, for the token counts of the index.
        tokens_per_group: the same, of 4 frames.

    Returns:
        Where each video is: ``manifest.PLACES``.

    Raises:
        DataError: if a video changed since it was inspected, or the disk is full.
    """
    from recot.data.shard_writer import ShardWriter  # here, as webdataset loads torch, which a sweep can do without

    writer = ShardWriter(
        folder,
        config_hash=config_hash,
        samples_per_shard=max_samples,
        bytes_per_shard=max_bytes,
        meta={"fps": fps, "tokens_per_group": tokens_per_group},
    )
    with explain_full_disk(folder), writer:
        for video in tqdm(kept.read(members), total=len(members), desc=f"writing {folder.name}", unit="video"):
            content, extension = read_payload(video)
            columns = sample_columns(video.sample, fps=fps, tokens_per_group=tokens_per_group)
            writer.add(video.key, video.sample.to_json(), content, extension, columns)
    return _places(folder)


def original_payload(video: KeptVideo, *, scratch: Path, max_bytes: int) -> tuple[bytes, str]:
    """The content of the video's file, as it was when it was inspected, and its extension.

    Args:
        video: the video.
        scratch: folder for copies of remote files and of members of tars.
        max_bytes: largest copy that is made.

    Raises:
        ChangedVideoError: if the file changed or can't be read any more.
        DataError: if a copy can't be written.
    """
    try:
        with local_copy(video.uri, scratch, max_bytes=max_bytes) as path:
            content = path.read_bytes()
    except (OSError, VideoError) as error:
        raise ChangedVideoError(video.uri, f"can't be read any more: {error}") from error
    if content_key(content) != video.key:
        raise ChangedVideoError(video.uri, "has other content now")
    return content, video.extension


def frames_payload(video: KeptVideo, *, folder: Path, setting: FramesSetting) -> tuple[bytes, str]:
    """The frames that ``frames_media.store_frames`` left in ``folder``, and their extension.

    Raises:
        DataError: if they aren't there.
    """
    path = setting.path(folder, video.key)
    try:
        return path.read_bytes(), FRAMES_EXTENSION
    except OSError as error:
        raise DataError(f"{path}, the frames of {video.uri}, can't be read: {error}. Run the command again.") from error


@contextmanager
def explain_full_disk(target: Path) -> Iterator[None]:
    """Writing within the block that fails because there is no room raises a ``DataError`` that names ``target``."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DataError(
            f"{target} can't be written: {error.strerror}. Nothing was left there. Make room or choose another output "
            "folder, and run the same command again: what was measured is kept."
        ) from error


def _sample(fact: dict, questions: list[dict]) -> VideoSample:
    media = Media(**{name: fact[column] for name, column in _MEDIA.items()})
    qa = [QA(**{name: question[name] for name in _QA}) for question in questions]
    return VideoSample(fact["video_id"], fact["source"], fact["source_uri"], fact["licence"], media, qa)


def _places(folder: Path) -> pa.Table:
    columns = ShardFolder(folder).columns
    _, first, shard = np.unique(columns["shard"], return_index=True, return_inverse=True)
    rows = np.arange(len(shard)) - first[shard]
    split_name = np.full(len(shard), folder.name)
    return pa.table([columns["key"], split_name, columns["shard"], rows], schema=PLACES)
