"""Packed samples against the same samples alone."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from recot.losses import next_token_loss
from recot.models.llm import Attention, seeded_llm
from recot.models.packing import IGNORED, pack, pack_mask, read_pack

CONFIG = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}


def samples(lengths: tuple[int, ...] = (5, 1, 9, 3)) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(3)
    ids = [torch.randint(40, (length,), generator=generator) for length in lengths]
    labels = [i.where(torch.rand(len(i), generator=generator) < 0.7, IGNORED) for i in ids]
    return ids, labels


@pytest.mark.parametrize("lengths", [(5, 4, 9, 3), (9, 1, 1), (4,)])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_pack_has_the_losses_and_gradients_of_its_samples(attention: Attention, lengths: tuple[int, ...]) -> None:
    model = seeded_llm(config=CONFIG, seed=0, attention=attention).double()
    head, table = model.get_output_embeddings().weight, model.get_input_embeddings()
    ids, labels = samples(lengths)

    alone = torch.zeros((), dtype=torch.float64)
    states = []
    for own, wanted in zip(ids, labels, strict=True):
        hidden = model.get_decoder()(inputs_embeds=table(own)[None], use_cache=False).last_hidden_state
        states.append(hidden[0])
        alone = alone + next_token_loss(hidden, head, wanted[None], rows_at_once=4)[0]
    expected = torch.autograd.grad(alone, list(model.parameters()))

    packed = pack([table(own) for own in ids], labels)
    hidden = read_pack(model, packed)
    together, count = next_token_loss(hidden, head, packed.labels, rows_at_once=4)

    # transformers takes the softmax in float32 whatever the weights are
    torch.testing.assert_close(hidden[0], torch.cat(states), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together.double(), alone.double(), rtol=1e-5, atol=0)
    assert count == sum((own[1:] != IGNORED).sum() for own in labels)
    gradients = torch.autograd.grad(together, list(model.parameters()))
    for got, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


def test_masks_let_tokens_see_their_own_sample_so_far_and_what_it_shares() -> None:
    """Lengths 3, 2 and 1; the second begins with the first one's first token."""
    packed = pack([torch.zeros(n, 4) for n in (3, 2, 1)], [torch.zeros(n) for n in (3, 2, 1)], [0, 1, 0])
    seen = pack_mask(packed) == 0
    assert [[j for j in range(6) if seen[i, j]] for i in range(6)] == [[0], [0, 1], [0, 1, 2], [0, 3], [0, 3, 4], [5]]
    assert packed.positions[0].tolist() == [0, 1, 2, 1, 2, 0]


@pytest.mark.parametrize("further", [(), (4,), (40,)], ids=["one run", "a short one", "a long one"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_shared_beginning_changes_nothing(attention: Attention, further: tuple[int, ...]) -> None:
    """Two samples that begin with the same 6 tokens, and maybe another one, against the same samples packed whole."""
    model = seeded_llm(config=CONFIG, seed=0, attention=attention).double()
    table = model.get_input_embeddings()
    generator = torch.Generator().manual_seed(4)
    begin, first, second, *others = (torch.randint(40, (n,), generator=generator) for n in (6, 3, 2, *further))
    whole = [torch.cat([begin, first]), torch.cat([begin, second]), *others]
    alone = read_pack(model, pack([table(own) for own in whole], whole))
    samples_of_run = [whole[0], second, *others]
    together = read_pack(
        model, pack([table(own) for own in samples_of_run], samples_of_run, [0, 6, *(0 for _ in others)])
    )
    own = torch.cat([torch.arange(9), torch.arange(15, alone.shape[1])])
    torch.testing.assert_close(together, alone[:, own], rtol=1e-5, atol=1e-5)


class Largest(TorchDispatchMode):
    """How many numbers the largest tensor has that is made meanwhile."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        made = [leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        self.numel = max(self.numel, *made, 0)
        return out


@pytest.mark.parametrize(("lengths", "shared"), [((500, 5), (0, 0)), ((500, 5, 4), (0, 490, 490))])
def test_a_long_sample_beside_short_ones_takes_no_mask_of_all_tokens_by_all(
    lengths: tuple[int, ...], shared: tuple[int, ...]
) -> None:
    model = seeded_llm(config=CONFIG, seed=0, attention="sdpa")
    packed = pack([torch.ones(n, 32) for n in lengths], [torch.zeros(n) for n in lengths], shared)
    with Largest() as largest:
        read_pack(model, packed).sum().backward()
    assert largest.numel <= sum(lengths) * CONFIG["intermediate_size"]
    with Largest() as largest:
        pack_mask(packed)
    assert largest.numel == sum(lengths) ** 2  # so it would be noticed


def flash_stand_in(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    position_ids: torch.Tensor,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """As flash attention: without a mask, each sample alone, which begins where positions do."""
    assert attention_mask is None
    starts = (position_ids[0] == 0).nonzero()[1:, 0].tolist()
    pieces = zip(*(x.tensor_split(starts, dim=2) for x in (query, key, value)), strict=True)
    return torch.cat([sdpa_attention_forward(module, *own, None, **kwargs)[0] for own in pieces], dim=1), None


def test_flash_attention_is_told_where_samples_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    model = seeded_llm(config=CONFIG, seed=0, attention="sdpa")
    packed = pack([model.get_input_embeddings()(own) for own in samples()[0]], samples()[1])
    expected = read_pack(model, packed)
    monkeypatch.setitem(AttentionInterface._global_mapping, "flash_stand_in", flash_stand_in)
    model.config._attn_implementation = "flash_stand_in"
    torch.testing.assert_close(read_pack(model, packed), expected, rtol=1e-5, atol=1e-5)


def test_flash_attention_refuses_what_samples_share() -> None:
    model = seeded_llm(config=CONFIG, seed=0)
    model.config._attn_implementation = "flash_stand_in"
    with pytest.raises(ValueError, match="can't be read by flash attention"):
        read_pack(model, pack([torch.zeros(n, 32) for n in (3, 2)], [torch.zeros(n) for n in (3, 2)], [0, 1]))


class Attended(TorchDispatchMode):
    """The dtypes that torch's fused attention computes in meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: list[torch.dtype] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default:
            self.dtypes.append(args[0].dtype)
        return func(*args, **(kwargs or {}))


def test_attention_of_float32_weights_computes_in_bfloat16_where_training_does() -> None:
    model = seeded_llm(config=CONFIG, seed=0, attention="sdpa")
    packed = pack([torch.ones(n, 32) for n in (5, 3)], [torch.zeros(n) for n in (5, 3)])
    for autocast, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast), Attended() as attended:
            read_pack(model, packed)
        assert attended.dtypes == [dtype] * 2 * CONFIG["num_hidden_layers"]


def test_what_makes_no_pack() -> None:
    one = torch.zeros(2, 4)
    for embeddings, labels in (([], []), ([one[:0]], [torch.zeros(0)]), ([one], [torch.zeros(3)])):
        with pytest.raises(ValueError, match="a pack of samples of"):
            pack(embeddings, labels)
