"""A model's scores are found again wherever its files lie, and never taken for those of other weights."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from data_pipelines.model_files import files_hash
from data_pipelines.prune import model_of
from recot.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's files, of which the weights are too large to be read whole."""
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text("{}")
    (made / "README.md").write_text("read me")
    with (made / "model.safetensors").open("wb") as file:
        file.truncate(3 * 2**30)  # takes no room on the disk
    return made


def test_a_copy_is_the_same_model(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "other name"
    other.mkdir(parents=True)
    for path in folder.iterdir():
        if path.name != "README.md":
            (other / path.name).touch()
            os.truncate(other / path.name, path.stat().st_size)
            if path.stat().st_size < 100:
                shutil.copyfile(path, other / path.name)
            os.utime(other / path.name, (1, 1))
    node = {"_target_": "a.b", "device": "cpu"}
    one, two = (model_of({**node, "name_or_path": str(place)}) for place in (folder, other))
    assert one is not None
    assert two is not None
    assert one.identity == two.identity
    assert str(tmp_path) not in str(one.identity)
    on_gpu = model_of({**node, "name_or_path": str(folder), "device": "cuda"})
    assert on_gpu is not None
    assert on_gpu.identity != one.identity


def overwrite(name: str, place: int) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        with (folder / name).open("r+b") as file:
            file.seek(place)
            file.write(b"x")

    return change


@pytest.mark.parametrize(
    "change",
    [
        overwrite("config.json", 0),
        overwrite("model.safetensors", 0),
        overwrite("model.safetensors", 3 * 2**30 - 1),
        lambda folder: os.truncate(folder / "model.safetensors", 3 * 2**30 + 1),
        lambda folder: (folder / "config.json").rename(folder / "settings.json"),
        lambda folder: (folder / "more.json").touch(),
    ],
)
def test_any_other_file_is_another_model(folder: Path, change: Callable[[Path], object]) -> None:
    before = files_hash(folder)
    change(folder)
    assert files_hash(folder) != before


def test_a_name_on_the_hub_and_no_model_at_all() -> None:
    node = {"_target_": "a.b", "name_or_path": "google/siglip"}
    model = model_of(node)
    assert model is not None
    assert model.identity == node
    assert model_of(None) is None


def test_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing: the model's files can't be read"):
        files_hash(tmp_path / "nothing")
