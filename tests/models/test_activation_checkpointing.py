"""Checkpointed layers give the same gradients, keep less, and stay out of the way of generation."""

import pytest
import torch
from torch import Tensor

from recot.models.activation_checkpointing import checkpoint_layers
from recot.models.llm import seeded_llm

CONFIG = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
    "eos_token_id": None,
    "pad_token_id": 0,
}


def kept_and_gradient(*, checkpointed: bool, trained: bool) -> tuple[int, Tensor, set[str]]:
    """Bytes kept for the backward pass, the gradient of the input embeddings, and names of weights."""
    model = seeded_llm(config=CONFIG, seed=0).eval()
    model.requires_grad_(trained)
    if checkpointed:
        checkpoint_layers(model.get_decoder().layers)
    embeddings = torch.randn(1, 64, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model.model(inputs_embeds=embeddings, use_cache=False).last_hidden_state
    hidden.square().sum().backward()
    assert embeddings.grad is not None
    return sum(kept.values()), embeddings.grad, set(model.state_dict())


@pytest.mark.parametrize("trained", [True, False])
def test_less_is_kept_for_the_same_gradient(trained: bool) -> None:
    whole, expected, names = kept_and_gradient(checkpointed=False, trained=trained)
    less, gradient, same_names = kept_and_gradient(checkpointed=True, trained=trained)
    assert torch.equal(gradient, expected)
    assert less < 0.3 * whole
    assert same_names == names


def test_generation_with_a_cache_is_as_before() -> None:
    ids = torch.arange(8)[None]
    said = []
    for checkpointed in (False, True):
        model = seeded_llm(config=CONFIG, seed=0).eval()
        if checkpointed:
            checkpoint_layers(model.get_decoder().layers)
        said.append(model.generate(ids, do_sample=False, max_new_tokens=10, use_cache=True))
    assert said[0].shape == (1, 18)
    assert torch.equal(*said)
