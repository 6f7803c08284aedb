"""The report as a browser gets it: counts that agree with the tables, nothing from elsewhere, nothing that runs."""

import base64
import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_pipelines.decisions import Decisions, decide
from data_pipelines.ingest.records import RejectedRow
from data_pipelines.report import render
from data_pipelines.report.charts import histogram, value_scale
from data_pipelines.report.facts import BORDERLINE, EXAMPLES, check_facts
from data_pipelines.report.funnel import count_reasons, funnel
from data_pipelines.report.pictures import Pictures
from data_pipelines.report.render import ReportInput, StageTime, write_report
from data_pipelines.rules import Rule
from tests.data_pipelines.policy_tables import films, policy, selection, texts

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>{{ 7*7 }}\u202egnp.mp4\x00'
VOID = {"meta", "img", "br", "line"}


class Page(HTMLParser):
    """Checks that tags nest, and gathers what a browser would load, run, link to, and show."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def values(self, attribute: str) -> list[str]:
        return [found[attribute] or "" for _, found in self.tags if attribute in found]


def corpus(n: int = 60) -> tuple[pa.Table, pa.Table, Decisions]:
    """Videos of which every fifth is static, every seventh is dark, one copies its neighbour, and one is broken."""
    rng = np.random.default_rng(0)
    videos: list[dict[str, Any]] = []
    for i in range(n):
        static, dark = (5e-5 if i % 5 == 0 else float(rng.uniform(0.01, 0.1))), float(i % 7 == 0)
        measured = {"static": static, "static_status": "ok", "dark": dark, "dark_status": "ok"}
        facts = {"width": 64, "height": 48, "media_duration_s": 9.0, "codec": "h264", "uri": f"file:///v{i}"}
        videos.append({**measured, **facts})
    videos[1] |= {"cluster_id": 1, "dup_kind": "perceptual", "dup_score": 0.75}
    videos[2] |= {"cluster_id": 1, "dup_kind": "perceptual", "dup_score": 0.75}
    broken = {"error_reason": "decode_failed", "error_class": "VideoError", "error_detail": "stops in the middle"}
    videos[3] = {**broken, "static_status": "error", "dark_status": "error", "uri": "file:///v3"}
    asked = [
        {"video_id": f"v{i}", "blind_right": i % 4 / 4, "blind_right_status": "ok", "question": f"What is {i}?"}
        | {"answer": f"It is {i}.", "options": ["a", "b"]}
        for i in range(0, n, 2)
    ]
    rules = {
        "static": Rule(signal="static", min=0.002, source="ours"),
        "dark": Rule(signal="dark", max=0.5, source="ours"),
        "blind": Rule(signal="blind_right", max=0.6, source="GDO"),
    }
    table, questions = films(*videos), texts(*asked)
    return table, questions, decide(table, questions, policy(chosen=selection(), **rules))


def report_input(videos: pa.Table, samples: pa.Table, decisions: Decisions, **changes: Any) -> ReportInput:
    def verdicts(checks: Any, ids: pa.Array) -> Iterator[pa.Table]:
        return (check.verdicts(ids, "c0ffee") for check in checks)

    values: dict[str, Any] = {
        "source": "annotations.jsonl",
        "config": "policy:\n  static: {min: 0.002}",
        "config_hash": "c0ffee",
        "videos": videos,
        "samples": samples,
        "decided_videos": decisions.videos,
        "decided_samples": decisions.samples,
        "video_verdicts": verdicts(decisions.video_checks, videos["video_id"].combine_chunks()),
        "sample_verdicts": verdicts(decisions.sample_checks, samples["sample_id"].combine_chunks()),
        "rows": 90,
        "rejected": [RejectedRow("annotations.jsonl:7", "not_json", "the line is not JSON")],
        "times": [StageTime("media", 12.5, 50, reused=10, frames=9000), StageTime("policy", 0.0, 0)],
    }
    return ReportInput(**(values | changes))


def shades(video_id: str) -> list[np.ndarray] | None:
    """Eight frames of one grey a video; none of the broken one."""
    if video_id == "v3":
        return None
    level = int(re.sub(r"\D", "", video_id) or 0) % 255
    return [np.full((32, 32, 3), level, np.uint8)] * 8


def page_of(folder: Path, report: ReportInput, thumbnails: Any = shades) -> tuple[str, Page]:
    write_report(folder, report, thumbnails)
    content = (folder / "report.html").read_text()
    return content, Page(content)


def test_the_page_tells_what_the_tables_say(tmp_path: Path) -> None:
    videos, samples, decisions = corpus()
    _, page = page_of(tmp_path, report_input(videos, samples, decisions))
    # Of 60: 12 static (0, 5, ...), 9 dark (0, 7, ..., 56), 2 both (0, 35), 1 broken, 1 copy.
    found = [row for row in decisions.videos["decision"].to_pylist() if row == "keep"]
    assert len(found) == 60 - 12 - 9 + 2 - 1 - 1
    assert f"{len(found)} of 60 videos kept (65.0 %), 21 dropped, 0 set aside." in page.text
    counts = {count.code: (count.rows, count.alone) for count in count_reasons(decisions.videos)}
    assert counts["static"] == (12, 10)
    assert counts["dark"] == (9, 7)
    for words in (
        "static : 12 — at least 0.002 — pruning.policy.rules.static.min (ours)",
        "dark : 9 — at most 0.5",
        "1 of 90 rows can't be used",
        "annotations.jsonl:7",
        "perceptual, score 0.75",
        "stops in the middle",
        "What is 0? [a / b] → It is 0.",
        "media 12.5 50 10 4 9000 720",
        "policy: static: {min: 0.002}",
        "1 error, 59 ok",
    ):
        assert words in page.text, words


def test_nothing_is_loaded_and_nothing_runs(tmp_path: Path) -> None:
    content, page = page_of(tmp_path, report_input(*corpus()))
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "base", "form"} == set()
    assert all(value.startswith("data:image/jpeg;base64,") for value in page.values("src"))
    assert not [name for _, found in page.tags for name in found if name.startswith("on")]
    assert "http" not in content.replace('http-equiv="Content-Security-Policy"', "")
    assert "url(" not in content
    targets = {value.removeprefix("#") for value in page.values("href")}
    assert targets <= set(page.values("id"))
    assert len(page.values("id")) == len(set(page.values("id")))
    assert page.values("alt")
    assert "prefers-color-scheme: dark" in content


def test_hostile_names_and_texts_are_only_text(tmp_path: Path) -> None:
    videos, samples, _ = corpus()
    names = videos["video_id"].to_pylist()
    renamed = [f"{name}{HOSTILE}" for name in names]
    owners = [f"{name}{HOSTILE}" for name in samples["video_id"].to_pylist()]
    videos = videos.set_column(videos.schema.get_field_index("video_id"), "video_id", pa.array(renamed))
    for name, values in (
        ("video_id", owners),
        ("question", [HOSTILE] * len(samples)),
        ("answer", [HOSTILE] * len(samples)),
    ):
        samples = samples.set_column(samples.schema.get_field_index(name), name, pa.array(values))
    samples = samples.append_column("extra", pa.array([HOSTILE] * len(samples)))
    decisions = decide(videos, samples, policy(static=Rule(signal="static", min=0.002, source=HOSTILE)))
    rejected = [RejectedRow(HOSTILE, "bad_text", HOSTILE)]
    report = report_input(videos, samples, decisions, source=HOSTILE, config=HOSTILE, rejected=rejected)
    content, page = page_of(tmp_path, report, lambda video_id: shades(video_id.partition("<")[0]))
    assert "<script" not in content
    assert "<img src=x" not in content
    assert not any("onerror" in found for _, found in page.tags)
    assert "{{ 7*7 }}" in page.text
    assert not {"\u202e", "\x00"} & set(content)
    assert len(page.values("src")) == len(page.values("alt")) > 20


def test_pictures_are_what_was_given_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = Pictures(shades, 10**6)
    uri = pictures.of("v200", aspect=4 / 3)
    assert uri is not None
    strip = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert strip.size == (3 * 112 + 2 * 2, 84)
    assert abs(int(np.asarray(strip)[40, 50].mean()) - 200) <= 2
    assert pictures.of("v3", aspect=None) is None
    assert pictures.left_out == 0

    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(3)]
    monkeypatch.setattr(render, "_PICTURE_BYTES", 100_000)
    content, page = page_of(tmp_path, report_input(*corpus()), lambda video_id: noise)
    assert 50_000 < sum(len(value) for value in page.values("src")) <= 100_000
    assert re.search(r"\d+ pictures were left out", page.text)
    assert len(content) < 400_000


@pytest.mark.parametrize("n", [0, 1])
def test_hardly_any_input(tmp_path: Path, n: int) -> None:
    videos, samples, _ = corpus(4)
    videos, samples = videos.slice(0, n), samples.slice(0, n)
    decisions = decide(videos, samples, policy())
    _, page = page_of(tmp_path, report_input(videos, samples, decisions, rejected=[], rows=0, times=[]))
    assert "Rejected annotation rows none" in page.text
    assert ("1 of 1 videos kept (100.0 %)" in page.text) == (n == 1)


# --- the parts


def table_of(values: list[float | None], thresholds: list[float | None], verdicts: list[str]) -> pa.Table:
    n = len(values)
    lost = [None if verdict == "pass" else "low" for verdict in verdicts]
    words = {name: ["x"] * n for name in ("stage", "signal", "threshold_source")}
    return pa.table(
        {**words, "value": pa.array(values, pa.float64()), "threshold": pa.array(thresholds, pa.float64())}
        | {"verdict": verdicts, "reason_code": pa.array(lost, pa.string())}
    )


def test_rows_next_to_the_threshold_are_the_nearest_on_each_side() -> None:
    values = [0.1, 0.9, 0.45, 0.55, None, 0.5, 0.2, 0.49, 0.3, 0.7, 0.6]
    verdicts = ["pass" if value is None or value >= 0.5 else "drop" for value in values]
    (facts,) = check_facts("videos", [table_of(values, [0.5] * len(values), verdicts)])
    assert facts.just_lost == [7, 2, 8, 6]
    assert facts.just_passed == [5, 3, 10, 9]
    assert (facts.low_is_bad, facts.bounds, facts.reasons, facts.passed) == (True, [0.5], {"low": 5}, 6)
    assert len(facts.just_lost) == BORDERLINE


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=40), st.booleans())
@settings(max_examples=60, deadline=None)
def test_which_side_goes_is_found_where_it_shows(rows: list[tuple[float, float]], low_is_bad: bool) -> None:
    values, bounds = (list(column) for column in zip(*rows, strict=True))
    good = [value >= bound if low_is_bad else value <= bound for value, bound in rows]
    verdicts = ["pass" if passes else "drop" for passes in good]
    (facts,) = check_facts("videos", [table_of(values, bounds, verdicts)])
    shows = any(value != bound for value, bound in rows)
    assert facts.low_is_bad == (low_is_bad if shows else None)
    assert len(facts.bounds) <= 6
    assert set(facts.bounds) <= set(bounds)
    assert sum(facts.reasons.values()) + facts.passed == len(rows)
    shown = facts.examples.get("low", [])
    assert len(shown) == min(EXAMPLES, good.count(False))
    assert not any(good[row] for row in shown)


@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=3, unique=True), max_size=30))
@settings(max_examples=60, deadline=None)
def test_the_funnel_loses_each_row_once(reasons: list[list[str]]) -> None:
    decided = pa.table({"reason_codes": pa.array(reasons, pa.list_(pa.string()))})
    stage_of = {"a": "media", "b": "policy", "c": "media", "d": "text"}
    levels = funnel(decided, stage_of)
    assert [level.name for level in levels] == ["input", "media", "text", "policy"]
    left = reasons
    for level, codes in zip(levels[1:], ("ac", "d", "b"), strict=True):
        stays = [row for row in left if not set(row) & set(codes)]
        assert (level.left, level.lost) == (len(stays), len(left) - len(stays))
        left = stays
    counted = {count.code: (count.rows, count.alone) for count in count_reasons(decided)}
    assert counted == {
        code: (sum(code in row for row in reasons), reasons.count([code])) for code in set().union(*map(set, reasons))
    }


@given(
    st.lists(st.one_of(st.floats(-1e9, 1e9), st.just(0.0), st.floats(1e-9, 1e9)), min_size=1, max_size=50),
    st.lists(st.floats(-1e6, 1e6), max_size=3),
    st.sampled_from([True, False, None]),
)
@settings(max_examples=80, deadline=None)
def test_any_values_make_a_histogram(values: list[float], bounds: list[float], low_is_bad: bool | None) -> None:
    drawing = Page(str(histogram(np.array(values), bounds, low_is_bad, '<"&')))
    bars = [found for tag, found in drawing.tags if tag == "rect"]
    assert sum(int(word) for word in drawing.words if word.isdigit()) >= len(values)
    for bar in bars:
        numbers = [float(bar[name] or "nan") for name in ("x", "y", "width", "height")]
        assert 0 <= numbers[0] <= 360
        assert 0 <= numbers[1] <= 130
        assert min(numbers[2:]) > 0
    scale = value_scale(np.array(values), bounds)
    assert all(0 <= place <= 1 for place in scale(np.array([*values, *bounds])))


def test_bars_on_the_bad_side_are_marked() -> None:
    drawing = str(histogram(np.linspace(0, 1, 1001), [0.25], True, "dark"))
    assert (drawing.count('class="bad"'), drawing.count('class="good"')) == (10, 30)
    assert "≥ 0.25" in drawing
    wide = value_scale(np.array([0.0, 5e-5, 1e-3, 0.02, 0.05, 0.1]), [0.002])
    assert wide.log
    assert wide(np.array([0.0, 0.1])).tolist() == [0, 1]
