"""A results folder: one line a sample, written so that a run can be killed at any time and gone on with.

``run.json`` says what the results are of, ``samples.jsonl`` has a line for every question that was answered or failed,
``results.json`` is there when all are done.

A line is written at once, and flushed to the disk at most once a second. So a killed process loses nothing, because the
system has its lines; if the machine itself stops, the last second's lines may be lost, and their questions are asked
again. On slow disks, flushing each line took more than all the rest of the evaluator.
"""

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recot.atomic import fsync_path, write_file
from recot.errors import DataError
from recot.evaluation.aggregation import Figure, Summary
from recot.evaluation.answers import judge
from recot.evaluation.items import Failure, Item, Result

SYNC_EVERY_S = 1.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HASHES = {
    "data_hash": "other questions: of other files, other settings of the suite, or read by another version of recot",
    "prompts": "the model is told other words",
    "checkpoint": "another model",
    "settings.subtitles": "other subtitles",
}
"""What it means that a hash of ``run.json`` differs."""
_REMEDY = "Free some space, then give the same command again: what is finished stays."


@dataclass(frozen=True)
class Samples:
    """What a results folder holds so far."""

    results: Mapping[str, Result]  # by id
    failures: Mapping[str, Failure]  # by id; none of those that were answered


class ResultsFolder:
    """The results of one suite with one configuration, written by any number of processes at once.

    Args:
        folder: made if it isn't there.
        run: what decides the results: suite, settings, hashes of checkpoint and data, versions. JSON values. Not how
            many processes there are.

    Raises:
        DataError: if the folder holds the results of another run, or other files, or can't be written.
    """

    def __init__(self, folder: Path, run: Mapping[str, Any]) -> None:
        self.folder = folder
        self.run = json.loads(json.dumps(run))
        self._samples = folder / "samples.jsonl"
        self._synced = time.monotonic()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _claim(folder, self.run)
            self._samples.touch()
            fsync_path(folder)
        except OSError as error:
            raise DataError(f"{folder} can't be written: {error.strerror or error}. Choose another folder.") from error

    def read(self) -> Samples:
        """All finished samples; a last line that a killed process left unfinished counts for nothing.

        Raises:
            DataError: if a line is damaged otherwise.
        """
        return read_samples(self._samples)

    def add(self, sample: Result | Failure) -> None:
        """Append a line; when this returns, it stays even if this process is killed.

        Raises:
            DataError: if the disk is full; the file is left as it was before.
        """
        line = (json.dumps(_to_json(sample), default=_plain) + "\n").encode()
        (self.folder / "results.json").unlink(missing_ok=True)  # it isn't of all samples any more
        descriptor = os.open(self._samples, os.O_RDWR)
        try:
            with _full_disk_told(self._samples):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                end = _whole_lines(descriptor)
                os.ftruncate(descriptor, end)
                try:
                    _write(descriptor, line, end)
                    if time.monotonic() - self._synced >= SYNC_EVERY_S:
                        self._sync(descriptor)
                except OSError:
                    os.ftruncate(descriptor, end)
                    raise
        finally:
            os.close(descriptor)

    def sync(self) -> None:
        """Flush all lines to the disk.

        Raises:
            DataError: if it is full.
        """
        descriptor = os.open(self._samples, os.O_RDWR)
        try:
            with _full_disk_told(self._samples):
                self._sync(descriptor)
        finally:
            os.close(descriptor)

    def _sync(self, descriptor: int) -> None:
        os.fsync(descriptor)
        self._synced = time.monotonic()

    def finish(
        self,
        items: Sequence[Item],
        summary: Summary,
        suite_settings: Mapping[str, Any],
        not_asked: Sequence[Item] = (),
    ) -> dict[str, Any]:
        """Write ``results.json``, and the lines of ``samples.jsonl`` in the order of the items. By one process, once
        all have ended.

        Args:
            items: the questions.
            summary: what is computed.
            suite_settings: how the suite was set, as JSON values. Only told: what they decide is in ``run``'s hashes.
            not_asked: the suite's other questions, which a control left out.

        Returns:
            What is in ``results.json``: ``run``, ``suite_settings``, ``figures`` (value, low, high, units,
            videos; none if all failed), ``unscored`` (by figure, the groups that it should average over and doesn't, as
            all of theirs failed or weren't asked), ``samples`` (how many), ``failed`` (id, video and reason of each).

        Raises:
            DataError: if a sample is missing, or the disk is full.
        """
        samples = self.read()
        missing = [item.id for item in items if item.id not in samples.results and item.id not in samples.failures]
        if missing:
            raise DataError(
                f"{self.folder}: {len(missing)} of {len(items)} samples are not finished, {missing[0]} for example. "
                "Give the same command again."
            )
        assert len({item.id for item in items}) == len(items), "a suite's ids are unique"
        results = [samples.results[item.id] for item in items if item.id in samples.results]
        failures = [samples.failures[item.id] for item in items if item.id in samples.failures]
        figures = {name: asdict(figure) for name, figure in summary.figures(results).items()}
        report = {
            "run": self.run,
            "suite_settings": suite_settings,
            "figures": figures,
            "unscored": summary.unscored(results, [judge(item, "", {}) for item in (*items, *not_asked)]),
            "samples": {"all": len(items), "scored": len(results), "failed": len(failures)},
            "failed": [asdict(failure) for failure in failures],
        }
        by_id: dict[str, Result | Failure] = {**samples.failures, **samples.results}
        lines = "".join(json.dumps(_to_json(by_id[item.id])) + "\n" for item in items)
        with _full_disk_told(self.folder):
            write_file(self._samples, lines.encode())
            write_file(self.folder / "results.json", (json.dumps(report, indent=1) + "\n").encode())
        return report


def read_samples(path: Path) -> Samples:
    """The samples of a file; see ``ResultsFolder.read``. An answer counts more than a failure; of answers, the
    first counts, of failures the last.
    """
    results: dict[str, Result] = {}
    failures: dict[str, Failure] = {}
    if not path.is_file():
        raise DataError(f"{path} is missing. Give the command that made its folder again.")
    content = path.read_bytes()
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        try:
            sample = _from_json(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(
                f"{path}, line {number}: it isn't a sample ({error}). Delete that line: the sample is done again."
            ) from error
        if isinstance(sample, Result):
            results.setdefault(sample.id, sample)
        else:
            failures[sample.id] = sample  # of a question that was tried again, the last reason
    return Samples(results, {name: failure for name, failure in failures.items() if name not in results})


def read_figures(report: Mapping[str, Any]) -> dict[str, Figure]:
    """The figures of a ``results.json``."""
    return {name: Figure(**figure) for name, figure in report["figures"].items()}


def _claim(folder: Path, run: dict[str, Any]) -> None:
    """Write ``run.json``, or find that the one that is there says the same."""
    path = folder / "run.json"
    content = (json.dumps(run, indent=1, sort_keys=True) + "\n").encode()
    if not path.exists():
        others = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]
        if others and not path.exists():  # another process may have written it just now
            raise DataError(f"{folder} holds other files ({others[0]}) and no run.json. Choose another folder.")
        write_file(path, content)
    try:
        there = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}). Choose another folder, or delete this one.") from error
    different = differences(there, run)
    if different:
        told = "; ".join(
            _HASHES.get(key, f"{key}: {old!r} there, {new!r} now") for key, (old, new) in different.items()
        )
        raise DataError(
            f"{folder} holds results of another run ({told}). Results are never mixed: set results=<another folder>, "
            "or delete this one."
        )


def differences(a: Any, b: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Where two JSON values differ: dotted key -> both values; None for a key that one lacks."""
    if isinstance(a, dict) and isinstance(b, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for key in sorted({*a, *b}):
            found |= differences(a.get(key), b.get(key), f"{prefix}.{key}" if prefix else key)
        return found
    return {} if a == b else {prefix: (a, b)}


@contextmanager
def _full_disk_told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DataError(f"{path}: the disk is full ({error.strerror}). {_REMEDY}") from error


def _whole_lines(descriptor: int) -> int:
    """Bytes up to the end of the last line that ends: a process that was killed may have left a part of one."""
    end = os.fstat(descriptor).st_size
    block = 1  # nearly always, the last line has ended
    while end > 0:
        start = max(0, end - block)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end, block = start, 1 << 16
    return 0


def _write(descriptor: int, content: bytes, at: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, at)
        content, at = content[written:], at + written


def _plain(value: object) -> object:
    """Of what a model says that it saw: NumPy's numbers as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise DataError(f"what a model saw is told in values that JSON can hold, and {value!r:.100} is none")


def _to_json(sample: Result | Failure) -> dict[str, Any]:
    return {"failed": isinstance(sample, Failure), **vars(sample)}


def _from_json(line: dict[str, Any]) -> Result | Failure:
    fields = dict(line)
    if fields.pop("failed"):
        return Failure(**fields)
    fields["groups"] = {name: tuple(groups) for name, groups in fields["groups"].items()}
    if isinstance(fields["answer"], list):
        start, end = fields["answer"]
        fields["answer"] = (float(start), float(end))
    return Result(**fields)
