"""A small SigLIP model from a seed, in the classes that load the released ones (arXiv 2303.15343).

Legend: P side of a patch in pixels, G patches a side, C width.
"""

import math
from typing import Any

import torch
from torch import Tensor
from transformers import SiglipConfig, SiglipModel

from recot.errors import ConfigError
from recot.models.preprocess import normalise

OPPONENT = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (-0.5, 1.0, -0.5))
"""Brightness, red against blue, green against both."""
MEAN_GAIN, GAIN, POSITION_GAIN = 0.8, 1.5, 2.0
"""Of a patch's mean, of its waves for each unit of frequency, and of positions: about equal on frames (our choice)."""


def seeded_siglip(*, vision: dict[str, Any], text: dict[str, Any], seed: int) -> SiglipModel:
    """A model with random weights that depend on ``seed`` alone, in float32, on the CPU.

    Three starts differ from those of the paper, all our choice, so that minutes of training are enough: the bias is
    -3, about the log-odds of a pair in a batch of dozens, and not -10, that of one in 32768; patches are projected onto
    cosine waves, the fine ones amplified, which makes texture as large as brightness; positions are sines and cosines.

    Args:
        vision: fields of ``transformers.SiglipVisionConfig``.
        text: fields of ``transformers.SiglipTextConfig``.
        seed: of the weights; the global random state is left as it was.

    Raises:
        ConfigError: if the vision width isn't a multiple of 4, or is more than two waves for each pixel of a patch.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SiglipModel(SiglipConfig(vision_config=dict(vision), text_config=dict(text)))
    width, patch = model.config.vision_config.hidden_size, model.config.vision_config.patch_size
    if width % 4 or width > 2 * patch * patch:
        raise ConfigError(
            f"model.siglip.vision.hidden_size is {width}: with patches of {patch} pixels, give a multiple of 4 up to "
            f"{2 * patch * patch}"
        )
    embeddings = model.vision_model.embeddings
    with torch.no_grad():
        embeddings.patch_embedding.weight.copy_(_waves(width, patch))
        side = model.config.vision_config.image_size // patch
        embeddings.position_embedding.weight.copy_(_positions(width, side))
        model.logit_scale.fill_(math.log(10.0))
        model.logit_bias.fill_(-3.0)
    return model


def embed_frames(model: SiglipModel, frames: Tensor) -> Tensor:
    """(F, H, W, 3) uint8 RGB frames -> (F, C) image embeddings, not normalised."""
    pixels = normalise(frames, model.config.vision_config.image_size).to(model.dtype)
    return model.get_image_features(pixel_values=pixels).pooler_output


def embed_frames_and_patches(model: SiglipModel, frames: Tensor, layer: int) -> tuple[Tensor, Tensor]:
    """``embed_frames``, and (F, G * G, C) outputs of a layer of the vision encoder; layer -1 is the last one."""
    pixels = normalise(frames, model.config.vision_config.image_size).to(model.dtype)
    found = model.get_image_features(pixel_values=pixels, output_hidden_states=True)
    return found.pooler_output, found.hidden_states[layer]


def embed_texts(model: SiglipModel, ids: Tensor) -> Tensor:
    """(J, L) token ids, padded to the longest text that the model takes -> (J, C) text embeddings, not normalised.

    As in the released models there is no attention mask: the embedding is made from the last place, which is padding.
    """
    return model.get_text_features(input_ids=ids).pooler_output


def _waves(width: int, patch: int) -> Tensor:
    """(C, 3, P, P) filters: a half for brightness and a quarter for each colour contrast, lowest frequencies first."""
    place = torch.arange(patch) + 0.5
    waves = [torch.cos(math.pi * place * u / patch) * math.sqrt((2 if u else 1) / patch) for u in range(patch)]
    order = sorted(((u, v) for u in range(patch) for v in range(patch)), key=lambda f: (math.hypot(*f), f))
    filters = []
    for colours, count in zip(OPPONENT, (width // 2, width // 4, width // 4), strict=True):
        contrast = torch.tensor(colours) / math.hypot(*colours)
        for u, v in order[:count]:
            gain = GAIN * math.hypot(u, v) or MEAN_GAIN
            filters.append(gain * torch.einsum("c,y,x->cyx", contrast, waves[u], waves[v]))
    return torch.stack(filters)


def _positions(width: int, side: int) -> Tensor:
    """(G * G, C): sines and cosines of column and row, at frequencies from 1 down to 1/100."""
    frequency = 100.0 ** -(torch.arange(width // 4) / (width // 4))
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = [(axis.flatten()[:, None] * frequency) for axis in (columns, rows)]
    return POSITION_GAIN * torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)
