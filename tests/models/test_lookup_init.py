"""What heads attend to before any training."""

import pytest
import torch

from recot.errors import ConfigError
from recot.models.llm import seeded_llm

CONFIG = {
    "vocab_size": 300,
    "hidden_size": 128,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "tie_word_embeddings": True,
    "initializer_range": 0.08,
}


def attention(shift_heads: list[list[int]], ids: torch.Tensor) -> list[torch.Tensor]:
    """(heads, L, L) of each layer."""
    model = seeded_llm(config=CONFIG, seed=0, shift_heads=shift_heads).eval()
    model.set_attn_implementation("eager")
    return [layer[0] for layer in model(input_ids=ids[None], output_attentions=True).attentions]


@pytest.mark.parametrize("distance", [1, 2, 5])
def test_shift_heads_attend_that_many_tokens_back(distance: int) -> None:
    ids = torch.randint(300, (400,), generator=torch.Generator().manual_seed(0))
    layers = attention([[0, 0, distance], [0, 1, 3], [2, 0, distance]], ids)
    for layer, head in ((0, 0), (2, 0)):
        assert layers[layer][head].diagonal(-distance)[20:].mean() > 0.8
    assert layers[0][2].diagonal(-distance)[20:].mean() < 0.1


def test_the_other_heads_attend_to_what_is_alike() -> None:
    """Each of 40 tokens comes twice; the second attends to the first more than to any other before it."""
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:40]
    layers = attention([[0, 0, 1], [0, 1, 3]], torch.cat([order, order]))
    to_first = layers[0][2].diagonal(-40)
    others = (layers[0][2][40:, :40].sum(dim=1) - to_first) / 39
    assert (to_first > others).float().mean() > 0.9


@pytest.mark.parametrize(("head", "distance"), [(3, 1), (1, 3)])
def test_induction_heads_attend_to_what_followed(head: int, distance: int) -> None:
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:40]
    layers = attention([[0, 0, 1], [0, 1, 3]], torch.cat([order, order]))
    seen = layers[1][head][40 : 80 - distance, :40]
    followed = seen.gather(1, torch.arange(distance, 40)[:, None]).squeeze(1)
    others = (seen.sum(dim=1) - followed) / 39
    assert followed.mean() > 10 * others.mean()


def test_a_head_says_what_stood_before() -> None:
    """Of 40 tokens that come twice, its output for the second one favours the token before the first."""
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:40]
    shuffled = order[torch.randperm(40, generator=torch.Generator().manual_seed(1))]
    model = seeded_llm(config=CONFIG, seed=0, shift_heads=[[0, 0, 1], [0, 1, 3]]).eval()
    block = model.model.layers[1].self_attn
    said = []
    hook = block.o_proj.register_forward_hook(lambda module, inputs, output: said.append(inputs[0][0, :, 64:96]))
    model(input_ids=torch.cat([order, shuffled])[None])
    hook.remove()
    spoken = said[0] @ block.o_proj.weight[:, 64:96].T @ model.model.embed_tokens.weight[order].T  # (80, 40)
    before = {int(token): place - 1 for place, token in enumerate(order)}
    right = [int(spoken[40 + i].argmax()) == before[int(token)] for i, token in enumerate(shuffled)]
    assert sum(right) / 40 > 0.5


@pytest.mark.parametrize(
    ("shift_heads", "keys"),
    [
        ([[0, 0, 1], [0, 1, 2], [3, 0, 1]], 4),
        ([[0, 4, 1], [0, 1, 2]], 4),
        ([[0, 0, 1], [0, 1, 2]], 2),
        ([[0, 0, 1], [1, 0, 1]], 4),
        ([[0, 0, 1], [0, 1, 2], [1, 1, 1]], 4),
    ],
)
def test_there_must_be_such_heads(shift_heads: list[list[int]], keys: int) -> None:
    with pytest.raises(ConfigError, match=r"model\.llm\.shift_heads"):
        seeded_llm(config=CONFIG | {"num_key_value_heads": keys}, seed=0, shift_heads=shift_heads)
