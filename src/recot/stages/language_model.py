"""Training of a small language model to answer questions on facts told in the prompt.

Legend: B documents of a batch, L tokens of the longest, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recot.checkpoints.card import export_model
from recot.errors import ConfigError
from recot.evaluation.exact_match import accuracies, gathered
from recot.stages.optimization import parameter_groups, warmup_cosine

IGNORED = -100


class DialogueBatch(Protocol):
    """What this stage reads of a batch."""

    ids: Tensor  # (B, L) int64
    labels: Tensor  # (B, L) int64: what is to be said, elsewhere IGNORED
    positions: Tensor  # (B, L) int64
    mask: Tensor  # (B, 1, L, L) bool: whether token i sees token j
    replies: Sequence[tuple[int, int, int, str]]  # row, first token, end, task and form


class LanguageModel(lightning.LightningModule):
    """Next-token training on replies alone; validation by exact match of what greedy decoding says.

    Args:
        model: a causal language model of the Hugging Face kind, as it is at the start.
        learning_rate: peak of the schedule.
        weight_decay: AdamW's, on matrices only.
        betas: AdamW's.
        warmup_steps: optimizer steps of linear warmup, before the cosine to 0 at the last step.

    Raises:
        ConfigError: for an impossible rate or warmup.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        learning_rate: float,
        weight_decay: float,
        betas: tuple[float, float],
        warmup_steps: int,
    ) -> None:
        super().__init__()
        for name, value in (("learning_rate", learning_rate), ("warmup_steps", warmup_steps)):
            if not isinstance(value, int | float) or value < 0:
                raise ConfigError(f"stage.{name} must be a number from 0 up, got {value!r}")
        self.model = model.train()
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.betas = (float(betas[0]), float(betas[1]))
        self.warmup_steps = warmup_steps
        self._right: dict[str, list[bool]] = {}

    def training_step(self, batch: DialogueBatch, batch_idx: int) -> Tensor:
        """Mean cross entropy over the tokens of replies."""
        logits, labels, _ = predict_replies(self.model, batch)
        loss = F.cross_entropy(logits, labels)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.ids))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the replies of the epoch before."""
        self._right = {}

    def validation_step(self, batch: DialogueBatch, batch_idx: int) -> None:
        """Loss, and which replies are right."""
        logits, labels, kept = predict_replies(self.model, batch)
        self.log("val/loss", F.cross_entropy(logits, labels), batch_size=len(labels), sync_dist=True)
        for name, right in said_right(logits, labels, kept, batch):
            self._right.setdefault(name, []).append(right)

    def on_validation_epoch_end(self) -> None:
        """Log ``val/accuracy/<task>/<form>``, and means over tasks: ``val/accuracy/<form>`` and ``val/accuracy``."""
        figures = accuracies(gathered(self._right))
        self.log_dict({f"val/{name}": value for name, value in figures.items()})
        self.log("val/exact", figures["accuracy"], prog_bar=True, logger=False)

    def configure_optimizers(self) -> Any:
        """AdamW with linear warmup and a cosine to zero over the run's optimizer steps."""
        groups = parameter_groups(self.model, self.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, betas=self.betas)
        schedule = warmup_cosine(optimizer, self.warmup_steps, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def predict_replies(model: nn.Module, batch: DialogueBatch) -> tuple[Tensor, Tensor, Tensor]:
    """What the model expects at each token of a reply, having seen all before it.

    Returns:
        (N, V) logits, (N,) int64 the tokens themselves, (B, L) bool which of the batch's tokens these N are.
    """
    kept = batch.labels != IGNORED
    before = kept.roll(-1, dims=1)  # no reply begins a row, so nothing wraps around
    # Added to the scores: transformers' eager attention would add a mask of bools as well, and hide nothing.
    mask = torch.zeros(batch.mask.shape, device=batch.mask.device).masked_fill(~batch.mask, float("-inf"))
    hidden = model.get_decoder()(  # type: ignore[operator]
        input_ids=batch.ids, position_ids=batch.positions, attention_mask=mask, use_cache=False
    ).last_hidden_state
    return model.get_output_embeddings()(hidden[before]), batch.labels[kept], kept  # type: ignore[operator]


def said_right(logits: Tensor, labels: Tensor, kept: Tensor, batch: DialogueBatch) -> list[tuple[str, bool]]:
    """(task and form, whether greedy decoding says exactly this reply) for each reply of the batch.

    It does if and only if every token of the reply, the end of the turn included, is the most likely one after those
    before it; so one pass over given replies tells, and nothing has to be decoded.
    """
    same = torch.ones_like(kept)
    same[kept] = logits.argmax(dim=-1) == labels
    return [(name, bool(same[row, start:stop].all())) for row, start, stop, name in batch.replies]


def report(metrics: Mapping[str, float], *, title: str) -> str:
    """The validation measures as a short Markdown report, ending in a newline."""
    prefix = "val/accuracy/"
    tasks = sorted({name.removeprefix(prefix).split("/")[0] for name in metrics if name.count("/") == 3})
    lines = [f"# Language model: {title}", "", "| exact match | multiple choice | free form |", "|---|---|---|"]
    for label, where in [*((task, f"{task}/") for task in tasks), ("mean", "")]:
        choice, free = metrics[f"{prefix}{where}choice"], metrics[f"{prefix}{where}open"]
        lines.append(f"| {label} | {choice:.4f} | {free:.4f} |")
    means = f"- exact match, both forms: {metrics['val/accuracy']:.4f}"
    return "\n".join([*lines, "", means, f"- validation loss: {metrics['val/loss']:.4f}", ""])


def export(
    module: LanguageModel, folder: Path, metrics: Mapping[str, float], *, title: str, command: str, seed: int
) -> None:
    """Write a Hugging Face folder: model, tokenizer and the model card.

    Args:
        module: trained, still with its trainer and data.
        folder: to make; one that is there is replaced.
        metrics: figures for the card.
        title: of the card.
        command: that made the model.
        seed: of the run.
    """
    export_model(module, folder, metrics, title=title, command=command, seed=seed, files={})
