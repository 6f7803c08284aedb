"""Stage ``media``: every video is fetched, looked at and decoded once, in a supervised child of each worker."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from data_pipelines.ingest.fetch import clear_copies, local_copy
from data_pipelines.ingest.records import VideoRecord
from data_pipelines.ledger import Row, item_id
from data_pipelines.media import MediaSettings, score_media
from data_pipelines.media_rows import to_row
from data_pipelines.stage_worker import Item, Work
from data_pipelines.supervised import Failure, Outcome, SupervisedPool
from recot.errors import DataError, VideoError
from recot.video_io import VideoLimits


@dataclass(frozen=True)
class MediaWork:
    """Gives the work of this stage (``stage_worker.MakeWork``); picklable.

    Attributes:
        settings: of the frames for the vision encoder.
        limits: bounds on one video.
        max_bytes: largest file.
        memory_bytes: address space of the child that decodes.
        recycle_after: videos after which a fresh child takes its place.
        scratch: folder for copies of remote videos and of members of tars.
    """

    settings: MediaSettings
    limits: VideoLimits
    max_bytes: int
    memory_bytes: int
    recycle_after: int
    scratch: Path

    @contextmanager
    def __call__(self) -> Iterator[Work]:
        """Start the child with the first item."""
        look = partial(
            _look, settings=self.settings, limits=self.limits, max_bytes=self.max_bytes, scratch=self.scratch
        )
        pool: SupervisedPool[str, Row | Failure | DataError] = SupervisedPool(
            look,
            workers=1,
            timeout_s=self.limits.timeout_s,
            memory_bytes=self.memory_bytes,
            recycle_after=self.recycle_after,
        )
        outcome = partial(_outcome, scratch=self.scratch)
        with pool:
            yield lambda items: map(outcome, pool.map(item["uri"] for item in items))


def media_item(video: VideoRecord) -> Item:
    """Item of this stage. Another size or time of the file makes another item of it."""
    return {"id": item_id(video.uri, video.size, video.mtime_ns), "uri": video.uri}


def _look(
    uri: str, *, settings: MediaSettings, limits: VideoLimits, max_bytes: int, scratch: Path
) -> Row | Failure | DataError:
    """In the child. A ``DataError`` is returned: the pool would make a failure of this video of it."""
    try:
        with local_copy(uri, scratch, max_bytes=max_bytes) as path:
            scores = score_media(path, settings=settings, limits=limits, max_bytes=max_bytes)
    except VideoError as error:
        return Failure(error.reason, type(error).__name__, error.message)
    except DataError as error:
        return error
    return scores if isinstance(scores, Failure) else to_row(scores)


def _outcome(outcome: Outcome[Row | Failure | DataError], *, scratch: Path) -> Outcome[Row]:
    if outcome.failure is not None:  # the child was killed, most likely, and left its copy
        clear_copies(scratch)
    if isinstance(outcome.result, DataError):  # of the disk, say: nothing of this video, and the others would fail too
        raise outcome.result
    if isinstance(outcome.result, Failure):
        return Outcome(None, outcome.result, outcome.elapsed_s)
    return replace(outcome)  # type: ignore[return-value]
