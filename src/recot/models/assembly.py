"""From tokens of videos and prompts to what the selector and the language model read.

Legend: V pairs of a sample and a video it shows, G groups, T frames a group, P tokens a group, D LLM width, L question
tokens, K rows of a visual that the language model reads, N tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from recot.errors import DataError
from recot.models.packing import IGNORED, Pack, pack
from recot.models.prompt import time_ids
from recot.models.video_input import Sample
from recot.models.visual_groups import Query, VisualGroups

QueryOf = Literal["question", "prompt"]
Embed = Callable[[Tensor], Tensor]  # ids (...,) -> (..., D)


def group_videos(tokens: Sequence[Tensor], times_s: Sequence[Tensor], tokenizer: Any, embed: Embed) -> VisualGroups:
    """Videos side by side, each group with its time as text.

    Args:
        tokens: V tensors (G, P, D).
        times_s: V tensors (G, T) float64, seconds.
        tokenizer: of the language model.
        embed: its embedding table.
    """
    device = tokens[0].device
    ids = [pad_sequence(time_ids(tokenizer, own[:, 0].tolist()), batch_first=True, padding_value=-1) for own in times_s]
    longest = max(own.shape[1] for own in ids)
    ids = [F.pad(own, (0, longest - own.shape[1]), value=-1) for own in ids]
    time = pad_sequence(ids, batch_first=True, padding_value=-1).to(device)
    counts = torch.tensor([len(own) for own in tokens])
    return VisualGroups(
        # One video is not copied: it may fill most of the memory.
        tokens=tokens[0][None] if len(tokens) == 1 else pad_sequence(list(tokens), batch_first=True),
        time=embed(time.clamp(min=0)),
        time_valid=time >= 0,
        valid=(torch.arange(int(counts.max())) < counts[:, None]).to(device),
        times_s=pad_sequence([own.double().to(device) for own in times_s], batch_first=True),
    )


def query_of(samples: Sequence[Sample], embed: Embed, kind: QueryOf, device: torch.device) -> Query:
    """What each sample asks.

    Args:
        samples: V samples, one for each video.
        embed: the language model's embedding table.
        kind: ``question``: what the user says; ``prompt``: all text, template and answer included.
        device: of the result.

    Raises:
        DataError: if a sample asks nothing.
    """
    asked = [s.prompt.ids[s.prompt.question if kind == "question" else s.prompt.ids >= 0] for s in samples]
    if not all(len(own) for own in asked):
        raise DataError("a prompt shows a video, but its user says nothing: ask something about the video")
    ids = pad_sequence(asked, batch_first=True, padding_value=-1).to(device)
    return Query(
        tokens=embed(ids.clamp(min=0)),
        valid=ids >= 0,
        seeds=[sample.seed for sample in samples],
        spans=[sample.spans for sample in samples],
    )


def join(
    samples: Sequence[Sample],
    shown: Mapping[tuple[int, int], Tensor],
    embed: Embed,
    device: torch.device,
    *,
    share: bool,
) -> Pack:
    """Visuals' rows where the prompts show them, and the samples one behind the other.

    Args:
        samples: prompts.
        shown: (K, D) rows for each (sample, visual of the sample).
        embed: the language model's embedding table.
        device: of the result.
        share: successive samples that begin alike, up to the last visual that they show, share that beginning. Then
            what they show of it must be the same rows.
    """
    embeddings, labels, shared = [], [], []
    head: Sample | None = None
    for number, sample in enumerate(samples):
        places = (sample.prompt.ids < 0).nonzero()[:, 0].tolist()
        begin = places[-1] + 1 if places else 0
        alike = share and begin > 0 and head is not None and _begin_alike(head, sample, begin)
        ids, learned = sample.prompt.ids.to(device), sample.prompt.labels.to(device)
        text = embed(ids.clamp(min=0))
        pieces, said, start = [], [], 0
        for place in [] if alike else places:
            rows = shown[number, -1 - int(ids[place])].to(text.dtype)
            pieces += [text[start:place], rows]
            said += [learned[start:place], learned.new_full((len(rows),), IGNORED)]
            start = place + 1
        if not alike:
            head, length = sample, sum(map(len, pieces))
        embeddings.append(torch.cat([*pieces, text[begin:]]))
        labels.append(torch.cat([*said, learned[begin:]]))
        shared.append(length if alike else 0)
    return pack(embeddings, labels, shared)


def _begin_alike(head: Sample, sample: Sample, begin: int) -> bool:
    same = torch.equal(head.prompt.ids[:begin], sample.prompt.ids[:begin])
    # What is learned there has to be learned of each sample.
    same = same and all(bool((own.prompt.labels[:begin] == IGNORED).all()) for own in (head, sample))
    return same and head.visuals == sample.visuals and int((head.prompt.ids[begin:] < 0).sum()) == 0
