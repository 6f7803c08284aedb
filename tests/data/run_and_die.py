"""A training run in a process of its own that writes a diary and kills itself at a step. Takes its options as JSON."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from recot.batch import VideoBatch
from tests.data.clips import Diary, data, fingerprint, trainer


class MortalDiary(Diary):
    def __init__(self, path: str, die_at: int | None) -> None:
        super().__init__(estimate_steps=True)
        self.path, self.die_at = Path(path), die_at

    def training_step(self, batch: VideoBatch, batch_idx: int) -> torch.Tensor:
        with self.path.open("a") as file:
            file.write(fingerprint(batch) + "\n")
        if self.global_step == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(batch, batch_idx)


def main(options: dict[str, Any]) -> None:
    root = Path(options["root"])
    module = data(
        Path(options["train"]),
        Path(options["val"]),
        batch_size=4,
        num_workers=options["workers"],
        token_budget=options["token_budget"],
    )
    keep = ModelCheckpoint(root, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer(root, max_epochs=options["max_epochs"], callbacks=[keep]).fit(
        MortalDiary(options["diary"], options.get("die_at")),
        datamodule=module,
        ckpt_path=options.get("ckpt"),
        weights_only=True if "ckpt" in options else None,
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
