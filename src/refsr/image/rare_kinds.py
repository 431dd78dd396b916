"""Sound files of kinds that refsr does not read, called by their names."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import Any, BinaryIO

from refsr.image.jpeg_structure import READ_BY_LIBJPEG, read_structure

COMPRESSION = 259  # TIFF tag
BITS_PER_SAMPLE = 258
RAW = "a camera raw file"
PACKED = {  # TIFF compressions that no decoder here reads
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
PACKED_DEEP = {34887: "LERC", 34925: "LZMA", 50000: "Zstandard"}  # read with 8 bits only
STARTS = (
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
    (b"8BPS", "a Photoshop document"),
    (b"\x76\x2f\x31\x01", "an OpenEXR picture"),
    (b"#?RADIANCE", "a Radiance HDR picture"),
    (b"gimp xcf", "a GIMP document"),
    (b"FUJIFILMCCD-RAW", RAW),
    (b"IIRO", RAW),
    (b"IIU\0", RAW),
    (b"FOVb", RAW),
)
BRANDS = {b"crx ": RAW, b"qt  ": "a video"}
VIDEO_BRANDS = (b"isom", b"mp41", b"mp42", b"iso2", b"avc1", b"M4V ", b"3gp4", b"3gp5")
JPEG_KINDS = {0xC3: "lossless", 0xF7: "lossless (JPEG-LS)"}
ARITHMETIC = range(0xC9, 0xD0)


def rare_kind(file: BinaryIO) -> str | None:
    """What a file is, with its article, where its kind is why it cannot be read; None otherwise."""
    file.seek(0)
    head = file.read(32)
    for start, kind in STARTS:
        if head.startswith(start):
            return kind
    if head[4:8] == b"ftyp":
        return BRANDS.get(head[8:12], "a video" if head[8:12] in VIDEO_BRANDS else None)
    with suppress(ValueError, struct.error, OSError):
        if head.startswith(b"\xff\xd8"):
            file.seek(0)
            return _rare_jpeg(file.read())
        if head[:4] in (b"II*\0", b"MM\0*"):
            return rare_tiff(_tiff_numbers(file, "<" if head[:1] == b"I" else ">"))
    return None


def rare_tiff(tags: dict[int, Any]) -> str | None:
    """As ``rare_kind``, for a TIFF with these tags."""
    compression, bits = tags.get(COMPRESSION, 1), tags.get(BITS_PER_SAMPLE, 1)
    deep = max(bits) > 8 if isinstance(bits, tuple) else bits > 8
    name = PACKED.get(compression) or (PACKED_DEEP.get(compression) if deep else None)
    if name is None:
        return None
    return f"a TIFF packed with {name}" + (" and 16 bits" if compression in PACKED_DEEP else "")


def _rare_jpeg(data: bytes) -> str | None:
    frame = read_structure(data).frame
    if frame is None or (frame.kind in READ_BY_LIBJPEG and frame.bits == 8):
        return None
    if frame.bits != 8:
        return f"a JPEG of {frame.bits} bits"
    if frame.kind in ARITHMETIC:
        return "a JPEG with arithmetic coding"
    return f"a JPEG of a rare kind: {JPEG_KINDS.get(frame.kind, 'hierarchical')}"


def _tiff_numbers(file: BinaryIO, order: str) -> dict[int, Any]:
    """The first number of each tag of a TIFF's first page that has whole numbers."""
    file.seek(4)
    file.seek(struct.unpack(f"{order}I", file.read(4))[0])
    count = struct.unpack(f"{order}H", file.read(2))[0]
    entries = io.BytesIO(file.read(12 * count))
    found: dict[int, Any] = {}
    while len(entry := entries.read(12)) == 12:
        tag, kind, values = struct.unpack(f"{order}HHI", entry[:8])
        if kind == 3 and values > 2:  # stored elsewhere
            file.seek(struct.unpack(f"{order}I", entry[8:])[0])
            found[tag] = struct.unpack(f"{order}H", file.read(2))[0]
        elif kind in (3, 4):
            size, letter = (2, "H") if kind == 3 else (4, "I")
            found[tag] = struct.unpack(order + letter, entry[8 : 8 + size])[0]
    return found
