"""However an optimizer step's samples are cut into micro-batches and over ranks, training is the same."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from recot.checkpoints.reading import read_checkpoint
from recot.errors import DataError
from recot.stages.word_align import WordAlign
from tests.conftest import REPO
from tests.stages.small_stage import SmallStage, batches, fit, trainer
from tests.stages.video_stage import video_batch, video_stage

ALL = {"projector": 1e-2, "llm": 1e-3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints and losses of runs with one process, and with two."""
    made = tmp_path_factory.mktemp("ranks")
    for name, rates in (("one", ALL), ("one_lora", {"projector": 1e-2, "lora": 1e-2})):
        stage = SmallStage(lora="lora" in rates, rates=dict(rates))
        fit(stage, batches(steps=4, per_batch=4), trainer(made, steps=4), save=made / f"{name}.ckpt")
        (made / f"{name}.json").write_text(json.dumps({"losses": stage.losses, "norms": stage.norms}))
    half = SmallStage(lora=False, rates=dict(ALL))
    fit(half, batches(steps=2, per_batch=4), trainer(made, steps=2), save=made / "one_half.ckpt")
    videos = [video_batch(range(4))] * 2
    tuned = video_stage()
    fit(tuned, videos, trainer(made, steps=2), save=made / "video_one.ckpt")
    (made / "video_one.json").write_text(json.dumps(tuned.norms))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*command, str(REPO / "tests/stages/two_ranks.py"), str(made)],
        check=True,
        timeout=900,
        env=os.environ | {"PYTHONPATH": f"{REPO}:{REPO / 'src'}", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    return made


def weights(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_checkpoint(path)["state_dict"]
    return state


def require_same(found: Path, expected: Path) -> None:
    a, b = weights(found), weights(expected)
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=2e-6, msg=name)


def test_four_accumulated_batches_of_unequal_tokens_are_one_batch(folder: Path, tmp_path: Path) -> None:
    stage = SmallStage(lora=False, rates=dict(ALL))
    fit(
        stage,
        batches(steps=4, per_batch=1),
        trainer(tmp_path, steps=4, accumulate_grad_batches=4),
        save=tmp_path / "accumulated.ckpt",
    )
    require_same(tmp_path / "accumulated.ckpt", folder / "one.ckpt")
    expected = json.loads((folder / "one.json").read_text())
    assert stage.norms == pytest.approx(expected["norms"], rel=1e-4)
    assert min(stage.norms) > 0.05  # so all are clipped


def test_a_rest_of_micro_batches_at_an_epochs_end_counts_its_own_tokens(tmp_path: Path) -> None:
    """Three of four: Lightning steps with what there is, and still divides by four."""
    stages = []
    for per_batch, accumulate in ((3, 1), (1, 4)):
        stage = SmallStage(lora=False, rates=dict(ALL))
        vectors, labels = batches(steps=1, per_batch=4)[0]
        data = [(vectors[i : i + per_batch], labels[i : i + per_batch]) for i in range(0, 3, per_batch)]
        fit(stage, data, trainer(tmp_path, steps=1, accumulate_grad_batches=accumulate), save=tmp_path / "a.ckpt")
        stages.append(stage)
    assert stages[0].norms == pytest.approx(stages[1].norms, rel=1e-4)
    for (name, a), b in zip(stages[0].named_parameters(), stages[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-6, msg=name)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("ddp", "one"),
        ("ddp_accumulated", "one"),
        ("fsdp", "one"),
        ("fsdp_accumulated", "one"),
        ("fsdp_lora", "one_lora"),
        ("fsdp_resumed", "one"),
    ],
)
def test_two_ranks_train_as_one_process(folder: Path, name: str, reference: str) -> None:
    require_same(folder / f"{name}.ckpt", folder / f"{reference}.ckpt")
    expected = json.loads((folder / f"{reference}.json").read_text())
    ranks = [json.loads((folder / f"rank{rank}.json").read_text())[name] for rank in (0, 1)]
    losses, steps = [own["losses"] for own in ranks], len(ranks[0]["norms"])
    micro = len(losses[0]) // steps
    found = [sum(own[i] for own in losses for i in range(s * micro, (s + 1) * micro)) for s in range(steps)]
    assert found == pytest.approx(expected["losses"][-steps:], rel=1e-5)
    assert found[-1] < found[0]
    for own in ranks:
        assert own["norms"] == pytest.approx(expected["norms"][-steps:], rel=1e-4)


@pytest.mark.parametrize("name", ["video_ddp", "video_fsdp"])
def test_a_rank_with_videos_and_one_with_images_train_as_one_process(folder: Path, name: str) -> None:
    expected = json.loads((folder / "video_one.json").read_text())
    for rank in (0, 1):
        norms = json.loads((folder / f"rank{rank}.json").read_text())[name]["norms"]
        for step in (0, 1):
            assert norms[step] == pytest.approx(expected[step], rel=1e-3)
            assert min(norms[step].values()) > 0
    parts = {key.split(".")[1] for key in weights(folder / f"{name}.ckpt")}
    assert parts == {"dts", "projector", "selector", "llm"}


def test_a_sharded_stage_resumes_with_its_own_rates_only(folder: Path, tmp_path: Path) -> None:
    own = trainer(tmp_path, steps=3)
    sharded, data = folder / "video_fsdp.ckpt", [video_batch(range(4))] * 3
    fit(video_stage(), data, own, save=tmp_path / "a.ckpt", resume=sharded)
    assert own.global_step == 3
    other = video_stage(train={"lora": 1e-2})
    with pytest.raises(DataError, match=r"projector: learning rate 0\.01, .*frozen here"):
        fit(other, data, trainer(tmp_path, steps=3), save=tmp_path / "b.ckpt", resume=sharded)


def test_ranks_with_different_numbers_of_validation_batches_agree(folder: Path) -> None:
    ranks = [json.loads((folder / f"rank{rank}.json").read_text())["fsdp"]["val"] for rank in (0, 1)]
    assert len(ranks[0]) > len(ranks[1])
    assert ranks[0][0] == pytest.approx(ranks[1][0], rel=1e-6)


def test_a_sharded_checkpoint_is_resumed_in_one_process(folder: Path, tmp_path: Path) -> None:
    """Optimizer states find their parameters whatever the strategy."""
    sharded, plain = (read_checkpoint(folder / f"{name}.ckpt")["optimizer_states"][0] for name in ("fsdp", "one"))
    assert sharded["state"].keys() == plain["state"].keys()
    for number, state in plain["state"].items():
        torch.testing.assert_close(sharded["state"][number]["exp_avg"], state["exp_avg"], rtol=1e-3, atol=1e-7)
    settings: list[list[Any]] = [[g["name"], g["params"]] for g in plain["param_groups"]]
    assert [[g["name"], g["params"]] for g in sharded["param_groups"]] == settings


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_words_of_captions_teach_two_ranks_what_they_teach_one(folder: Path, tmp_path: Path, strategy: str) -> None:
    """Words that are wrong are those of a batch's other captions, of micro-batches or ranks alike."""
    stage = video_stage(WordAlign, train={"projector": 1e-2}, lora=None)
    start = {name: value.clone() for name, value in stage.model.projector.state_dict().items()}
    one = trainer(tmp_path, steps=3, accumulate_grad_batches=2)
    fit(stage, [video_batch([0, 1]), video_batch([2, 3])] * 3, one, save=tmp_path / "one.ckpt")
    require_same(folder / f"words_{strategy}.ckpt", tmp_path / "one.ckpt")
    assert not any(value.equal(start[name]) for name, value in stage.model.projector.state_dict().items())
