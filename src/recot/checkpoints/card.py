"""Model cards: how a model was made and what it reaches, for people (README.md) and programs (card.json)."""

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from recot.atomic import write_file

LIBRARIES = ("recot", "torch", "transformers", "tokenizers", "numpy")


def write_card(
    folder: Path,
    *,
    title: str,
    command: str,
    seed: int,
    data: dict[str, Any],
    data_hash: str,
    figures: dict[str, float],
) -> None:
    """Write ``card.json`` and ``README.md`` into a model's folder.

    Args:
        folder: where to.
        title: one line.
        command: makes the model again.
        seed: of the run.
        data: the settings that the data were made with.
        data_hash: hex SHA-256 of the data's recipe.
        figures: measures on held-out data, by name.
    """
    card = {
        "title": title,
        "command": command,
        "seed": seed,
        "data": data,
        "data_hash": data_hash,
        "figures": figures,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
    }
    write_file(folder / "card.json", (json.dumps(card, indent=1, sort_keys=True) + "\n").encode())
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in sorted(figures.items()))
    versions = ", ".join(f"{name} {number}" for name, number in card["versions"].items())  # type: ignore[attr-defined]
    text = (
        f"# {title}\n\nMade by `{command}` with {versions}.\nData: SHA-256 `{data_hash}`; their settings are in "
        f"card.json.\n\n| held-out data | |\n|---|---|\n{rows}\n"
    )
    write_file(folder / "README.md", text.encode())
