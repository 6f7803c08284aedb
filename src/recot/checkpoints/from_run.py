"""The video language model of a stage's checkpoint, put together from the config that the checkpoint holds.

What a config may name is listed here, and nothing else is ever called: a checkpoint may come from somebody else.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from recot.checkpoints.hf_folder import load_dts, load_part
from recot.checkpoints.inference import Inference
from recot.checkpoints.init_from import init_from
from recot.checkpoints.reading import read_checkpoint
from recot.errors import DataError
from recot.models.dts import DynamicTokenSynthesizer
from recot.models.generation import GenerationSettings
from recot.models.llm import pretrained_llm, seeded_llm
from recot.models.lora import LoraSettings, add_lora, merge
from recot.models.mean_pooling import MeanPooling
from recot.models.projector import Projector
from recot.models.selection import KeepRule
from recot.models.selector import Selector
from recot.models.selector_baselines import BaselineSelector
from recot.models.tokenizer import load_tokenizer
from recot.models.video_lm import VideoLM
from recot.models.vision_encoder import pretrained_encoder, seeded_encoder
from recot.video_io import FrameSampling

_VIDEO_LM = "recot.models.video_lm.VideoLM"
_KNOWN: dict[str, Callable[..., Any]] = {
    _VIDEO_LM: VideoLM,
    "recot.checkpoints.hf_folder.load_dts": load_dts,
    "recot.checkpoints.hf_folder.load_part": load_part,
    "recot.models.dts.DynamicTokenSynthesizer": DynamicTokenSynthesizer,
    "recot.models.llm.pretrained_llm": pretrained_llm,
    "recot.models.llm.seeded_llm": seeded_llm,
    "recot.models.lora.LoraSettings": LoraSettings,
    "recot.models.mean_pooling.MeanPooling": MeanPooling,
    "recot.models.projector.Projector": Projector,
    "recot.models.selection.KeepRule": KeepRule,
    "recot.models.selector.Selector": Selector,
    "recot.models.selector_baselines.BaselineSelector": BaselineSelector,
    "recot.models.tokenizer.load_tokenizer": load_tokenizer,
    "recot.models.vision_encoder.pretrained_encoder": pretrained_encoder,
    "recot.models.vision_encoder.seeded_encoder": seeded_encoder,
    "recot.video_io.FrameSampling": FrameSampling,
}
"""By the names that configs use."""


def video_lm_of_run(
    checkpoint: Path,
    generation: GenerationSettings,
    *,
    llm: str | None = None,
    vision_encoder: str | None = None,
    merged: bool = True,
) -> tuple[VideoLM, Inference]:
    """The trained model and how its validation used it.

    Args:
        checkpoint: of a stage that trains a ``VideoLM``.
        generation: how it is to reply.
        llm: where the language model that the stage started from is; None for where it was in training.
        vision_encoder: where the vision encoder is, likewise.
        merged: whether adapters become part of the language model's weights, or stay what they are.

    Returns:
        The model in inference mode, and its settings.

    Raises:
        DataError: if the checkpoint isn't of such a stage, or the backbones aren't those that it was trained with.
    """
    config = read_checkpoint(checkpoint)["config"]
    try:
        stage = config["stage"]["module"]
        if stage["model"]["_target_"] != _VIDEO_LM:
            raise KeyError(_VIDEO_LM)
        parts, sampling, keep = dict(stage["model"]), config["data"]["sampling"], stage["val_keep"]
        # Weights don't depend on what computes attention, and flash may not run where they are exported.
        parts["llm"] = {**parts["llm"], "attention": "auto"}
        height, width = config["model"]["frame_size"]
        lora = stage["lora"]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{checkpoint}: its config has no {error}, so its stage trains no video language model. Give a checkpoint "
            "of projector_align, selector_finetune or sft_lora."
        ) from error
    if llm is not None:
        parts["llm"] = _moved(parts["llm"], "name_or_path", llm)
        parts["tokenizer"] = _moved(parts["tokenizer"], "path", llm)
        # Of a model's folder, all parts but the vision encoder move with the language model.
        parts |= {name: _moved(parts[name], "folder", llm) for name in ("dts", "projector", "selector", "llm")}
    if vision_encoder is not None:
        parts["vision_encoder"] = _moved(parts["vision_encoder"], "name_or_path", vision_encoder)
        parts["vision_encoder"] = _moved(parts["vision_encoder"], "folder", vision_encoder)
    model: VideoLM = _made(parts, checkpoint)
    if lora is not None:
        add_lora(model.llm, _made(lora, checkpoint), seed=0)  # the checkpoint has the adapters' weights
    init_from(model, checkpoint)
    if lora is not None and merged:
        model.llm = merge(model.llm)
    inference = Inference(
        frame_size=(height, width),
        sampling=_made(sampling, checkpoint),
        keep=_made(keep, checkpoint),
        generation=generation,
    )
    return model.eval(), inference


def _moved(node: Mapping[str, Any], name: str, path: str) -> dict[str, Any]:
    """A backbone that is somewhere else now. One that is made from a seed stays what it is."""
    return {**node, name: path} if name in node else dict(node)


def _made(node: Any, checkpoint: Path) -> Any:
    """What a config's node describes, its arguments made first."""
    if isinstance(node, list):
        return [_made(entry, checkpoint) for entry in node]
    if not isinstance(node, dict):
        return node
    arguments = {name: _made(value, checkpoint) for name, value in node.items() if name != "_target_"}
    if "_target_" not in node:
        return arguments
    target = node["_target_"]
    if target not in _KNOWN:
        raise DataError(
            f"{checkpoint}: its config makes a part of the model by {target}, which can't be exported from a "
            f"checkpoint. Known are: {', '.join(sorted(_KNOWN))}."
        )
    try:
        return _KNOWN[target](**arguments)
    except DataError as error:
        raise DataError(
            f"{checkpoint}: a part of its model can't be made: {error} If backbones are somewhere else on this "
            "machine, name their folders: --llm, --vision-encoder."
        ) from error
    except TypeError as error:
        raise DataError(f"{checkpoint}: was written by another release of recot ({error}). Use that one.") from error
