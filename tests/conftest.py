"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Making a scene takes milliseconds, and CI machines are busy: what is slow there isn't wrong.
settings.register_profile("recot", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("recot")

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of real clips and broken files, beside the checkout or where ``RECOT_SHARED`` says."""
    path = Path(os.environ.get("RECOT_SHARED", REPO.parent / "shared"))
    if not (path / "videos" / "manifest.json").is_file():
        pytest.skip(f"no real clips at {path} (set RECOT_SHARED to the folder that holds videos/)")
    return path
