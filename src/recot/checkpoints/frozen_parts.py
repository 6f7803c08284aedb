"""Frozen backbones stay out of checkpoints: their source has them. A fingerprint tells whether it still does."""

from collections.abc import Mapping, Set
from typing import Any

from torch import Tensor, nn

from recot.checkpoints.mismatch import mismatch
from recot.errors import DataError
from recot.models.fingerprint import weights_fingerprint
from recot.models.lora import base_weights, lora_parameters
from recot.models.vision_encoder import FrozenVisionEncoder

RECORD = "frozen_parts"
"""Where a checkpoint says what was left out: name of the part -> its fingerprint."""


def part_fingerprint(module: nn.Module) -> str:
    """What tells the weights of a backbone from others; adapters in it don't count."""
    if isinstance(module, FrozenVisionEncoder):
        return module.fingerprint()
    return weights_fingerprint(base_weights(module))


class FrozenParts:
    """Leaves parts that were never trained out of a stage's checkpoints.

    To be made while the parts are as their source gave them: before other weights are loaded into them, and before they
    are sharded.

    Args:
        parts: prefix in the stage's state dict, without the dot -> module, e.g. ``model.llm`` -> the language model.
            A part is called by the last of its names.
    """

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        self._prefixes = {prefix.rpartition(".")[2]: prefix for prefix in parts}
        self._modules = {prefix.rpartition(".")[2]: module for prefix, module in parts.items()}
        self.fingerprints = {name: part_fingerprint(module) for name, module in self._modules.items()}
        self._replaced: set[str] = set()

    def replaced(self, parts: Set[str]) -> None:
        """Other weights than the source's were loaded into these parts: from now on checkpoints have to hold them."""
        self._replaced |= parts & self.fingerprints.keys()

    def leave_out(self, checkpoint: dict[str, Any]) -> None:
        """Take frozen parts out of a checkpoint that is about to be saved, and record their fingerprints."""
        out = [name for name in self.fingerprints if name not in self._replaced and self._frozen(name)]
        checkpoint[RECORD] = {name: self.fingerprints[name] for name in out}
        dropped = {key for name in out for key in self._keys(name)}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k not in dropped}

    def fill_in(self, checkpoint: dict[str, Any], stage: nn.Module) -> None:
        """Put the parts that were left out of a checkpoint back, and compare it with the stage before it is loaded.

        Raises:
            DataError: naming parts whose weights are missing, unexpected, of another shape or others.
        """
        own = stage.state_dict()
        saved = checkpoint.get("state_dict", {})
        recorded = checkpoint.get(RECORD, {})
        absent = {key for name in recorded if name in self._modules for key in self._keys(name)}
        require_fit({k: v for k, v in own.items() if k not in absent}, saved)
        for name, fingerprint in recorded.items():
            require_same_part(name, fingerprint, self.fingerprints.get(name))
        checkpoint["state_dict"] = saved | {k: own[k] for k in absent}
        self.replaced(self.fingerprints.keys() - recorded.keys())

    def _frozen(self, name: str) -> bool:
        return not any(p.requires_grad for p in base_weights(self._modules[name]).values())

    def _keys(self, name: str) -> set[str]:
        module = self._modules[name]
        return {f"{self._prefixes[name]}.{key}" for key in module.state_dict().keys() - lora_parameters(module).keys()}


def require_same_part(name: str, saved: str, own: str | None) -> None:
    """Compare the fingerprint of a part that a checkpoint left out.

    Raises:
        DataError: if it is another one, or the model has no such part (``own`` is None).
    """
    if saved != own:
        what = name.replace("_", " ")
        raise DataError(
            f"The checkpoint was trained with another {what} than the one configured under model.{name}, and doesn't "
            "hold it. Use the configuration stored in the checkpoint under 'config', or train anew."
        )


def require_fit(own: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Compare names and shapes of weights.

    Raises:
        DataError: naming parts that differ, and shapes.
    """
    if problems := mismatch(own, saved, own.keys() - saved.keys(), saved.keys() - own.keys()):
        raise DataError(
            f"The checkpoint does not fit the configured model. {problems}. Give the model=... and stage settings that "
            "the checkpoint was trained with (they are stored in it under 'config'), or another checkpoint."
        )
