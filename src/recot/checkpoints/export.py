"""Models as Hugging Face folders, from a stage's checkpoint or from the released one.

    python -m recot.checkpoints.export stage RUN/checkpoints/final.ckpt OUT
    python -m recot.checkpoints.export adapter RUN/checkpoints/final.ckpt OUT
    python -m recot.checkpoints.export import-official DIR OUT

``stage`` puts together what a stage trained and the backbones that it left frozen, merges adapters, and writes one
model. ``adapter`` writes a stage's LoRA adapters alone, as peft does. ``import-official`` converts the folder of the
released Video-XL-Pro checkpoint; the model keeps its behaviour. A model's folder is loaded by
``recot.checkpoints.hf_folder.load_video_lm``, adapters by ``recot.models.lora.load_adapter``. docs/checkpoints.md tells
more.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from recot.checkpoints.from_run import video_lm_of_run
from recot.checkpoints.hf_folder import DTYPES, save_video_lm
from recot.checkpoints.import_official import import_official
from recot.errors import DataError, report_errors
from recot.models.generation import GenerationSettings
from recot.models.lora import lora_parameters, save_adapter


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    wanted = _parser().parse_args(arguments)
    with report_errors():
        if wanted.what == "import-official":
            import_official(wanted.source, wanted.out, dtype=wanted.dtype)
        elif wanted.what == "adapter":
            _export_adapter(wanted)
        else:
            _export_stage(wanted)
    sys.stdout.write(f"Wrote {wanted.out}\n")


def _export_stage(wanted: argparse.Namespace) -> None:
    generation = GenerationSettings(max_new_tokens=wanted.max_new_tokens)
    model, inference = video_lm_of_run(wanted.source, generation, llm=wanted.llm, vision_encoder=wanted.vision_encoder)
    if wanted.dtype is not None:
        model.to(getattr(torch, wanted.dtype))
    save_video_lm(model, wanted.out, inference)


def _export_adapter(wanted: argparse.Namespace) -> None:
    generation = GenerationSettings(max_new_tokens=1)  # which adapters have nothing to do with
    model, _ = video_lm_of_run(
        wanted.source, generation, llm=wanted.llm, vision_encoder=wanted.vision_encoder, merged=False
    )
    if not lora_parameters(model.llm):
        raise DataError(
            f"{wanted.source}: its stage trained without adapters (stage.lora: null). Export it as a stage."
        )
    save_adapter(model.llm, wanted.out, replace=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m recot.checkpoints.export", description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="what", required=True)
    stage = kinds.add_parser("stage", help="from a checkpoint of projector_align, selector_finetune or sft_lora")
    adapter = kinds.add_parser("adapter", help="the adapters alone, from a checkpoint of sft_lora")
    for kind in (stage, adapter):
        kind.add_argument("source", type=Path, metavar="CHECKPOINT", help="a run's .ckpt")
        kind.add_argument("out", type=Path, metavar="OUT", help="folder to make")
        kind.add_argument("--llm", metavar="FOLDER", help="where the language model trained on is now")
        kind.add_argument("--vision-encoder", metavar="FOLDER", help="where the vision encoder trained on is now")
    stage.add_argument(
        "--dtype",
        choices=DTYPES,
        help="of all weights; by default each keeps its own, and a language model with merged adapters is float32",
    )
    stage.add_argument("--max-new-tokens", type=int, default=256, help="longest reply (default %(default)s)")
    official = kinds.add_parser("import-official", help="from the released Video-XL-Pro checkpoint")
    official.add_argument("source", type=Path, metavar="DIR", help="with config.json, safetensors and tokenizer")
    official.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    official.add_argument("--dtype", choices=DTYPES, help="of all weights; by default each keeps its own")
    return parser


if __name__ == "__main__":
    main()
