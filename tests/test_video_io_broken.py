"""Damaged, cut off, hostile and mislabelled files, read in processes with a memory limit and a deadline."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO

ADDRESS_SPACE_BYTES = 3 << 30
DEADLINE_S = 120
SECONDS_A_FILE = 30

# What a probe refuses, with its reason.
REFUSED = {
    "chrome_no_streams.webm": "unreadable_container",
    "d_hls_playlist.mp4": "unreadable_container",
    "d_huge_avi_raw.avi": "unknown_size",  # 16000x16000, more than FFmpeg is allowed to look at
    "d_huge_stsz.mp4": "unreadable_container",
    "d_huge_stsz_const.mp4": "no_frames",
    "d_huge_vp8_16383.webm": "too_large",
    "d_moovflip_20.mp4": "no_frames",
    "d_text.mp4": "unreadable_container",
    "d_truncated_half_moovlast.mp4": "unreadable_container",
    "d_zero.mp4": "empty_file",
    "media3_ac4_unknown_codec.mp4": "no_video_stream",
    "media3_audio_only_15s.mp4": "no_video_stream",
    "media3_clearkey_encrypted.mp4": "encrypted",
    "media3_full_blocks_subs_only.mkv": "no_video_stream",
    "media3_long_editlist_audioonly.mp4": "no_video_stream",
    "media3_malformed_free_box.mp4": "unreadable_container",
    "media3_text_only.mp4": "no_video_stream",
    "moviepy_zero_byte.webm": "empty_file",
}
# What holds frames: (shown frames by the packets, frames that decode clean). Nothing after a lost or flagged frame
# counts up to the next key frame.
READABLE = {
    "d_bitflip_200.mp4": (121, 0),
    "d_hole_64k.mp4": (121, 91),
    "d_noext_mp4": (121, 121),
    "d_truncated_half_moovfirst.mp4": (62, 59),
    "d_truncated_half_vp9_1key.webm": (517, 517),
    "d_webm_named.mp4": (150, 150),
    "decord_corrupted.mp4": (50, 28),
    "gradio_bad_container.mkv": (150, 150),
    "media3_empty_track.mp4": (30, 30),
    "media3_invalid_nalu.mp4": (30, 26),
    "media3_long_4k_av1_bomb.mp4": (21766, None),  # a minute of work: the deadline ends it
    "media3_missing_stsd.mp4": (30, 30),
    "shaka_pts_wrap.ts": (48, 48),
}
# decord hides flipped bits in the data of a frame (the decoder fills the holes), so decode returns frames although none
# is clean. check_health is what keeps such a video out.
CONCEALED = {"d_bitflip_200.mp4"}


@pytest.fixture(scope="module")
def outcomes(shared_dir: Path) -> dict[str, dict]:
    """Each broken file's outcome. After a crash or a hang the next process goes on with the next file."""
    folder = shared_dir / "videos" / "broken"
    waiting = [str(folder / entry["file"]) for entry in json.loads((folder / "manifest.json").read_text())]
    found: dict[str, dict] = {}
    while waiting:
        command = [sys.executable, "-m", "tests.broken_video_worker", str(ADDRESS_SPACE_BYTES), *waiting]
        try:
            done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=DEADLINE_S)
            output, noise, code = done.stdout, done.stderr, done.returncode
        except subprocess.TimeoutExpired as hang:
            output, noise, code = (hang.stdout or b"").decode(), (hang.stderr or b"").decode(), "deadline"
        lines = [json.loads(line) for line in output.splitlines()]
        found |= {line["file"]: line for line in lines}
        del waiting[: len(lines)]
        if waiting:
            found[Path(waiting.pop(0)).name] = {"died": f"{code}: {noise[-2000:]}"}
        else:
            found["noise"] = {"text": noise}
    return found


def test_every_broken_file_is_known(shared_dir: Path) -> None:
    manifest = json.loads((shared_dir / "videos" / "broken" / "manifest.json").read_text())
    assert {entry["file"] for entry in manifest} == set(REFUSED) | set(READABLE)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_files_name_and_a_reason(name: str, outcomes: dict[str, dict]) -> None:
    outcome = outcomes[name]
    assert "died" not in outcome
    assert outcome["refusal"]["reason"] == REFUSED[name]
    assert name in outcome["refusal"]["text"]
    assert f"[{REFUSED[name]}]" in outcome["refusal"]["text"]
    assert outcome["seconds"] < SECONDS_A_FILE


@pytest.mark.parametrize("name", READABLE)
def test_what_is_really_there(name: str, outcomes: dict[str, dict]) -> None:
    outcome = outcomes[name]
    assert "died" not in outcome
    assert outcome["refusal"] is None
    assert outcome["seconds"] < SECONDS_A_FILE
    frames, clean = READABLE[name]
    assert (outcome["frames"], outcome["decoded"]) == (frames, clean)
    if clean is None:
        assert outcome["health_error"]["reason"] == "timeout"
        assert outcome["decode_error"] is None
    elif clean == frames:
        assert outcome["decode_error"] is None
        assert outcome["there"]
    elif name not in CONCEALED:
        assert outcome["decode_error"]["reason"] == "decode_failed"
        assert name in outcome["decode_error"]["text"]
        assert "of 3 frames" in outcome["decode_error"]["text"]


def test_the_decoders_keep_quiet(outcomes: dict[str, dict]) -> None:
    assert outcomes["noise"]["text"] == ""
