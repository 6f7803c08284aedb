"""A SigLIP model of any size from a seed, in the classes that load the released ones (arXiv 2303.15343)."""

import math
from typing import Any

import torch
from torch import Tensor
from transformers import SiglipConfig, SiglipModel

from recot.models.preprocess import normalise


def seeded_siglip(*, vision: dict[str, Any], text: dict[str, Any], seed: int) -> SiglipModel:
    """A model with random weights that depend on ``seed`` alone, in float32, on the CPU.

    The temperature starts at 1/10 as in the paper. The bias starts at -3 and not at -10, the log-odds of a pair that
    belongs together among 32768 texts: for the smaller batches that this is for, about one pair in twenty does.

    Args:
        vision: fields of ``transformers.SiglipVisionConfig``.
        text: fields of ``transformers.SiglipTextConfig``.
        seed: of the weights; the global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SiglipModel(SiglipConfig(vision_config=dict(vision), text_config=dict(text)))
    with torch.no_grad():
        model.logit_scale.fill_(math.log(10.0))
        model.logit_bias.fill_(-3.0)
    return model


def embed_frames(model: SiglipModel, frames: Tensor) -> Tensor:
    """(F, H, W, 3) uint8 RGB frames -> (F, C) image embeddings, not normalised."""
    pixels = normalise(frames, model.config.vision_config.image_size).to(model.dtype)
    return model.get_image_features(pixel_values=pixels).pooler_output


def embed_texts(model: SiglipModel, ids: Tensor) -> Tensor:
    """(J, L) token ids, padded to the longest text that the model takes -> (J, C) text embeddings, not normalised.

    As in the released models there is no attention mask: the embedding is made from the last place, which is padding.
    """
    return model.get_text_features(input_ids=ids).pooler_output
