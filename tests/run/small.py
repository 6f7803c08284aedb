"""What makes experiments small enough for tests."""

from pathlib import Path

REPO = Path(__file__).resolve().parents[2]

SMALL = [
    "trainer.accelerator=cpu",
    "trainer.val_check_interval=2",
    "callbacks.checkpoint.every_n_train_steps=2",
    "callbacks.pictures.samples=1",
    "data.prepare.train_videos=8",
    "data.prepare.val_videos=4",
    "data.prepare.frames=16",
    "data.batch_size=2",
    "data.groups_per_sample=2",
    "data.num_workers=0",
]
QUESTIONS = [
    "init_from=null",
    "trainer.accelerator=cpu",
    "trainer.val_check_interval=2",
    "callbacks.checkpoint.every_n_train_steps=2",
    "data.prepare.train_videos=4",
    "data.prepare.val_videos=2",
    "data.prepare.frames=32",
    "data.questions.per_video=2",
    "data.batch_size=2",
    "data.num_workers=0",
]
# Experiments other than stage 1 -> their small overrides, and a measure with the bound it must keep.
OTHERS = {
    **dict.fromkeys(("word_align", "projector_align", "selector_finetune", "sft_lora"), (QUESTIONS, "val/loss", 100)),
    "tiny_vision": (
        [
            "trainer.accelerator=cpu",
            "trainer.val_check_interval=2",
            "callbacks.checkpoint.every_n_train_steps=2",
            "data.batch_size=8",
            "data.frames_per_scene=2",
            "data.val_groups=2",
            "data.num_workers=0",
            "model.tokenizer.texts.scenes=5",
        ],
        "val/loss",
        100,
    ),
    "tiny_llm": (
        [
            "trainer.accelerator=cpu",
            "trainer.val_check_interval=2",
            "callbacks.checkpoint.every_n_train_steps=2",
            "data.val_scenes=2",
            "data.num_workers=0",
            "model.tokenizer.texts.scenes=5",
        ],
        "val/loss",
        100,
    ),
    **dict.fromkeys(
        ("tiny_llm_pictures", "tiny_llm_long"),
        (
            [
                "model.folder=${tiny_backbone:llm}",
                "trainer.accelerator=cpu",
                "trainer.val_check_interval=2",
                "callbacks.checkpoint.every_n_train_steps=2",
                "data.val_scenes=2",
                "data.num_workers=0",
            ],
            "val/loss",
            1,
        ),
    ),
}
