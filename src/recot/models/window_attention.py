"""Video tokens attend to the time tokens of their own window, and to nothing else (paper, Query-aware Selector).

The attention is block-diagonal, so windows are a batch axis: time and memory are linear in their number.

Legend: N windows, T time tokens, P video tokens, D width, h heads, d = D / heads, L sequence length.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor, nn

Layout = Literal["native", "official"]


class WindowTimeAttention(nn.Module):
    """Attention of each window's video tokens to its time tokens.

    ``layout`` is the one switch:

    * ``native`` (our choice): ``x + out(attention(q(x), k(time), v(time)))``. The residual keeps what a token shows;
      the released form keeps of it no more than T weights a head. ``out`` starts at zero, as an identity.
    * ``official``: the released model's. Video tokens are projected by ``k_proj`` and time tokens by ``q_proj``, which
      gives their values too; there is no residual, and ``v_proj`` is never used (its weights are kept for their keys).
    """

    def __init__(self, *, width: int, heads: int, layout: Layout) -> None:
        super().__init__()
        if width < 1 or heads < 1 or width % heads:
            raise ValueError(f"width {width} must be a positive multiple of heads {heads}")
        self.heads = heads
        self.layout = layout
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))
        if layout == "native":
            nn.init.zeros_(self.out_proj.weight)
            nn.init.zeros_(self.out_proj.bias)

    def _roles(self) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        """Which projections make the video tokens' queries, the time tokens' keys, and their values."""
        if self.layout == "official":
            return self.k_proj, self.q_proj, self.q_proj
        return self.q_proj, self.k_proj, self.v_proj

    def forward(self, video: Tensor, time: Tensor, time_valid: Tensor) -> Tensor:
        """The attention's output, written plainly.

        Args:
            video: (N, P, D).
            time: (N, T, D).
            time_valid: (N, T) bool; a window without any time token attends to nothing.

        Returns:
            (N, P, D).
        """
        to_query, to_key, to_value = self._roles()
        query, key, value = (
            rearrange(projection(x), "n m (h d) -> n h m d", h=self.heads)
            for projection, x in ((to_query, video), (to_key, time), (to_value, time))
        )
        weights = self._weights(einsum(query, key, "n h p d, n h t d -> n h p t"), time_valid)
        attended = einsum(weights.to(value.dtype), value, "n h p t, n h t d -> n h p d")
        out = self.out_proj(rearrange(attended, "n h p d -> n p (h d)"))
        return video + out if self.layout == "native" else out

    def forward_sequence(self, sequence: Tensor, *, time_tokens: int, video_tokens: int) -> Tensor:
        """As the released model cuts windows: by position, whatever the rows hold.

        Args:
            sequence: (L, D) visual sequence.
            time_tokens: the first rows of each window, taken for time tokens.
            video_tokens: the other rows of each window.

        Returns:
            (L, D): video rows attended; time rows and what is left over of a last window as they were.
        """
        size = time_tokens + video_tokens
        count = len(sequence) // size
        windows = rearrange(sequence[: count * size], "(n m) d -> n m d", m=size)
        time, video = windows[:, :time_tokens], windows[:, time_tokens:]
        seen = torch.ones(count, time_tokens, dtype=torch.bool, device=sequence.device)
        attended = torch.cat([time, self(video, time, seen)], dim=1)
        return torch.cat([rearrange(attended, "n m d -> (n m) d"), sequence[count * size :]])

    def scores(self, video: Tensor, time: Tensor, time_valid: Tensor, query: Tensor) -> Tensor:
        """Products of ``forward``'s output with one vector a window, without ever forming that output.

        Exact by linearity, and a thirteenth of the work at T = 10, P = 144: the projection of the video tokens moves to
        the T keys, and the output projection to the one vector.

        Args:
            video: (N, P, D) float.
            time: (N, T, D) float.
            time_valid: (N, T) bool.
            query: (N, D) float32.

        Returns:
            (N, P) float32.
        """
        to_query, to_key, to_value = self._roles()
        time = time.to(to_key.weight.dtype)
        key = rearrange(to_key(time), "n t (h d) -> n h t d", h=self.heads)
        by_head = rearrange(to_query.weight, "(h d) c -> h d c", h=self.heads)
        folded = einsum(key, by_head, "n h t d, h d c -> n h t c").float()
        offset = einsum(key, rearrange(to_query.bias, "(h d) -> h d", h=self.heads), "n h t d, h d -> n h t").float()
        video = video.float()
        logits = rearrange(video @ rearrange(folded, "n h t c -> n c (h t)"), "n p (h t) -> n h p t", h=self.heads)
        weights = self._weights(logits + offset[:, :, None], time_valid)
        target = F.linear(query.to(self.out_proj.weight.dtype), self.out_proj.weight.T).float()
        value = rearrange(to_value(time).float(), "n t (h d) -> n h t d", h=self.heads)
        products = einsum(value, rearrange(target, "n (h d) -> n h d", h=self.heads), "n h t d, n h d -> n h t")
        scores = einsum(weights, products, "n h p t, n h t -> n p") + (query @ self.out_proj.bias.float())[:, None]
        return scores + einsum(video, query, "n p d, n d -> n p") if self.layout == "native" else scores

    def _weights(self, products: Tensor, time_valid: Tensor) -> Tensor:
        """Products of queries and keys (N, h, P, T) -> attention weights, float32, 0 at time tokens that aren't."""
        scale = (self.q_proj.out_features // self.heads) ** -0.5
        real = time_valid[:, None, None]
        return (products.float() * scale).masked_fill(~real, -1e30).softmax(dim=-1) * real
