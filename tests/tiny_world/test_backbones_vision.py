"""The committed SigLIP model: it loads as the real one does and reaches the figures of its card."""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoTokenizer, SiglipModel

from recot.models.siglip import embed_frames, embed_texts
from recot.models.tokenizer import load_tokenizer
from recot.models.vision_encoder import pretrained_encoder
from recot.stages.vision_contrastive import retrieval
from recot.tiny_world.frame_captions import full_caption
from recot.tiny_world.frame_data import TinyFrames
from recot.tiny_world.local_phrases import PHRASES, phrase_map
from recot.tiny_world.render import render_frame
from recot.tiny_world.scene import make_scene
from recot.tiny_world.video import encode_mp4
from recot.tiny_world.vocabulary import OBJECTS
from recot.video_io import decode

FOLDER = Path(str(files("recot.tiny_world"))) / "backbones/vision"
CARD = json.loads((FOLDER / "card.json").read_text())


@pytest.fixture(scope="module")
def model() -> SiglipModel:
    loaded, info = SiglipModel.from_pretrained(FOLDER, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return loaded.eval()


@torch.no_grad()
def test_it_reaches_the_figures_of_its_card(model: SiglipModel) -> None:
    data = TinyFrames(tokenizer=load_tokenizer(FOLDER), num_workers=0, **CARD["data"])
    assert (data.candidates, data.val_groups) == (32, 32)
    found = []
    for group in range(data.val_groups):
        batch = data.val_batch(group)
        found.append(retrieval(embed_frames(model, batch.frames), embed_texts(model, batch.ids)))
    for name in ("image_to_text_top1", "text_to_image_top1"):
        accuracy = np.mean([values[name].item() for values in found])
        assert accuracy == pytest.approx(CARD["figures"][f"val/{name}"], abs=0.02)
        assert accuracy >= 0.9


@torch.no_grad()
def test_it_knows_frames_of_decoded_videos(model: SiglipModel) -> None:
    """Training sees rendered frames; what a user has are H.264 files."""
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    right = []
    for group in range(4):
        frames, texts = [], []
        for i in range(32):
            scene = make_scene(10**12 + 32 * group + i, frames=24)
            mp4 = encode_mp4((render_frame(scene, frame) for frame in range(4)), size=scene.size, fps=scene.fps)
            frames.append(decode(mp4, [3], (64, 64)).frames[0])
            texts.append(full_caption(scene, 3).text)
        ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
        right.append(retrieval(embed_frames(model, torch.from_numpy(np.stack(frames))), embed_texts(model, ids)))
    for name in right[0]:
        assert np.mean([values[name].item() for values in right]) >= 0.75


@torch.no_grad()
def test_its_patches_know_what_they_show() -> None:
    """A linear map of the frozen encoder's tokens, fitted on some frames, names what patches of others show."""
    encoder = pretrained_encoder(name_or_path=str(FOLDER), drop_layers=1, grid=8)
    tokens, shown = [], []
    for seed in range(480):
        scene = make_scene(10**12 + seed, frames=24)
        frame = torch.from_numpy(render_frame(scene, 12))[None]
        tokens.append(encoder(frame).flatten(0, 2))
        shown.append(torch.from_numpy(phrase_map(scene, 12, 8)).flatten())
    x = torch.cat(tokens).double()
    x = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    y = torch.cat(shown)
    fit = torch.arange(len(y)) < 400 * 64
    for kind, least in ((y < len(OBJECTS), 0.5), (y >= len(OBJECTS), 0.9)):
        own, wanted = x[fit & kind], torch.nn.functional.one_hot(y[fit & kind], len(PHRASES)).double()
        weights = torch.linalg.solve(own.T @ own + torch.eye(own.shape[1]), own.T @ wanted)
        right = (x[~fit & kind] @ weights).argmax(dim=1) == y[~fit & kind]
        assert right.double().mean() >= least  # patches at an object's edge count, too


def test_its_inner_layer_is_the_frozen_encoder_s_output(model: SiglipModel) -> None:
    encoder = pretrained_encoder(name_or_path=str(FOLDER), drop_layers=1, grid=8)
    frames = torch.from_numpy(np.stack([render_frame(make_scene(5, frames=24), frame) for frame in (0, 12)]))
    pixels = (frames.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    hidden = model.vision_model(pixel_values=pixels, output_hidden_states=True).hidden_states
    assert encoder(frames).shape == (2, 8, 8, 64)
    torch.testing.assert_close(encoder(frames).flatten(1, 2), hidden[-2], atol=1e-4, rtol=1e-4)


def test_the_folder_is_small_and_safe() -> None:
    names = {path.name for path in FOLDER.iterdir()}
    assert names == {
        "README.md",
        "card.json",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 3 * 2**20
    with safe_open(FOLDER / "model.safetensors", "pt") as weights:
        assert "logit_bias" in weights.keys()  # noqa: SIM118
    assert "experiment=tiny_vision" in CARD["command"]
