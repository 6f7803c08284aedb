"""Checkpoints that are whole or absent, and that say how they were made."""

import os
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from recot.checkpoints.reading import read_checkpoint
from recot.errors import DataError
from recot.stages.same_training import other_settings


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the final name, syncs to disk, then renames; reads with ``weights_only=True`` and no less."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Save to a local path, creating its folder."""
        final = Path(path)
        final.parent.mkdir(parents=True, exist_ok=True)
        partial = final.with_name(f".{final.name}.partial-{os.getpid()}")
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(final)
        finally:
            partial.unlink(missing_ok=True)

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = True) -> Any:
        """Load tensors and plain values only; see ``read_checkpoint``."""
        return read_checkpoint(Path(path))


class ConfigInCheckpoint(Callback):
    """Puts the exact composed config into every checkpoint, as plain containers under ``config``; compares it there."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Called by Lightning while it puts a checkpoint together."""
        checkpoint["config"] = self.config

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Called by Lightning after the weights are loaded: says what differs, if the checkpoint is only measured.

        Raises:
            DataError: if a run is resumed whose stage had other settings.
        """
        differ = other_settings(checkpoint["config"], self.config)
        told = f"The checkpoint's run had other settings. {'; '.join(differ)}."
        if differ and trainer.state.fn == TrainerFn.FITTING:
            raise DataError(
                f"{told} `resume` continues a run with the settings that it had: give its overrides again "
                "(`.hydra/overrides.yaml` of its folder). To go on from its weights with others: "
                "init_from=<checkpoint>, without resume."
            )
        if differ:
            rank_zero_info(told)
