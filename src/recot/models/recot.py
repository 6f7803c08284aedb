"""ReCoT, the stage-1 model: hide tokens, compress what is left, reconstruct everything (paper section 3.3).

Legend: G groups, T frames a group, H W token grid, C width.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from recot.models.decoder import ReconstructionDecoder
from recot.models.dts import DynamicTokenSynthesizer
from recot.models.masking import Mask


@dataclass(frozen=True)
class Reconstruction:
    """What one forward pass of ReCoT gives."""

    compact: Tensor  # (G, H, W, C) the DTS's output
    predicted: Tensor  # (G, T, H, W, C) reconstruction, in units of the normalised target
    mask: Mask


class Recot(nn.Module):
    """Masking, DTS and decoder in a row.

    Args:
        dts: the compressor being trained.
        masking: SGM or one of its baselines.
        decoder: used in this stage only.
    """

    def __init__(self, *, dts: DynamicTokenSynthesizer, masking: nn.Module, decoder: ReconstructionDecoder) -> None:
        super().__init__()
        self.dts = dts
        self.masking = masking
        self.decoder = decoder
        self.mask_token = nn.Parameter(0.02 * torch.randn(dts.width))

    def forward(self, features: Tensor, uniform: Tensor) -> Reconstruction:
        """Reconstruct features from the tokens that masking leaves.

        Args:
            features: (G, T, H, W, C) output of the frozen encoder.
            uniform: (G, T, H, W) in [0, 1), masking's source of randomness.
        """
        mask = self.masking(features, uniform)
        compact = self.dts(self.hide(features, mask.keep))
        return Reconstruction(compact=compact, predicted=self.decoder(compact), mask=mask)

    def hide(self, features: Tensor, keep: Tensor) -> Tensor:
        """Masked tokens become the mask token, so that the grid stays whole: (G, T, H, W, C) -> same."""
        keep = rearrange(keep, "g t h w -> g t h w 1").to(features.dtype)
        return keep * features + (1 - keep) * self.mask_token.to(features.dtype)
