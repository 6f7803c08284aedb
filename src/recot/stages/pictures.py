"""Pictures at the end of validation: what was seen, scored, masked, and how far the reconstruction is off."""

from pathlib import Path

import lightning as L
import torch
from torch import Tensor

from recot.batch import VideoBatch
from recot.evaluation.pictures import masking_figure
from recot.losses import normalised_target
from recot.stages.recot_pretrain import RecotPretrain


class ValidationPictures(L.Callback):
    """Writes one PNG for each of the first few validation samples, at each validation.

    Args:
        samples: how many samples.
        folder: where to, as ``step<optimizer steps>_<key>.png``.
    """

    def __init__(self, *, samples: int, folder: str) -> None:
        self.samples = samples
        self.folder = Path(folder)

    @torch.no_grad()
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning; the sanity check before training draws nothing."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, RecotPretrain)
        batch: VideoBatch = trainer.datamodule.example_batch(self.samples)  # type: ignore[attr-defined]
        batch = batch.to(pl_module.device)
        features = pl_module.features(batch)
        result = pl_module.reconstruct(features, batch)
        error = (result.predicted.float() - normalised_target(features)).square().mean(dim=-1)
        assert batch.frames is not None
        for i, key in enumerate(batch.keys):
            own = batch.sample == i
            masking_figure(
                _array(batch.frames[own]),
                None if result.mask.scores is None else _array(result.mask.scores[own]),
                _array(result.mask.masked[own]),
                _array(error[own]),
                title=f"{key[:12]} after {trainer.global_step} steps",
                path=self.folder / f"step{trainer.global_step:06d}_{key[:12]}.png",
            )


def _array(tensor: Tensor):  # type: ignore[no-untyped-def]
    return tensor.detach().cpu().numpy()
