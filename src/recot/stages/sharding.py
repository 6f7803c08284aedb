"""Training of models that one GPU can't hold: FSDP2 through Lightning, and DeepSpeed where it is installed.

Weights, gradients and optimizer states are cut over all ranks. Each of the language model's layers is brought together
while it computes; all else is brought together for a whole step, because how often it is called depends on a rank's
videos, and ranks that gather a different number of times would wait for each other for ever.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DeepSpeedStrategy, ModelParallelStrategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from recot.checkpoints.reading import read_checkpoint
from recot.errors import ConfigError

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Cut a model's weights over the ranks of ``mesh``; one that is cut already stays as it is.

    Args:
        model: with a language model ``llm``, which its forward calls exactly once. What uses weights outside of a
            forward, such as the output layer, has to follow one in the same step.
        mesh: of one dimension.

    Raises:
        ConfigError: if what is trained is of several dtypes.
    """
    if isinstance(model, FSDPModule):
        return
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.requires_grad})
    if len(dtypes) > 1:
        raise ConfigError(
            f"trainer=fsdp: what is trained has weights in {' and '.join(dtypes)}, and FSDP takes one dtype. To train "
            "all of the language model, set model.llm.dtype=float32; trainer.precision=bf16-mixed computes in bfloat16"
        )
    for layer in model.llm.get_decoder().layers:  # type: ignore[union-attr, operator]
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def reach_all(loss: Tensor, model: nn.Module) -> Tensor:
    """The same loss, with gradients of zero for what a batch didn't use, outside of the language model.

    Ranks exchange gradients of the same weights or wait for each other for ever. A batch of images alone scores
    nothing, and one of text compresses nothing.

    Args:
        loss: scalar.
        model: with a language model ``llm``.
    """
    always = {id(p) for p in model.llm.parameters()}  # type: ignore[union-attr]
    others = [p.flatten()[0] for p in model.parameters() if p.requires_grad and id(p) not in always]
    return loss + 0.0 * torch.stack(others).sum() if others else loss


class FullySharded(ModelParallelStrategy):
    """Lightning's FSDP2 over all ranks, with checkpoints that are files like any other strategy's.

    The model is cut by the stage's ``configure_model``. A checkpoint can be resumed with another number of ranks, or
    without sharding, and is read without unpickling anything but tensors and plain values.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Lightning hands optimizer states to ``load_optimizer_state_dict``."""
        return True

    def setup_environment(self) -> None:
        """One mesh dimension over all ranks.

        Raises:
            ConfigError: for a stage that doesn't say how its model is cut.
        """
        if self.lightning_module is not None and not is_overridden("configure_model", self.lightning_module):
            raise ConfigError(
                f"trainer=fsdp cuts the video language model, which {type(self.lightning_module).__name__} doesn't "
                "train: leave trainer out, for replicas on all GPUs"
            )
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def on_validation_start(self) -> None:
        """Keep whole weights on each rank until validation ends: ranks may have different numbers of batches."""
        for unit in self._units():
            unit.set_reshard_after_forward(False, recurse=False)
            unit.unshard()

    def on_validation_end(self) -> None:
        """Cut weights again."""
        root, *layers = self._units()
        for unit in layers:
            unit.set_reshard_after_forward(True, recurse=False)
        for unit in (root, *layers):
            unit.reshard()

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = True) -> dict[str, Any]:
        """Read the file on each rank; see ``read_checkpoint``."""
        return read_checkpoint(Path(self.broadcast(checkpoint_path)))

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Cut weights as the model's are cut. The stage has compared their names; parts left out stay as they are."""
        whole = {name: value for name, value in checkpoint["state_dict"].items() if not isinstance(value, DTensor)}
        assert self.model is not None
        set_model_state_dict(self.model, whole, options=StateDictOptions(full_state_dict=True, strict=False))

    def optimizer_state(self, optimizer: torch.optim.Optimizer | LightningOptimizer) -> dict[str, Any]:
        """The whole state on rank 0, numbered as the optimizer itself does; empty on other ranks."""
        own = optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        assert self.model is not None
        state = get_optimizer_state_dict(self.model, own, options=WHOLE)
        return _renamed(state, {name: i for i, name in enumerate(self._names(own))}) if state else {}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Cut optimizer states as the model's weights are cut."""
        assert self.model is not None
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            named = _renamed(state, dict(enumerate(self._names(optimizer))))
            set_optimizer_state_dict(self.model, optimizer, named, options=StateDictOptions(full_state_dict=True))

    def _units(self) -> list[FSDPModule]:
        """What is brought together at a time: the model itself first."""
        assert self.model is not None
        return [module for module in self.model.modules() if isinstance(module, FSDPModule)]

    def _names(self, optimizer: torch.optim.Optimizer) -> list[str]:
        assert self.model is not None
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def _renamed(state: Mapping[str, Any], names: Mapping[Any, Any]) -> dict[str, Any]:
    """An optimizer's state with its parameters called by other names."""
    return {
        "state": {names[old]: value for old, value in state["state"].items()},
        "param_groups": [
            {**group, "params": [names[old] for old in group["params"]]} for group in state["param_groups"]
        ],
    }


def deepspeed(*, stage: int) -> DeepSpeedStrategy:
    """DeepSpeed's ZeRO (arXiv 1910.02054). Checkpoints are folders in its own format.

    Args:
        stage: 1 cuts optimizer states, 2 gradients too, 3 weights too.

    Raises:
        ConfigError: if it isn't installed, or for another stage.
    """
    if stage not in (1, 2, 3):
        raise ConfigError(f"trainer.strategy.stage={stage!r} must be 1, 2 or 3")
    if find_spec("deepspeed") is None:
        raise ConfigError(
            "trainer=deepspeed needs DeepSpeed, which isn't installed: pip install -e '.[deepspeed]', or use "
            "trainer=fsdp"
        )
    return DeepSpeedStrategy(stage=stage)
