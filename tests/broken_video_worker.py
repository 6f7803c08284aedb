"""Run by test_video_io_broken in a process of its own: reads each file named and prints what came of it as a JSON line.

Usage: python -m tests.broken_video_worker <bytes of address space> <file>...
"""

import json
import resource
import sys
import time
from pathlib import Path

import av
import numpy as np

from recot.errors import VideoError
from recot.video_io import VideoLimits, VideoProbe, check_health, decode, probe

SIZE = (48, 64)
HEALTH_TIMEOUT_S = 3.0


def attempt(call):
    """(result, None), or (None, the error as a dict)."""
    try:
        return call(), None
    except VideoError as error:
        return None, {"reason": error.reason, "text": str(error)}


def is_there(path: Path, facts: VideoProbe, number: int, frame: np.ndarray) -> bool:
    """Whether sequential decoding shows this frame at this number, and nothing nearer within 2 frames."""
    distance = {}
    with path.open("rb") as file, av.open(file) as container:
        for count, shown in enumerate(container.decode(container.streams[facts.stream_index])):
            if abs(count - number) <= 2:
                image = shown.to_ndarray(format="rgb24", width=SIZE[1], height=SIZE[0], threads=1)
                distance[count] = float(np.abs(image.astype(int) - frame).mean())
            if count >= number + 2:
                break
    return distance[number] < 1.5 and distance[number] <= min(distance.values()) + 0.3


def read(path: Path) -> dict:
    started = time.monotonic()
    facts, refusal = attempt(lambda: probe(path))
    outcome: dict = {"file": path.name, "refusal": refusal}
    if facts is not None:
        asked = sorted({0, facts.frames // 2, facts.frames - 1})
        decoded, outcome["decode_error"] = attempt(lambda: decode(path, asked, SIZE, facts))
        health, outcome["health_error"] = attempt(
            lambda: check_health(path, facts, VideoLimits(timeout_s=HEALTH_TIMEOUT_S))
        )
        outcome |= {"frames": facts.frames, "decoded": health and health.decoded}
        outcome["seconds"] = time.monotonic() - started
        if decoded is not None and health is not None:
            outcome["there"] = all(
                is_there(path, facts, number, frame) for number, frame in zip(asked, decoded.frames, strict=True)
            )
    else:
        outcome["seconds"] = time.monotonic() - started
    return outcome


def main() -> None:
    limit = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for name in sys.argv[2:]:
        print(json.dumps(read(Path(name))), flush=True)


if __name__ == "__main__":
    main()
