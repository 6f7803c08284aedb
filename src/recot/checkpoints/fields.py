"""JSON files of a model's folder, read with nothing missing and nothing unknown."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from recot.errors import DataError


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds an object.

    Raises:
        DataError: if it isn't there or holds something else.
    """
    if not path.parent.is_dir():
        raise DataError(f"{path.parent}: no such folder. Give a model's folder, with config.json and weights.")
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing, so its folder isn't a whole model. Copy it again, or export it.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: can't be read as JSON ({error}). Copy the folder again.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, not a JSON object. Copy the folder again.")
    return content


def require_fields(section: Any, names: Collection[str], *, where: str) -> dict[str, Any]:
    """A section that has exactly these fields.

    Raises:
        DataError: naming those that are missing and those that are unknown.
    """
    if not isinstance(section, dict):
        raise DataError(f"{where}: holds {section!r}, not an object with the fields {sorted(names)}")
    missing, unknown = sorted(set(names) - set(section)), sorted(set(section) - set(names))
    if missing or unknown:
        raise DataError(
            f"{where}: missing fields {missing}, unknown fields {unknown}. It was written by another release of recot, "
            "or changed: export the model again."
        )
    return section


def require_counts(section: Mapping[str, Any], names: Collection[str], *, where: str) -> None:
    """See that fields of a section are whole numbers from 1 up.

    Raises:
        DataError: naming one that isn't.
    """
    for name in names:
        if type(section[name]) is not int or section[name] < 1:
            raise DataError(
                f"{where}: {name}={section[name]!r}, but it must be a whole number from 1 up. Correct it there, or "
                "export the model again."
            )
