"""Damage to mp4 files of one track, as ``encode_mp4`` writes them: bytes in, bytes out."""

import struct

import numpy as np

_HEADER = 8  # bytes of a box before its content: length, name


def boxes(content: bytes) -> dict[bytes, tuple[int, int]]:
    """Name -> (start, stop) of the boxes that a file consists of; each name is there once."""
    found, at = {}, 0
    while at < len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        found[name] = (at, at + length)
        at += length
    return found


def index_first(content: bytes) -> bytes:
    """The same video with its index (``moov``) before its frames (``mdat``), as files made for streaming have it."""
    found = boxes(content)
    (data, _), (index, end) = found[b"mdat"], found[b"moov"]
    moov = bytearray(content[index:end])
    chunks = moov.index(b"stco") + _HEADER  # after the name, 4 bytes of flags; then a count and one offset a chunk
    (count,) = struct.unpack_from(">I", moov, chunks)
    for at in range(chunks + 4, chunks + 4 + 4 * count, 4):
        (offset,) = struct.unpack_from(">I", moov, at)
        struct.pack_into(">I", moov, at, offset + len(moov))
    return content[:data] + bytes(moov) + content[data:index] + content[end:]


def cut_off(content: bytes, part: float) -> bytes:
    """The first ``part`` (0 to 1) of a file."""
    return content[: int(len(content) * part)]


def damage_frames(content: bytes, rng: np.random.Generator, *, start: float, part: float) -> bytes:
    """Random bytes over ``part`` of what the frames take, from ``start`` on (both 0 to 1); the index stays whole."""
    first, end = boxes(content)[b"mdat"]
    length = end - first - _HEADER
    return _overwrite(content, rng, first + _HEADER + int(length * start), int(length * part))


def damage_index(content: bytes, rng: np.random.Generator) -> bytes:
    """Random bytes over all of the index; its length and its name stay."""
    first, end = boxes(content)[b"moov"]
    return _overwrite(content, rng, first + _HEADER, end - first - _HEADER)


def _overwrite(content: bytes, rng: np.random.Generator, at: int, length: int) -> bytes:
    return content[:at] + rng.bytes(length) + content[at + length :]
