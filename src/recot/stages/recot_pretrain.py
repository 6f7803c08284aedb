"""Stage 1, ReCoT pretraining: the DTS learns to compress by reconstructing what SGM hides (paper section 3.3).

Legend: G groups, T frames a group, H W frame size in pixels, h w token grid, C width.
"""

from pathlib import Path
from typing import Any

import lightning
import torch
from einops import rearrange
from torch import Tensor

from recot.batch import VideoBatch
from recot.checkpoints.frozen_parts import FrozenParts
from recot.checkpoints.init_from import init_from as start_from
from recot.errors import ConfigError, DataError
from recot.evaluation.metrics import REORDERING, ReconstructionMetrics
from recot.losses import ReconstructionWeights, normalised_target, reconstruction_terms, weighted_sum
from recot.models.recot import Reconstruction, Recot
from recot.models.vision_encoder import FrozenVisionEncoder
from recot.stages.divergence import GradientWatch
from recot.stages.optimization import parameter_groups, warmup_cosine
from recot.stages.same_training import require_same_training


class RecotPretrain(lightning.LightningModule):
    """Trains masking, DTS and decoder on video without text; the vision encoder stays frozen.

    Checkpoints leave the frozen encoder out and keep its fingerprint, which is compared on load.

    Args:
        vision_encoder: frames -> static tokens.
        recot: the model being trained.
        loss: weights of the loss terms.
        learning_rate: peak of the schedule.
        dts_rate: the DTS's learning rate as a share of ``learning_rate``. Our choice: a fresh DTS keeps what moves
            readable by a linear map, and full steps under masks wear that down, while the decoder needs them.
        weight_decay: AdamW's, on matrices and convolutions only.
        betas: AdamW's.
        warmup_steps: optimizer steps of linear warmup, before the cosine to 0 at the last step.
        compile: run the trained model through ``torch.compile``.
        init_from: a checkpoint of this stage, whose weights training starts from; null starts from fresh ones. What
            masks is fresh if it is of another kind.

    Raises:
        ConfigError: for an impossible rate or warmup.
        DataError: if the checkpoint doesn't fit.
        ValueError: if encoder and model differ in width.
    """

    def __init__(
        self,
        *,
        vision_encoder: FrozenVisionEncoder,
        recot: Recot,
        loss: ReconstructionWeights,
        learning_rate: float,
        dts_rate: float,
        weight_decay: float,
        betas: tuple[float, float],
        warmup_steps: int,
        compile: bool,
        init_from: str | None = None,
    ) -> None:
        super().__init__()
        if vision_encoder.width != recot.dts.width:
            raise ValueError(
                f"model.width is {recot.dts.width}, but the vision encoder's features are {vision_encoder.width} wide: "
                "set model.width to the encoder's hidden size"
            )
        for name, value in (("learning_rate", learning_rate), ("dts_rate", dts_rate), ("warmup_steps", warmup_steps)):
            if not isinstance(value, int | float) or value < 0:
                raise ConfigError(f"stage.{name} must be a number from 0 up, got {value!r}")
        self.vision_encoder = vision_encoder
        self.recot = recot
        self.loss = loss
        self.learning_rate = learning_rate
        self.dts_rate = dts_rate
        self.weight_decay = weight_decay
        self.betas = (float(betas[0]), float(betas[1]))
        self.warmup_steps = warmup_steps
        self.compile_model = compile
        self.validation = ReconstructionMetrics(recot.dts.width)
        self._gradients = GradientWatch(recot)
        self.frozen = FrozenParts({"vision_encoder": vision_encoder})
        if init_from is not None:
            other = ["masking"]  # of another kind, it has other weights
            start_from(
                self.recot, Path(init_from), frozen=self.frozen, expected_missing=other, expected_unexpected=other
            )

    def setup(self, stage: str) -> None:
        """Check cached features, if any, against this encoder; compile if asked to."""
        cached_by = getattr(self.trainer.datamodule, "feature_encoder", None)  # type: ignore[attr-defined]
        own = self.frozen.fingerprints["vision_encoder"]
        if cached_by is not None and cached_by != own:
            raise DataError(
                "data.features=cached: the cached features were computed by another vision encoder than the one "
                f"configured (fingerprint {cached_by[:12]}, not {own[:12]}). Write them again "
                "with `python data_pipelines/cache_features.py`, or use data.features=live."
            )
        if self.compile_model:
            self.recot.compile()

    def features(self, batch: VideoBatch) -> Tensor:
        """(G, T, h, w, C) static tokens of a batch: the cached ones, or the encoder's."""
        if batch.features is not None:
            return batch.features.to(self.recot.mask_token.dtype)
        assert batch.frames is not None
        tokens = self.vision_encoder(rearrange(batch.frames, "g t h w c -> (g t) h w c"))
        return rearrange(tokens, "(g t) h w c -> g t h w c", g=batch.frames.shape[0])

    def reconstruct(self, features: Tensor, batch: VideoBatch) -> Reconstruction:
        """Mask and reconstruct, with the batch's own randomness."""
        result: Reconstruction = self.recot(features, mask_noise(batch, features.shape[1:4]).to(features.device))
        return result

    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        """One loss; see ``recot.losses`` for its terms."""
        features = self.features(batch)
        result = self.reconstruct(features, batch)
        terms = reconstruction_terms(result.predicted, normalised_target(features), result.mask.masked, batch.valid)
        loss = weighted_sum(terms, self.loss)
        self._gradients.check(loss, step=self.global_step, keys=batch.keys)
        groups = len(batch.sample)
        self.log("train/loss", loss, prog_bar=True, batch_size=groups)
        self.log_dict({f"train/{name}": value for name, value in terms.items()}, batch_size=groups)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Remember how large each gradient was, for the message if the next loss is not finite."""
        self._gradients.look()

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
        """Update the measures; what the compact map makes of reordered frames is computed without masks."""
        features = self.features(batch)
        result = self.reconstruct(features, batch)
        target = normalised_target(features)
        terms = reconstruction_terms(result.predicted, target, result.mask.masked, batch.valid)
        self.validation.update(result.predicted, target, result.mask.masked, batch.valid)
        whole = batch.valid.all(dim=1)
        if whole.any():
            real = features[whole]
            self.validation.order_sensitivity.update(self.recot.dts(real), self.recot.dts(real[:, list(REORDERING)]))
        self.log("val/loss", weighted_sum(terms, self.loss), batch_size=len(batch.sample), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Log all measures under ``val/``."""
        values = {f"val/{name}": value for name, value in self.validation.compute().items()}
        self.log_dict(values)
        self.log("val/masked_ev", values["val/explained_variance_masked"], prog_bar=True, logger=False)
        self.validation.reset()

    def configure_optimizers(self) -> Any:
        """AdamW with linear warmup and a cosine to zero over the run's optimizer steps; the DTS at its own rate."""
        optimizer = torch.optim.AdamW(self._optimizer_groups(), betas=self.betas)
        schedule = warmup_cosine(optimizer, self.warmup_steps, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the frozen encoder out; keep its fingerprint."""
        self.frozen.leave_out(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Compare the checkpoint with this model before anything is loaded.

        Raises:
            DataError: naming the weights that are missing, unexpected or of another shape, another encoder, or what a
                resumed run trained otherwise.
        """
        self.frozen.fill_in(checkpoint, self)
        require_same_training(self, checkpoint, [{**group, "betas": self.betas} for group in self._optimizer_groups()])

    def _optimizer_groups(self) -> list[dict[str, Any]]:
        inside = {id(p) for p in self.recot.dts.parameters()}
        return [
            {**group, "params": [p for p in group["params"] if (id(p) in inside) is of_dts], "lr": rate}  # type: ignore[attr-defined]
            for group in parameter_groups(self.recot, self.weight_decay)
            for of_dts, rate in ((True, self.dts_rate * self.learning_rate), (False, self.learning_rate))
        ]


def mask_noise(batch: VideoBatch, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """Uniform noise for masking, drawn for each sample from its own seed.

    Args:
        batch: gives seeds and groups of each sample.
        shape: (T, h, w).

    Returns:
        (G, T, h, w) float32 in [0, 1) on the CPU, the same whatever else is in the batch.
    """
    noise = [
        torch.rand(int(groups), *shape, generator=torch.Generator().manual_seed(seed))
        for seed, groups in zip(batch.seeds, batch.groups_per_sample(), strict=True)
    ]
    return torch.cat(noise)
