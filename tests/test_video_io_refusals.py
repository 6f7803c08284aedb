"""Videos that are refused: each with a reason code, the name of the source, and without doing any harm."""

import http.server
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from recot.errors import VideoError
from recot.video_io import VideoLimits, check_health, decode, probe
from recot.video_io.bitstream import is_hidden, is_idr, vp8_key_frame_size
from tests.video_clips import HEIGHT, WIDTH, constant_rate, make_clip, patch_box

FRAMES = 30


@pytest.fixture(scope="module")
def video() -> bytes:
    return make_clip(constant_rate(FRAMES), options={"g": "10", "bf": "2"})


def refused(source: str | Path | bytes, limits: VideoLimits | None = None) -> VideoError:
    """The error with which both ``probe`` and ``decode`` refuse a source."""
    with pytest.raises(VideoError) as by_probe:
        probe(source, limits)
    with pytest.raises(VideoError) as by_decode:
        decode(source, [0], (8, 8), limits=limits)
    assert by_probe.value.reason == by_decode.value.reason
    name = f"<{len(source)} bytes>" if isinstance(source, bytes) else str(source)
    assert by_probe.value.source == name
    assert str(by_probe.value).startswith(name)
    return by_probe.value


@pytest.mark.parametrize("path", ["nowhere.mp4", "http://127.0.0.1:9/clip.mp4", "file:clip.mp4", "concat:a|b", "-"])
def test_only_local_files_are_opened(path: str) -> None:
    assert refused(path).reason == "not_found"


def test_what_is_no_file(tmp_path: Path) -> None:
    assert refused(tmp_path).reason == "not_a_file"
    os.mkfifo(tmp_path / "pipe.mp4")
    assert refused(tmp_path / "pipe.mp4").reason == "not_a_file"
    assert refused("/dev/zero").reason == "not_a_file"
    assert refused("zero\0byte").reason == "unreadable_file"


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert refused(tmp_path / "empty.mp4").reason == "empty_file"
    assert refused(b"").reason == "empty_file"


@pytest.mark.parametrize("content", [b"\0", b"just words, no video\n" * 500, b"\x1aE\xdf\xa3" * 1000], ids=range(3))
def test_what_is_no_video(content: bytes) -> None:
    error = refused(content)
    assert error.reason == "unreadable_container"
    assert "mp4" in error.message


@pytest.mark.parametrize("content", [b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"], ids=["gif", "png", "jpeg"])
def test_pictures_are_no_videos(content: bytes) -> None:
    assert refused(content + bytes(4000)).reason == "unreadable_container"


def test_without_its_index_an_mp4_is_unreadable(video: bytes) -> None:
    assert refused(video[: video.index(b"moov")]).reason == "unreadable_container"


@pytest.mark.parametrize("cover", [False, True])
def test_sound_alone_or_with_a_cover_picture(cover: bool) -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        sound = output.add_stream("aac", rate=16000)
        picture = output.add_stream("mjpeg", rate=1, pix_fmt="yuvj420p", width=64, height=64) if cover else None
        if picture is not None:
            picture.disposition = av.stream.Disposition.attached_pic
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), dtype=np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        output.mux(sound.encode(silence))
        output.mux(sound.encode(None))
        if picture is not None:
            output.mux(picture.encode(av.VideoFrame(64, 64, "yuvj420p")))
            output.mux(picture.encode(None))
    error = refused(buffer.getvalue())
    assert error.reason == "no_video_stream"
    assert "audio" in error.message


def test_a_codec_that_nobody_knows() -> None:
    video = make_clip(constant_rate(5), container="matroska")
    assert b"V_MPEG4/ISO/AVC" in video
    assert refused(video.replace(b"V_MPEG4/ISO/AVC", b"V_NOBODY/KNOWS/")).reason == "unsupported_codec"


def test_encrypted_frames() -> None:
    key = {"encryption_key": "76a6c65c5ea762046bd749a2e632ccbb", "encryption_kid": "a7e61c373e219033c21091fa607bf3b8"}
    video = make_clip(constant_rate(5), container_options={"encryption_scheme": "cenc-aes-ctr", **key})
    assert refused(video).reason == "encrypted"


def test_a_forged_frame_table_reaches_no_decoder(video: bytes) -> None:
    forged = patch_box(patch_box(video, b"stsz", 4, 1), b"stsz", 8, 2**31 - 1)
    assert refused(forged).reason in ("no_frames", "too_many_pixels", "unreadable_container")


def test_a_frame_table_that_promises_too_much_is_noticed() -> None:
    index_first = make_clip(constant_rate(FRAMES), options={"g": "10"}, container_options={"moov_size": "4000"})
    cut = index_first[: index_first.index(b"mdat") + 1500]
    facts = probe(cut)
    assert facts.header_frames == FRAMES
    assert facts.packets < FRAMES
    assert facts.frames == facts.packets
    health = check_health(cut, facts)
    assert 0 < health.decoded <= facts.packets


def test_limits(video: bytes) -> None:
    assert probe(video, VideoLimits(max_side=WIDTH, max_duration_s=1.2, max_pixels=FRAMES * WIDTH * HEIGHT))
    too_wide = refused(video, VideoLimits(max_side=WIDTH - 1))
    assert too_wide.reason == "too_large"
    assert f"{WIDTH}x{HEIGHT}" in too_wide.message
    assert refused(video, VideoLimits(max_duration_s=1.19)).reason == "too_long"
    assert refused(video, VideoLimits(max_pixels=FRAMES * WIDTH * HEIGHT - 1)).reason == "too_many_pixels"


def test_a_size_that_ffmpeg_itself_drops() -> None:
    raw = make_clip(constant_rate(2), codec="rawvideo", container="avi", pix_fmt="bgr24")
    assert probe(raw).frames == 2
    assert refused(raw, VideoLimits(max_side=50)).reason == "unknown_size"


@pytest.mark.parametrize("container", ["matroska", "mpegts"])
def test_the_pixel_budget_holds_where_the_header_says_no_count(container: str) -> None:
    video = make_clip(constant_rate(FRAMES), container=container)
    error = refused(video, VideoLimits(max_pixels=20 * WIDTH * HEIGHT))
    assert error.reason == "too_many_pixels"
    assert "21 frames" in error.message


@pytest.mark.parametrize("options", [{"bf": "0"}, {"x264-params": "open-gop=1:keyint=10"}], ids=["decord", "pyav"])
def test_timeout(options: dict[str, str]) -> None:
    video = make_clip(constant_rate(FRAMES), options=options)
    assert refused(video, VideoLimits(timeout_s=0.0)).reason == "timeout"
    facts = probe(video)
    for call in (
        lambda: decode(video, [0, 20], (8, 8), facts, VideoLimits(timeout_s=0.0)),
        lambda: check_health(video, facts, VideoLimits(timeout_s=0.0)),
    ):
        with pytest.raises(VideoError) as error:
            call()
        assert error.value.reason == "timeout"


def test_a_hole_in_the_middle_is_found_and_nothing_after_it_is_trusted() -> None:
    video = make_clip(constant_rate(60), options={"x264-params": "keyint=20:min-keyint=20:scenecut=0:bframes=0"})
    with av.open(io.BytesIO(video)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert [number for number, packet in enumerate(packets) if packet.is_keyframe] == [0, 20, 40]
    hole = packets[25]
    damaged = video[: hole.pos] + bytes([0xFF]) * hole.size + video[hole.pos + hole.size :]
    facts = probe(damaged)
    assert facts.frames == 60
    health = check_health(damaged, facts)
    assert health.missing == list(range(25, 40))
    assert (health.expected, health.decoded, health.ratio) == (60, 45, 0.75)
    assert len(decode(damaged, [0, 24, 40, 59], (8, 8)).frames) == 4
    with pytest.raises(VideoError, match=r"2 of 4 frames .* first is frame 25") as error:
        decode(damaged, [30, 0, 25, 59, 30], (8, 8))
    assert error.value.reason == "decode_failed"


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A local web server: its address and the paths that were asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.server_port}", asked
    listener.shutdown()
    thread.join()
    listener.server_close()


def test_a_playlist_named_mp4_fetches_nothing(tmp_path: Path, server: tuple[str, list[str]], video: bytes) -> None:
    address, asked = server
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}/segment.ts\n#EXT-X-ENDLIST\n"
    path = tmp_path / "playlist.mp4"
    path.write_text(playlist)
    with pytest.raises(av.error.FFmpegError):
        av.open(str(path), format="hls", options={"protocol_whitelist": "file,http,tcp"})
    assert asked == ["/segment.ts"], "the playlist would be followed by a reader that opens anything"
    assert refused(path).reason == "unreadable_container"
    assert refused(playlist.encode()).reason == "unreadable_container"
    assert asked == ["/segment.ts"]


def test_a_list_of_other_files_is_not_followed(tmp_path: Path, video: bytes) -> None:
    (tmp_path / "other.mp4").write_bytes(video)
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile other.mp4\n")
    assert refused(tmp_path / "list.mp4").reason == "unreadable_container"


# Headers put together by hand from the specifications named in recot.video_io.bitstream.
VP8_KEY, VP8_INTER, VP8_SHOWN = 0, 1, 1 << 4
VP9_MARKER, VP9_EXISTING, VP9_INTER, VP9_SHOWN = 0b10 << 6, 1 << 3, 1 << 2, 1 << 1


@pytest.mark.parametrize(
    ("codec", "first_byte", "rest", "hidden"),
    [
        ("vp8", VP8_INTER | VP8_SHOWN, b"data", False),
        ("vp8", VP8_INTER, b"data", True),
        ("vp9", VP9_MARKER | VP9_INTER | VP9_SHOWN, b"data", False),
        ("vp9", VP9_MARKER | VP9_INTER, b"data", True),
        ("vp9", VP9_MARKER | VP9_EXISTING, b"", False),
        ("vp9", VP9_MARKER | VP9_INTER, b"data" + bytes([0b11000001, 4, 1, 0b11000001]), False),  # superframe
        ("vp9", VP9_MARKER | 0b11 << 4 | (VP9_INTER | VP9_SHOWN) >> 1, b"data", False),  # profile 3
        ("vp9", VP9_MARKER | 0b11 << 4 | VP9_INTER >> 1, b"data", True),
        ("h264", 0, b"data", False),
    ],
)
def test_hidden_frames(codec: str, first_byte: int, rest: bytes, hidden: bool) -> None:
    assert is_hidden(codec, memoryview(bytes([first_byte]) + rest)) == hidden


def test_the_size_in_a_vp8_key_frame() -> None:
    size = (640 | 1 << 14).to_bytes(2, "little") + (360 | 2 << 14).to_bytes(2, "little")  # with scaling bits
    assert vp8_key_frame_size(memoryview(bytes([VP8_KEY, 0, 0, 0x9D, 0x01, 0x2A]) + size)) == (640, 360)
    assert vp8_key_frame_size(memoryview(bytes([VP8_INTER, 0, 0, 0x9D, 0x01, 0x2A]) + size)) is None
    assert vp8_key_frame_size(memoryview(b"\0")) is None


@pytest.mark.parametrize(
    ("codec", "units", "idr"),
    [
        ("h264", [b"\x67sps", b"\x06sei", b"\x65idr slice"], True),
        ("h264", [b"\x06recovery point", b"\x41other slice"], False),
        ("h264", [], False),
        ("hevc", [b"\x40\x01vps", b"\x26\x01idr slice"], True),
        ("hevc", [b"\x2a\x01cra slice"], False),
        ("vp9", [], True),
    ],
)
def test_idr_pictures(codec: str, units: list[bytes], idr: bool) -> None:
    packet = memoryview(b"".join(len(unit).to_bytes(4, "big") + unit for unit in units))
    extradata = bytes([1] + [0xFF] * 30)  # length fields of 4 bytes
    assert is_idr(codec, packet, extradata) == idr
    if codec != "vp9":
        assert not is_idr(codec, packet, b"\0\0\0\1 with start codes instead of lengths")
        assert not is_idr(codec, packet, None)
