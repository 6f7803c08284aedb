"""A resumed run goes on with the settings that it had."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning
from lightning.pytorch.trainer.states import TrainerFn

from recot.errors import DataError

# Settings of a stage that don't decide what is learned, or that optimizers are compared by.
_ELSEWHERE = {"name_or_path", "folder", "path", "attention", "init_from", "expected_missing", "expected_unexpected"}
_HOW = {"compile", "activation_checkpointing", "chunk_groups", "rows_at_once", "val_keep", "val_pack_tokens"}
_OPTIMIZER = {"train", "learning_rate", "dts_rate", "weight_decay", "betas"}


def require_same_training(
    module: lightning.LightningModule, checkpoint: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]
) -> None:
    """Refuse to resume with other rates or parts: restored, a checkpoint's optimizer would silently take over.

    Nothing is compared where the checkpoint isn't loaded to train on.

    Args:
        module: that loads the checkpoint, with a trainer or without.
        checkpoint: of Lightning, to be resumed.
        groups: of this run's optimizer, each with ``lr`` before any schedule, ``weight_decay``, ``betas`` and, if it
            has one, a ``name``.

    Raises:
        DataError: naming what differs.
    """
    if module._trainer is None or module.trainer.state.fn != TrainerFn.FITTING:
        return
    here = {_name(i, group): _settings(group["lr"], group) for i, group in enumerate(groups)}
    for state in checkpoint.get("optimizer_states", []):
        saved = enumerate(state["param_groups"])
        there = {_name(i, group): _settings(group["initial_lr"], group) for i, group in saved}
        differ = [name for name in {**there, **here} if there.get(name) != here.get(name)]
        if differ:
            each = "; ".join(
                f"{name}: {there.get(name, 'frozen')} in the checkpoint, {here.get(name, 'frozen')} here"
                for name in differ
            )
            raise DataError(
                f"The checkpoint's run trained otherwise than the settings of stage say. {each}. `resume` continues a "
                "run with the settings that it had: give those (they are stored in the checkpoint under 'config'). "
                "To go on from its weights with others: init_from=<checkpoint>, without resume."
            )


def other_settings(saved: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """How the stage of a config differs from that of another, but for rates, places and what only costs.

    Args:
        saved: the composed config that a checkpoint holds.
        here: this run's.

    Returns:
        ``stage.module.train_ratio: [0.7, 0.99] in the checkpoint, [1.0, 1.0] here``, one a setting that both have.
    """
    there = dict(_leaves(saved["stage"]["module"]))
    return [
        f"stage.module.{name}: {there[name]} in the checkpoint, {value} here"
        for name, value in _leaves(here["stage"]["module"])
        if name in there and there[name] != value
    ]


def _leaves(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if name in _ELSEWHERE | _HOW | _OPTIMIZER:
            continue
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _name(i: int, group: Mapping[str, Any]) -> str:
    return str(group.get("name", f"optimizer group {i}"))


def _settings(rate: Any, group: Mapping[str, Any]) -> str:
    return f"learning rate {rate}, weight decay {group['weight_decay']}, betas {tuple(group['betas'])}"
