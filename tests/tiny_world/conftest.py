"""The corpus with planted junk, made once."""

import pytest

from recot.tiny_world.__main__ import main
from tests.tiny_world.junk_corpus import FRAMES, JUNK, VIDEOS, Made, arguments


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("junk") / "made"
    main(arguments(folder, videos=VIDEOS, frames=FRAMES, junk=JUNK))
    return Made(folder)
