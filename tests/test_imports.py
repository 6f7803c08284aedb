"""Imports point one way: which package may import which, and which library belongs where."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
SOURCES = sorted([*(REPO / "src").rglob("*.py"), *(REPO / "data_pipelines").rglob("*.py")])

# Package or module -> recot's parts that it must not import.
FORBIDDEN = {
    "recot.models": (
        "recot.data",
        "recot.stages",
        "recot.evaluation",
        "recot.inference",
        "recot.batch",
        "recot.losses",
        "recot.run",
    ),
    "recot.data": ("recot.models", "recot.stages", "recot.evaluation", "recot.inference", "recot.losses", "recot.run"),
    "recot.video_io": (
        "recot.models",
        "recot.data",
        "recot.stages",
        "recot.evaluation",
        "recot.inference",
        "recot.batch",
        "recot.run",
    ),
    "recot.inference": ("recot.data", "recot.stages", "recot.batch", "recot.losses", "recot.checkpoints", "recot.run"),
    "recot.evaluation": ("recot.data", "recot.stages", "recot.run"),
    "recot.checkpoints": ("recot.data", "recot.stages", "recot.evaluation", "recot.inference", "recot.run"),
    "recot.stages": ("recot.data", "recot.inference", "recot.run"),
    "recot.losses": ("recot",),
    "recot.tiny_world": ("recot.models", "recot.stages", "recot.evaluation", "recot.run"),
    "recot": ("data_pipelines", "benchmarks", "tests"),
    "data_pipelines": ("recot.models", "recot.stages", "recot.evaluation", "benchmarks", "tests"),
}
# Library -> the modules (or packages) that may import it.
FENCES = {
    "lightning": (
        "recot.run",
        "recot.stages",
        "recot.data.datamodule",
        "recot.tiny_world.stepwise",
    ),
    "webdataset": ("recot.data.shards", "recot.data.shard_writer"),
    "transformers": (
        "recot.models.generation",
        "recot.models.llm",
        "recot.models.lora",
        "recot.models.new_phrases",
        "recot.models.vision_encoder",
        "recot.models.siglip",
        "recot.models.siglip_encoder",
        "recot.models.tokenizer",
        "recot.models.quiet",
        "recot.checkpoints",
    ),
    "sklearn": ("recot.evaluation", "data_pipelines.duplicates"),
    "daft": ("data_pipelines.engine",),
    "fsspec": ("data_pipelines.ingest",),
    "peft": ("recot.models.lora",),
    "lmms_eval": ("recot.evaluation.lmms_eval_adapter",),
    "hydra": ("train", "eval", "recot.run", "data_pipelines.prune", "data_pipelines.cache_features"),
}
ENTRIES = ("train", "eval", "recot.quiz", "data_pipelines.prune", "data_pipelines.cache_features")


def module_name(path: Path) -> str:
    base = REPO / "src" if path.is_relative_to(REPO / "src") else REPO
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> set[str]:
    """Full names of everything a file imports, ``from a import b`` as ``a.b``."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide what is imported"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def within(name: str, parent: str) -> bool:
    return name == parent or name.startswith(parent + ".")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(REPO)))
def test_imports_point_one_way(path: Path) -> None:
    module = module_name(path)
    names = imported(path)
    for owner, forbidden in FORBIDDEN.items():
        if within(module, owner):
            wrong = {n for n in names for f in forbidden if within(n, f)}
            if owner == "recot":
                wrong = {n for n in names if n.split(".")[0] in forbidden}
            assert not wrong, f"{module} must not import {sorted(wrong)}"
    for library, allowed in FENCES.items():
        if any(within(n, library) for n in names):
            assert any(within(module, a) for a in allowed), f"{module} must not import {library}"
    if module not in ENTRIES:
        entry = {n for n in names if within(n, "recot.run") or within(n, "recot.cli")}
        assert not entry, f"{module} must not import the entry layer"


def test_losses_import_torch_alone() -> None:
    names = {n.split(".")[0] for n in imported(REPO / "src/recot/losses.py")}
    assert names <= {"torch", "dataclasses"}


def test_no_name_in_src_shadows_a_library() -> None:
    top = {p.stem for p in (REPO / "src").iterdir() if not p.name.startswith((".", "__"))}
    assert not top & {"datasets", "evaluate", "src"}


def test_video_children_start_without_torch() -> None:
    """Worker processes that only decode would pay seconds and hundreds of MiB for it."""
    modules = "recot.video_io, data_pipelines.supervised, data_pipelines.media_stage"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPO)
    assert out.stdout.strip() == "False"
