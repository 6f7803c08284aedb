"""The contrastive stage: retrieval measures, resuming, and what it hands out."""

import json
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import OmegaConf
from transformers import AutoTokenizer, SiglipModel

from recot.errors import ConfigError
from recot.models.preprocess import normalise
from recot.models.siglip import embed_frames, embed_texts, seeded_siglip
from recot.models.tokenizer import train_bpe
from recot.stages.vision_contrastive import VisionContrastive, export, report, retrieval
from recot.tiny_world.frame_data import TinyFrames, sample_texts
from recot.tiny_world.local_phrases import PHRASES
from recot.tiny_world.vocabulary import OBJECTS

TOKENIZER = train_bpe(sample_texts(scenes=10, frames=24, seed=0), vocab_size=400, max_length=48, append_eos=True)
LAYERS = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
TOKENS = {"vocab_size": 400, "max_position_embeddings": 48, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 0}


def module(**changes: float) -> VisionContrastive:
    model = seeded_siglip(vision=LAYERS | {"image_size": 32, "patch_size": 8}, text=LAYERS | TOKENS, seed=0)
    settings = {"learning_rate": 3e-3, "weight_decay": 0.05, "warmup_steps": 2, "local_weight": 10.0} | changes
    return VisionContrastive(model=model, things=len(OBJECTS), local_layer=-2, betas=(0.9, 0.95), **settings)


def data() -> TinyFrames:
    return TinyFrames(
        tokenizer=TOKENIZER,
        batch_size=16,
        pairs_per_frame=1,
        frames_per_scene=2,
        scene_frames=24,
        size=32,
        grid=4,
        candidates=4,
        val_groups=2,
        seed=0,
        num_workers=0,
    )


def trainer(folder: Path, steps: int) -> L.Trainer:
    """Keeps a checkpoint of every third step."""
    return L.Trainer(
        default_root_dir=str(folder),
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        val_check_interval=4,
        check_val_every_n_epoch=None,
        logger=False,
        callbacks=[ModelCheckpoint(dirpath=folder, filename="{step}", every_n_train_steps=3, save_top_k=-1)],
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def test_retrieval_against_numpy() -> None:
    generator = torch.Generator().manual_seed(1)
    image, text = (torch.randn(50, 4, generator=generator) for _ in range(2))
    text = text + image
    text[10:30] = text[0]  # ambiguous one way only
    a, b = (x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True) for x in (image, text))
    found = retrieval(image, text)
    to_text = np.mean([np.argmax([row @ other for other in b]) == i for i, row in enumerate(a)])
    to_image = np.mean([np.argmax([row @ other for other in a]) == i for i, row in enumerate(b)])
    assert found["image_to_text_top1"].item() == pytest.approx(to_text)
    assert found["text_to_image_top1"].item() == pytest.approx(to_image)
    assert to_text != to_image


def test_a_resumed_run_ends_where_an_unbroken_one_does_and_learns(tmp_path: Path) -> None:
    whole = trainer(tmp_path, 8)
    learnt = module()
    before = whole.validate(learnt, data(), verbose=False)[0]
    whole.fit(learnt, data())
    after = whole.validate(learnt, data(), verbose=False)[0]
    assert after["val/loss"] < before["val/loss"]

    resumed = module()
    trainer(tmp_path / "again", 8).fit(resumed, data(), ckpt_path=tmp_path / "step=3.ckpt", weights_only=False)
    assert not (tmp_path / "again/step=3.ckpt").exists(), "it went on from step 3"
    assert (tmp_path / "again/step=6.ckpt").exists()
    weights, again = learnt.state_dict(), resumed.state_dict()
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_export_is_a_hugging_face_folder_with_a_card(tmp_path: Path) -> None:
    run, own, frames = trainer(tmp_path, 1), module(), data()
    run.fit(own, frames)
    (metrics,) = run.validate(own, frames, verbose=False)
    for seed in (4, 5):  # the second replaces the first
        export(own, tmp_path / "model", metrics, title="A small model", command="make it", seed=seed)
    loaded, info = SiglipModel.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not info["missing_keys"]
    batch = frames.val_batch(0)
    ids = AutoTokenizer.from_pretrained(tmp_path / "model")(
        TOKENIZER.batch_decode(batch.ids, skip_special_tokens=True),
        padding="max_length",
        truncation=True,
        return_tensors="pt",
    )["input_ids"]
    assert torch.equal(ids, batch.ids)
    assert torch.equal(embed_texts(loaded, ids), embed_texts(own.model, ids))
    assert torch.equal(embed_frames(loaded, batch.frames), embed_frames(own.model, batch.frames))
    card = json.loads((tmp_path / "model/card.json").read_text())
    assert card["figures"] == metrics
    assert (card["seed"], card["command"], card["data_hash"]) == (5, "make it", frames.data_hash())
    assert TinyFrames(tokenizer=TOKENIZER, num_workers=0, **card["data"]).data_hash() == card["data_hash"]
    text = (tmp_path / "model/README.md").read_text()
    assert f"{metrics['val/loss']:.4f}" in text
    assert card["data_hash"] in text
    processor = json.loads((tmp_path / "model/preprocessor_config.json").read_text())
    scaled = (batch.frames.permute(0, 3, 1, 2) * processor["rescale_factor"] - processor["image_mean"][0]) / processor[
        "image_std"
    ][0]
    torch.testing.assert_close(normalise(batch.frames, processor["size"]["height"]), scaled)


def test_report_names_the_figures() -> None:
    values = {"val/image_to_text_top1": 0.75, "val/text_to_image_top1": 0.5, "val/loss": 1.25}
    values |= {"val/patches_things_top1": 0.625, "val/patches_background_top1": 0.875}
    text = report(values, title="seed 0", candidates=4)
    rows = (
        "| image to text | 0.7500 |",
        "| text to image | 0.5000 |",
        "| things | 0.6250 |",
        "| background | 0.8750 |",
    )
    for expected in ("seed 0", "among 4", *rows, "1.2500"):
        assert expected in text


def test_the_loss_of_patches_trains_the_layers_up_to_its_own() -> None:
    frames = data()
    gradients = []
    for weight in (0.0, 10.0):
        own = module(local_weight=weight)
        own.log = lambda *_, **__: None  # type: ignore[method-assign]
        own.training_step(frames.train_batch(0), 0).backward()
        gradients.append([layer.mlp.fc1.weight.grad for layer in own.model.vision_model.encoder.layers])
        assert (own.local_head.weight.grad is None or not own.local_head.weight.grad.any()) == (weight == 0)
    first, last = ([torch.equal(a, b) for a, b in zip(*gradients, strict=True)][i] for i in (0, -1))
    assert not first, "layer 0 feeds what is contrasted"
    assert last, "the last layer comes after it"


def test_the_config_tells_objects_from_backgrounds() -> None:
    config = OmegaConf.load(Path(__file__).parents[2] / "conf/stage/vision_contrastive.yaml")
    assert PHRASES[: config.module.things] == OBJECTS


def test_impossible_rates() -> None:
    for name in ("learning_rate", "local_weight"):
        with pytest.raises(ConfigError, match=rf"stage\.{name}"):
            module(**{name: -1.0})
