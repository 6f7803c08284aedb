"""Gathers what the readers of all formats find into ``Records``: one record a video, and no id twice."""

from collections import Counter
from dataclasses import replace

from data_pipelines.ingest.records import Records, RejectedRow, VideoRecord


class Collector:
    """Rows of one video are merged; ids that were used before are renamed; rejected rows are counted.

    Attributes:
        rows: rows added or rejected so far.
        rejected: see ``Records``.
        ignored_files: see ``Records``.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.rejected: list[RejectedRow] = []
        self.ignored_files = 0
        self._by_uri: dict[str, VideoRecord] = {}
        self._video_ids: Counter[str] = Counter()
        self._sample_ids: Counter[str] = Counter()
        self._renamed = 0

    def knows(self, uri: str) -> bool:
        """Whether a video with this URI was added."""
        return uri in self._by_uri

    def add_row(self, record: VideoRecord) -> None:
        """Add what one row says about a video; a later row of the same ``uri`` adds its questions and its licence."""
        self.rows += 1
        self.add_video(record)

    def add_video(self, record: VideoRecord) -> None:
        """Add a video that no row stands for, as in a bare folder."""
        qa = [replace(qa, sample_id=self._unique(qa.sample_id, self._sample_ids)) for qa in record.qa]
        known = self._by_uri.get(record.uri)
        if known is not None:
            known.qa.extend(qa)
            known.licence = _both(known.licence, record.licence)
            return
        record.qa = qa
        record.video_id = self._unique(record.video_id, self._video_ids)
        self._by_uri[record.uri] = record

    def reject(self, where: str, reason: str, message: str) -> None:
        """Count a row that can't be used."""
        self.rows += 1
        self.rejected.append(RejectedRow(where, reason, message))

    def records(self) -> Records:
        """Everything so far."""
        videos = list(self._by_uri.values())
        return Records(videos, self.rows, self.rejected, self.ignored_files, self._renamed)

    def _unique(self, given: str, uses: Counter[str]) -> str:
        """``given``, or with ``@2``, ``@3``, ... appended if it was used before."""
        unique = given
        while uses[unique]:
            uses[given] += 1
            unique = f"{given}@{uses[given]}"
        uses[unique] += 1
        self._renamed += unique != given
        return unique


def _both(first: str | None, second: str | None) -> str | None:
    """What holds where both licences do (SPDX writes it the same way); None says nothing."""
    if first is None or second is None or second in first.split(" AND "):
        return first or second
    return f"{first} AND {second}"
