"""What tells one model's files from another's, wherever they lie and whenever they were written."""

import hashlib
from pathlib import Path

import numpy as np

from recot.errors import DataError

_WHOLE_BYTES = 2**26
"""Files of up to 64 MiB are read whole."""
_BLOCKS, _BLOCK_BYTES = 64, 2**20
_NO_PART = (".md", ".lock")
"""Files that a model isn't loaded from."""


def files_hash(folder: Path) -> str:
    """64 hex digits that change with the names, sizes and content of a model's files (hidden ones and READMEs aside).

    Of a file over 64 MiB, 64 blocks of 1 MiB are read, spread evenly from its beginning, where safetensors have their
    header, to its end. So other weights of one model are told apart, as training changes all of them, in about a
    second for many GB; but not a copy that somebody changed between these blocks alone.

    Raises:
        DataError: if a file can't be read.
    """
    digest = hashlib.sha256()
    try:
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.name.startswith(".") and path.suffix not in _NO_PART:
                digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
                digest.update(_content_hash(path))
    except OSError as error:
        raise DataError(f"{folder}: the model's files can't be read: {error}") from error
    return digest.hexdigest()


def _content_hash(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _WHOLE_BYTES:
            return hashlib.file_digest(file, "sha256").digest()
        digest = hashlib.sha256()
        for start in np.linspace(0, size - _BLOCK_BYTES, _BLOCKS).astype(np.int64).tolist():
            file.seek(start)
            digest.update(file.read(_BLOCK_BYTES))
        return digest.digest()
