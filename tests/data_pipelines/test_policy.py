"""Decisions are pure, and every drop has a reason."""

import math

from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.policy import SignalRow, Threshold, decide, judge

THRESHOLDS = {
    "health": Threshold(0.95, False, "low_health", "test"),
    "copies": Threshold(0, True, "duplicate", "test"),
}


def reasons(*rows: SignalRow) -> dict[str, list[str]]:
    return decide(judge(rows, THRESHOLDS))


def test_bounds_are_included() -> None:
    assert reasons(SignalRow("a", "s", "health", 0.95), SignalRow("a", "s", "copies", 0.0)) == {"a": []}
    assert reasons(SignalRow("a", "s", "health", 0.9499)) == {"a": ["low_health"]}
    assert reasons(SignalRow("a", "s", "copies", 1.0)) == {"a": ["duplicate"]}


def test_every_reason_is_given() -> None:
    rows = [SignalRow("a", "s", "copies", 2.0), SignalRow("b", "s", "health", 1.0), SignalRow("a", "s", "health", 0.0)]
    assert reasons(*rows) == {"a": ["duplicate", "low_health"], "b": []}


def test_what_could_not_be_measured_is_an_error_with_its_own_reason() -> None:
    broken = SignalRow("a", "s", "health", status="error", reason_code="timeout")
    assert reasons(broken) == {"a": ["timeout"]}
    assert reasons(SignalRow("a", "s", "health", math.nan)) == {"a": ["low_health"]}


def test_a_signal_without_threshold_drops_nothing() -> None:
    assert reasons(SignalRow("a", "s", "motion", -5.0)) == {"a": []}


@given(
    st.lists(
        st.builds(
            SignalRow,
            sample_id=st.sampled_from("abcd"),
            stage=st.just("s"),
            signal=st.sampled_from(["health", "copies", "motion"]),
            value=st.floats(0, 2),
        )
    )
)
def test_every_row_has_a_verdict_and_raising_a_bar_keeps_no_more(rows: list[SignalRow]) -> None:
    verdicts = judge(rows, THRESHOLDS)
    assert [verdict.row for verdict in verdicts] == rows
    decisions = decide(verdicts)
    assert set(decisions) == {row.sample_id for row in rows}
    stricter = decide(judge(rows, {**THRESHOLDS, "health": Threshold(1.5, False, "low_health", "test")}))
    kept, kept_stricter = ({s for s, why in d.items() if not why} for d in (decisions, stricter))
    assert kept_stricter <= kept
