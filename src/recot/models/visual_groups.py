"""What the selector reads: a batch of videos as groups of tokens, each after its time, and what is asked about them.

A sample's visual sequence is, for each of its groups in order, the group's time tokens and then its video tokens.

Legend: B samples, G groups, F frames a group, T time tokens a group, P video tokens a group, D width, L question
tokens, n rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Spans = Sequence[tuple[float, float]]
"""Start and end of each stretch of a video, in seconds."""


@dataclass(frozen=True)
class VisualGroups:
    """Projected tokens of videos, padded to the longest video of the batch. What padding holds is never read."""

    tokens: Tensor  # (B, G, P, D) float
    time: Tensor  # (B, G, T, D) float, embeddings of e.g. "Time 0003.2s:"
    time_valid: Tensor  # (B, G, T) bool
    valid: Tensor  # (B, G) bool, False at padding groups
    times_s: Tensor | None = None  # (B, G, F) float64, of each group's frames, to tell evidence by

    def __post_init__(self) -> None:
        b, g, _, d = self.tokens.shape
        if (
            self.time.shape[:2] != (b, g)
            or self.time.shape[-1] != d
            or self.time_valid.shape != self.time.shape[:3]
            or self.valid.shape != (b, g)
        ):
            raise ValueError(
                f"tokens {tuple(self.tokens.shape)}, time {tuple(self.time.shape)}, time_valid "
                f"{tuple(self.time_valid.shape)} and valid {tuple(self.valid.shape)} must be (B, G, P, D), "
                "(B, G, T, D), (B, G, T) and (B, G)"
            )

    def places(self, sample: int) -> Tensor:
        """Where the rows of a sample's visual sequence stand: (N, 2) int64, group and slot.

        Slots under T are time tokens, the others T + the video token's number.
        """
        valid = self.valid[sample, :, None]
        present = torch.cat([self.time_valid[sample] & valid, valid.expand(-1, self.tokens.shape[2])], dim=1)
        return present.nonzero()

    def rows(self, sample: int, places: Tensor) -> Tensor:
        """(n, 2) places, as from ``places`` -> (n, D) embeddings. Only the rows asked for are copied."""
        group, slot = places.unbind(dim=1)
        time_tokens = self.time.shape[2]
        is_time = slot < time_tokens
        out = self.tokens.new_empty(len(places), self.tokens.shape[-1])
        out[is_time] = self.time[sample, group[is_time], slot[is_time]].to(out.dtype)
        out[~is_time] = self.tokens[sample, group[~is_time], slot[~is_time] - time_tokens]
        return out


@dataclass(frozen=True)
class Query:
    """What is asked. ``valid`` is the caller's choice of tokens: the question's alone, never template or answer.

    (The released model reads all tokens of the prompt, padding and, in training, the answer included.)
    """

    tokens: Tensor  # (B, L, D) float, embeddings
    valid: Tensor  # (B, L) bool
    seeds: Sequence[int] = ()  # one a sample, for the random baseline alone
    spans: Sequence[Spans] = ()  # where the answer is seen, one list a sample, for the oracle alone
