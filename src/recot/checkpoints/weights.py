"""Weights in safetensors files, in one or in several with an index, as Hugging Face folders hold them."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from huggingface_hub import save_torch_state_dict
from safetensors import SafetensorError, safe_open
from torch import Tensor

from recot.errors import DataError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_SHOWN = 8  # names in a message


def write_weights(weights: Mapping[str, Tensor], folder: Path, *, shard_bytes: int) -> None:
    """Write tensors to one file, or to several with an index.

    Args:
        weights: tensors that share no memory with each other.
        folder: where to; it exists.
        shard_bytes: size of a file; a larger tensor gets one of its own.
    """
    save_torch_state_dict(
        {name: tensor.detach() for name, tensor in weights.items()}, folder, max_shard_size=shard_bytes
    )


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder, on the CPU, in the dtype it was stored in.

    Values are mapped from the files and come into memory as they are used.

    Raises:
        DataError: if there are no weights, or a file of them is missing, damaged or not what the index says.
    """
    index = folder / INDEX
    if not index.is_file():
        if not (folder / SINGLE).is_file():
            raise DataError(f"{folder}: no weights there. Give a folder with {SINGLE}, or {INDEX} and its files.")
        return _read_file(folder / SINGLE)
    weights: dict[str, Tensor] = {}
    for file, names in _files_of(index).items():
        path = folder / file
        if not path.is_file():
            raise DataError(f"{path}: missing, but {INDEX} names it. The folder is half copied: copy it again.")
        found = _read_file(path)
        require_same(found, names, where=path, wanted_by=INDEX)
        weights |= found
    return weights


def require_same(found: Collection[str], wanted: Collection[str], *, where: Path, wanted_by: str) -> None:
    """Compare names.

    Raises:
        DataError: naming what is missing and what is too much.
    """
    missing, unexpected = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or unexpected:
        raise DataError(
            f"{where}: not what {wanted_by} expects. Missing: {_some(missing)}. Not expected: {_some(unexpected)}. "
            "Copy the folder again, or give the one that belongs together."
        )


def require_shapes(weights: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]], *, where: Path) -> None:
    """Compare names and shapes of weights with what a config makes.

    Raises:
        DataError: naming what differs, with both shapes.
    """
    require_same(weights, wanted, where=where, wanted_by="its config.json")
    wrong = [
        f"{name} is {tuple(weights[name].shape)}, not {shape}"
        for name, shape in wanted.items()
        if tuple(weights[name].shape) != shape
    ]
    if wrong:
        raise DataError(
            f"{where}: weights of another width than its config.json says: {_some(wrong)}. Give the config.json that "
            "belongs to these weights."
        )


def _files_of(index: Path) -> dict[str, set[str]]:
    """File name -> names of the tensors in it."""
    try:
        table = json.loads(index.read_text())["weight_map"]
        files: dict[str, set[str]] = {}
        for name, file in table.items():
            if Path(file).name != file:
                raise ValueError(f"{file!r} is not a file's name")
            files.setdefault(file, set()).add(name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{index}: not an index of weights ({error}). Copy the folder again.") from error
    return files


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path}: not a whole safetensors file ({error}). A truncated copy has to be copied again."
        ) from error


def _some(names: list[str]) -> str:
    shown = "; ".join(names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{shown}{more}" if names else "nothing"
