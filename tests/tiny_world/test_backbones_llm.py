"""The committed Qwen2 model: it loads as the real one does and reaches the figures of its card."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2ForCausalLM

from recot.models.llm import pretrained_llm
from recot.models.reply_likelihood import pretrained_likelihood
from recot.models.tokenizer import load_tokenizer
from recot.stages.language_model import accuracies, predict_replies, said_right
from recot.tiny_world.text_data import Level, TinyText

FOLDER = Path(str(files("recot.tiny_world"))) / "backbones/llm"
CARD = json.loads((FOLDER / "card.json").read_text())


@torch.no_grad()
def test_it_reaches_the_figures_of_its_card() -> None:
    settings = CARD["data"] | {"curriculum": [Level(**level) for level in CARD["data"]["curriculum"]]}
    data = TinyText(tokenizer=load_tokenizer(FOLDER), num_workers=0, **settings)
    model = pretrained_llm(name_or_path=str(FOLDER)).eval()
    right: dict[str, list[bool]] = {}
    for batch in data.val_dataloader():
        logits, labels, kept = predict_replies(model, batch)
        for name, said in said_right(logits, labels, kept, batch):
            right.setdefault(name, []).append(said)
    figures = accuracies(right)
    for name in ("accuracy", "accuracy/choice", "accuracy/open"):
        assert figures[name] == pytest.approx(CARD["figures"][f"val/{name}"], abs=0.02)  # trained in bfloat16
    told = accuracies({name: values for name, values in right.items() if not name.startswith("pictured_")})
    assert told["accuracy"] >= 0.95
    assert min(told.values()) >= 0.9  # each task in either form


@torch.no_grad()
def test_it_speaks() -> None:
    model, info = AutoModelForCausalLM.from_pretrained(FOLDER, output_loading_info=True)
    assert isinstance(model, Qwen2ForCausalLM)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokenizer = load_tokenizer(FOLDER)
    facts = "scene 1: red circle moves left\nscene 2: blue square moves up"
    chat = [{"role": "user", "content": f"{facts}\nHow does the blue square move?"}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    said = model.generate(**ids, max_new_tokens=8, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert tokenizer.decode(said, skip_special_tokens=True) == "moves up"


def test_it_tells_the_letter_of_what_everyone_knows() -> None:
    prompt = "What shape is the red circle?\nA. square\nB. circle\nC. cross\nD. triangle"
    nll = pretrained_likelihood(name_or_path=str(FOLDER)).letter_nll([prompt], "ABCD")
    assert nll[0].argmin() == 1


def test_the_backbones_stay_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.parent.rglob("*") if path.is_file()) < 8e6
