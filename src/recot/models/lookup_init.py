"""Starting weights from which a small language model soon learns to look things up in its prompt.

To find what is said of "red circle", a token must know what stands before it, and find tokens alike. From random
weights, a small model takes most of its training to come to that. Here it starts close by: heads that attend a given
number of tokens back; heads whose queries equal their keys and whose outputs undo their values, which attend to what
is alike and repeat it (mimetic initialization, arXiv 2305.09828); heads that attend to tokens after one alike, as
induction heads do (arXiv 2209.11895); and heads that attend to what is alike and say what stood before it, as one names
the letter of an option. Which heads, and all numbers, are our choice. Training may change all of it.
"""

from collections.abc import Sequence
from typing import Any

import torch

from recot.errors import ConfigError

# What a token is weighs about as much in the residual stream as what heads bring to it.
EMBEDDING, BROUGHT, OUTPUT, SHIFT_OUTPUT = 4.0, 0.3, 0.3, 0.6  # scales of embeddings, MLPs' and heads' outputs
SHIFT_FREQUENCIES, SHIFT_STRENGTH = 6, 5.8  # of the attention of a head of 32 dimensions, 0.95 goes to its place
SHIFT_CONTENT = 0.3  # scale of what a shift head attends to by content
# The rotary embedding turns the first half of the frequencies too fast to compare tokens that are far apart.
ALIKE, INDUCTION, BRING = 2.8, 2.5, 0.23  # scales of keys, and of queries for induction
NOT_SELF_FREQUENCIES, NOT_SELF = 5, 3.0  # bias against attending to the very same token


@torch.no_grad()
def start_looking_up(model: Any, shift_heads: Sequence[Sequence[int]]) -> None:
    """Change fresh weights in place: shift heads, and in layers from 1 on heads that look up what shift heads brought.

    In these layers, the last head attends to tokens after one alike, at the distance of layer 0's first shift head; the
    one before it says what stood before what is alike; and the third from last attends after one alike at the distance
    of layer 0's second shift head. All others attend to what is alike.

    Args:
        model: a Qwen2ForCausalLM, each of whose heads has keys of its own.
        shift_heads: ``[layer, head, distance]`` of heads that attend that many tokens back; the first two are in layer
            0, and none of the last three heads of a later layer is among them.

    Raises:
        ConfigError: if there are no such heads.
    """
    config = model.config
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    possible = all(0 <= layer < layers and 0 <= head < heads - 3 * (layer > 0) for layer, head, _ in shift_heads)
    starts = [layer for layer, _, _ in shift_heads[:2]] == [0, 0]
    if config.num_key_value_heads != heads or not possible or not starts:
        raise ConfigError(
            f"model.llm.shift_heads={[list(h) for h in shift_heads]}: give [layer, head, distance] of heads of "
            f"{layers} layers of {heads} heads, each with keys of its own, the first two in layer 0, none of the last "
            "three of a later layer"
        )
    model.model.embed_tokens.weight *= EMBEDDING
    model.model.norm.weight /= EMBEDDING  # which keeps logits of tied embeddings small
    size = config.hidden_size // heads
    first = [head for layer, head, _ in shift_heads if layer == 0]
    tokens = config.hidden_size - size * len(first)  # dimensions of what a token is; the rest is what stands before it
    model.model.embed_tokens.weight[:, tokens:] = 0.0
    shifted = {(layer, head): distance for layer, head, distance in shift_heads}
    frequencies = model.model.rotary_emb.inv_freq
    values = model.model.layers[0].self_attn.v_proj.weight
    near, far = (values[head * size : (head + 1) * size] for head in first[:2])  # what the first two read of a token
    for number, layer in enumerate(model.model.layers):
        layer.mlp.down_proj.weight *= BROUGHT
        layer.mlp.down_proj.weight[tokens:] = 0.0
        attention = layer.self_attn
        for head in range(heads):
            rows = slice(head * size, (head + 1) * size)
            if (number, head) in shifted:
                _attend_back(attention, rows, frequencies[:SHIFT_FREQUENCIES] * shifted[number, head])
            else:
                _attend_to_alike(attention, rows, repeats=number > 0)
            attention.o_proj.weight[tokens:, rows] = 0.0
            if number == 0 and head in first:
                _bring(attention, rows, tokens, tokens + size * first.index(head))
            if number > 0 and head == heads - 1:
                _attend_after_alike(attention, rows, near, tokens)
            if number > 0 and head == heads - 2:
                _say_what_was_brought(attention, rows, near, tokens)
            if number > 0 and head == heads - 3:
                _attend_after_alike(attention, rows, far, tokens + size)


def _bring(attention: Any, rows: slice, tokens: int, place: int) -> None:
    """A head copies part of what a token is to dimensions of its own, from ``place`` on."""
    size = rows.stop - rows.start
    attention.v_proj.weight[rows] = 0.0
    attention.v_proj.weight[rows, :tokens] = _orthonormal(attention.q_proj.weight[rows, :tokens])
    attention.o_proj.weight[:, rows] = 0.0
    attention.o_proj.weight[place : place + size, rows] = BRING * torch.eye(size)


def _say_what_was_brought(attention: Any, rows: slice, read: torch.Tensor, place: int) -> None:
    """A head that attends to what is alike says what a shift head brought there to ``place``, ``read`` of a token."""
    size = rows.stop - rows.start
    for projection in (attention.q_proj, attention.k_proj):  # alike in itself, wherever it stands
        projection.weight[rows, place:] = 0.0
    attention.v_proj.weight[rows] = 0.0
    attention.v_proj.weight[rows, place : place + size] = torch.eye(size)
    attention.o_proj.weight[:, rows] = OUTPUT * read.T


def _orthonormal(rows: torch.Tensor) -> torch.Tensor:
    """Rows that span the same space, each of length 1 and at right angles to the others."""
    return torch.linalg.qr(rows.T).Q.T


def _attend_back(attention: Any, rows: slice, turn: torch.Tensor) -> None:
    """Give a head biases whose product, turned by the rotary embedding, is largest at the wanted distance.

    With the same bias in the key and, turned back by ``turn``, in the query, the score at distance d is a sum of
    cos(frequency * (d - distance)). The highest frequencies make the peak sharp, several of them make it the only one.
    """
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight[rows] *= SHIFT_CONTENT
    attention.o_proj.weight[:, rows] *= SHIFT_OUTPUT
    places = rows.start + torch.arange(len(turn))
    attention.k_proj.bias[places] = SHIFT_STRENGTH
    attention.q_proj.bias[places] = SHIFT_STRENGTH * turn.cos()
    attention.q_proj.bias[places + (rows.stop - rows.start) // 2] = -SHIFT_STRENGTH * turn.sin()


def _attend_to_alike(attention: Any, rows: slice, *, repeats: bool) -> None:
    """Queries equal keys, in the slowly turning dimensions; biases in fast ones turn attention from the token itself.

    With ``repeats``, outputs undo values, so that the head says what it attends to.
    """
    size = rows.stop - rows.start
    keys = attention.k_proj.weight[rows]
    keys[torch.arange(size) % (size // 2) < size // 4] = 0.0
    keys *= ALIKE
    attention.q_proj.weight[rows] = keys
    places = rows.start + torch.arange(min(NOT_SELF_FREQUENCIES, size // 4))
    attention.k_proj.bias[places] = NOT_SELF
    attention.q_proj.bias[places] = -NOT_SELF
    outputs = attention.v_proj.weight[rows].T if repeats else attention.o_proj.weight[:, rows]
    attention.o_proj.weight[:, rows] = OUTPUT * outputs


def _attend_after_alike(attention: Any, rows: slice, read: torch.Tensor, place: int) -> None:
    """Queries of what a token is match keys of what a shift head brought to ``place``, ``read`` of another token."""
    size = rows.stop - rows.start
    slow = torch.arange(size) % (size // 2) >= size // 4
    mixed = INDUCTION * _orthonormal(attention.v_proj.weight[rows, :size][slow])
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight[rows] = 0.0
        projection.bias[rows] = 0.0
    places = rows.start + slow.nonzero().squeeze(1)
    attention.k_proj.weight[places, place : place + size] = mixed
    attention.q_proj.weight[places] = mixed @ read
