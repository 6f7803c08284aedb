"""The instruction-tuning stage on the tiny model, and batches of its videos and images in any cut."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from recot.batch import Chat, VideoBatch
from recot.models.lora import LoraSettings
from recot.models.selection import KeepRule
from recot.stages.sft_lora import SftLora
from tests.models.tiny_video_lm import image, tiny_video_lm, video

LORA = LoraSettings(rank=4, alpha=8, targets=["q_proj", "down_proj"], dropout=0.0, use_rslora=False, use_dora=False)
QUESTIONS = (
    ("Which of these objects is shown in the video?", "a red circle and a blue square"),
    ("How does the red circle move?", "up"),
    ("When is it shown?", "from 1.0 to 3.5"),
    ("What is shown?", "a green cross"),
)
GROUPS = (3, 1, 2, 1)  # of videos and images
STILL = (False, True, False, True)
SPANS = (((0.6, 0.7),), (), (), ())  # of the other video, it isn't known when its answer is seen


class Recorded(SftLora):
    """Notes how large the gradient of each part was in each optimizer step, before it is clipped."""

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.norms: list[dict[str, float]] = []

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        super().on_before_optimizer_step(optimizer)
        norms = {
            group["name"]: torch.nn.utils.get_total_norm([p.grad for p in group["params"]])
            for group in optimizer.param_groups
        }
        self.norms.append({k: (n.full_tensor() if isinstance(n, DTensor) else n).item() for k, n in norms.items()})


def video_stage(kind: Callable[..., Any] = Recorded, **changes: Any) -> Any:
    settings: dict[str, Any] = {
        "train": {"lora": 1e-2, "projector": 1e-2, "selector": 1e-2, "dts": 1e-3},
        "init_from": None,
        "expected_missing": [],
        "expected_unexpected": [],
        "lora": LORA,
        "train_ratio": (0.4, 0.8),
        "val_keep": KeepRule(ratio=0.5),
        "grounding_weight": 0.5,
        "weight_decay": 0.05,
        "betas": (0.9, 0.95),
        "warmup_steps": 1,
        "val_pack_tokens": None,
        "rows_at_once": 8,
        "activation_checkpointing": False,
        "seed": 0,
    }
    return kind(model=tiny_video_lm(), **settings | changes)


def video_batch(numbers: Sequence[int]) -> VideoBatch:
    """Those of the two videos (0 and 2) and two images (1 and 3), each with its question."""
    clips = [image(n) if STILL[n] else video(GROUPS[n], n) for n in numbers]
    sample = torch.repeat_interleave(torch.arange(len(numbers)), torch.tensor([GROUPS[n] for n in numbers]))
    valid = torch.ones(len(sample), 4, dtype=torch.bool)
    for row, n in enumerate(numbers):
        valid[sample == row, 1:] = not STILL[n]
    return VideoBatch(
        frames=torch.cat([clip.frames for clip in clips if clip.frames is not None]),
        features=None,
        valid=valid,
        times_s=torch.cat([clip.times_s for clip in clips]),
        sample=sample,
        keys=[f"key{n}" for n in numbers],
        seeds=[10 + n for n in numbers],
        chats=[
            [
                Chat(
                    user=QUESTIONS[n][0],
                    reply=QUESTIONS[n][1],
                    spans=SPANS[n],
                    sample_id=str(n),
                    task="needle",
                    options=(),
                )
            ]
            for n in numbers
        ],
    )
