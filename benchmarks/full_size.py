"""The 3B configuration without its weights: parameters, key-value cache and operations for a video of 8192 frames.

    python benchmarks/full_size.py

Everything runs on the meta device, which knows shapes alone. Operations are counted by torch's own counter (a
multiplication with its addition is 2) on one frame, one group or one chunk, and multiplied: up to the language model,
all cost is linear in frames. The language model is counted on the whole sequence at once.
"""

import json
from datetime import date
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel

from recot.models.selection import KeepRule
from recot.models.vision_encoder import FrozenVisionEncoder
from recot.models.visual_groups import Query, VisualGroups

RESULT = Path(__file__).resolve().parent / "results/full_size"
REPO = Path(__file__).resolve().parents[1]
FRAMES, TIME, QUESTION = 8192, 10, 64
KEEPS = (0.1, 0.25, 1.0)
# google/siglip-so400m-patch14-384 and Qwen/Qwen2.5-3B-Instruct, as their public config.json files say
SIGLIP = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
    "vision_use_head": False,
}
QWEN = {
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": True,
}


def operations(call: Any) -> float:
    """Floating-point operations of a call on the meta device."""
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


def parts() -> dict[str, nn.Module]:
    """The modules of ``model=video_xl_pro_3b``, all on the meta device."""
    with initialize_config_dir(config_dir=str(REPO / "conf"), version_base="1.3"):
        cfg = compose("train", overrides=["experiment=recot_pretrain_3b", "data.train=[a]", "data.val=[b]"]).model
    with torch.device("meta"):
        tower = SiglipVisionModel(SiglipVisionConfig(**SIGLIP))
        layers = SIGLIP["num_hidden_layers"] - cfg.vision_encoder.drop_layers
        return {
            "vision encoder": FrozenVisionEncoder(tower, layers=layers, grid=cfg.grid),
            "DTS": instantiate(cfg.dts),
            "projector": instantiate(cfg.projector),
            "selector": instantiate(cfg.selector),
            "language model": Qwen2ForCausalLM(Qwen2Config(**QWEN, attn_implementation="sdpa")).to(torch.bfloat16),
        }


@torch.no_grad()
def count(modules: dict[str, nn.Module]) -> tuple[dict[str, float], int]:
    """Operations of each part up to the language model for all frames, and video tokens a group."""
    meta = torch.device("meta")
    groups = FRAMES // 4
    features = torch.empty(1, 4, 24, 24, 1152, device=meta)
    encoder = modules["vision encoder"]
    patches = torch.empty(1, 3, 384, 384, device=meta)
    # Pixels are resized on the CPU; what is counted is the tower.
    found = {"vision encoder": FRAMES * operations(lambda: encoder.encoder(inputs_embeds=encoder.embeddings(patches)))}
    found["DTS"] = groups * operations(lambda: modules["DTS"](features))
    compact = torch.empty(1, 24, 24, 1152, device=meta)
    found["projector"] = groups * operations(lambda: modules["projector"](compact, pool=True))
    tokens = modules["projector"](compact, pool=True).shape[1]
    found["selector"] = operations(lambda: _scores(modules["selector"], groups, tokens))
    return found, tokens


def _scores(selector: Any, groups: int, tokens: int) -> None:
    width = QWEN["hidden_size"]
    with torch.device("meta"):
        visual = VisualGroups(
            torch.empty(1, groups, tokens, width),
            torch.empty(1, groups, TIME, width),
            torch.empty(1, groups, TIME, dtype=torch.bool),
            torch.empty(1, groups, dtype=torch.bool),
        )
        query = Query(torch.empty(1, QUESTION, width), torch.empty(1, QUESTION, dtype=torch.bool))
        vectors = torch.empty(1, width)
        for start in range(0, groups, selector.chunk_groups):
            part = slice(start, start + selector.chunk_groups)
            selector._scores(visual.tokens[0, part], visual.time[0, part], visual.time_valid[0, part], vectors)
        selector.question_proj(query.tokens)


@torch.no_grad()
def reading(llm: Any, length: int) -> float:
    """Operations of the language model's layers for a prompt, causal attention counted as half of the square."""
    embeddings = torch.empty(1, length, QWEN["hidden_size"], device="meta", dtype=torch.bfloat16)
    mask = torch.empty(1, 1, length, length, device="meta", dtype=torch.bfloat16)  # given, none is looked for
    total = operations(lambda: llm.get_decoder()(inputs_embeds=embeddings, attention_mask=mask, use_cache=False))
    heads = QWEN["hidden_size"]
    square = 4.0 * length * length * heads * QWEN["num_hidden_layers"]  # scores and values, counted whole
    return total - square / 2


def main() -> None:
    """Count, print, write."""
    modules = parts()
    flops, tokens = count(modules)
    groups = FRAMES // 4
    layers, kv_heads = QWEN["num_hidden_layers"], QWEN["num_key_value_heads"]
    head = QWEN["hidden_size"] // QWEN["num_attention_heads"]
    token_bytes = 2 * layers * kv_heads * head * 2
    keeps = []
    for keep in KEEPS:
        length = groups * TIME + KeepRule(ratio=keep).count(groups, tokens) + QUESTION
        keeps.append(
            {
                "keep": keep,
                "tokens": length,
                "KV GiB": length * token_bytes / 2**30,
                "prefill TFLOP": reading(modules["language model"], length) / 1e12,
            }
        )
    result = {
        "setting": {
            "command": "python benchmarks/full_size.py",
            "model": "model=video_xl_pro_3b: SigLIP so400m at 384 px, 26 of 27 layers; Qwen2.5-3B",
            "video": f"{FRAMES} frames, {groups} groups of {tokens} video and {TIME} time tokens",
            "versions": f"torch {torch.__version__}",
            "date": str(date.today()),
        },
        "parameters": {name: sum(p.numel() for p in module.parameters()) for name, module in modules.items()},
        "TFLOP": {name: value / 1e12 for name, value in flops.items()},
        "KV bytes a token": token_bytes,
        "compact tokens GiB": groups * tokens * QWEN["hidden_size"] * 2 / 2**30,
        "keep": keeps,
    }
    RESULT.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    RESULT.with_suffix(".md").write_text(markdown(result))
    print(markdown(result))


def markdown(result: dict[str, Any]) -> str:
    """The record for people."""
    lines = ["# The 3B model in numbers", "", *(f"- {k}: {v}" for k, v in result["setting"].items()), ""]
    lines += [
        *__doc__.split("\n\n")[2].splitlines(),
        "",
        "| part | parameters | TFLOP for the video |",
        "|---|---:|---:|",
    ]
    for name, number in result["parameters"].items():
        work = result["TFLOP"].get(name)
        lines.append(f"| {name} | {number:,} | {'see below' if work is None else f'{work:,.1f}'} |")
    lines += ["", f"All compact tokens take {result['compact tokens GiB']:.2f} GiB in bfloat16; the cache takes "]
    lines[-1] += f"{result['KV bytes a token']:,} bytes a token."
    lines += ["", "| keep | tokens of the prompt | key-value cache, GiB | prefill, TFLOP |", "|---:|---:|---:|---:|"]
    lines += [
        f"| {k['keep']} | {k['tokens']:,} | {k['KV GiB']:.2f} | {k['prefill TFLOP']:,.1f} |" for k in result["keep"]
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
