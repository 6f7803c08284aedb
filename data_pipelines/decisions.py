"""From signals to decisions: what is kept, and every reason why the rest isn't.

A pure function of two tables, so that thresholds can be changed without scoring anything again.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipelines.candidates import candidates, gather
from data_pipelines.checks import Check, observed, read_signal, signal_names
from data_pipelines.copies import KINDS, find_copies
from data_pipelines.corpus_checks import decodable, duplicate, kept_instead, leaked, questions_left, selected
from data_pipelines.findings import Findings
from data_pipelines.rules import Rule, enabled, judge
from data_pipelines.selection import REASONS, Selected, Selection, select
from recot.errors import ConfigError


@dataclass
class Policy:
    """What is good enough, and what of it to keep.

    Attributes:
        rules: reason code -> bound on a signal.
        duplicates: kinds of near duplicates that go, of ``packets``, ``perceptual`` and ``semantic``. Exact copies
            always become one: a content is in the shards once.
        drop_leaks: whether videos of the evaluation sets go.
        quarantine: ``error_reason`` of videos that failed through no fault of theirs; they are set aside.
        selection: what to keep of the good ones.
    """

    rules: dict[str, Rule]
    duplicates: list[str]
    drop_leaks: bool
    quarantine: list[str]
    selection: Selection

    def check(self) -> None:
        """Raise ``ConfigError`` for a value that has the right type but can't work."""
        for name, rule in self.rules.items():
            rule.check(name)
        if not set(self.duplicates) <= set(KINDS[1:]):
            raise ConfigError(f"pruning.policy.duplicates={self.duplicates}: expected some of {', '.join(KINDS[1:])}")
        self.selection.check()


@dataclass(frozen=True)
class Decisions:
    """What becomes of every video and every sample, in the order of the tables that were judged.

    Attributes:
        videos: ``video_id, decision, reason_codes, dup_of, stratum, rank``.
        samples: ``sample_id, video_id, decision, reason_codes, dup_of, stratum, rank``.
        not_judged: rules whose signal neither table has, or not with the status that they are about.
        video_checks: what was checked of the videos.
        sample_checks: what was checked of the samples.
        inherited: checks of the videos whose reasons are those of their samples too.
        owner: (samples,) int64, row of each sample's video.

    ``decision`` is keep, drop or quarantine; ``reason_codes`` is a list, empty for keep. ``dup_of`` is the kept video
    that this one copies; a kept sample that has one belongs to that video now. ``stratum`` and ``rank`` (0 is the
    best) are of what was good enough to select from: samples, and videos without questions; else null.
    """

    videos: pa.Table
    samples: pa.Table
    not_judged: tuple[str, ...]
    video_checks: tuple[Check, ...]
    sample_checks: tuple[Check, ...]
    inherited: tuple[Check, ...]
    owner: np.ndarray

    def verdicts(self, config_hash: str) -> Iterator[pa.Table]:
        """Rows for ``audit.parquet`` (``checks.VERDICT_SCHEMA``): check after check, each of all videos or samples.

        Then, of each check that a sample inherits from its video, the rows of those samples that don't pass it.
        """
        video_ids, sample_ids = self.videos["video_id"].combine_chunks(), self.samples["sample_id"].combine_chunks()
        yield from (check.verdicts(video_ids, config_hash) for check in self.video_checks)
        yield from (check.verdicts(sample_ids, config_hash) for check in self.sample_checks)
        for check in self.inherited:
            rows = np.flatnonzero(check.codes[self.owner] >= 0)
            yield check.take(self.owner[rows]).verdicts(sample_ids.take(pa.array(rows)), config_hash)


def decide(videos: pa.Table, samples: pa.Table, policy: Policy) -> Decisions:
    """Decide about every video and every sample.

    A video's reasons: that it couldn't be decoded (its ``error_reason``); rules; ``<signal>_error`` where a signal
    that a rule needs failed (quarantined unless something else drops it); ``leaked_video``; ``no_question_left`` if it
    came with questions and each has a reason of its own; ``duplicate_<kind>``; ``over_budget``. A sample's reasons:
    those of its video (not the last and ``no_question_left``, which come from samples, and not ``duplicate_<kind>``
    where the kept copy takes the sample over, see ``copies.find_copies``), rules, ``too_many_questions`` and
    ``over_budget``.

    Args:
        videos: ``video_id`` unique, ``source``, ``key``, ``duration_s``, ``error_reason``, ``error_class``,
            ``error_detail``; ``<signal>`` and ``<signal>_status``. Where there are such things: ``leak_kind``,
            ``leak_score`` and ``leak_of``; ``embedding_cluster``; ``visual_tokens``; what ``find_copies`` reads.
        samples: ``sample_id``, ``video_id``, ``task_type``; signals likewise; perhaps ``text_tokens``.
        policy: thresholds and budget.

    Raises:
        ConfigError: for a policy that can't work or names a signal that nobody knows.
    """
    policy.check()
    film_of = pc.index_in(samples["video_id"], value_set=videos["video_id"]).combine_chunks()
    assert film_of.null_count == 0, "every sample has its video in the table"
    owner = film_of.to_numpy().astype(np.int64)
    films, texts = _judge_each(videos, samples, owner, policy)
    handed_down = list(films.checks)
    films.add(questions_left(texts.dropped, texts.held, owner, len(videos)))
    copies = find_copies(videos, films.good, policy.duplicates)
    films.add(duplicate(videos, copies))
    handed_down.append(replace(films.checks[-1], codes=np.where(copies.merged, -1, copies.kind)))
    texts.inherit(handed_down, owner)
    home = np.where(copies.merged, copies.of, np.arange(len(videos)))[owner]
    film_places, text_places = _select(videos, samples, films, texts, owner, home, policy.selection)
    _check_invariants(films, texts, owner, home)
    copied = kept_instead(videos, copies)
    return Decisions(
        videos=_table(videos.select(["video_id"]), films, copied, film_places),
        samples=_table(samples.select(["sample_id", "video_id"]), texts, copied.take(film_of), text_places),
        not_judged=_not_judged(policy, videos, samples),
        video_checks=tuple(films.checks),
        sample_checks=tuple(texts.checks),
        inherited=tuple(handed_down),
        owner=owner,
    )


def _judge_each(videos: pa.Table, samples: pa.Table, owner: np.ndarray, policy: Policy) -> tuple[Findings, Findings]:
    """What is found of each video and each sample by itself."""
    films, texts = Findings(len(videos)), Findings(len(samples))
    films.add(decodable(videos, policy.quarantine))
    broken = ~films.good
    films.add(*_judged(videos, enabled(policy.rules, videos.column_names, samples.column_names), videos, broken))
    rules = enabled(policy.rules, samples.column_names, videos.column_names)
    names = [rule.within for rule in rules.values() if rule.within is not None]
    groups = gather(videos, samples, np.arange(len(samples)), owner, names)
    texts.add(*_judged(samples, rules, groups, broken[owner]))
    if "leak_kind" in videos.column_names:
        films.add(leaked(videos, policy.drop_leaks))
    return films, texts


def _judged(table: pa.Table, rules: dict[str, Rule], groups: pa.Table, broken: np.ndarray) -> list[Check]:
    """The checks of all signals of a table, and of what else its rules are about."""
    judged = {rule.signal for rule in rules.values()}
    checks = [observed(read_signal(table, name), name) for name in signal_names(table) if name not in judged]
    for name, rule in rules.items():
        if rule.within is not None and rule.within not in groups.column_names:
            raise ConfigError(f"pruning.policy.rules.{name}.within={rule.within}: there is no such column")
        group = None if rule.within is None else groups[rule.within].combine_chunks()
        checks.append(judge(table, name, rule, group, broken))
    return checks


def _select(
    videos: pa.Table,
    samples: pa.Table,
    films: Findings,
    texts: Findings,
    owner: np.ndarray,
    home: np.ndarray,
    selection: Selection,
) -> tuple[pa.Table, pa.Table]:
    """Select from the good samples and the good videos without samples; ``stratum`` and ``rank`` of all rows."""
    rows = np.flatnonzero(texts.good)
    bare = np.flatnonzero(films.good & (np.bincount(home[rows], minlength=len(videos)) == 0))
    homes = np.concatenate((home[rows], bare))
    table = candidates(videos, samples, rows, np.concatenate((owner[rows], bare)), homes, selection)
    chosen = select(table, selection)
    codes = np.full(len(samples), -1, np.int16)
    codes[rows] = chosen.codes[: len(rows)]
    kept = np.bincount(homes[chosen.codes < 0], minlength=len(videos)) > 0
    film_codes = np.where(films.good & ~kept, REASONS.index("over_budget"), -1).astype(np.int16)
    of_films = _places(chosen, np.arange(len(rows), len(homes)), bare, len(videos))
    of_texts = _places(chosen, np.arange(len(rows)), rows, len(samples))
    films.add(selected(film_codes, of_films["score"], of_films["stratum"]))
    texts.add(selected(codes, of_texts["score"], of_texts["stratum"]))
    return of_films, of_texts


def _places(chosen: Selected, of: np.ndarray, rows: np.ndarray, n: int) -> pa.Table:
    """``stratum``, ``rank`` and ``score`` of the candidates ``of``, at ``rows`` of ``n``; null elsewhere."""
    where = np.full(n, -1, np.int64)
    where[rows] = of
    wanted = pa.array(where, mask=where < 0)
    rank = pa.array(chosen.rank, mask=chosen.rank < 0)
    return pa.table(
        {"stratum": chosen.strata.take(wanted), "rank": rank.take(wanted), "score": pa.array(chosen.score).take(wanted)}
    )


def _table(ids: pa.Table, findings: Findings, copied: pa.Array, places: pa.Table) -> pa.Table:
    columns = {name: ids[name] for name in ids.column_names}
    columns |= {"decision": findings.decisions(), "reason_codes": findings.reason_codes(), "dup_of": copied}
    return pa.table(columns | {"stratum": places["stratum"], "rank": places["rank"]})


def _not_judged(policy: Policy, videos: pa.Table, samples: pa.Table) -> tuple[str, ...]:
    return tuple(
        name
        for name, rule in policy.rules.items()
        if rule.enabled and not any(_has(table, rule) for table in (videos, samples))
    )


def _has(table: pa.Table, rule: Rule) -> bool:
    """Whether a rule has something to judge; without a status, a column is enough."""
    if rule.status is None or rule.signal not in table.column_names:
        return rule.signal in table.column_names
    return bool(read_signal(table, rule.signal).having(rule.status).any())


def _check_invariants(films: Findings, texts: Findings, owner: np.ndarray, home: np.ndarray) -> None:
    """What is kept fits together; that each row is kept, dropped or quarantined follows from how decisions are made."""
    taken = np.bincount(home[texts.good], minlength=len(films.good)) > 0
    asked = np.bincount(owner, minlength=len(films.good)) > 0
    assert films.good[taken].all(), "a kept sample belongs to a video that isn't kept"
    assert taken[films.good & asked].all(), "a video is kept without any of its questions"
