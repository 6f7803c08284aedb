"""The frozen SigLIP encoder: which layer, which grid, real loading, and that nothing but frames changes features."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import SiglipModel, SiglipTextConfig, SiglipVisionConfig, SiglipVisionModel
from transformers.models.siglip.configuration_siglip import SiglipConfig

from recot.errors import ConfigError, DataError
from recot.models.preprocess import normalise
from recot.models.vision_encoder import pretrained_encoder, seeded_encoder

TINY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": 42,
    "patch_size": 14,
}


def frames(n: int = 5, side: int = 42) -> torch.Tensor:
    return torch.randint(0, 256, (n, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def full_model(tmp_path: Path) -> tuple[Path, SiglipModel]:
    """A folder as a hub download leaves it: image and text towers in one."""
    text = SiglipTextConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, vocab_size=99
    )
    model = SiglipModel(
        SiglipConfig(text_config=text.to_dict(), vision_config=SiglipVisionConfig(**TINY).to_dict())
    ).eval()
    model.save_pretrained(tmp_path)
    return tmp_path, model


@torch.no_grad()
def test_pretrained_features_are_the_hidden_state_before_the_last_layer(full_model: tuple[Path, SiglipModel]) -> None:
    folder, model = full_model
    encoder = pretrained_encoder(name_or_path=str(folder), drop_layers=1, grid=2)
    pixels = normalise(frames(), 42)
    hidden = model.vision_model(pixels, output_hidden_states=True).hidden_states[-2]
    maps = hidden.transpose(1, 2).reshape(5, 64, 3, 3)
    expected = F.interpolate(maps, size=(2, 2), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
    torch.testing.assert_close(encoder(frames()), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_vision_tower_alone_loads_too_and_bf16(tmp_path: Path) -> None:
    tower = SiglipVisionModel(SiglipVisionConfig(**TINY)).eval()
    tower.save_pretrained(tmp_path)
    exact = pretrained_encoder(name_or_path=str(tmp_path), drop_layers=1, grid=3)
    half = pretrained_encoder(name_or_path=str(tmp_path), drop_layers=1, grid=3, dtype="bfloat16")
    assert half(frames()).dtype == torch.bfloat16
    assert F.cosine_similarity(half(frames()).float().flatten(), exact(frames()).flatten(), dim=0) > 0.999


def test_real_size_shapes_on_the_meta_device() -> None:
    """so400m at 384 px: 27 x 27 patches of 1152 channels become a 24 x 24 grid, from 26 layers."""
    config = {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 14,
    }
    with torch.device("meta"):
        encoder = seeded_encoder(config=config, drop_layers=1, grid=24, seed=0)
    assert len(encoder.encoder.layers) == 26
    assert not any("post_layernorm" in name or "head" in name for name, _ in encoder.named_parameters())
    pixels = torch.empty(2, 3, 384, 384, device="meta")
    hidden = encoder.encoder(inputs_embeds=encoder.embeddings(pixels)).last_hidden_state
    assert hidden.shape == (2, 729, 1152)


@torch.no_grad()
def test_features_depend_on_seed_and_frame_alone() -> None:
    first = seeded_encoder(config=TINY, drop_layers=1, grid=3, seed=1)
    torch.manual_seed(123)
    again = seeded_encoder(config=TINY, drop_layers=1, grid=3, seed=1, chunk_frames=2)
    other = seeded_encoder(config=TINY, drop_layers=1, grid=3, seed=2)
    torch.testing.assert_close(first(frames()), again(frames()), atol=1e-5, rtol=1e-5)
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()


def test_it_never_trains() -> None:
    encoder = seeded_encoder(config=TINY, drop_layers=1, grid=3, seed=0)
    encoder.train()
    assert not encoder.training
    assert not any(p.requires_grad for p in encoder.parameters())


def test_clear_errors(tmp_path: Path, full_model: tuple[Path, SiglipModel]) -> None:
    with pytest.raises(DataError, match=r"model\.vision_encoder\.name_or_path"):
        pretrained_encoder(name_or_path=str(tmp_path / "nowhere"), drop_layers=1, grid=3)
    with pytest.raises(ConfigError, match="has 4 layers"):
        seeded_encoder(config=TINY, drop_layers=4, grid=3, seed=0)
