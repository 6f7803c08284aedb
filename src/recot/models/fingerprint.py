"""What tells one loaded model from another."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def fingerprint(model: nn.Module, tokenizer: Any) -> str:
    """Hex SHA-256 of all weights and buffers, bit by bit, with their names and types, of the tokenizer and chat format.

    Args:
        model: any; half a gigabyte takes about a second.
        tokenizer: a fast Hugging Face tokenizer.
    """
    settings = json.loads(tokenizer.backend_tokenizer.to_str())
    for name in ("truncation", "padding"):  # what the last call asked for
        settings.pop(name, None)
    digest = hashlib.sha256(json.dumps([settings, tokenizer.chat_template], sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def weights_fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 of names, shapes and values; the same for bfloat16 weights and for these weights held in float32."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"\0{name} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().data)
    return digest.hexdigest()
