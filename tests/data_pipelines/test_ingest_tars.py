"""WebDataset tars: recot's own, other people's, and hostile ones."""

import io
import json
import pickle
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.ingest.fetch import local_copy
from data_pipelines.ingest.locations import parse_member
from data_pipelines.ingest.records import Records, VideoRecord
from recot.data.schema import QA, Media, VideoSample, content_key
from recot.data.shard_index import sample_columns
from recot.data.shard_writer import ShardWriter
from recot.video_io import probe
from tests.data_pipelines.ingest_inputs import error_of, read

MEDIA = Media("mov", "h264", 32, 32, 10.0, False, 1.2, 12, 0)


def write_tar(path: Path, members: Iterable[tuple[str, Any]], format: int = tarfile.PAX_FORMAT) -> Path:
    """A tar of (name, content), where the content may be bytes, text, JSON, or a header's changes."""
    with tarfile.open(path, "w", format=format) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, dict) and "type" in content:
                info.type, info.linkname = content["type"], content.get("linkname", "")
                tar.addfile(info)
                continue
            data = content if isinstance(content, bytes) else content.encode() if isinstance(content, str) else None
            data = json.dumps(content).encode() if data is None else data
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def fetched(video: VideoRecord, scratch: Path, max_bytes: int = 1 << 30) -> bytes:
    with local_copy(video.uri, scratch, max_bytes=max_bytes) as path:
        return path.read_bytes()


def problems(records: Records) -> list[tuple[str, str]]:
    return [(row.where, row.reason) for row in records.rejected]


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_a_tar_of_other_people(tmp_path: Path, format: int, clip_bytes: list[bytes]) -> None:
    long = "x" * 90 if format == tarfile.USTAR_FORMAT else "ü" * 300
    members = [
        ("./000.json", {"conversations": [{"from": "human", "value": "<video>\nQ?"}, {"from": "gpt", "value": "A."}]}),
        ("./000.mp4", clip_bytes[0]),
        ("folder", {"type": tarfile.DIRTYPE}),
        (f"folder/{long}.MP4", clip_bytes[1]),
        (f"folder/{long}.json", {"id": "own", "caption": None, "licence": "CC-BY-4.0", "url": "https://host/v.mp4"}),
        (f"folder/{long}.txt", "\ufeffA cat.\n"),
        ("002.txt", " "),
        ("002.webm", b"no video"),
        ("002.source.mp4", b"another member"),
        ("002.jpg", b"its poster"),
    ]
    records = read(write_tar(tmp_path / "00000.tar", members, format))
    first, second, third = records.videos
    assert [v.video_id for v in records.videos] == [
        "00000.tar/000.mp4",
        f"00000.tar/folder/{long}.MP4",
        "00000.tar/002.webm",
    ]
    assert first.qa == [QA("00000/000", "Q?", "A.")]
    assert (second.qa, second.licence) == ([QA("own", "", "A cat.", "caption")], "CC-BY-4.0")
    assert (second.source_uri, third.source_uri) == ("https://host/v.mp4", third.uri)
    assert third.qa == []
    assert {v.source for v in records.videos} == {tmp_path.name}
    assert [fetched(v, tmp_path / "scratch") for v in records.videos] == [clip_bytes[0], clip_bytes[1], b"no video"]
    assert (records.rows, records.rejected, records.ignored_files) == (3, [], 1)
    status = (tmp_path / "00000.tar").stat()
    assert {(v.size, v.mtime_ns) for v in records.videos} == {(status.st_size, status.st_mtime_ns)}


def test_a_copy_is_a_video_file_and_is_gone_afterwards(tmp_path: Path, clip_bytes: list[bytes]) -> None:
    (video,) = read(write_tar(tmp_path / "a.tar", [("x.mp4", clip_bytes[0])])).videos
    scratch = tmp_path / "deep" / "scratch"

    def fail() -> None:
        with local_copy(video.uri, scratch, max_bytes=len(clip_bytes[0])) as path:
            assert path.suffix == ".mp4"
            assert probe(path).frames == 6
            assert [path] == list(scratch.iterdir())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list(scratch.iterdir())


def write_shards(folder: Path, clip_bytes: list[bytes]) -> list[VideoSample]:
    samples = [
        VideoSample(
            f"v/{i}.mp4", "ours", f"https://host/{i}.mp4", licence, MEDIA, [QA(f"q{i}", "Q?", "A.", evidence=[[0, 1]])]
        )
        for i, licence in enumerate(["CC-BY-4.0", "unknown", "CC0-1.0"])
    ]
    with ShardWriter(folder, config_hash="c", samples_per_shard=2) as writer:
        for sample, content in zip(samples, clip_bytes, strict=False):
            writer.add(content_key(content), sample.to_json(), content, "mp4", sample_columns(sample))
    return samples


@pytest.mark.parametrize("how", ["folder", "parent folder", "pattern", "no index"])
def test_shards_of_recot_keep_what_they_know(tmp_path: Path, clip_bytes: list[bytes], how: str) -> None:
    folder = tmp_path / "out" / "train"
    folder.parent.mkdir()
    samples = write_shards(folder, clip_bytes)
    if how == "no index":
        (folder / "shards.json").unlink()
    sources = {"parent folder": folder.parent, "pattern": folder / "shard-{000000..000001}.tar"}
    records = read(sources.get(how, folder))
    assert [(v.video_id, v.source, v.source_uri, v.qa) for v in records.videos] == [
        (s.video_id, s.source, s.source_uri, s.qa) for s in samples
    ]
    assert [v.licence for v in records.videos] == ["CC-BY-4.0", None, "CC0-1.0"]
    assert [fetched(v, tmp_path / "scratch") for v in records.videos] == clip_bytes[:3]
    assert (records.rows, records.rejected) == (3, [])


def test_the_same_shards_twice_are_renamed(tmp_path: Path, clip_bytes: list[bytes]) -> None:
    for name in ("a", "b"):
        write_shards(tmp_path / name, clip_bytes)
    records = read(tmp_path)
    assert [v.video_id for v in records.videos][2:5] == ["v/2.mp4", "v/0.mp4@2", "v/1.mp4@2"]
    assert [qa.sample_id for v in records.videos for qa in v.qa][2:5] == ["q2", "q0@2", "q1@2"]
    assert records.renamed_ids == 6


def test_damaged_shards_of_recot(tmp_path: Path, clip_bytes: list[bytes]) -> None:
    folder = tmp_path / "shards"
    write_shards(folder, clip_bytes)
    shard = folder / "shard-000000.tar"
    content = shard.read_bytes()
    shard.write_bytes(content.replace(b'"video_id": "v/1.mp4"', b'"video_id": "v/X.mp4"'))
    records = read(folder)
    assert [v.video_id for v in records.videos] == ["v/0.mp4", "v/2.mp4"]
    assert [row.reason for row in records.rejected] == ["damaged_sample"]
    shard.write_bytes(content[:-1])
    assert "truncated" in error_of(folder)


def test_shards_without_videos(tmp_path: Path) -> None:
    sample = VideoSample("v", "s", "u", "l", MEDIA)
    with ShardWriter(tmp_path / "shards", config_hash="c") as writer:
        writer.add(content_key(b"x"), sample.to_json(), b"x", "frames.npz", sample_columns(sample))
    assert "1 x no_video" in error_of(tmp_path / "shards")


class Trap:
    """Unpickling it ends the test run."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('unpickled')",)


def test_hostile_members(tmp_path: Path) -> None:
    trap = pickle.dumps(Trap())
    members = [
        ("../../up.mp4", b"x"),
        ("a/../../up.json", b"{}"),
        ("/etc/absolute.mp4", b"x"),
        ("back\\..\\..\\up.mp4", b"x"),
        ("link.mp4", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
        ("hard.mp4", {"type": tarfile.LNKTYPE, "linkname": "../../x"}),
        ("device.mp4", {"type": tarfile.CHRTYPE}),
        ("pipe.mp4", {"type": tarfile.FIFOTYPE}),
        ("licence.json", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
        ("licence.mp4", b"the licence of it is unknown"),
        ("pickled.pkl", trap),
        ("pickled.mp4", b"kept"),
        ("pickled.emb.PTH", trap),
        ("lonely.pt", trap),
        ("two.mp4", b"x"),
        ("two.mkv", b"x"),
        ("same.mp4", b"x"),
        ("same.mp4", b"y"),
        ("text.json", {}),
        ("image.jpg", b"x"),
        ("image.txt", "a cat"),
        ("broken.json", "{"),
        ("broken.mp4", b"x"),
        ("list.json", [1]),
        ("list.mp4", b"x"),
        ("bad.json", {"question": 5, "answer": []}),
        ("bad.mp4", b"x"),
        ("schema.json", {"schema_version": 99}),
        ("schema.mp4", b"x"),
        ("schema2.json", {"schema_version": 1, "media": 5}),
        ("schema2.mp4", b"x"),
        ("latin.txt", b"caf\xe9"),
        ("latin.mp4", b"x"),
        ("huge.txt", bytes(17 << 20)),
        ("huge.mp4", b"x"),
        ("._good.mp4", b"x"),
        ("README", b"x"),
        ("good.mp4", b"good"),
    ]
    before = sorted(tmp_path.parent.rglob("*"))
    path = write_tar(tmp_path / "a.tar", members)
    records = read(path)
    assert {v.video_id: fetched(v, tmp_path / "scratch") for v in records.videos} == {
        "a.tar/pickled.mp4": b"kept",
        "a.tar/good.mp4": b"good",
    }
    assert problems(records) == [
        ("a.tar/../../up.mp4", "unsafe_member"),
        ("a.tar/a/../../up.json", "unsafe_member"),
        ("a.tar//etc/absolute.mp4", "unsafe_member"),
        ("a.tar/back\\..\\..\\up.mp4", "unsafe_member"),
        ("a.tar/link.mp4", "not_a_file_member"),
        ("a.tar/hard.mp4", "not_a_file_member"),
        ("a.tar/device.mp4", "not_a_file_member"),
        ("a.tar/pipe.mp4", "not_a_file_member"),
        ("a.tar/licence.json", "not_a_file_member"),
        ("a.tar/pickled.pkl", "refused_member"),
        ("a.tar/pickled.emb.PTH", "refused_member"),
        ("a.tar/lonely.pt", "refused_member"),
        ("a.tar/two", "several_videos"),
        ("a.tar/same.mp4", "repeated_member"),
        ("a.tar/text", "no_video"),
        ("a.tar/image", "image_only"),
        ("a.tar/broken", "not_json"),
        ("a.tar/list", "not_an_object"),
        ("a.tar/bad", "bad_text"),
        ("a.tar/schema", "bad_field"),
        ("a.tar/schema2", "bad_field"),
        ("a.tar/latin", "not_utf8"),
        ("a.tar/huge", "too_large_member"),
    ]
    assert records.rows == len(records.rejected) + 2
    assert records.ignored_files == 2
    path.unlink()
    (tmp_path / "scratch").rmdir()
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_dots_in_the_names_of_videos(tmp_path: Path) -> None:
    members = [
        ("clip_0.5s.mp4", b"x"),
        ("clip_0.5s.json", {"question": "What?", "answer": "That."}),
        ("my.video.one.mp4", b"x"),
        ("my.json", {"question": "What?", "answer": "That."}),
        ("good.mp4", b"good"),
        ("good.left.MP4", b"x"),
        ("good.depth.npy", b"x"),
    ]
    records = read(write_tar(tmp_path / "a.tar", members))
    assert [video.video_id for video in records.videos] == ["a.tar/good.mp4"]
    assert problems(records) == [
        ("a.tar/clip_0.5s.mp4", "dotted_name"),
        ("a.tar/my.video.one.mp4", "dotted_name"),
    ]
    assert "ends at the first dot" in records.rejected[0].message
    assert records.ignored_files == 3


def test_a_file_with_holes_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "x.mp4").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"x" * 4096)
    subprocess.run(["tar", "-S", "-cf", "a.tar", "x.mp4"], cwd=tmp_path, check=True)
    assert "1 x not_a_file_member" in error_of(tmp_path / "a.tar")


def three_samples(path: Path) -> bytes:
    members = [(f"{i}.{extension}", f"{i}" * 1000) for i in range(3) for extension in ("json", "mp4")]
    members = [(name, content if name.endswith("mp4") else "{}") for name, content in members]
    return write_tar(path, members).read_bytes()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10239))
def test_a_tar_that_is_cut_anywhere_gives_its_whole_samples(
    tmp_path_factory: pytest.TempPathFactory, length: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.tar"
    whole = three_samples(path)
    assert len(whole) == 10240
    ends = [(i + 1) * (1024 + 1536) for i in range(3)]  # of the samples: a header and a block, a header and two blocks
    path.write_bytes(whole[:length])
    whole_ones = sum(end < length for end in ends)
    if length >= ends[-1] + 1024:  # with the mark at its end
        assert len(read(path).videos) == 3
        assert read(path).rejected == []
    elif not whole_ones or length <= ends[0] + 512:
        assert "1 x damaged_tar" in error_of(path)
    else:
        records = read(path)
        assert whole_ones - 1 <= len(records.videos) <= whole_ones
        assert [v.video_id for v in records.videos] == [f"cut.tar/{i}.mp4" for i in range(len(records.videos))]
        assert problems(records) == [("cut.tar", "damaged_tar")]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 7679), st.binary(min_size=1, max_size=12))
def test_damaged_headers_end_the_reading_and_not_the_program(
    tmp_path_factory: pytest.TempPathFactory, offset: int, noise: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.tar"
    content = bytearray(three_samples(path))
    content[offset : offset + len(noise)] = noise
    path.write_bytes(content)
    try:
        records = read(path)
    except ValueError as error:
        assert "no usable row" in str(error)  # noqa: PT017
        return
    for video in records.videos:
        member = parse_member(video.uri)
        assert member is not None
        assert 512 <= member.offset <= member.offset + member.size <= len(content)


@pytest.mark.parametrize("size", [-512, -1024, -(2**40), 2**40, 2**62])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE])
def test_forged_sizes(tmp_path: Path, size: int, kind: bytes) -> None:
    """Negative sizes lead back to members that were there already (CVE-2025-8194)."""
    good = write_tar(tmp_path / "a.tar", [("0.mp4", b"x"), ("1.mp4", b"y")]).read_bytes()
    info = tarfile.TarInfo("2.mp4")
    info.type, info.size = kind, size
    (tmp_path / "a.tar").write_bytes(good[:2048] + info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    records = read(tmp_path / "a.tar")
    assert [v.video_id for v in records.videos][:1] == ["a.tar/0.mp4"]
    assert len(records.videos) <= 2
    assert [row.reason for row in records.rejected] == ["damaged_tar"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "1 x damaged_tar"),
        (bytes(1024), "the file is empty"),
        (b"\x1f\x8b" + bytes(600), "no plain tar"),
        (b"x" * 99, "tar"),
    ],
)
def test_files_that_are_no_tars(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    assert message in error_of(tmp_path / "a.tar")


def test_a_folder_of_tars_and_of_videos(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write_tar(tmp_path / "deep" / "1.tar", [("a.mp4", b"1")])
    write_tar(tmp_path / "0.tar", [("a.mp4", b"0")])
    records = read(tmp_path)
    assert [(v.video_id, v.source) for v in records.videos] == [
        ("0.tar/a.mp4", tmp_path.name),
        ("deep/1.tar/a.mp4", tmp_path.name),
    ]
    (tmp_path / "b.mp4").write_bytes(b"x")
    assert [v.video_id for v in read(tmp_path).videos] == ["b.mp4"]
    assert read(tmp_path).ignored_files == 2
