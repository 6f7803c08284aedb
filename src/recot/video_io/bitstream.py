"""The few header bits of VP8 and VP9 packets that tell what a decoder would show.

Sources: RFC 6386 section 9.1 (VP8 frame header), VP9 bitstream specification version 0.6 section 6.2 and annex B.
"""


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
