"""Contrastive training of a small SigLIP model on frames and captions (arXiv 2303.15343), and on patches and phrases.

Legend: B frames of a batch, J its texts (B in validation), S side of a frame in pixels, L token ids of a text; Q
phrases of patches, G patches a side, C width.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recot.checkpoints.card import export_model
from recot.errors import ConfigError
from recot.losses import local_contrastive, mean_where, sigmoid_contrastive
from recot.models.siglip import SiglipModel, embed_frames_and_patches, embed_texts
from recot.stages.optimization import parameter_groups, warmup_cosine


class ImageTextBatch(Protocol):
    """What this stage reads of a batch."""

    frames: Tensor  # (B, S, S, 3) uint8 RGB
    ids: Tensor  # (J, L) int64
    positive: Tensor  # (B, J) bool: [i, j] says whether text j is true of frame i
    phrases: Tensor  # (Q, L) int64, those of things before those of backgrounds
    shown: Tensor  # (B, G, G) int64: which phrase each patch shows


class VisionContrastive(lightning.LightningModule):
    """Trains both towers, the temperature and the bias with the sigmoid contrastive loss.

    Args:
        model: as it is at the start.
        things: how many of the phrases are of things.
        local_weight: of the loss of patches, beside that of frames.
        local_layer: of the vision encoder, whose output is contrasted with phrases: -1 is the last one. Of
            ``model.vision_encoder.drop_layers=1``, -2 is what the video model reads.
        learning_rate: peak of the schedule.
        weight_decay: AdamW's, on matrices and convolutions only.
        betas: AdamW's.
        warmup_steps: optimizer steps of linear warmup, before the cosine to 0 at the last step.

    Raises:
        ConfigError: for an impossible rate or warmup.
    """

    def __init__(
        self,
        *,
        model: SiglipModel,
        things: int,
        local_weight: float,
        local_layer: int,
        learning_rate: float,
        weight_decay: float,
        betas: tuple[float, float],
        warmup_steps: int,
    ) -> None:
        super().__init__()
        settings = {"learning_rate": learning_rate, "warmup_steps": warmup_steps, "local_weight": local_weight}
        for name, value in settings.items():
            if not isinstance(value, int | float) or value < 0:
                raise ConfigError(f"stage.{name} must be a number from 0 up, got {value!r}")
        self.model = model.train()
        # What is local is read through it here, and then left behind.
        self.local_head = nn.Linear(model.config.vision_config.hidden_size, model.config.text_config.projection_size)
        self.things = things
        self.local_weight = local_weight
        self.local_layer = local_layer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.betas = (float(betas[0]), float(betas[1]))
        self.warmup_steps = warmup_steps

    def training_step(self, batch: ImageTextBatch, batch_idx: int) -> Tensor:
        """The loss over all pairs of the batch."""
        image, patches = embed_frames_and_patches(self.model, batch.frames, self.local_layer)
        loss = self._loss(image, embed_texts(self.model, batch.ids), batch)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.ids))
        local = local_contrastive(*self._local(patches, batch), self.things, log_scale=self.model.logit_scale)
        self.log("train/local_loss", local, batch_size=len(batch.ids))
        return loss + self.local_weight * local

    def validation_step(self, batch: ImageTextBatch, batch_idx: int) -> None:
        """The loss, retrieval within the batch (all have equally many candidates), and what patches show."""
        image, patches = embed_frames_and_patches(self.model, batch.frames, self.local_layer)
        text = embed_texts(self.model, batch.ids)
        values = {"val/loss": self._loss(image, text, batch)}
        values |= {f"val/{name}": value for name, value in retrieval(image, text).items()}
        patches, phrases, shown = self._local(patches, batch)
        right = (F.normalize(patches, dim=-1) @ F.normalize(phrases, dim=-1).T).argmax(dim=1) == shown
        for name, own in (("things", shown < self.things), ("background", shown >= self.things)):
            values[f"val/patches_{name}_top1"] = mean_where(right.float(), own)
        self.log_dict(values, batch_size=len(batch.ids), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """AdamW with linear warmup and a cosine to zero over the run's optimizer steps."""
        groups = parameter_groups(self, self.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, betas=self.betas)
        schedule = warmup_cosine(optimizer, self.warmup_steps, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _loss(self, image: Tensor, text: Tensor, batch: ImageTextBatch) -> Tensor:
        scale, bias = self.model.logit_scale, self.model.logit_bias
        return sigmoid_contrastive(image, text, batch.positive, log_scale=scale, bias=bias)

    def _local(self, patches: Tensor, batch: ImageTextBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings (B * G * G, C) of patches and (Q, C) of phrases, and which phrase each patch shows."""
        return self.local_head(patches.flatten(0, 1)), embed_texts(self.model, batch.phrases), batch.shown.flatten()


def retrieval(image: Tensor, text: Tensor) -> dict[str, Tensor]:
    """Top-1 accuracy of finding each row's counterpart among all rows by cosine, both ways.

    Args:
        image: (B, C) embeddings.
        text: (B, C) embeddings; row i belongs to image i.
    """
    cosine = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    own = torch.arange(len(cosine), device=cosine.device)
    return {
        "image_to_text_top1": (cosine.argmax(dim=1) == own).float().mean(),
        "text_to_image_top1": (cosine.argmax(dim=0) == own).float().mean(),
    }


def report(metrics: Mapping[str, float], *, title: str, candidates: int) -> str:
    """The validation measures as a short Markdown report, ending in a newline."""
    lines = [f"# Contrastive training: {title}", "", f"| retrieval among {candidates} | top-1 |", "|---|---|"]
    lines += [
        f"| {name.replace('_', ' ')} | {metrics[f'val/{name}_top1']:.4f} |"
        for name in ("image_to_text", "text_to_image")
    ]
    lines += ["", "| what patches show | top-1 |", "|---|---|"]
    lines += [f"| {name} | {metrics[f'val/patches_{name}_top1']:.4f} |" for name in ("things", "background")]
    return "\n".join([*lines, "", f"- validation loss: {metrics['val/loss']:.4f}", ""])


def export(
    module: VisionContrastive, folder: Path, metrics: Mapping[str, float], *, title: str, command: str, seed: int
) -> None:
    """Write a Hugging Face folder: model, tokenizer, facts of the image processor, and the model card.

    Args:
        module: trained, still with its trainer and data.
        folder: to make; one that is there is replaced.
        metrics: figures for the card.
        title: of the card.
        command: that made the model.
        seed: of the run.
    """
    files = {"preprocessor_config.json": json.dumps(_image_processor(module.model), indent=2) + "\n"}
    export_model(module, folder, metrics, title=title, command=command, seed=seed, files=files)


def _image_processor(model: SiglipModel) -> dict[str, Any]:
    """What ``recot.models.preprocess.normalise`` does, in the words of Hugging Face's image processors."""
    side = model.config.vision_config.image_size
    return {
        "image_processor_type": "SiglipImageProcessor",
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
