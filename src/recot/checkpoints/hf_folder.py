"""A whole video language model in a folder as Hugging Face has them.

Files: ``config.json``, ``generation_config.json``, the tokenizer's, and ``model.safetensors``, in several files with
``model.safetensors.index.json`` where it is large.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, GenerationConfig, PreTrainedConfig

from recot.atomic import fsync_path, new_folder, write_file
from recot.checkpoints.architecture import (
    ARCHITECTURE_FIELDS,
    architecture_of,
    compute_buffers,
    video_lm_without_weights,
)
from recot.checkpoints.fields import read_json, require_fields
from recot.checkpoints.inference import (
    INFERENCE_FIELDS,
    Inference,
    generation_fields,
    inference_fields,
    parse_inference,
)
from recot.checkpoints.weights import read_weights, require_shapes, write_weights
from recot.errors import DataError
from recot.models.dts import DynamicTokenSynthesizer
from recot.models.generation import end_tokens
from recot.models.llm import Attention, resolve_attention
from recot.models.lora import ADAPTER_CONFIG, lora_parameters
from recot.models.video_lm import VideoLM

MODEL_TYPE = "recot_video_lm"
SHARD_BYTES = 5_000_000_000
DTYPES = ("float32", "bfloat16", "float16")
"""What commands can convert weights to."""
Part = Literal["vision_encoder", "dts", "projector", "selector", "llm"]
_EMBEDDING, _HEAD = "llm.model.embed_tokens.weight", "llm.lm_head.weight"


def save_video_lm(model: VideoLM, folder: Path, inference: Inference, *, shard_bytes: int = SHARD_BYTES) -> None:
    """Write a model's folder, whole or not at all.

    Args:
        model: without adapters. Weights are written in the dtypes that they have.
        folder: to make.
        inference: how the model is to be used.
        shard_bytes: size of a weights file.

    Raises:
        DataError: if the folder is there already, or can't be written.
        ValueError: if the language model has adapters that aren't merged.
    """
    if lora_parameters(model.llm):
        raise ValueError("the language model has LoRA adapters: merge them first (recot.models.lora.merge)")
    write_model_folder(
        folder,
        weights=_stored(model.state_dict(), tied=model.llm.config.tie_word_embeddings),
        architecture=architecture_of(model),
        tokenizer=model.tokenizer,
        inference=inference,
        ends=sorted(end_tokens(model.llm, model.tokenizer)),
        shard_bytes=shard_bytes,
    )


def write_model_folder(
    folder: Path,
    *,
    weights: Mapping[str, Tensor],
    architecture: dict[str, Any],
    tokenizer: Any,
    inference: Inference,
    ends: list[int],
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a model's folder of its parts, whole or not at all.

    Args:
        folder: to make.
        weights: by the names of ``VideoLM``; without the output layer if it is tied to the embeddings.
        architecture: as ``architecture_of`` gives it.
        tokenizer: of the language model.
        inference: how the model is to be used.
        ends: ids that end a reply.
        shard_bytes: size of a weights file.
    """
    config = {"model_type": MODEL_TYPE, **architecture, **inference_fields(inference)}
    generation = generation_fields(inference.generation, end_tokens=ends, pad_token=tokenizer.pad_token_id)
    with new_folder(folder) as made:
        write_weights(weights, made, shard_bytes=shard_bytes)
        tokenizer.save_pretrained(made)
        write_file(made / "config.json", _json(config))
        write_file(made / "generation_config.json", _json(generation))
        for file in made.iterdir():
            file.chmod((made / "config.json").stat().st_mode)  # safetensors lets nobody else read its files
            fsync_path(file)


def load_video_lm(
    folder: Path, *, dtype: str | None = None, attention: Attention = "auto", device: str = "cpu"
) -> tuple[VideoLM, Inference]:
    """Read a folder of ``save_video_lm``, in inference mode, with memory for one copy of the weights.

    Args:
        folder: with config.json.
        dtype: torch dtype name of all weights; None for those that they were written in.
        attention: of the language model, as for ``pretrained_llm``.
        device: where to.

    Returns:
        The model, and how it is to be used.

    Raises:
        DataError: if the folder isn't there, isn't whole, holds another kind of model, or weights that don't fit its
            config.json.
        ConfigError: if the attention can't be had.
    """
    model, inference = _load(folder, "", dtype=dtype, attention=attention, device=device)
    return model.eval(), inference


def load_part(*, folder: str, part: Part, dtype: str = "float32", attention: Attention = "auto") -> nn.Module:
    """One part of a folder's model, to train on from; the other parts' weights aren't read.

    Args:
        folder: as for ``load_video_lm``.
        part: by its name in ``VideoLM``.
        dtype: torch dtype name of its weights; what is trained has to be float32.
        attention: of the language model, as for ``pretrained_llm``.

    Returns:
        The part in inference mode, on the CPU.

    Raises:
        DataError: as ``load_video_lm``.
        ConfigError: if the attention can't be had.
    """
    model, _ = _load(Path(folder), part, dtype=dtype, attention=attention, device="cpu")
    model.llm.name_or_path = folder  # adapters are saved with it
    return model.get_submodule(part).eval()


def load_dts(*, folder: str, activation_checkpointing: bool) -> nn.Module:
    """``load_part`` of what compresses a video; a folder doesn't say how it is to be trained.

    Args:
        folder: as for ``load_video_lm``.
        activation_checkpointing: as for ``DynamicTokenSynthesizer``; means over frames need none.

    Raises:
        DataError: as ``load_video_lm``.
    """
    dts = load_part(folder=folder, part="dts")
    if isinstance(dts, DynamicTokenSynthesizer):
        dts.activation_checkpointing = activation_checkpointing
    return dts


def stage_setting(folder: Path, name: str) -> Any:
    """What a stage that trains a folder's model on has to know of it beside its parts.

    Args:
        folder: as for ``load_video_lm``.
        name: ``frame_size``, ``tokens_per_frame`` (of the vision encoder), ``query`` or ``max_tokens``.

    Raises:
        DataError: as ``load_video_lm``.
    """
    config, _ = _read_configs(folder)
    if name == "tokens_per_frame":
        return config["vision_encoder"]["grid"] ** 2
    return config[name]


def _load(
    folder: Path, part: str, *, dtype: str | None, attention: Attention, device: str
) -> tuple[VideoLM, Inference]:
    """The model with the values of one part, ``""`` for all; the others' stay on the meta device."""
    config, generation = _read_configs(folder)
    inference = parse_inference(config, generation, folder=folder)
    weights = read_weights(folder)
    model = video_lm_without_weights(
        {name: config[name] for name in ARCHITECTURE_FIELDS},
        tokenizer=read_tokenizer(folder),
        attention=resolve_attention(attention, _dtype_name(weights, dtype)),
        where=f"{folder}/config.json",
    )
    require_ids_fit(model.tokenizer, model.llm.config.vocab_size, folder)
    tied = model.llm.config.tie_word_embeddings
    wanted = {name: tuple(tensor.shape) for name, tensor in _stored(model.state_dict(), tied=tied).items()}
    require_shapes(weights, wanted, where=folder)
    to = None if dtype is None else getattr(torch, dtype)
    # Copies: what is mapped from a file isn't aligned, which changes roundings, and ends with the file.
    wanted_now = [name for name in weights if part in ("", name.partition(".")[0])]
    placed = {name: weights.pop(name).to(device, to, copy=True) for name in wanted_now}
    if tied and _EMBEDDING in placed:
        placed[_HEAD] = placed[_EMBEDDING]
    model.load_state_dict(placed, assign=True, strict=False)  # names are compared above
    model.llm.tie_weights()
    model.llm.config.dtype = model.llm.get_input_embeddings().weight.dtype
    model.llm.generation_config = GenerationConfig(
        eos_token_id=generation["eos_token_id"], pad_token_id=generation["pad_token_id"]
    )
    compute_buffers(model, torch.device(device))
    filled = model.get_submodule(part)
    unset = [name for name, tensor in [*filled.named_parameters(), *filled.named_buffers()] if tensor.is_meta]
    assert not unset, f"{unset} were not given values"
    return model, inference


def read_inference(folder: Path) -> Inference:
    """How a folder's model is to be used, without its weights.

    Raises:
        DataError: as ``load_video_lm``.
    """
    return parse_inference(*_read_configs(folder), folder=folder)


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model's folder.

    Raises:
        DataError: if there is none, or not all of it.
    """
    if not (folder / "tokenizer_config.json").is_file():
        # Without it, transformers makes up another kind of tokenizer and its special tokens.
        raise DataError(
            f"{folder}/tokenizer_config.json: missing, so there is no tokenizer that can be relied on. Copy it from "
            "where the model is from."
        )
    try:
        # An empty config: transformers would look up the folder's own kind of model, which it doesn't know.
        return AutoTokenizer.from_pretrained(str(folder), config=PreTrainedConfig(), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder}: no tokenizer could be loaded from there ({str(error).splitlines()[0]}). Copy its files, "
            "tokenizer.json and tokenizer_config.json, from where the model is from."
        ) from error


def require_ids_fit(tokenizer: Any, vocabulary: int, folder: Path) -> None:
    """Compare a tokenizer with the embeddings that its ids are looked up in.

    Raises:
        DataError: if it has ids beyond them.
    """
    largest = max(tokenizer.get_vocab().values())
    if largest >= vocabulary:
        raise DataError(
            f"{folder}: the tokenizer has ids up to {largest}, but the language model only {vocabulary} embeddings: "
            "they are of different models"
        )


def _require_model(folder: Path) -> None:
    """Name what is easily taken for a model's folder."""
    export = "python -m recot.checkpoints.export stage"
    if folder.is_file():
        raise DataError(
            f"{folder}: a file, not a model's folder. A stage's checkpoint has to be exported first: "
            f"`{export} {folder} OUT`; then give OUT."
        )
    if (folder / ADAPTER_CONFIG).is_file() and not (folder / "config.json").exists():
        raise DataError(
            f"{folder}: LoRA adapters alone, which need the model that they were trained with. Export the whole model "
            f"from the checkpoint that they are of: `{export} CHECKPOINT OUT`; then give OUT."
        )


def _read_configs(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    _require_model(folder)
    config = read_json(folder / "config.json")
    kind = config.get("model_type")
    if kind != MODEL_TYPE:
        raise DataError(
            f"{folder}/config.json: a model of type {kind!r}, not {MODEL_TYPE!r}. Give a folder that "
            "`python -m recot.checkpoints.export` wrote; it also imports the released checkpoint."
        )
    names = ("model_type", *ARCHITECTURE_FIELDS, *INFERENCE_FIELDS)
    require_fields(config, names, where=f"{folder}/config.json")
    return config, read_json(folder / "generation_config.json")


def _stored(state: Mapping[str, Tensor], *, tied: bool) -> dict[str, Tensor]:
    """A head that is the embeddings is stored once."""
    return {name: tensor for name, tensor in state.items() if not (tied and name == _HEAD)}


def _dtype_name(weights: Mapping[str, Tensor], dtype: str | None) -> str:
    """Of the language model."""
    if dtype is not None or _EMBEDDING not in weights:
        return dtype or "float32"
    return str(weights[_EMBEDDING].dtype).removeprefix("torch.")


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
