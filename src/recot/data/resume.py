"""Whether a checkpoint's position still means the same: everything that decides which batches come, in plain values."""

import hashlib
from collections.abc import Sequence
from typing import Any

from recot.data.shards import ShardFolder
from recot.errors import ConfigError


def data_hash(folders: Sequence[ShardFolder]) -> str:
    """Hex SHA-256 of which samples stand where in the folders; the same after a folder was moved."""
    digest = hashlib.sha256()
    for folder in folders:
        digest.update(f"folder of {len(folder)}\n".encode())
        for name in ("key", "shard", "frames", "duration_s"):
            digest.update("\n".join(map(str, folder.columns[name].tolist())).encode())
    return digest.hexdigest()


def check_same_order(saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on in another order.

    Args:
        saved: the settings in the checkpoint, by config key.
        now: those of this run.

    Raises:
        ConfigError: naming what differs.
    """
    changed = [
        f"{name} was {saved.get(name)}, now {now.get(name)}"
        for name in sorted(saved.keys() | now.keys())
        if saved.get(name) != now.get(name)
    ]
    if changed:
        raise ConfigError(
            f"This run can't be resumed where it stopped, because its batches would be others: {'; '.join(changed)}. "
            "Set these back to resume it, or start a new run from the checkpoint's weights: init_from=<checkpoint>, "
            "without resume."
        )
