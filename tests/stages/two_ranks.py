"""Trains small stages as one of two gloo processes, which ``torch.distributed.run`` starts: see test_two_ranks.py."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from recot.stages.sharding import FullySharded
from recot.stages.word_align import WordAlign
from tests.stages.small_stage import SmallStage, batches, fit, trainer
from tests.stages.video_stage import video_batch, video_stage


def main(folder: Path) -> None:
    rank = int(os.environ["RANK"])
    record: dict[str, Any] = {}
    for name, sharded, accumulate, lora in (
        ("ddp", False, 1, False),
        ("ddp_accumulated", False, 2, False),
        ("fsdp", True, 1, False),
        ("fsdp_accumulated", True, 2, False),
        ("fsdp_lora", True, 2, True),
        ("fsdp_resumed", True, 1, False),
    ):
        rates = {"projector": 1e-2, "lora": 1e-2} if lora else {"projector": 1e-2, "llm": 1e-3}
        stage = SmallStage(lora=lora, rates=rates, recompute=sharded)
        data = batches(steps=4, per_batch=2 // accumulate, rank=rank, ranks=2)
        resumed = name == "fsdp_resumed"
        own = trainer(
            folder,
            steps=4,
            devices=2,
            strategy=FullySharded() if sharded else "ddp",
            accumulate_grad_batches=accumulate,
            inference_mode=not sharded,
            val_check_interval=2 * accumulate,
            limit_train_batches=len(data) // 2 if resumed else None,
        )
        # One rank has more to validate than the other.
        val = batches(steps=2 - rank, per_batch=4) if sharded else None
        resume = folder / "one_half.ckpt" if resumed else None
        fit(
            stage,
            data[len(data) // 2 :] if resumed else data,
            own,
            save=folder / f"{name}.ckpt",
            val=val,
            resume=resume,
        )
        record[name] = {"losses": stage.losses, "norms": stage.norms, "val": stage.val_losses}
    for name, strategy in (("video_ddp", "ddp"), ("video_fsdp", FullySharded())):
        # One rank has the videos and more to validate, the other the images, which no selector scores.
        own = trainer(folder, steps=2, devices=2, strategy=strategy, inference_mode=False)
        tuned = video_stage(activation_checkpointing=name == "video_fsdp")
        fit(
            tuned,
            [video_batch([0, 2] if rank == 0 else [1, 3])] * 2,
            own,
            save=folder / f"{name}.ckpt",
            val=[video_batch([0]), video_batch([2])] if rank == 0 else [video_batch([1])],
        )
        record[name] = {"norms": tuned.norms}
    for name, strategy in (("words_ddp", "ddp"), ("words_fsdp", FullySharded())):
        own = trainer(folder, steps=3, devices=2, strategy=strategy, inference_mode=False)
        aligned = video_stage(WordAlign, train={"projector": 1e-2}, lora=None)
        captions = [video_batch([0, 1] if rank == 0 else [2, 3])] * 3
        fit(aligned, captions, own, save=folder / f"{name}.ckpt", val=[video_batch([2 * rank])])
        compress = vars(aligned.model).get("compress_alone")
        aligned.configure_model()  # as a validation after training does
        assert vars(aligned.model).get("compress_alone") is compress
    (folder / f"rank{rank}.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
