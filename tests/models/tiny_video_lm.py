"""The tiny model as the configs put it together, and inputs for it."""

from pathlib import Path

import torch

import recot.tiny_world
from recot.models.dts import DynamicTokenSynthesizer
from recot.models.llm import pretrained_llm
from recot.models.projector import Projector
from recot.models.prompt import Turn, Visual, build_prompt
from recot.models.selector import Selector
from recot.models.tokenizer import load_tokenizer
from recot.models.video_input import Sample, VisualInput
from recot.models.video_lm import VideoLM
from recot.models.vision_encoder import pretrained_encoder

BACKBONES = Path(recot.tiny_world.__file__).parent / "backbones"
TOKENIZER = load_tokenizer(BACKBONES / "llm")


def tiny_video_lm(seed: int = 0, **changes: object) -> VideoLM:
    """Committed backbones; what is trained between them has random weights."""
    torch.manual_seed(seed)
    llm = pretrained_llm(name_or_path=str(BACKBONES / "llm"))
    width = llm.config.hidden_size
    parts = {
        "vision_encoder": pretrained_encoder(name_or_path=str(BACKBONES / "vision"), drop_layers=1, grid=8),
        "dts": DynamicTokenSynthesizer(width=64, heads=4),
        "projector": Projector(width=64, llm_width=width),
        "selector": Selector(width=width),
        "llm": llm,
        "tokenizer": TOKENIZER,
    }
    return VideoLM(**(parts | changes)).eval()  # type: ignore[arg-type]


def video(groups: int, seed: int) -> VisualInput:
    """Random frames, 8 a second."""
    frames = torch.randint(256, (groups, 4, 64, 64, 3), dtype=torch.uint8, generator=generator(seed))
    return VisualInput(times_s=torch.arange(groups * 4, dtype=torch.float64).view(groups, 4) / 8, frames=frames)


def image(seed: int) -> VisualInput:
    """One random image, four times."""
    frame = torch.randint(256, (1, 1, 64, 64, 3), dtype=torch.uint8, generator=generator(seed))
    times = torch.zeros(1, 4, dtype=torch.float64)
    return VisualInput(times_s=times, frames=frame.repeat(1, 4, 1, 1, 1), still=True)


def sample(question: str, visuals: tuple[int, ...], reply: str | None = None) -> Sample:
    """A question about the given visuals, which stand before it."""
    shown = [part for n in range(len(visuals)) for part in (Visual(n), "\n")]
    turns = [Turn("user", (*shown, question))]
    if reply is not None:
        turns.append(Turn("assistant", (reply,)))
    return Sample(prompt=build_prompt(TOKENIZER, turns, reply=reply is None), visuals=visuals, seed=len(question))


def generator(seed: int) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)
