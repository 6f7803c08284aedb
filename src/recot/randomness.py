"""Random numbers as pure functions of a key, so that no choice depends on workers, ranks or a global state."""

import hashlib

import numpy as np


def derive_seed(*key: int | str) -> int:
    """A 63-bit seed that depends on every part of ``key`` and on nothing else (not on ``PYTHONHASHSEED``)."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def keyed_rng(*key: int | str) -> np.random.Generator:
    """A NumPy generator for ``key``, e.g. ``keyed_rng(seed, epoch, sample_key, "window")``."""
    return np.random.default_rng(derive_seed(*key))
