"""The compressor against reference numbers of the released model's blocks."""

import numpy as np
import pytest
import torch
from einops import rearrange
from torch import Tensor

from recot.checkpoints.official import _downsample, _spatial, _temporal, dts_from_official, projector_from_official
from recot.grouping import insert_duplicates, pad_indices
from recot.models.attention import SpatialAttention, TemporalAttention
from recot.models.downsample import TemporalDownsample
from recot.models.dts import DynamicTokenSynthesizer, official_axes
from recot.models.projector import Projector
from recot.models.vision_encoder import interpolate_grid
from tests.golden_cases import CASES, assert_matches, outputs, regenerate


def channels_last(x: Tensor) -> Tensor:
    return rearrange(x, "b c t h w -> b t h w c")


def channels_first(x: Tensor) -> Tensor:
    return rearrange(x, "b t h w c -> b c t h w")


def sae(params: dict[str, Tensor]) -> DynamicTokenSynthesizer:
    dts = DynamicTokenSynthesizer(width=params["temporal_encoding"].shape[1], layout="official")
    dts.load_state_dict(dts_from_official(params))
    return dts.eval()


@torch.no_grad()
@pytest.mark.parametrize("name", [n for n in CASES if n.startswith("attn_block3d")])
def test_spatial_attention(name: str) -> None:
    block = SpatialAttention(64, heads=1)
    block.load_state_dict(_spatial(regenerate(CASES[name]["params"])))
    x = regenerate(CASES[name]["inputs"])["x"]
    assert_matches(name, "y", channels_first(block(channels_last(x))))


@torch.no_grad()
@pytest.mark.parametrize("name", [n for n in CASES if n.startswith("temporal_attention")])
def test_temporal_attention(name: str) -> None:
    block = TemporalAttention(64, heads=1, relative_term="transposed")
    block.load_state_dict(_temporal(regenerate(CASES[name]["params"])))
    x = regenerate(CASES[name]["inputs"])["x"]
    assert_matches(name, "y", channels_first(block(channels_last(x))))


@torch.no_grad()
@pytest.mark.parametrize("rewrites", [False, True])
@pytest.mark.parametrize("name", [n for n in CASES if n.startswith("same_pad")])
def test_downsample(name: str, rewrites: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recot.models.cpu.REWRITES_FROM_WIDTH", 1 if rewrites else 10**6)
    block = TemporalDownsample(64, 48)
    block.load_state_dict(_downsample(regenerate(CASES[name]["params"])))
    x = regenerate(CASES[name]["inputs"])["x"]
    assert_matches(name, "y", channels_first(block(channels_last(x))))


@torch.no_grad()
@pytest.mark.parametrize("rewrites", [False, True])
@pytest.mark.parametrize("name", [n for n in CASES if n.startswith("siglip_ae")])
def test_whole_module(name: str, rewrites: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The golden input already stands in the released model's axes, so only the stages are run."""
    monkeypatch.setattr("recot.models.cpu.REWRITES_FROM_WIDTH", 1 if rewrites else 10**6)
    dts = sae(regenerate(CASES[name]["params"]))
    x = channels_last(regenerate(CASES[name]["inputs"])["x"]) + rearrange(dts.temporal_code, "t c -> t 1 1 c")
    for i, stage in enumerate(dts.stages):
        for j, block in enumerate((stage.spatial, stage.temporal, stage.downsample)):
            x = block(x)
            if (key := f"after_encoder_{3 * i + j}") in CASES[name]["outputs"]:
                assert_matches(name, key, channels_first(x))
    assert_matches(name, "y", channels_first(x))


def test_official_axes() -> None:
    x = torch.arange(288, dtype=torch.float32).reshape(8, 6, 2, 3)
    groups = rearrange(x, "(g t) c h w -> g t h w c", t=4)
    assert_matches("view_quirk_ch6", "y", channels_first(official_axes(groups)))


def test_interpolation() -> None:
    x = regenerate(CASES["interpolate_27_to_24"]["inputs"])["x"]
    assert_matches("interpolate_27_to_24", "y", rearrange(interpolate_grid(x, 24), "b h w c -> b c h w"))


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("six", insert_duplicates(6, [1, 2])),
        ("nine", insert_duplicates(9, [0, 6, 7])),
        ("two", pad_indices(2)[0]),
        ("eight", pad_indices(8)[0]),
        ("image", np.repeat(np.arange(2), 4)),
    ],
)
def test_padding(name: str, index: np.ndarray) -> None:
    n = {"six": 6, "nine": 9, "two": 2, "eight": 8, "image": 2}[name]
    x = torch.arange(2 * n, dtype=torch.float32).reshape(n, 2, 1, 1)
    assert_matches("add_video_add_image", name, x[index])


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "index", "pooled"),
    [
        ("encode_video_8f", pad_indices(8)[0], True),
        ("encode_video_3f", pad_indices(3)[0], True),
        ("encode_video_6f_random_dup", insert_duplicates(6, [1, 5]), True),
        ("encode_image_2", np.repeat(np.arange(2), 4), False),
    ],
)
def test_from_vision_features(name: str, index: np.ndarray, pooled: bool) -> None:
    """Interpolation, padding, grouping and compression in one, checked behind projector and pool."""
    params = {key: value for block in ("sae", "projector") for key, value in regenerate_block(name, block).items()}
    features = regenerate(CASES[name]["inputs"])["vision_features"]
    frames = interpolate_grid(features, 24)[index]
    groups = rearrange(frames, "(g t) h w c -> g t h w c", t=4)
    compact = sae({k.removeprefix("sae."): v for k, v in params.items() if k.startswith("sae.")})(groups)
    if "sae_out" in CASES[name]["outputs"]:
        assert_matches(name, "sae_out", rearrange(compact, "g h w c -> g c 1 h w"))
        corner = channels_first(official_axes(groups))[:, :8, :, :3, :4]
        assert_matches(name, "sae_in_first_8ch_corner", corner)
    weight = params["projector.0.weight"]
    projector = Projector(width=weight.shape[1], llm_width=weight.shape[0])
    released = {k.removeprefix("projector."): v for k, v in params.items() if k.startswith("projector.")}
    projector.load_state_dict(projector_from_official(released))
    assert_matches(name, "y", projector(compact, pool=pooled))


def regenerate_block(name: str, block: str) -> dict[str, Tensor]:
    return {f"{block}.{key}": value for key, value in regenerate(CASES[name]["params"][block]).items()}


def test_unexpected_and_missing_keys_are_named() -> None:
    params = regenerate(CASES["siglip_ae_c64_3x4"]["params"])
    with pytest.raises(ValueError, match=r"encoder\.7\.extra"):
        dts_from_official({**params, "encoder.7.extra": torch.zeros(1)})
    params.pop("temporal_encoding")
    with pytest.raises(ValueError, match="temporal_encoding"):
        dts_from_official(params)


def test_golden_arrays_are_complete() -> None:
    for name, case in CASES.items():
        assert {f"out.{key}" for key in case["outputs"]} <= set(outputs(name))
