"""A small stage with the parts that real ones have, and data whose samples differ in length."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader

from recot.checkpoints.frozen_parts import FrozenParts
from recot.losses import IGNORED, next_token_loss
from recot.models.activation_checkpointing import checkpoint_layers
from recot.models.llm import seeded_llm
from recot.models.lora import LoraSettings, add_lora
from recot.stages.checkpointing import AtomicCheckpointIO, ConfigInCheckpoint
from recot.stages.module_groups import ModuleGroups
from recot.stages.optimization import warmup_cosine
from recot.stages.sharding import shard
from recot.stages.token_mean import TokenMean

WIDTH = 32
CONFIG = {
    "vocab_size": 40,
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}
LORA = LoraSettings(rank=4, alpha=8, targets=["q_proj", "down_proj"], dropout=0.0, use_rslora=False, use_dora=False)
SUPERVISED = (2, 9, 5, 14)  # tokens of each sample of an optimizer step that are learned
LENGTH = 16


@dataclass(frozen=True)
class Output:
    hidden: Tensor  # (B, N, D)


class Model(nn.Module):
    """Vectors through a projector and a language model."""

    def __init__(self, *, lora: bool, llm_seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.vision_encoder = nn.Linear(8, 8).requires_grad_(False)
            self.projector = nn.Sequential(nn.Linear(8, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
        self.llm = seeded_llm(config=CONFIG, seed=llm_seed)
        if lora:
            add_lora(self.llm, LORA, seed=2)

    def forward(self, vectors: Tensor) -> Output:
        embeddings = self.projector(self.vision_encoder(vectors))
        return Output(self.llm.model(inputs_embeds=embeddings, use_cache=False).last_hidden_state)


class SmallStage(lightning.LightningModule):
    """Trains what ``rates`` says."""

    def __init__(
        self, *, lora: bool, rates: dict[str, float | None], llm_seed: int = 0, recompute: bool = False
    ) -> None:
        super().__init__()
        self.model = Model(lora=lora, llm_seed=llm_seed)
        self.groups = ModuleGroups(self.model, rates)
        self.frozen = FrozenParts({"model.vision_encoder": self.model.vision_encoder, "model.llm": self.model.llm})
        if recompute:
            checkpoint_layers(self.model.llm.get_decoder().layers)
        self.token_mean = TokenMean()
        self.losses: list[float] = []  # of each micro-batch: sum over its tokens
        self.norms: list[float] = []  # of the gradient of each optimizer step, before it is clipped
        self.val_losses: list[float] = []

    def configure_model(self) -> None:
        if self.device_mesh is not None:
            shard(self.model, self.device_mesh["data_parallel"])

    def train(self, mode: bool = True) -> "SmallStage":
        super().train(mode)
        self.groups.frozen_to_eval()
        return self

    def sums(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        output = self.model(batch[0])
        return next_token_loss(output.hidden, self.model.llm.get_output_embeddings().weight, batch[1], rows_at_once=8)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        total, count = self.sums(batch)
        self.losses.append(total.item())
        return self.token_mean.loss(self, total, count)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.token_mean.before_step(self, optimizer)
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters() if p.grad is not None])
        self.norms.append((norm.full_tensor() if isinstance(norm, DTensor) else norm).item())

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        total, count = self.sums(batch)
        self.val_losses.append(float(total / count))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.groups.optimizer_groups(0.05))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": warmup_cosine(optimizer, 2, 8), "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.frozen.leave_out(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.frozen.fill_in(checkpoint, self)


def batches(*, steps: int, per_batch: int, rank: int = 0, ranks: int = 1) -> list[tuple[Tensor, Tensor]]:
    """The samples of each optimizer step, dealt to ranks in turn and cut into micro-batches."""
    made = []
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        vectors = torch.randn(len(SUPERVISED), LENGTH, 8, generator=generator)
        labels = torch.randint(4, (len(SUPERVISED), LENGTH), generator=generator)
        for row, supervised in enumerate(SUPERVISED):
            labels[row, : LENGTH - supervised] = IGNORED
        own = list(range(rank, len(SUPERVISED), ranks))
        made += [
            (vectors[own[i : i + per_batch]], labels[own[i : i + per_batch]]) for i in range(0, len(own), per_batch)
        ]
    return made


def trainer(folder: Path, *, steps: int, **settings: Any) -> lightning.Trainer:
    """On the CPU; gradients are clipped so far that the clipping matters."""
    return lightning.Trainer(
        accelerator="cpu",
        max_steps=steps,
        gradient_clip_val=0.05,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
        plugins=[AtomicCheckpointIO()],
        callbacks=[ConfigInCheckpoint({"stage": {"module": {}}})],
        **settings,
    )


def fit(
    stage: lightning.LightningModule,
    data: Sequence[Any],
    own_trainer: lightning.Trainer,
    *,
    save: Path,
    val: Sequence[Any] | None = None,
    resume: Path | None = None,
) -> None:
    """Train, and save a checkpoint."""
    loaders = [None if own is None else DataLoader(list(own), batch_size=None) for own in (data, val)]
    own_trainer.fit(stage, *loaders, ckpt_path=resume, weights_only=True)
    own_trainer.save_checkpoint(save)
