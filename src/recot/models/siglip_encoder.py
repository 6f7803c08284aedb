"""A whole SigLIP model as a plain function from frames and texts to vectors that can be compared (arXiv 2303.15343).

Legend: k frames, S their side in pixels, n texts, C width.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from recot.errors import DataError
from recot.models.fingerprint import fingerprint
from recot.models.siglip import SiglipModel, embed_frames, embed_texts
from recot.models.tokenizer import load_tokenizer

CHUNK = 32
"""Frames or texts embedded at a time; always cut from the front, so that equal calls give equal bits."""


class SiglipEncoder:
    """Embeds frames and texts into one space.

    Args:
        model: a SigLIP model; put into inference mode.
        tokenizer: of its text tower, a fast Hugging Face one.
    """

    def __init__(self, model: SiglipModel, tokenizer: Any) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.text_length: int = model.config.text_config.max_position_embeddings
        self.frame_size: int = model.config.vision_config.image_size

    @torch.inference_mode()
    def embed_frames(self, frames: np.ndarray) -> np.ndarray:
        """(k, S, S, 3) uint8 RGB -> (k, C) float32, not normalised; resized as PIL does if S isn't the model's."""
        chunks = torch.from_numpy(np.ascontiguousarray(frames)).split(CHUNK)
        embedded = [embed_frames(self.model, chunk.to(self.model.device)) for chunk in chunks]
        return torch.cat(embedded).float().cpu().numpy()

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """n texts -> (n, C) float32, not normalised; of a text that is too long, the beginning counts."""
        ids = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=self.text_length, return_tensors="pt"
        )["input_ids"]
        embedded = [embed_texts(self.model, chunk.to(self.model.device)) for chunk in ids.split(CHUNK)]
        return torch.cat(embedded).float().cpu().numpy()

    def fingerprint(self) -> str:
        """Hex digest of weights and tokenizer: other embeddings, another digest."""
        return fingerprint(self.model, self.tokenizer)


def pretrained_siglip(*, name_or_path: str, dtype: str = "float32", device: str = "cpu") -> SiglipEncoder:
    """Load a SigLIP model with its tokenizer by hub name or from a local folder.

    Args:
        name_or_path: e.g. ``google/siglip-so400m-patch14-384``, or a folder with config.json, safetensors and the
            tokenizer's files.
        dtype: torch dtype name of the weights.
        device: torch device.

    Raises:
        DataError: if the weights or the tokenizer can't be found, or aren't those of a whole SigLIP model.
    """
    try:
        model, info = SiglipModel.from_pretrained(
            name_or_path, dtype=getattr(torch, dtype), output_loading_info=True, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise DataError(
            f"{name_or_path}: no SigLIP model could be loaded from there. Give a hub name (downloaded once, needs a "
            f"network) or a folder with config.json and model.safetensors. ({str(error).splitlines()[0]})"
        ) from error
    if info["missing_keys"] or info["mismatched_keys"]:
        raise DataError(
            f"{name_or_path}: not a whole SigLIP model, with a vision and a text tower; missing or of another shape: "
            f"{sorted(map(str, [*info['missing_keys'], *info['mismatched_keys']]))[:8]}"
        )
    return SiglipEncoder(model.to(device), load_tokenizer(name_or_path))
