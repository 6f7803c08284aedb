"""Impossible values of the data config, refused by key before anything is opened."""

import math
from collections.abc import Sequence

from recot.errors import ConfigError
from recot.grouping import GROUP_SIZE
from recot.video_io import FrameSampling


def at_least(least: int, name: str, value: int) -> int:
    """``value``, which must be a whole number from ``least`` up.

    Raises:
        ConfigError: if it isn't.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"data.{name} must be a whole number from {least} up, got {value!r}")
    return value


def window(name: str, groups: int | None, *, asked: bool) -> int | None:
    """Groups of a window, None for the whole video.

    Args:
        name: the config key.
        groups: its value.
        asked: whether there are questions about the videos.

    Raises:
        ConfigError: if it is no number from 1 up, or would cut a video that questions are about.
    """
    if groups is None:
        return None
    if asked:
        raise ConfigError(
            f"data.{name} is {groups}, but with data.questions a sample must be a whole video: a window might not show "
            f"what is asked about. Set data.{name}=null; data.sampling.max_frames bounds a video by thinning it out."
        )
    return at_least(1, name, groups)


def positive(name: str, value: float) -> float:
    """``value``, which must be a finite number above 0.

    Raises:
        ConfigError: if it isn't.
    """
    if not 0 < value < math.inf:
        raise ConfigError(f"data.{name} must be a positive number, got {value!r}")
    return value


def one_of(name: str, value: str, choices: Sequence[str]) -> str:
    """``value``, which must be one of ``choices``.

    Raises:
        ConfigError: if it isn't.
    """
    if value not in choices:
        raise ConfigError(f"data.{name} must be {' or '.join(choices)}, got {value!r}")
    return value


def height_and_width(size: Sequence[int]) -> tuple[int, int]:
    """(H, W) in pixels.

    Raises:
        ConfigError: if it isn't two positive numbers.
    """
    if len(size) != 2 or min(size) < 1:
        raise ConfigError(f"data.frame_size must be [height, width] in pixels, got {list(size)}")
    return int(size[0]), int(size[1])


def folder_list(name: str, paths: Sequence[str]) -> list[str]:
    """The shard folders of a split.

    Raises:
        ConfigError: if it isn't a list of at least one.
    """
    if isinstance(paths, str) or len(paths) == 0:
        raise ConfigError(
            f"data.{name} must be a list of shard folders, e.g. data.{name}=[/data/shards], got {paths!r}"
        )
    return [str(path) for path in paths]


def positive_weights(weights: Sequence[float] | None, folders: int) -> list[float] | None:
    """One positive weight a training folder, or None.

    Raises:
        ConfigError: if it isn't so.
    """
    if weights is None:
        return None
    if len(weights) != folders or not all(0 < weight < math.inf for weight in weights):
        raise ConfigError(
            f"data.train_weights must be null or a positive number for each of the {folders} folders of data.train, "
            f"got {list(weights)}; to not use a folder, leave it out of data.train"
        )
    return [float(weight) for weight in weights]


def groupable(sampling: FrameSampling) -> FrameSampling:
    """A sampling that can fill a group.

    Raises:
        ConfigError: if it can't whatever the video.
    """
    for name in ("count", "max_frames"):
        value = getattr(sampling, name)
        if value is not None and value < GROUP_SIZE:
            raise ConfigError(
                f"data.sampling.{name} is {value}, but {GROUP_SIZE} frames make a group: set it to {GROUP_SIZE} or more"
            )
    return sampling


def check_budget(token_budget: int | None, largest: int, tokens_per_frame: int, groups_key: str) -> None:
    """A batch must hold the largest sample.

    Args:
        token_budget: most encoder tokens of a batch.
        largest: encoder tokens of the largest sample.
        tokens_per_frame: encoder tokens of a frame.
        groups_key: the config key that bounds a sample.

    Raises:
        ConfigError: if it can't.
    """
    if token_budget is not None and largest > token_budget:
        raise ConfigError(
            f"data.token_budget is {token_budget} encoder tokens, but one sample has {largest} "
            f"({largest // tokens_per_frame} frames of data.tokens_per_frame={tokens_per_frame}). "
            f"Raise data.token_budget to {largest}, or lower data.{groups_key}."
        )


def check_enough(train_batches: int, val_batches: int, world_size: int) -> None:
    """Every process must have work.

    Raises:
        ConfigError: if there are fewer batches of either kind than processes.
    """
    if min(train_batches, val_batches) < world_size:
        raise ConfigError(
            f"{train_batches} training and {val_batches} validation batches for {world_size} processes: each needs at "
            "least one. Lower data.batch_size or trainer.devices."
        )
