"""Peak memory is of the process that tells it, whoever started it."""

import json
import resource
import subprocess
import sys

import pytest
import torch

from recot.inference.usage import Usage

CHILD = """
import json, torch
from recot.inference.usage import Usage
usage = Usage(torch.device("cpu"))
told = []
for mib in (0, 100, 2000, 10):
    kept = torch.ones(mib * 2**18)
    told.append(usage.peak_memory_mib()["process_so_far"])
    del kept
print(json.dumps(told))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's peak")
def test_a_process_tells_its_own_peak_until_it_is_larger_than_its_parents() -> None:
    large = torch.ones(1500 * 2**18)  # float32: 1500 MiB
    # Without vfork, the child is this process, at its size, until it becomes Python.
    done = subprocess.run(
        [sys.executable, "-c", CHILD], check=True, capture_output=True, text=True, preexec_fn=lambda: None
    )
    del large
    first, second, third, fourth = json.loads(done.stdout)
    parent = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert parent > 1500
    assert 50 < first < 1400
    assert first + 90 < second < 1500
    assert second + 1800 < third
    assert fourth == pytest.approx(third, rel=0.01)
    assert Usage(torch.device("cpu")).peak_memory_mib()["process_so_far"] == pytest.approx(parent, 0.05)
