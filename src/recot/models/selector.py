"""Query-aware Selector: which of a long video's tokens the language model gets to see (paper, section on the selector).

Legend: B samples, G groups, N valid groups, T time tokens a group, P video tokens a group, D width, K kept rows.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recot.errors import ConfigError
from recot.models.embedding_rotary import rotate_embeddings
from recot.models.selection import KeepRule, Selection, normalised, select
from recot.models.visual_groups import Query, VisualGroups
from recot.models.window_attention import Layout, WindowTimeAttention

Gradient = Literal["straight_through", "additive"]


class Selector(nn.Module):
    """Scores each video token against the question and keeps the best.

    A token's score is the product of its window attention's output and the mean of ``GELU(question_proj(token))`` over
    the question, normalised per sample, in float32. ``layout`` is the one switch:

    * ``native``: tokens, times and question are layer-normalised first, without weights, and products divided by
      sqrt(D), so that scores don't depend on how large embeddings are (our choice); windows are the groups.
    * ``official``: as released. Windows are cut by position, and kept rows get rotary positions.

    Args:
        width: D.
        heads: of the window attention; the released model has 4.
        layout: see above.
        gradient: how the language model's loss reaches the scores: ``straight_through`` multiplies kept tokens by
            exactly 1 and passes a gradient back, where something was left out (our choice); ``additive`` adds its score
            to all of a token's channels.
        time_tokens: rows at the head of each window in the official layout.
        chunk_groups: groups scored at a time, with equal results; memory is that of one chunk, in training too.
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int = 4,
        layout: Layout = "native",
        gradient: Gradient = "straight_through",
        time_tokens: int = 10,
        chunk_groups: int = 4,
    ) -> None:
        super().__init__()
        if layout not in ("native", "official") or gradient not in ("straight_through", "additive"):
            raise ConfigError(
                f"model.selector.layout={layout!r} must be native or official, model.selector.gradient={gradient!r} "
                "straight_through or additive"
            )
        self.layout = layout
        self.gradient = gradient
        self.time_tokens = time_tokens
        self.chunk_groups = chunk_groups
        self.attention = WindowTimeAttention(width=width, heads=heads, layout=layout)
        self.question_proj = nn.Linear(width, width)

    @property
    def changes_rows(self) -> bool:
        """Whether kept rows differ from what was given, by the question or by their place."""
        return self.layout == "official" or self.gradient == "additive"

    def forward(self, visual: VisualGroups, query: Query, rules: Sequence[KeepRule]) -> Selection:
        """Score and select; padding and other samples change nothing.

        Args:
            visual: B videos.
            query: their questions.
            rules: how much to keep, one a sample.

        Raises:
            ValueError: if a sample's question has no token.
        """
        by_layout = self._group_logits if self.layout == "native" else self._sequence_logits
        # Mixed precision would make the products bfloat16: scores that differ by less would be ties.
        with torch.autocast(visual.tokens.device.type, enabled=False):
            logits = by_layout(visual, self._question_vectors(query))
            scores = normalised(logits, visual.valid)
        kept = select(scores, visual.valid, rules)
        return Selection(kept=kept, scores=scores, logits=logits, times=[rule.times for rule in rules])

    def rows(self, visual: VisualGroups, selection: Selection) -> list[Tensor]:
        """What the language model reads of each sample: (K, D) kept rows in order, with time tokens."""
        out = []
        for sample in range(len(visual.valid)):
            places, positions = selection.places(visual, sample)
            rows = visual.rows(sample, places)
            if self.layout == "official":
                rows = rotate_embeddings(rows, positions)
            group, slot = places.unbind(dim=1)
            is_video = slot >= visual.time.shape[2]
            score = selection.scores[sample, group, (slot - visual.time.shape[2]).clamp(min=0)]
            score = score.masked_fill(~is_video, 0)[:, None]
            if self.gradient == "additive":
                rows = rows + score.to(rows.dtype)
            elif score.requires_grad and not selection.kept[sample, visual.valid[sample]].all():
                rows = rows * (1 + (score - score.detach())).to(rows.dtype)
            out.append(rows)
        return out

    def _question_vectors(self, query: Query) -> Tensor:
        """-> (B, D) float32, the mean of each question's projected tokens."""
        if not query.valid.any(dim=1).all():
            raise ValueError("a sample's question has no token: the selector needs a question for each sample")
        tokens = query.tokens.masked_fill(~query.valid[:, :, None], 0)
        projected = F.gelu(self.question_proj(self._normed(tokens).to(self.question_proj.weight.dtype))).float()
        real = query.valid[:, :, None]
        return (projected * real).sum(dim=1) / real.sum(dim=1)

    def _group_logits(self, visual: VisualGroups, vectors: Tensor) -> Tensor:
        """(B, G, P) float32, 0 at padding: each group is a window."""
        sample, group = visual.valid.nonzero(as_tuple=True)
        parts = []
        for s, g in zip(sample.split(self.chunk_groups), group.split(self.chunk_groups), strict=True):
            parts.append(self._scores(visual.tokens[s, g], visual.time[s, g], visual.time_valid[s, g], vectors[s]))
        logits = vectors.new_zeros(visual.tokens.shape[:3])
        if parts:
            logits = logits.index_put((sample, group), torch.cat(parts) * vectors.shape[-1] ** -0.5)
        return logits

    def _sequence_logits(self, visual: VisualGroups, vectors: Tensor) -> Tensor:
        """(B, G, P) float32, 0 at padding: windows are cut from each sample's visual sequence by position."""
        logits = vectors.new_zeros(visual.tokens.shape[:3])
        size = self.time_tokens + visual.tokens.shape[2]
        for sample, vector in enumerate(vectors):
            places = visual.places(sample)
            whole = len(places) // size * size
            parts = []
            for chunk in places[:whole].split(self.chunk_groups * size):
                windows = rearrange(visual.rows(sample, chunk), "(n m) d -> n m d", m=size)
                time, video = windows[:, : self.time_tokens], windows[:, self.time_tokens :]
                seen = torch.ones(time.shape[:2], dtype=torch.bool, device=time.device)
                scores = self._scores(video, time, seen, vector.expand(len(windows), -1))
                # Rows that stand where a window has its time tokens are scored as they are.
                parts.append(torch.cat([time.float() @ vector, scores], dim=1).flatten())
            parts.append(visual.rows(sample, places[whole:]).float() @ vector)
            group, slot = places.unbind(dim=1)
            video_row = slot >= visual.time.shape[2]
            where = group[video_row], slot[video_row] - visual.time.shape[2]
            own = logits[sample].index_put(where, torch.cat(parts)[video_row])
            logits = logits.index_put((torch.tensor(sample, device=logits.device),), own)
        return logits

    def _scores(self, video: Tensor, time: Tensor, time_valid: Tensor, vectors: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            out: Tensor = checkpoint(self._scores_now, video, time, time_valid, vectors, use_reentrant=False)
            return out
        return self._scores_now(video, time, time_valid, vectors)

    def _scores_now(self, video: Tensor, time: Tensor, time_valid: Tensor, vectors: Tensor) -> Tensor:
        time = time.masked_fill(~time_valid[:, :, None], 0)
        return self.attention.scores(self._normed(video), self._normed(time), time_valid, vectors)

    def _normed(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.float(), x.shape[-1:]) if self.layout == "native" else x
