"""Several samples as one sequence of a language model, none of which sees another.

Padding costs what the longest sample of a batch costs; a pack costs what its tokens cost. A sample in a pack is
computed as if it stood alone: positions count from 0 in each, and attention stays within it.

Legend: S samples, L_i tokens of sample i, L the most of them, N tokens in all, D width.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

IGNORED = -100


class Pack(NamedTuple):
    """Samples one behind the other."""

    embeddings: Tensor  # (1, N, D)
    positions: Tensor  # (1, N) int64: place in its sample, from 0
    labels: Tensor  # (1, N) int64: IGNORED at each sample's first token, which nothing of it comes before
    lengths: tuple[int, ...]  # tokens of each sample


def pack(embeddings: Sequence[Tensor], labels: Sequence[Tensor]) -> Pack:
    """Put samples into one sequence.

    Args:
        embeddings: S tensors (L_i, D), none empty.
        labels: S tensors (L_i,) int64: what is to be said at each token, ``IGNORED`` where nothing is learned.

    Raises:
        ValueError: if there are no samples, one is empty, or labels are of another length.
    """
    lengths = tuple(len(sample) for sample in embeddings)
    if not lengths or not all(lengths) or lengths != tuple(len(own) for own in labels):
        raise ValueError(
            f"a pack of samples of {list(lengths)} tokens with {[len(own) for own in labels]} labels: give one sample "
            "or more, none empty, with a label a token"
        )
    joined = torch.cat(list(labels)).clone()
    ends = torch.tensor(lengths).cumsum(0)
    joined[[0, *ends[:-1].tolist()]] = IGNORED
    positions = torch.cat([torch.arange(length) for length in lengths]).to(joined.device)
    return Pack(torch.cat(list(embeddings))[None], positions[None], joined[None], lengths)


def read_pack(llm: Any, packed: Pack) -> Tensor:
    """What a language model's layers make of a pack.

    Flash attention finds the samples by the positions and computes nothing between them. Other attention takes either
    a mask over the whole pack, N x N scores a head, or the samples as rows that are padded on the right, where causal
    attention sees no padding, S x L x L scores: whichever are fewer. The result is the same.

    Args:
        llm: a causal language model of the Hugging Face kind.
        packed: samples.

    Returns:
        (1, N, D) last hidden states.
    """
    if llm.config._attn_implementation.startswith("flash"):
        return _read(llm, packed.embeddings, packed.positions, None)
    longest = max(packed.lengths)
    if len(packed.lengths) * longest**2 > sum(packed.lengths) ** 2:
        mask = pack_mask(packed.lengths, dtype=packed.embeddings.dtype, device=packed.embeddings.device)
        return _read(llm, packed.embeddings, packed.positions, mask)
    rows = pad_sequence(list(packed.embeddings[0].split(packed.lengths)), batch_first=True)
    hidden = _read(llm, rows, None, None)
    return torch.cat([own[:length] for own, length in zip(hidden, packed.lengths, strict=True)])[None]


def pack_mask(lengths: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What is added to attention scores so that a token sees only those before it in its own sample.

    For attention that takes a mask (eager, SDPA). Flash attention needs none: transformers finds the samples by the
    positions, which start again at 0 with each.

    Args:
        lengths: tokens of each sample.
        dtype: of the scores.
        device: of the result.

    Returns:
        (1, 1, N, N): 0 where token i (third axis) sees token j (fourth), the lowest number of ``dtype`` elsewhere.
    """
    sample = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(list(lengths))).to(device)
    seen = (sample[:, None] == sample[None, :]).tril()
    # Numbers, not bools: transformers' eager attention adds the mask to the scores, and bools would hide nothing.
    mask = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill(~seen, torch.finfo(dtype).min)
    return mask[None, None]


def _read(llm: Any, embeddings: Tensor, positions: Tensor | None, mask: Tensor | None) -> Tensor:
    """(B, N, D) -> (B, N, D)"""
    out = llm.get_decoder()(inputs_embeds=embeddings, position_ids=positions, attention_mask=mask, use_cache=False)
    hidden: Tensor = out.last_hidden_state
    return hidden
