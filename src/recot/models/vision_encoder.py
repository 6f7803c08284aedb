"""The frozen SigLIP frame encoder: frames -> static tokens.

Legend: F frames, S encoder input size in pixels, P patches a side, h w token grid after interpolation, C width.
"""

import hashlib
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from recot.errors import ConfigError, DataError
from recot.models.preprocess import normalise
from recot.models.quiet import quiet


class FrozenVisionEncoder(nn.Module):
    """A SigLIP vision tower cut before its last layers, in inference mode for ever.

    As in the released model, features are the output of an inner layer (26 of 27 for so400m), without
    the final layer norm and the pooling head, interpolated from the patch grid to a grid that later steps can pool.

    Args:
        tower: the loaded model; layers past ``layers``, the final norm and the head are removed from it.
        layers: how many layers to run.
        grid: h = w of the token grid; equal to the patch grid means no interpolation.
        chunk_frames: frames encoded at a time; results don't depend on it.
    """

    def __init__(self, tower: SiglipVisionModel, *, layers: int, grid: int, chunk_frames: int = 60) -> None:
        super().__init__()
        # Releases of transformers differ by one level of nesting.
        core = getattr(tower, "vision_model", tower)
        available = len(core.encoder.layers)
        if not 1 <= layers <= available:
            raise ConfigError(
                f"model.vision_encoder: {layers} layers are to be run of a tower that has {available}: "
                f"give 1..{available}"
            )
        self.embeddings = core.embeddings
        self.encoder = core.encoder
        self.encoder.layers = self.encoder.layers[:layers]
        self.config: SiglipVisionConfig = core.config  # of the whole tower
        self.image_size: int = core.config.image_size
        self.width: int = core.config.hidden_size
        self.grid = grid
        self.chunk_frames = chunk_frames
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "FrozenVisionEncoder":
        """Stays in inference mode: a frozen encoder has no training mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Encode frames, each on its own.

        Args:
            frames: (F, H, W, 3) uint8 RGB; resized to S x S as PIL does if they are of another size.

        Returns:
            (F, h, w, C) static tokens in the encoder's dtype.
        """
        return torch.cat([self._encode(chunk) for chunk in frames.split(self.chunk_frames)])

    def _encode(self, frames: Tensor) -> Tensor:
        pixels = normalise(frames, self.image_size).to(self.embeddings.patch_embedding.weight.dtype)
        hidden = self.encoder(inputs_embeds=self.embeddings(pixels)).last_hidden_state
        return interpolate_grid(hidden, self.grid)

    def fingerprint(self) -> str:
        """Hex digest of weights and settings: equal exactly where features are equal, up to rounding."""
        digest = hashlib.sha256(f"grid {self.grid} size {self.image_size}".encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.float().cpu().numpy().tobytes())
        return digest.hexdigest()


def interpolate_grid(tokens: Tensor, grid: int) -> Tensor:
    """Bring a square patch grid to ``grid`` x ``grid``, bilinearly, without antialiasing, as released.

    Args:
        tokens: (F, P * P, C), row-major.
        grid: side of the wanted grid.

    Returns:
        (F, grid, grid, C) in the dtype of ``tokens``; computed in float32.
    """
    side = int(tokens.shape[1] ** 0.5)
    maps = rearrange(tokens, "f (h w) c -> f h w c", h=side)
    if side == grid:
        return maps
    channels_first = rearrange(maps.float(), "f h w c -> f c h w")
    resized = F.interpolate(channels_first, size=(grid, grid), mode="bilinear", align_corners=False)
    return rearrange(resized, "f c h w -> f h w c").to(tokens.dtype)


def pretrained_encoder(
    *, name_or_path: str, drop_layers: int, grid: int, dtype: str = "float32", chunk_frames: int = 60
) -> FrozenVisionEncoder:
    """Load a SigLIP tower by hub name or from a local folder.

    Args:
        name_or_path: e.g. ``google/siglip-so400m-patch14-384``, or a folder with config.json and safetensors.
        drop_layers: layers left out at the end; the released model drops 1.
        grid: side of the token grid.
        dtype: torch dtype name of weights and features.
        chunk_frames: frames encoded at a time.

    Raises:
        DataError: if the weights can't be found or lack keys of the tower.
    """
    try:
        with quiet():  # the text tower in the file, which isn't loaded, is no reason to warn
            tower, info = SiglipVisionModel.from_pretrained(
                name_or_path, dtype=getattr(torch, dtype), output_loading_info=True, use_safetensors=True
            )
    except OSError as error:
        raise DataError(
            f"model.vision_encoder.name_or_path={name_or_path}: no SigLIP weights could be loaded from there. Give a "
            f"hub name (downloaded once, needs a network) or a folder with config.json and model.safetensors. "
            f"({str(error).splitlines()[0]})"
        ) from error
    if info["missing_keys"] or info["mismatched_keys"]:
        raise DataError(
            f"model.vision_encoder.name_or_path={name_or_path}: not a whole SigLIP vision tower; missing or of another "
            f"shape: {sorted(map(str, [*info['missing_keys'], *info['mismatched_keys']]))[:8]}"
        )
    layers = _without_last(drop_layers, tower.config.num_hidden_layers)
    return FrozenVisionEncoder(tower, layers=layers, grid=grid, chunk_frames=chunk_frames)


def seeded_encoder(
    *, config: dict[str, Any], drop_layers: int, grid: int, seed: int, chunk_frames: int = 60
) -> FrozenVisionEncoder:
    """A SigLIP tower with random weights that depend on ``seed`` alone, in float32.

    Args:
        config: fields of ``transformers.SiglipVisionConfig``.
        drop_layers: layers left out at the end.
        grid: side of the token grid.
        seed: of the weights; the global random state is left as it was.
        chunk_frames: frames encoded at a time.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower = SiglipVisionModel(SiglipVisionConfig(**config, vision_use_head=False))
    layers = _without_last(drop_layers, tower.config.num_hidden_layers)
    return FrozenVisionEncoder(tower, layers=layers, grid=grid, chunk_frames=chunk_frames)


def _without_last(drop_layers: int, available: int) -> int:
    """How many layers are left to run."""
    if not 0 <= drop_layers < available:
        raise ConfigError(
            f"model.vision_encoder.drop_layers={drop_layers}: this tower has {available} layers: "
            f"give 0..{available - 1}"
        )
    return available - drop_layers
