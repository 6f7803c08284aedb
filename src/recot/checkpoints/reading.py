"""Checkpoints of recot's stages, read without running anything that is in them."""

from pathlib import Path
from typing import Any

import torch

from recot.errors import DataError


def require_checkpoint(path: Path) -> None:
    """See that a checkpoint is there, before work that would be in vain without it.

    Raises:
        DataError: if it isn't.
    """
    if (path / "config.json").is_file():
        raise DataError(
            f"{path}: a model's folder, not a stage's checkpoint. To train that model on, give model=from_folder "
            f"model.folder={path} and init_from=null; to measure it, evaluation=<suite> with checkpoint={path}."
        )
    if path.is_dir():
        raise DataError(
            f"{path}: a folder, as trainer=deepspeed writes its checkpoints, and not an exported model's, which has a "
            "config.json. Make one file of DeepSpeed's with "
            "lightning.pytorch.utilities.deepspeed.convert_zero_checkpoint_to_fp32_state_dict, or train with "
            "trainer=fsdp."
        )
    if not path.is_file():
        raise DataError(
            f"{path}: no checkpoint there. Checkpoints of a run are in its folder under checkpoints/*.ckpt."
        )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of one of recot's stages onto the CPU, unpickling nothing but tensors and plain values.

    Raises:
        DataError: if the file is absent, damaged, or not a checkpoint of recot.
    """
    require_checkpoint(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or foreign file
        raise DataError(
            f"{path}: not a checkpoint that can be read safely ({type(error).__name__}). "
            "Give a .ckpt file that recot wrote; a truncated copy has to be copied again."
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint or "config" not in checkpoint:
        raise DataError(f"{path}: holds no 'state_dict' and 'config', so it is not a checkpoint that recot wrote.")
    return checkpoint
