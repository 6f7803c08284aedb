"""How a trained model is to be used: what it sees of a video, how much of that it reads, and how it replies."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recot.checkpoints.fields import require_fields
from recot.errors import ConfigError, DataError
from recot.models.generation import GenerationSettings
from recot.models.selection import KeepRule
from recot.video_io import FrameSampling


@dataclass(frozen=True, kw_only=True)
class Inference:
    """Settings that come with a model and that a user may change.

    Attributes:
        frame_size: height and width in pixels that frames are brought to.
        sampling: which frames are seen.
        keep: how much of a video the language model reads.
        generation: how a reply is made. Its seed and ``prefill_chunk`` belong to a run, not to a model: they aren't
            stored.
    """

    frame_size: tuple[int, int]
    sampling: FrameSampling
    keep: KeepRule
    generation: GenerationSettings


INFERENCE_FIELDS = ("frame_size", "sampling", "keep")


def inference_fields(inference: Inference) -> dict[str, Any]:
    """What of it goes into config.json: plain values."""
    return {
        "frame_size": list(inference.frame_size),
        "sampling": asdict(inference.sampling),
        "keep": asdict(inference.keep),
    }


def generation_fields(settings: GenerationSettings, *, end_tokens: list[int], pad_token: int | None) -> dict[str, Any]:
    """What goes into generation_config.json, under the names that transformers gives it."""
    sampled = settings.temperature > 0
    return {
        "do_sample": sampled,
        "eos_token_id": end_tokens,
        "max_new_tokens": settings.max_new_tokens,
        "pad_token_id": pad_token,
        "stop_strings": list(settings.stop) or None,
        "temperature": settings.temperature if sampled else None,
        "top_p": settings.top_p if sampled else None,
    }


_GENERATION_FIELDS = tuple(generation_fields(GenerationSettings(max_new_tokens=1), end_tokens=[], pad_token=None))


def parse_inference(config: dict[str, Any], generation: dict[str, Any], *, folder: Path) -> Inference:
    """Settings of the contents of a folder's config.json and generation_config.json.

    Raises:
        DataError: if fields are missing or unknown, or a value is impossible.
    """
    sampling = require_fields(
        config["sampling"], tuple(FrameSampling.__dataclass_fields__), where=f"{folder}/config.json, sampling"
    )
    keep = require_fields(config["keep"], tuple(KeepRule.__dataclass_fields__), where=f"{folder}/config.json, keep")
    said = require_fields(generation, _GENERATION_FIELDS, where=f"{folder}/generation_config.json")
    stops = said["stop_strings"]
    if not isinstance(stops, list | None):
        raise DataError(
            f"{folder}/generation_config.json: stop_strings={stops!r}, but it must be null or a list of strings"
        )
    try:
        return Inference(
            frame_size=_frame_size(config["frame_size"], f"{folder}/config.json"),
            sampling=FrameSampling(**sampling),
            keep=KeepRule(**keep),
            generation=GenerationSettings(
                max_new_tokens=said["max_new_tokens"],
                temperature=said["temperature"] if said["do_sample"] else 0.0,
                top_p=said["top_p"] if said["do_sample"] else 1.0,
                stop=tuple(stops or ()),
            ),
        )
    except ConfigError as error:
        raise DataError(
            f"{folder}: a value in config.json or generation_config.json is impossible: {error}. Correct it there, or "
            "export the model again."
        ) from error
    except DataError:
        raise
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{folder}: frame_size, sampling or keep in config.json, or generation_config.json, has a value of another "
            f"kind ({error}). Export the model again."
        ) from error


def _frame_size(sides: Any, where: str) -> tuple[int, int]:
    if not isinstance(sides, list) or len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise DataError(
            f"{where}: frame_size={sides!r}, but it must be height and width in pixels, e.g. [64, 64]. Correct it "
            "there, or export the model again."
        )
    height, width = sides
    return height, width
