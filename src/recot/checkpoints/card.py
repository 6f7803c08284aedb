"""Model cards: how a model was made and what it reaches, for people (README.md) and programs (card.json)."""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from recot.atomic import fsync_path, new_folder, write_file

LIBRARIES = ("recot", "torch", "transformers", "tokenizers", "numpy")


def export_model(
    module: Any,
    folder: Path,
    metrics: Mapping[str, float],
    *,
    title: str,
    command: str,
    seed: int,
    files: Mapping[str, str],
) -> None:
    """Write a Hugging Face folder: model, tokenizer, further files and the model card; whole or not at all.

    Args:
        module: a stage with its ``model``, still with its trainer and data, which have ``tokenizer``, ``spec`` and
            ``data_hash``.
        folder: to make; one that is there is replaced.
        metrics: figures for the card.
        title: of the card.
        command: that made the model.
        seed: of the run.
        files: name -> text of further files.
    """
    data = module.trainer.datamodule
    with new_folder(folder, replace=True) as made:
        module.model.save_pretrained(made)
        data.tokenizer.save_pretrained(made)
        for name, text in files.items():
            write_file(made / name, text.encode())
        write_card(
            made,
            title=title,
            command=command,
            seed=seed,
            data=data.spec(),
            data_hash=data.data_hash(),
            figures=dict(metrics),
        )
        for file in made.iterdir():
            fsync_path(file)


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
