"""A SigLIP model from a seed, and that it embeds as Hugging Face's own forward pass does."""

from pathlib import Path

import pytest
import torch
from transformers import SiglipModel

from recot.errors import ConfigError
from recot.models.siglip import embed_frames, embed_texts, seeded_siglip
from recot.models.vision_encoder import pretrained_encoder

VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 30,
    "max_position_embeddings": 8,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 0,
}
FRAMES = torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
IDS = torch.randint(0, 30, (3, 8), generator=torch.Generator().manual_seed(0))


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = seeded_siglip(vision=VISION, text=TEXT, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    again, other = (seeded_siglip(vision=VISION, text=TEXT, seed=seed) for seed in (0, 1))
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    assert not torch.equal(embed_frames(first, FRAMES), embed_frames(other, FRAMES))
    assert first.logit_scale.exp().item() == pytest.approx(10)
    assert first.logit_bias.item() == -3


def test_embeddings_are_those_of_the_forward_pass() -> None:
    model = seeded_siglip(vision=VISION, text=TEXT, seed=0).eval()
    pixels = (FRAMES.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    whole = model(input_ids=IDS, pixel_values=pixels)
    for own, theirs in (
        (embed_frames(model, FRAMES), whole.image_embeds),
        (embed_texts(model, IDS), whole.text_embeds),
    ):
        torch.testing.assert_close(torch.nn.functional.normalize(own, dim=-1), theirs)


def test_saved_it_loads_whole_and_its_vision_tower_as_the_frozen_encoder(tmp_path: Path) -> None:
    model = seeded_siglip(vision=VISION, text=TEXT, seed=0).eval()
    model.save_pretrained(tmp_path)
    loaded, info = SiglipModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert torch.equal(embed_texts(loaded.eval(), IDS), embed_texts(model, IDS))
    encoder = pretrained_encoder(name_or_path=str(tmp_path), drop_layers=1, grid=2)
    pixels = (FRAMES.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    inner = model.vision_model(pixel_values=pixels, output_hidden_states=True).hidden_states[1]
    torch.testing.assert_close(encoder(FRAMES).flatten(1, 2), inner)


def test_patch_filters_and_positions_start_orthogonal() -> None:
    model = seeded_siglip(vision=VISION, text=TEXT, seed=0)
    filters = model.vision_model.embeddings.patch_embedding.weight.flatten(1).double()
    products = filters @ filters.T
    torch.testing.assert_close(products, torch.diag(products.diagonal()), atol=1e-5, rtol=0)
    flat = torch.full((1, 16, 16, 3), 200, dtype=torch.uint8)
    wave = flat.clone()
    wave[:, :, 1::2] = 160
    seen = [
        model.vision_model.embeddings.patch_embedding((frames.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5).abs()
        for frames in (flat, wave)
    ]
    assert (seen[0].amax(dim=(0, 2, 3)) > 1e-4).sum() == 1, "of a flat grey patch only the mean is seen"
    assert (seen[1].amax(dim=(0, 2, 3)) > 1e-4).sum() > 1
    positions = model.vision_model.embeddings.position_embedding.weight
    assert torch.pdist(positions).min() > 0.5


def test_a_width_without_filters() -> None:
    for width in (18, 256):
        with pytest.raises(ConfigError, match=rf"hidden_size is {width}.*multiple of 4 up to 128"):
            seeded_siglip(vision=VISION | {"hidden_size": width}, text=TEXT, seed=0)
