"""Several samples as one sequence of a language model, none of which sees another.

Padding costs what the longest sample of a batch costs; a pack costs what its tokens cost. A sample in a pack is
computed as if it stood alone: positions count from 0 in each, and attention stays within it. Samples that begin alike,
as questions about one video do, can share that beginning: it is computed once, for the first of them.

Legend: S samples, L_i tokens of sample i, N tokens in all, D width; R runs of samples that share a beginning, L tokens
of the longest run.
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


def read_pack(llm: Any, packed: Pack) -> Tensor:
    """What a language model's layers make of a pack.

    Flash attention finds the samples by their positions and computes nothing between them; a shared beginning is more
    than it can do. Other attention takes either a mask over the whole pack, N x N scores a head, or the runs as rows
    that are padded on the right, R x L x L scores: whichever are fewer. The result is the same.

    Args:
        llm: a causal language model of the Hugging Face kind.
        packed: samples.

    Returns:
        (1, N, D) last hidden states.

    Raises:
        ValueError: if samples share something and attention is flash.
    """
    runs = _runs(packed)
    if is_flash(llm):
        if any(packed.shared):
            raise ValueError("samples that share their beginning can't be read by flash attention: pack them whole")
        return _read(llm, packed.embeddings, packed.positions, None)
    sizes = [sum(run) for run in runs]
    if len(runs) * max(sizes) ** 2 > sum(sizes) ** 2:
        return _read(llm, packed.embeddings, packed.positions, pack_mask(packed)[None, None])
    rows = pad_sequence(list(packed.embeddings[0].split(sizes)), batch_first=True)
    positions, mask = None, None
    if any(packed.shared):
        positions = pad_sequence(list(packed.positions[0].split(sizes)), batch_first=True)
        whole = pack_mask(packed)
        mask = torch.stack([_padded(own, max(sizes)) for own in _diagonal(whole, sizes)])[:, None]
    hidden = _read(llm, rows, positions, mask)
    return torch.cat([own[:size] for own, size in zip(hidden, sizes, strict=True)])[None]


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
    lengths, shared = torch.tensor(packed.lengths), torch.tensor(packed.shared)
    starts = lengths.cumsum(0) - lengths
    heads = torch.where(shared == 0, starts, -1).cummax(0).values  # where each sample's run begins
    sample = torch.repeat_interleave(torch.arange(len(lengths)), lengths).to(device)
    place = torch.arange(len(sample), device=device)
    head = heads.to(device)[sample]
    begins = (place[None, :] >= head[:, None]) & (place[None, :] < (head + shared.to(device)[sample])[:, None])
    seen = (sample[:, None] == sample[None, :]).tril() | begins
    # Numbers, not bools: transformers' eager attention adds the mask to the scores, and bools would hide nothing.
    return torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill(~seen, torch.finfo(dtype).min)


def _runs(packed: Pack) -> list[list[int]]:
    """Lengths of the samples of each run."""
    runs: list[list[int]] = []
    for length, before in zip(packed.lengths, packed.shared, strict=True):
        if before and runs:
            runs[-1].append(length)
        else:
            runs.append([length])
    return runs


def _diagonal(whole: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Square blocks along the diagonal."""
    return [row.split(list(sizes), dim=1)[i] for i, row in enumerate(whole.split(list(sizes)))]


def _padded(mask: Tensor, size: int) -> Tensor:
    """A mask with rows and columns of padding, which sees the first token alone and is seen by none."""
    hidden = torch.finfo(mask.dtype).min
    out = mask.new_full((size, size), hidden)
    out[: len(mask), : len(mask)] = mask
    out[len(mask) :, 0] = 0
    return out


def _read(llm: Any, embeddings: Tensor, positions: Tensor | None, mask: Tensor | None) -> Tensor:
    """(B, N, D) -> (B, N, D)"""
    out = llm.get_decoder()(inputs_embeds=embeddings, position_ids=positions, attention_mask=mask, use_cache=False)
    hidden: Tensor = out.last_hidden_state
    return hidden
