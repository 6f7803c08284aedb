"""The DTS: equal results however it is computed, and what its layouts and parts mean."""

import pytest
import torch
from einops import rearrange
from torch import nn

from recot.models.attention import MAX_DISTANCE, SpatialAttention, TemporalAttention
from recot.models.downsample import TemporalDownsample, convolve
from recot.models.dts import DynamicTokenSynthesizer, Layout
from recot.models.winograd import WinogradConvolution


def randomised(module: nn.Module) -> nn.Module:
    """No parameter left at a value that hides a mistake, such as zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.15)
    return module


def gradients(module: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    module.zero_grad()
    x = x.clone().requires_grad_()
    module(x).square().sum().backward()
    assert x.grad is not None
    return {"input": x.grad} | {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def assert_all_close(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        scale = value.abs().max().item()
        torch.testing.assert_close(got[name], value, atol=2e-4 * scale, rtol=0, msg=name)


@pytest.mark.parametrize("layout", ["native", "official"])
@pytest.mark.parametrize("rewrites", [False, True])
def test_chunked_is_whole(layout: Layout, rewrites: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recot.models.cpu.REWRITES_FROM_WIDTH", 1 if rewrites else 10**6)
    dts = randomised(DynamicTokenSynthesizer(width=64, layout=layout, chunk_groups=7))
    x = torch.randn(7, 4, 5, 6, 64)
    with torch.no_grad():
        whole = dts(x)
        for dts.chunk_groups in (1, 2, 3):
            torch.testing.assert_close(dts(x), whole, atol=1e-5 * whole.abs().max().item(), rtol=0)
    assert whole.shape == (7, 5, 6, 64)


@pytest.mark.parametrize("rewrites", [False, True])
def test_activation_checkpointing_gives_the_same_gradients(rewrites: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recot.models.cpu.REWRITES_FROM_WIDTH", 1 if rewrites else 10**6)
    dts = randomised(DynamicTokenSynthesizer(width=32, chunk_groups=2))
    x = torch.randn(5, 4, 4, 4, 32)
    plain = gradients(dts, x)
    dts.activation_checkpointing = True
    assert_all_close(gradients(dts, x), plain)


@pytest.mark.parametrize("frames", [2, 4, 6, 8])
@pytest.mark.parametrize("grid", [(4, 6), (3, 5), (1, 1)])
def test_winograd_against_the_convolution(frames: int, grid: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, frames, *grid, 8, dtype=torch.float64, generator=generator)
    weight = torch.randn(3, 3, 3, 8, 12, dtype=torch.float64, generator=generator)
    bias = torch.randn(12, dtype=torch.float64, generator=generator)
    results = []
    for function in (WinogradConvolution.apply, convolve):
        inputs = [t.clone().requires_grad_() for t in (x, weight, bias)]
        out = function(*inputs)
        out.sin().sum().backward()
        results.append([out.detach(), *(t.grad for t in inputs)])
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(
    "block", [SpatialAttention(32, 1), TemporalAttention(32, 1), TemporalAttention(32, 1, "transposed")]
)
def test_folded_attention_is_unfolded_attention(block: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    block = randomised(block)
    x = torch.randn(2, 4, 3, 4, 32)
    results = []
    for width in (1, 10**6):
        monkeypatch.setattr("recot.models.cpu.REWRITES_FROM_WIDTH", width)
        results.append({"output": block(x).detach()} | gradients(block, x))
    assert_all_close(*results)


@pytest.mark.parametrize("heads", [1, 2])
def test_native_relative_term_is_shaw_s(heads: int) -> None:
    """Token by token: logits (s q_i) . (s k_j) + (s q_i) . (s K[j - i]), values v_j + V[j - i], s = D^-1/4."""
    block = randomised(TemporalAttention(32, heads))
    assert isinstance(block, TemporalAttention)
    x = torch.randn(1, 4, 1, 2, 32)
    with torch.no_grad():
        got = block(x)
        tokens = rearrange(x, "1 t 1 w c -> w t c")
        normed = block.norm(tokens)
        width = 32 // heads
        for w in range(2):
            q, k, v = (block.qkv(normed[w])[:, 32 * i : 32 * (i + 1)] for i in range(3))
            attended = torch.zeros(4, 32)
            for head in range(heads):
                own = slice(head * width, (head + 1) * width)
                for i in range(4):
                    keys = [k[j, own] + block.relative_k[j - i + MAX_DISTANCE, own] for j in range(4)]
                    weights = torch.stack([q[i, own] @ key * width**-0.5 for key in keys]).softmax(0)
                    values = [v[j, own] + block.relative_v[j - i + MAX_DISTANCE, own] for j in range(4)]
                    attended[i, own] = sum(a * value for a, value in zip(weights, values, strict=True))
            expected = tokens[w] + block.proj(attended)
            torch.testing.assert_close(got[0, :, 0, w], expected, atol=1e-4, rtol=1e-4)


def test_a_fresh_dts_averages_what_is_still_and_keeps_what_changes() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 6, 6, 64)
    still = x[:, :1].expand_as(x)
    fresh = DynamicTokenSynthesizer(width=64)
    with torch.no_grad():
        assert torch.equal(fresh.stages[0].temporal(x), x)
        assert torch.nn.functional.cosine_similarity(fresh(still).flatten(), x[:, 0].flatten(), dim=0) > 0.95
        # A mean of the frames would be the same for both orders.
        one, other = fresh(x), fresh(x.flip(1))
        assert torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0) < 0.7


def test_groups_are_independent() -> None:
    dts = randomised(DynamicTokenSynthesizer(width=32, heads=2))
    x = torch.randn(3, 4, 4, 4, 32)
    changed = x.clone()
    changed[1] *= 100
    with torch.no_grad():
        assert torch.equal(dts(x)[[0, 2]], dts(changed)[[0, 2]])


def test_other_group_sizes_and_bf16() -> None:
    assert DynamicTokenSynthesizer(width=32, group_size=8)(torch.randn(1, 8, 2, 2, 32)).shape == (1, 2, 2, 32)
    dts = randomised(DynamicTokenSynthesizer(width=64))
    x = torch.randn(2, 4, 4, 4, 64)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        half = dts(x)
    with torch.no_grad():
        exact = dts(x)
    assert (half.float() - exact).abs().max() < 0.05 * exact.abs().max()


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="power of two"):
        DynamicTokenSynthesizer(width=32, group_size=3)
    with pytest.raises(ValueError, match="multiple of heads"):
        DynamicTokenSynthesizer(width=32, heads=5)
    with pytest.raises(ValueError, match="multiple of 32"):
        DynamicTokenSynthesizer(width=48)
    with pytest.raises(ValueError, match=r"expected groups of shape \(G, 4, H, W, 32\)"):
        DynamicTokenSynthesizer(width=32)(torch.zeros(1, 4, 2, 2, 64))
    with pytest.raises(ValueError, match="odd number"):
        TemporalDownsample(32)(torch.zeros(1, 3, 2, 2, 32))
