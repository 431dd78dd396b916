"""The chunks of a PNG file: checksums, small repairs, and what Pillow skips."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Generator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"\0\0\0\0IEND\xaeB`\x82"  # the chunk IEND with its checksum
CRITICAL = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")  # they decide the pixels
NO_END_NOTE = "file without its end: all of the picture is there"


def repaired(data: bytes) -> tuple[bytes, list[str]]:
    """A PNG that decoders take, and notes on what had to be done for that.

    Put behind is a missing end (IEND); left out are chunks beside the picture whose checksum is
    wrong. Raises ValueError where the picture itself is damaged or cut short.
    """
    kept, damaged, kind = list[memoryview](), list[bytes](), b""
    for kind, chunk in _chunks(data):
        if zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big"):
            kept.append(chunk)
        elif kind in CRITICAL:
            raise ValueError("a chunk is cut short or its checksum is wrong")
        elif kind != b"IEND":
            damaged.append(kind)
    notes = list[str]()
    if damaged:
        names = ", ".join(sorted({str(name, "latin-1") for name in damaged}))
        notes.append(f"damaged data beside the picture left out ({names})")
    if not (kind == b"IEND" and kept and bytes(kept[-1]) == END):
        notes.append(NO_END_NOTE)
        kept.append(memoryview(END))
    return (b"".join([SIGNATURE, *kept]) if notes else data), notes


def pixels_only(data: bytes) -> bytes:
    """A PNG with nothing but its pixels: libpng prints warnings about the rest to stderr."""
    wanted = (b"IHDR", b"tRNS", b"IDAT", b"IEND")
    return b"".join([SIGNATURE, *(chunk for kind, chunk in _chunks(data) if kind in wanted)])


def cicp(data: bytes) -> bytes | None:
    """The four bytes of the chunk cICP, which Pillow skips; None where there is none."""
    for kind, chunk in _chunks(data):
        if kind == b"cICP" and len(chunk) == 12 + 4:
            return bytes(chunk[8:12])
        if kind == b"IDAT":
            break
    return None


def _chunks(data: bytes) -> Generator[tuple[bytes, memoryview]]:
    """The kind of each chunk and the whole of it, to IEND or the end of the file.

    A chunk that is cut short comes as what is there of it.
    """
    view, at = memoryview(data), len(SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        yield kind, view[at:end]
        if kind == b"IEND":
            break
        at = end
