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
    layers = attention([[0, 0, distance], [2, 1, distance]], ids)
    for layer, head in ((0, 0), (2, 1)):
        assert layers[layer][head].diagonal(-distance)[20:].mean() > 0.8
    assert layers[0][2].diagonal(-distance)[20:].mean() < 0.1


def test_the_other_heads_attend_to_what_is_alike() -> None:
    """Each of 40 tokens comes twice; the second attends to the first more than to any other before it."""
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:40]
    layers = attention([[0, 0, 1]], torch.cat([order, order]))
    to_first = layers[0][2].diagonal(-40)
    others = (layers[0][2][40:, :40].sum(dim=1) - to_first) / 39
    assert (to_first > others).float().mean() > 0.9


def test_induction_heads_attend_to_what_followed() -> None:
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:40]
    layers = attention([[0, 0, 1]], torch.cat([order, order]))
    followed = layers[1][3][40:79].gather(1, torch.arange(1, 40)[:, None]).squeeze(1)
    others = (layers[1][3][40:79, :40].sum(dim=1) - followed) / 39
    assert followed.mean() > 10 * others.mean()


@pytest.mark.parametrize(
    ("shift_heads", "keys"),
    [([[3, 0, 1]], 4), ([[0, 4, 1]], 4), ([[0, 0, 1]], 2), ([[1, 0, 1]], 4), ([[0, 0, 1], [1, 3, 1]], 4)],
)
def test_there_must_be_such_heads(shift_heads: list[list[int]], keys: int) -> None:
    with pytest.raises(ConfigError, match=r"model\.llm\.shift_heads"):
        seeded_llm(config=CONFIG | {"num_key_value_heads": keys}, seed=0, shift_heads=shift_heads)
