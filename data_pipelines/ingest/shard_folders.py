"""Folders of shards that recot wrote, through their index: no tar is scanned."""

from data_pipelines.ingest.collector import Collector
from data_pipelines.ingest.listing import stat
from data_pipelines.ingest.locations import Member, local_path
from data_pipelines.ingest.records import VideoRecord
from recot.data.schema import VIDEO_EXTENSIONS, VideoSample
from recot.data.shards import ShardFolder
from recot.errors import DataError


def read_shard_folder(folder: str, collector: Collector) -> None:
    """Add every sample of a local folder that has ``shards.json``.

    A sample whose JSON is damaged is rejected (``damaged_sample``), and so is one that holds sampled frames or features
    instead of a video (``no_video``): they can't be looked at again.

    Raises:
        DataError: if a shard is missing or has another size than ``shards.json`` says, or the index doesn't fit.
    """
    path = local_path(folder)
    assert path is not None
    shards = ShardFolder(path)
    for i in range(len(shards)):
        shard, member = str(shards.columns["shard"][i]), str(shards.columns["member"][i])
        where = f"{shard}/{member}"
        if shards.extension(i) not in VIDEO_EXTENSIONS:
            collector.reject(where, "no_video", "expected a video file; sampled frames and features can't be pruned")
            continue
        try:
            sample = shards.sample(i)
        except DataError as error:
            collector.reject(where, "damaged_sample", str(error))
            continue
        tar = f"{folder}/{shard}"
        content = Member(tar, int(shards.columns["offset"][i]), int(shards.columns["size"][i]), member)
        size, mtime_ns = stat(tar)
        collector.add_row(sample_record(sample, content.uri, size, mtime_ns))


def sample_record(sample: VideoSample, uri: str, size: int | None, mtime_ns: int | None) -> VideoRecord:
    """The record of a sample that recot wrote: id, source, licence, origin and questions are as they were there."""
    return VideoRecord(
        sample.video_id,
        uri,
        sample.source,
        licence=None if sample.licence == "unknown" else sample.licence,  # what prune.py writes for lack of any
        source_uri=sample.source_uri,
        size=size,
        mtime_ns=mtime_ns,
        qa=list(sample.qa),
    )
