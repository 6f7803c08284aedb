"""``python -m tests.inference.long_video_worker VIDEO``: peak memory of reading all frames streamed and at once."""

import json
import sys
from pathlib import Path

import torch

from recot.inference.video import choose_frames, read_video
from recot.models.video_input import VisualInput
from recot.models.vision_encoder import pretrained_encoder
from recot.video_io import FrameSampling, decode
from tests.models.tiny_video_lm import BACKBONES, tiny_video_lm

SIZE = (64, 64)


def status_mib(field: str) -> float:
    """MiB from this process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def start_peak_anew() -> float:
    """Resident MiB now."""
    Path("/proc/self/clear_refs").write_text("5")
    return status_mib("VmRSS")


@torch.inference_mode()
def main(path: str) -> None:
    """Print the figures."""
    torch.set_num_threads(1)  # each thread would have memory of its own
    # One layer of the encoder and a coarse grid: what is told apart here is how much is held at once.
    encoder = pretrained_encoder(name_or_path=str(BACKBONES / "vision"), drop_layers=3, grid=4)
    model = tiny_video_lm(vision_encoder=encoder)
    short = choose_frames(path, FrameSampling(count=64))
    read_video(model, path, short, frame_size=SIZE)  # what libraries load on first use

    chosen = choose_frames(path, FrameSampling(stride=1))
    before = start_peak_anew()
    streamed = read_video(model, path, chosen, frame_size=SIZE)
    streamed_mib = status_mib("VmHWM") - before

    before = start_peak_anew()
    frames = torch.from_numpy(decode(path, chosen.indices, SIZE).frames).view(-1, 4, *SIZE, 3)
    whole = model.compress([VisualInput(times_s=streamed.times_s, frames=frames)])[0]
    whole_mib = status_mib("VmHWM") - before

    assert streamed.tokens is not None
    found = {
        "frames": len(chosen.indices),
        "difference": (streamed.tokens - whole).abs().max().item(),
        "frames_mib": frames.numel() / 2**20,
        "tokens_mib": whole.numel() * whole.element_size() / 2**20,
        "streamed_mib": streamed_mib,
        "whole_mib": whole_mib,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
