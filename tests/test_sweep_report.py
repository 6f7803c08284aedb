"""``python -m recot.sweep_report``: every run of a sweep is in the table or is listed with its reason."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from omegaconf import OmegaConf

from recot.errors import DataError
from recot.sweep_report import STYLES, main, read_sweeps


def metrics(masked: float, **changes: Any) -> dict[str, Any]:
    return {
        "val/explained_variance_masked": masked,
        "val/explained_variance_visible": 0.91,
        "val/cosine_masked": 0.82,
        "val/order_sensitivity": 0.73,
        "val/baseline_mean/explained_variance_masked": 0.11,
        "val/baseline_mean/explained_variance_visible": 0.99,  # not on masked tokens: never the best
        "val/baseline_first/explained_variance_masked": -0.3,
        "val/baseline_interpolation/explained_variance_masked": 0.22,
        **changes,
    }


def add_run(sweep: Path, number: int, kind: str, ratio: float, seed: int, result: dict[str, Any] | None) -> Path:
    folder = sweep / str(number)
    (folder / ".hydra").mkdir(parents=True)
    config = {
        "seed": seed,
        "stage": {"masking": kind, "mask_ratio": ratio},
        "trainer": {"precision": "${precision:}"},  # resolvers of the training program aren't known here
    }
    OmegaConf.save(OmegaConf.create(config), folder / ".hydra" / "config.yaml")
    if result is not None:
        (folder / "metrics.json").write_text(json.dumps(result))
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two kinds at two ratios with two seeds, eight finished runs."""
    number = 0
    for kind, level in (("random", 0.5), ("sgm", 0.6)):
        for ratio in (0.5, 0.9):
            for seed in (0, 1):
                masked = level - 0.2 * (ratio == 0.9) + 0.01 * seed
                add_run(tmp_path / "sweep", number, kind, ratio, seed, metrics(masked))
                number += 1
    return tmp_path / "sweep"


def test_the_table_has_one_aligned_row_a_run(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(sweep)])
    lines = capsys.readouterr().out.splitlines()
    header, rows = lines[0], lines[1:9]
    assert header.split()[:3] == ["masking", "ratio", "seed"]
    cells = [row.split() for row in rows]
    assert [row[:3] for row in cells] == [
        [kind, ratio, seed] for kind in ("sgm", "random") for ratio in ("0.5", "0.9") for seed in ("0", "1")
    ]
    assert [row[3] for row in cells] == [
        "0.6000", "0.6100", "0.4000", "0.4100", "0.5000", "0.5100", "0.3000", "0.3100"
    ]  # fmt: skip
    for row in cells:
        assert row[4:9] == ["0.9100", "0.8200", "0.7300", "0.2200", "interpolation"]
    for name in ("masked EV", "visible EV", "cosine", "order"):
        ends = {row[: header.index(name) + len(name)][-6:] for row in rows}
        assert all(end.count(".") == 1 for end in ends), name
    assert {row.index("0.2200") for row in rows} == {header.index("best trivial baseline")}


def test_the_csv_has_all_metrics_of_all_runs(sweep: Path) -> None:
    add_run(sweep, 8, "tube", 0.75, 0, metrics(0.4, **{"val/loss": 1.5}))
    main([str(sweep)])
    with (sweep / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    for row in rows:
        written = json.loads((Path(row["run"]) / "metrics.json").read_text())
        config = OmegaConf.load(Path(row["run"]) / ".hydra" / "config.yaml")
        assert row["masking"] == config.stage.masking
        assert float(row["mask_ratio"]) == config.stage.mask_ratio
        assert int(row["seed"]) == config.seed
        assert {name: float(row[name]) for name in written} == written
        assert (row["val/loss"] == "") == ("val/loss" not in written)


def test_the_picture_has_a_line_for_each_kind_and_no_other(sweep: Path) -> None:
    main([str(sweep)])
    picture = imread(sweep / "sweep.png")[..., :3]
    assert picture.shape == (500, 900, 3)
    for kind, (colour, _) in STYLES.items():
        share = (abs(picture - to_rgb(colour)).max(axis=2) < 0.02).mean()
        assert (share > 0.001) == (kind in ("sgm", "random")), kind


def test_several_sweeps_are_reported_together(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    add_run(other, 0, "tube", 0.5, 0, metrics(0.4))
    main([str(other), str(sweep)])
    printed = capsys.readouterr().out
    assert f"{other / '0'}\n" in printed
    assert f"{sweep / '7'}\n" in printed
    assert (other / "sweep.csv").read_text().count("\n") == 10
    assert not (sweep / "sweep.csv").exists()


def test_every_run_that_cannot_be_used_is_listed_with_its_reason(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_run(sweep, 8, "sgm", 0.75, 0, None)
    (add_run(sweep, 9, "sgm", 0.75, 1, None) / "metrics.json").write_text('{"val/exp')
    add_run(sweep, 10, "sgm", 0.75, 2, metrics(float("nan")))
    add_run(sweep, 11, "sgm", 0.75, 3, {"val/explained_variance_masked": 0.5})
    without = {name: value for name, value in metrics(0.5).items() if "baseline" not in name}
    add_run(sweep, 12, "sgm", 0.75, 4, without)
    add_run(sweep, 13, "unheard-of", 0.75, 5, metrics(0.5))
    (add_run(sweep, 14, "sgm", 0.75, 6, metrics(0.5)) / ".hydra" / "config.yaml").unlink()
    (add_run(sweep, 15, "sgm", 0.75, 7, metrics(0.5)) / ".hydra" / "config.yaml").write_text("{")
    (sweep / "notes").mkdir()
    runs, unusable = read_sweeps([sweep])
    assert len(runs) == 8
    assert [folder.name for folder in unusable] == ["8", "9", "10", "11", "12", "13", "14", "15"]
    for number, part in {
        "8": "no metrics.json: the run failed, or hasn't ended",
        "9": "can't be read",
        "10": "finite",
        "11": "lacks val/explained_variance_visible",
        "12": "lacks the trivial baselines",
        "13": "'unheard-of'",
        "14": "config.yaml",
        "15": "can't be read",
    }.items():
        assert part in unusable[sweep / number]
    main([str(sweep)])
    printed = capsys.readouterr().out
    for folder, reason in unusable.items():
        assert f"left out: {folder}: {reason}\n" in printed
    assert (sweep / "sweep.csv").read_text().count("\n") == 9


def test_nothing_to_report_names_the_command_that_makes_a_sweep(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder.*src/train\.py -m experiment=recot_pretrain"):
        read_sweeps([tmp_path / "nowhere"])
    with pytest.raises(DataError, match=r"no runs there.*stage\.mask_ratio=0\.5,0\.6,0\.75,0\.9"):
        read_sweeps([tmp_path])


def test_only_failed_runs_end_with_status_2_after_their_reasons(tmp_path: Path) -> None:
    add_run(tmp_path, 0, "sgm", 0.5, 0, None)
    command = [sys.executable, "-m", "recot.sweep_report", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 2
    assert "no metrics.json" in result.stdout
    assert len(result.stderr.strip().splitlines()) == 1
    assert "none of the 1 runs can be used" in result.stderr
    assert not (tmp_path / "sweep.csv").exists()
