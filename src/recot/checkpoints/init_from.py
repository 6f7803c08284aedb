"""What one stage hands on to the next: the parts that both have, by name."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import nn

from recot.checkpoints.frozen_parts import RECORD, FrozenParts, part_fingerprint, require_same_part
from recot.checkpoints.mismatch import LORA, mismatch, name_in_model
from recot.checkpoints.reading import read_checkpoint
from recot.errors import DataError
from recot.models.lora import lora_parameters, plain_name


def init_from(
    model: nn.Module,
    source: Path,
    *,
    frozen: FrozenParts | None = None,
    expected_missing: Sequence[str] = (),
    expected_unexpected: Sequence[str] = (),
) -> list[str]:
    """Load weights of another stage's checkpoint into a model, in the model's dtypes.

    Backbones that the other stage left out are compared by their fingerprints, and are not missing.

    Args:
        model: with parts as submodules; adapters may be in it already, or not yet.
        source: a checkpoint that recot wrote.
        frozen: told which parts got other weights than their source's, and asked for fingerprints.
        expected_missing: what the checkpoint may lack: a part (``projector``), a name within (``llm.model.norm``), or
            ``lora`` for all adapters.
        expected_unexpected: what may be in the checkpoint and isn't used, likewise.

    Returns:
        The parts that got weights.

    Raises:
        DataError: naming parts that don't match, weights of another shape with both shapes, or a backbone that differs;
            and if there is nothing in common, or no checkpoint that can be read.
    """
    checkpoint = read_checkpoint(source)
    saved = {plain_name(name_in_model(key)): tensor for key, tensor in checkpoint["state_dict"].items()}
    actual = {plain_name(key): key for key in model.state_dict()}
    own = {plain_name(key): tensor for key, tensor in model.state_dict().items()}
    adapters = {plain_name(name) for name in lora_parameters(model)}
    recorded: dict[str, str] = checkpoint.get(RECORD, {})
    left_out = {name for name in own if _within(name, recorded)} - adapters
    missing = _unnamed(own.keys() - saved.keys() - left_out, expected_missing)
    unexpected = _unnamed(saved.keys() - own.keys(), expected_unexpected)
    if problems := mismatch(own, saved, missing, unexpected):
        raise DataError(
            f"init_from={source}: weights don't match. {problems}. If that is as it should be, name the parts under "
            "stage.module.expected_missing or expected_unexpected; otherwise give another checkpoint or the model it "
            "was trained with."
        )
    common = own.keys() & saved.keys()
    if not common:
        raise DataError(f"init_from={source}: no weights in common with this stage, only {_parts(saved)}")
    for part, fingerprint in recorded.items():
        require_same_part(part, fingerprint, _fingerprint(model, part, frozen))
    model.load_state_dict({actual[name]: saved[name] for name in common}, strict=False)
    if frozen is not None:
        frozen.replaced(set(_parts(common - adapters)))
    return _parts(common)


def _parts(names: Iterable[str]) -> list[str]:
    return sorted({name.split(".")[0] for name in names})


def _within(name: str, places: Iterable[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def _unnamed(names: Iterable[str], expected: Sequence[str]) -> list[str]:
    """Names that nobody expects; ``lora`` stands for adapters, wherever they are."""
    lora = LORA in expected
    return sorted(n for n in names if not _within(n, expected) and not (lora and ".lora_" in n))


def _fingerprint(model: nn.Module, part: str, frozen: FrozenParts | None) -> str | None:
    if frozen is not None and part in frozen.fingerprints:
        return frozen.fingerprints[part]
    module = getattr(model, part, None)
    return part_fingerprint(module) if isinstance(module, nn.Module) else None
