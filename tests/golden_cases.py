"""Loads the reference cases of tests/golden: seeded inputs and parameters, stored outputs, tolerances."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

FOLDER = Path(__file__).parent / "golden"
CASES: dict[str, Any] = json.loads((FOLDER / "manifest.json").read_text())["cases"]


def regenerate(block: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of a seeded block, checked against the hash in the manifest."""
    rng = np.random.default_rng(block["seed"])
    digest = hashlib.sha256()
    tensors = {}
    for spec in sorted(block["tensors"], key=lambda t: t["name"]):
        z = rng.standard_normal(size=spec["shape"])
        value = (spec["offset"] + spec["scale"] * z).astype(np.float32)
        digest.update(value.tobytes())
        tensors[spec["name"]] = torch.from_numpy(value)
    assert digest.hexdigest() == block["sha256"], "numpy's random stream changed: golden inputs can't be rebuilt"
    return tensors


def outputs(name: str) -> dict[str, Tensor]:
    """Stored arrays of a case: ``out.<name>`` and ``in.<name>``."""
    return load_file(FOLDER / CASES[name]["file"])


def assert_matches(name: str, output: str, got: Tensor) -> None:
    """Hold ``got`` to the case's criterion: max|got - gold| <= tol * max|gold|."""
    gold = outputs(name)[f"out.{output}"]
    tolerance = CASES[name]["outputs"][output]["tol_rel_to_absmax"]
    assert got.shape == gold.shape
    worst = (got - gold).abs().max().item()
    assert worst <= tolerance * gold.abs().max().item(), f"{name}.{output}: {worst}"
