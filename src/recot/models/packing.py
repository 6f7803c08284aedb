"""Several samples as one sequence of a language model, none of which sees another.

Padding costs what the longest sample of a batch costs; a pack costs what its tokens cost. A sample in a pack is
computed as if it stood alone: positions count from 0 in each, and attention stays within it. Samples that begin alike,
as questions about one video do, can share that beginning: it is computed once, for the first of them.

Legend: S samples, L_i tokens of sample i, N tokens in all, D width; M tokens of a run, which is samples that share a
beginning, A tokens of its first sample.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

IGNORED = -100
BY_SAMPLE = "sdpa_by_sample"
"""What transformers calls ``recot.models.llm.attend_by_sample``."""


class Pack(NamedTuple):
    """Samples one behind the other."""

    embeddings: Tensor  # (1, N, D)
    positions: Tensor  # (1, N) int64: place in its sample, from 0
    labels: Tensor  # (1, N) int64: IGNORED at each sample's first token, which nothing of it comes before
    lengths: tuple[int, ...]  # tokens of each sample that are its own
    shared: tuple[int, ...]  # tokens at the head of its run that a sample begins with; 0 where a run begins


def pack(embeddings: Sequence[Tensor], labels: Sequence[Tensor], shared: Sequence[int] = ()) -> Pack:
    """Put samples into one sequence.

    Args:
        embeddings: S tensors (L_i, D), none empty.
        labels: S tensors (L_i,) int64: what is to be said at each token, ``IGNORED`` where nothing is learned.
        shared: of each sample, how many tokens at the head of the last sample with 0 here it begins with, which are not
            in its tensors then. None share anything if it is left out.

    Raises:
        ValueError: if there are no samples, one is empty, or labels are of another length.
    """
    lengths = tuple(len(sample) for sample in embeddings)
    if not lengths or not all(lengths) or lengths != tuple(len(own) for own in labels):
        raise ValueError(
            f"a pack of samples of {list(lengths)} tokens with {[len(own) for own in labels]} labels: give one sample "
            "or more, none empty, with a label a token"
        )
    before = tuple(shared) or (0,) * len(lengths)
    joined = torch.cat(list(labels)).clone()
    ends = torch.tensor(lengths).cumsum(0)
    joined[[0, *ends[:-1].tolist()]] = IGNORED
    positions = torch.cat([torch.arange(n) + start for n, start in zip(lengths, before, strict=True)])
    return Pack(torch.cat(list(embeddings))[None], positions[None].to(joined.device), joined[None], lengths, before)


class Piece(NamedTuple):
    """Successive tokens of a pack, and others of it that they may see."""

    queries: slice
    keys: slice
    seen: Tensor | None  # (1, 1, queries, keys) bool; None: each token sees the keys up to itself


def read_pack(llm: Any, packed: Pack) -> Tensor:
    """What a language model's layers make of a pack.

    The model is called once, however many samples there are: where its weights are cut over ranks, each has to call it
    as often as the others. Flash attention finds the samples by their positions and computes nothing between them; a
    shared beginning is more than it can do. ``BY_SAMPLE`` attention goes from sample to sample. Any other is given a
    mask over the whole pack, N x N numbers. The result is the same.

    Args:
        llm: a causal language model of the Hugging Face kind, whose layers all have full attention.
        packed: samples.

    Returns:
        (1, N, D) last hidden states.

    Raises:
        ValueError: if samples share something and attention is flash.
    """
    mask: Any
    if is_flash(llm):
        if any(packed.shared):
            raise ValueError("samples that share their beginning can't be read by flash attention: pack them whole")
        mask = None
    elif llm.config._attn_implementation == BY_SAMPLE:
        mask = {"full_attention": _pieces(packed)}  # in a dict, transformers makes no mask of its own
    else:
        mask = {"full_attention": pack_mask(packed)[None, None]}
    out = llm.get_decoder()(
        inputs_embeds=packed.embeddings, position_ids=packed.positions, attention_mask=mask, use_cache=False
    )
    hidden: Tensor = out.last_hidden_state
    return hidden


def is_flash(llm: Any) -> bool:
    """Whether a model's attention is flash attention."""
    return bool(llm.config._attn_implementation.startswith("flash"))


def pack_mask(packed: Pack) -> Tensor:
    """What is added to attention scores so that a token sees only its own sample before it, and the shared beginning.

    Args:
        packed: samples.

    Returns:
        (N, N), of the embeddings' dtype: 0 where token i (first axis) sees token j (second), elsewhere the lowest
        number there is.
    """
    dtype, device = packed.embeddings.dtype, packed.embeddings.device
    size = packed.embeddings.shape[1]
    # Numbers, not bools: transformers' eager attention adds the mask to the scores, and bools would hide nothing.
    mask = torch.full((size, size), torch.finfo(dtype).min, dtype=dtype, device=device)
    for queries, keys, seen in _pieces(packed):
        block = mask[queries, keys]
        block.masked_fill_(torch.ones_like(block, dtype=torch.bool).tril() if seen is None else seen[0, 0], 0)
    return mask


def _pieces(packed: Pack) -> list[Piece]:
    """Of each run its first sample, and then its others, if it has any, as one piece."""
    pieces, start, device = [], 0, packed.embeddings.device
    for lengths, shared in _runs(packed):
        first, end = start + lengths[0], start + sum(lengths)
        pieces.append(Piece(slice(start, first), slice(start, first), None))
        if len(lengths) > 1:
            seen = _seen_by_others(lengths, shared).to(device)[None, None]
            pieces.append(Piece(slice(first, end), slice(start, end), seen))
        start = end
    return pieces


def _runs(packed: Pack) -> list[tuple[list[int], list[int]]]:
    """Lengths of the samples of each run, and how much each shares."""
    runs: list[tuple[list[int], list[int]]] = []
    for length, before in zip(packed.lengths, packed.shared, strict=True):
        if not before or not runs:
            runs.append(([], []))
        runs[-1][0].append(length)
        runs[-1][1].append(before)
    return runs


def _seen_by_others(lengths: Sequence[int], shared: Sequence[int]) -> Tensor:
    """(M - A, M) bool: what tokens of a run's samples after the first see of the run."""
    own = torch.block_diag(*(torch.ones(length, length).tril() for length in lengths[1:])).bool()
    begins = torch.repeat_interleave(torch.tensor(shared[1:]), torch.tensor(lengths[1:]))
    return torch.cat([torch.arange(lengths[0]) < begins[:, None], own], dim=1)
