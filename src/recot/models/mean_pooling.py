"""The compressor that learns nothing, which the DTS is compared with.

Legend: G groups, T frames a group, H W token grid, C width.
"""

from torch import Tensor, nn


class MeanPooling(nn.Module):
    """The mean of a group's frames, in the place of a ``DynamicTokenSynthesizer``.

    Args:
        width: C.
    """

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, features: Tensor) -> Tensor:
        """(G, T, H, W, C) -> (G, H, W, C)."""
        return features.mean(dim=1)
