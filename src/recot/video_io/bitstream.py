"""The few header bits of packets that tell, without decoding, what a decoder would show and where it can start.

Sources: RFC 6386 section 9.1 (VP8 frame header), VP9 bitstream specification version 0.6 section 6.2 and annex B,
ISO/IEC 14496-15 (length fields of H.264 and HEVC), ITU-T H.264 table 7-1 and H.265 table 7-1 (NAL unit types).
"""

H264_SLICES, H264_IDR = range(1, 6), (5,)
HEVC_SLICES, HEVC_IDR = range(32), (19, 20)


def is_hidden(codec: str, packet: memoryview) -> bool:
    """Whether a packet only updates the decoder's references and shows nothing (an "alt-ref" frame).

    Packets of other codecs than ``vp8`` and ``vp9`` always show a frame here.
    """
    if codec == "vp8":
        return not packet[0] >> 4 & 1
    if codec == "vp9":
        return _is_hidden_vp9(packet)
    return False


def _is_hidden_vp9(packet: memoryview) -> bool:
    if packet[-1] & 0b11100000 == 0b11000000:
        return False  # a superframe: hidden frames together with the one that is shown
    profile_3 = packet[0] & 0b00110000 == 0b00110000  # one reserved bit follows
    flags = packet[0] << 1 if profile_3 else packet[0]
    show_existing_frame = flags >> 3 & 1
    show_frame = flags >> 1 & 1
    return not show_existing_frame and not show_frame


def vp8_key_frame_size(packet: memoryview) -> tuple[int, int] | None:
    """(width, height) in a VP8 key frame's own header, None where the packet is no key frame."""
    if len(packet) < 10 or packet[0] & 1 or bytes(packet[3:6]) != b"\x9d\x01\x2a":
        return None
    width = int.from_bytes(packet[6:8], "little") & 0x3FFF
    height = int.from_bytes(packet[8:10], "little") & 0x3FFF
    return width, height


def is_idr(codec: str, packet: memoryview, extradata: bytes | None) -> bool:
    """Whether an H.264 or HEVC key frame's packet is an IDR picture.

    After an IDR picture nothing needs a frame from before it. Other key frames (open GOP, intra refresh) allow that,
    and a decoder that starts there skips some frames or shows them broken. Key frames of other codecs count as IDR.
    Packets without length fields (MPEG-TS) count as no IDR.
    """
    if codec not in ("h264", "hevc"):
        return True
    hevc = codec == "hevc"
    size_at = 21 if hevc else 4
    if extradata is None or len(extradata) <= size_at or extradata[0] != 1:
        return False
    length_size = (extradata[size_at] & 3) + 1
    at = 0
    while at + length_size < len(packet):
        header = packet[at + length_size]
        kind = header >> 1 & 0x3F if hevc else header & 0x1F
        if kind in (HEVC_SLICES if hevc else H264_SLICES):
            return kind in (HEVC_IDR if hevc else H264_IDR)
        at += length_size + int.from_bytes(packet[at : at + length_size], "big")
    return False
