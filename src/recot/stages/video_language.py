"""What the three stages that train the video language model have in common.

Legend: G groups of all videos, P tokens a group, N tokens of a pack, D LLM width, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor

from recot.batch import VideoBatch
from recot.checkpoints.frozen_parts import FrozenParts
from recot.checkpoints.init_from import init_from as start_from
from recot.errors import ConfigError
from recot.evaluation.exact_match import accuracies, gathered
from recot.evaluation.selector_metrics import SelectorMetrics
from recot.losses import IGNORED, grounding, next_token_loss
from recot.models.activation_checkpointing import checkpoint_layers
from recot.models.lora import LoraSettings, add_lora
from recot.models.prompt import time_ids
from recot.models.selection import KeepRule, Pool, draw_rule, evidence_groups, pooled
from recot.models.video_input import Sample, VisualInput
from recot.models.video_lm import Output, VideoLM
from recot.randomness import derive_seed
from recot.stages.divergence import GradientWatch
from recot.stages.module_groups import ModuleGroups
from recot.stages.optimization import warmup_cosine
from recot.stages.questions import asked, samples_of, visuals_of
from recot.stages.same_training import require_same_training
from recot.stages.sharding import reach_all, shard
from recot.stages.token_mean import TokenMean


class VideoLanguageStage(lightning.LightningModule):
    """Next-token training on replies, of the modules that have a learning rate; all others are frozen.

    Each sample keeps a share of its video; where it is known when the answer is seen, that teaches the scores as well.
    Checkpoints leave frozen backbones out and keep their fingerprints, which are compared on load.

    Args:
        model: from frames to replies.
        train: learning rate of each part of the model that is trained; null, or not named, is frozen.
        init_from: checkpoint of the stage before; null starts from the model as configured.
        expected_missing: parts that the checkpoint may lack.
        expected_unexpected: parts of the checkpoint that this stage has no use for.
        lora: adapters to put into the language model; null for none.
        train_ratio: least and most of a video's tokens that a training sample keeps, drawn anew for each; (0.7, 0.99)
            in the released model, (1, 1) keeps everything.
        val_keep: how much of a video validation keeps; training keeps tokens or whole groups, as it says, and the
            grounding loss is on scores pooled as it says.
        grounding_weight: of a sample's loss on the groups that show its answer, beside the mean loss of its tokens.
        weight_decay: AdamW's, on matrices and convolutions only.
        betas: AdamW's.
        warmup_steps: optimizer steps of linear warmup, before the cosine to 0 at the last step.
        rows_at_once: tokens whose logits are in memory at a time.
        val_pack_tokens: most tokens that validation reads as one pack, counted before any are selected away; a longer
            sample is read alone. Null reads all questions about a batch's videos as one.
        activation_checkpointing: recompute the language model's layers in the backward pass.
        seed: of the adapters' starting weights.

    Raises:
        ConfigError: for an impossible setting, or nothing to train.
        DataError: if the checkpoint doesn't fit.
    """

    one_of: tuple[str, ...] = ()  # parts, one of which the stage has to train

    def __init__(
        self,
        *,
        model: VideoLM,
        train: Mapping[str, float | None],
        init_from: str | None,
        expected_missing: Sequence[str],
        expected_unexpected: Sequence[str],
        lora: LoraSettings | None,
        train_ratio: tuple[float, float],
        val_keep: KeepRule,
        grounding_weight: float,
        weight_decay: float,
        betas: tuple[float, float],
        warmup_steps: int,
        rows_at_once: int,
        val_pack_tokens: int | None,
        activation_checkpointing: bool,
        seed: int,
    ) -> None:
        super().__init__()
        if not isinstance(warmup_steps, int) or warmup_steps < 0:
            raise ConfigError(f"stage.warmup_steps must be a whole number from 0 up, got {warmup_steps!r}")
        if not isinstance(rows_at_once, int) or rows_at_once < 1:
            raise ConfigError(f"stage.module.rows_at_once must be a whole number from 1 up, got {rows_at_once!r}")
        if not isinstance(grounding_weight, int | float) or grounding_weight < 0:
            raise ConfigError(f"stage.grounding_weight must be a number from 0 up, got {grounding_weight!r}")
        if val_pack_tokens is not None and (type(val_pack_tokens) is not int or val_pack_tokens < 1):
            raise ConfigError(
                f"stage.val_pack_tokens must be null or a whole number from 1 up, got {val_pack_tokens!r}"
            )
        if not any(train.get(part) is not None for part in self.one_of):
            raise ConfigError(
                f"stage.train={dict(train)}: {type(self).__name__} is there to train {' or '.join(self.one_of)}; give "
                "it a learning rate"
            )
        self.model = model
        self.train_ratio = _range(train_ratio)
        self.val_keep = val_keep
        self.grounding_weight = grounding_weight
        self.weight_decay = weight_decay
        self.betas = (float(betas[0]), float(betas[1]))
        self.warmup_steps = warmup_steps
        self.rows_at_once = rows_at_once
        self.val_pack_tokens = val_pack_tokens
        if lora is not None:
            add_lora(model.llm, lora, seed=seed)
        self.groups = ModuleGroups(model, train)
        self.frozen = FrozenParts({"model.vision_encoder": model.vision_encoder, "model.llm": model.llm})
        if activation_checkpointing:
            checkpoint_layers(model.llm.get_decoder().layers)
        if init_from is not None:
            start_from(
                model,
                Path(init_from),
                frozen=self.frozen,
                expected_missing=expected_missing,
                expected_unexpected=expected_unexpected,
            )
        self.token_mean = TokenMean()
        self.selector_metrics = SelectorMetrics()
        self._gradients = GradientWatch(model)
        self._right: dict[str, list[bool]] = {}

    def train(self, mode: bool = True) -> "VideoLanguageStage":
        """What is frozen stays in inference mode."""
        super().train(mode)
        self.groups.frozen_to_eval()
        return self

    def configure_model(self) -> None:
        """Shard the model where the trainer has a mesh."""
        if self.device_mesh is not None:
            shard(self.model, self.device_mesh["data_parallel"])

    def on_fit_start(self) -> None:
        """Say what trains."""
        self.print(self.groups.table())

    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        """The loss of all replies of the batch, of which every token counts alike."""
        torch.manual_seed(derive_seed("dropout", *batch.seeds))  # the batch's own, so that a resumed run drops the same
        samples = samples_of(batch, self.model.tokenizer)
        output = self.model(visuals_of(batch), samples, [self._rule(sample) for sample in samples])
        total, count = self._loss(output)
        self.log("train/loss", total / count, prog_bar=True, batch_size=len(samples))
        if self.grounding_weight and output.choice is not None:
            found = grounding_loss(output, samples, self.val_keep.pool)
            self.log("train/grounding", found / count, batch_size=len(samples))
            total = total + self.grounding_weight * found
        self._gradients.check(total, step=self.global_step, keys=batch.keys)
        return self.token_mean.loss(self, reach_all(total, self.model), count)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Every token of an optimizer step counts alike, whatever micro-batch or rank it was in."""
        self.token_mean.before_step(self, optimizer)
        self._gradients.look()

    def on_validation_epoch_start(self) -> None:
        """Forget the replies of the epoch before."""
        self._right = {}
        self.selector_metrics.reset()

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
        """Loss, which replies are right, and what the selector kept of their evidence."""
        samples = samples_of(batch, self.model.tokenizer)
        visuals = self._compressed(batch)
        losses, right = [], []
        for own in packs(samples, self._sizes(samples, visuals), self.val_pack_tokens):
            output = self.model(visuals, own, [self.val_keep] * len(own))
            losses.append(self._loss(output))
            right += said_right(output, self.model.head())
            if output.choice is not None:
                spans = [own[s].spans for s, _ in output.choice.pairs]
                self.selector_metrics.update(output.choice.visual, output.choice.selection, spans)
        total, count = (torch.stack(own).sum() for own in zip(*losses, strict=True))
        self.log("val/loss", total / count, batch_size=int(count), sync_dist=True)
        for (_, _, chat), is_right in zip(asked(batch), right, strict=True):
            form = "choice" if chat.options else "open"
            self._right.setdefault(f"{chat.task}/{form}", []).append(is_right)

    def on_validation_epoch_end(self) -> None:
        """Log ``val/accuracy/<task>/<form>``, their means, and the selector's measures."""
        figures = accuracies(gathered(self._right)) | self.selector_metrics.compute()
        self.log_dict({f"val/{name}": value for name, value in figures.items()})
        self.log("val/exact", figures["accuracy"], prog_bar=True, logger=False)

    def configure_optimizers(self) -> Any:
        """AdamW with linear warmup and a cosine to zero over the run's optimizer steps, each part at its own rate."""
        optimizer = torch.optim.AdamW(self.groups.optimizer_groups(self.weight_decay), betas=self.betas)
        schedule = warmup_cosine(optimizer, self.warmup_steps, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave frozen backbones out; keep their fingerprints."""
        self.frozen.leave_out(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Compare the checkpoint with this model before anything is loaded.

        Raises:
            DataError: naming what doesn't fit, or what a resumed run trained otherwise.
        """
        self.frozen.fill_in(checkpoint, self)
        groups = [{**group, "betas": self.betas} for group in self.groups.optimizer_groups(self.weight_decay)]
        require_same_training(self, checkpoint, groups)

    def _rule(self, sample: Sample) -> KeepRule:
        generator = torch.Generator().manual_seed(derive_seed(sample.seed, "keep"))
        return draw_rule(
            *self.train_ratio, generator, level=self.val_keep.level, pool=self.val_keep.pool, times=self.val_keep.times
        )

    def _compressed(self, batch: VideoBatch) -> list[VisualInput]:
        """The batch's videos, each compressed once for all packs that show it."""
        visuals = visuals_of(batch)
        compressed = zip(visuals, self.model.compress(visuals), strict=True)
        return [replace(visual, frames=None, features=None, tokens=tokens) for visual, tokens in compressed]

    def _sizes(self, samples: Sequence[Sample], visuals: Sequence[VisualInput]) -> list[int]:
        """Tokens of each sample if nothing is selected away: text, videos and their times."""
        shown = []
        for visual in visuals:
            times = [] if visual.still else time_ids(self.model.tokenizer, visual.times_s[:, 0].tolist())
            assert visual.tokens is not None
            shown.append(len(visual.tokens.flatten(0, 1)) + sum(map(len, times)))
        return [int((s.prompt.ids >= 0).sum()) + sum(shown[v] for v in s.visuals) for s in samples]

    def _loss(self, output: Output) -> tuple[Tensor, Tensor]:
        return next_token_loss(output.hidden, self.model.head(), output.pack.labels, rows_at_once=self.rows_at_once)


def _range(train_ratio: Any) -> tuple[float, float]:
    """Before training: each sample draws its ratio from it."""
    pair = list(train_ratio) if isinstance(train_ratio, Sequence) and not isinstance(train_ratio, str) else []
    numbers = [float(own) for own in pair if isinstance(own, int | float)]
    if not len(numbers) == len(pair) == 2 or not 0 < numbers[0] <= numbers[1] <= 1:
        raise ConfigError(
            f"stage.train_ratio={train_ratio} must be [least, most], two numbers with 0 < least <= most <= 1, e.g. "
            "[0.7, 0.99]; [1, 1] keeps everything"
        )
    return numbers[0], numbers[1]


def packs(samples: Sequence[Sample], sizes: Sequence[int], most: int | None) -> list[list[Sample]]:
    """Samples in order, a pack closing before it would have more than ``most`` tokens; a longer sample is alone.

    Args:
        samples: to be read.
        sizes: tokens of each.
        most: of a pack; None for one pack of all.
    """
    made: list[list[Sample]] = []
    tokens = 0
    for sample, size in zip(samples, sizes, strict=True):
        if not made or (most is not None and tokens + size > most):
            made.append([])
            tokens = 0
        made[-1].append(sample)
        tokens += size
    return made


def grounding_loss(output: Output, samples: Sequence[Sample], pool: Pool) -> Tensor:
    """Whether the groups that show an answer score higher than others; scalar, see ``recot.losses.grounding``.

    A sum over samples, each as often as its reply has tokens, as in the sum of the tokens' losses: so it is the same
    however the samples are cut into batches.
    """
    choice = output.choice
    assert choice is not None
    assert choice.visual.times_s is not None
    spans = [samples[s].spans for s, _ in choice.pairs]
    evidence = evidence_groups(choice.visual.times_s, spans, choice.visual.valid)
    each = grounding(pooled(choice.selection.logits, pool), evidence, choice.visual.valid)
    tokens = [(own != IGNORED).sum() for own in output.pack.labels[0].split(output.pack.lengths)]
    return (each * torch.stack([tokens[s] for s, _ in choice.pairs])).sum()


def said_right(output: Output, head: Tensor) -> list[bool]:
    """Whether greedy decoding says exactly the reply, for each sample of a pack.

    It does if and only if every token of the reply, the end of the turn included, is the most likely one after those
    before it; so one pass over given replies tells, and nothing has to be decoded.

    Args:
        output: a forward pass.
        head: (V, D) weights of the output layer.
    """
    labels = output.pack.labels[0, 1:]
    wanted = labels != IGNORED
    same = torch.ones_like(labels, dtype=torch.bool)
    same[wanted] = (output.hidden[0, :-1][wanted] @ head.T).argmax(dim=-1) == labels[wanted]
    # A sample's first token is never a label, so token i of `labels` is in the sample of token i + 1.
    return [bool(own.all()) for own in torch.cat([same.new_ones(1), same]).split(output.pack.lengths)]
