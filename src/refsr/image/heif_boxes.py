"""What the boxes of an AVIF or HEIC file say: colors, depth, and whether its pictures are whole.

Boxes are those of ISO/IEC 14496-12; items and their properties those of ISO/IEC 23008-12. Pillow
says neither colors (nclx) nor depth of an AVIF, and libheif fills missing tiles with green.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Generator
from dataclasses import dataclass
from typing import BinaryIO

LARGEST_META = 16 << 20  # bytes of the box meta, which describes the items
DESCRIPTIONS = (b"Exif", b"mime", b"uri ")  # items that are no pictures
FULL_RANGE = b"\0\1"  # of a cICP code: how decoders return their pixels


@dataclass(frozen=True)
class HeifBoxes:
    """What a file says of its main picture."""

    bits: int = 8  # a channel
    cicp: bytes | None = None  # primaries, transfer, 0, 1: as in a PNG's chunk cICP
    whole: bool = True  # every picture lies within the file
    extra_pictures: bool = False  # a gain map, depth or another one that belongs to the main one


def read_boxes(file: BinaryIO) -> HeifBoxes:
    """What the boxes of a file say; the defaults where it has no box meta or a damaged one."""
    try:
        size = file.seek(0, io.SEEK_END)
        meta = _read_meta(file, size)
        return HeifBoxes() if meta is None else _Meta(meta, size).summary()
    except (struct.error, IndexError):
        return HeifBoxes()


def _read_meta(file: BinaryIO, size: int) -> bytes | None:
    at = 0
    while at + 8 <= size:
        file.seek(at)
        length, kind, used = _box_head(file.read(16), size - at)
        if kind == b"meta":
            file.seek(at + used)
            return file.read(min(length - used, LARGEST_META))
        at += length
    return None


def _box_head(data: bytes, left: int) -> tuple[int, bytes, int]:
    """Length and kind of a box, and the bytes of its head; ``left`` are there to the end."""
    length, kind = struct.unpack_from(">I4s", data)
    used = 8
    if length == 1:
        length, used = struct.unpack_from(">Q", data, 8)[0], 16
    length = left if length == 0 else length
    if length < used:
        raise struct.error("a box shorter than its head")
    return length, kind, used


def _boxes(data: bytes) -> Generator[tuple[bytes, bytes]]:
    """The kind and content of each box."""
    at = 0
    while at + 8 <= len(data):
        length, kind, used = _box_head(data[at : at + 16], len(data) - at)
        yield kind, data[at + used : at + length]
        at += length


class _Reader:
    """Big-endian numbers, one after the other."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def number(self, size: int) -> int:
        """An unsigned number of ``size`` bytes, 0 for none. Raises struct.error at the end."""
        value = self.data[self.at : self.at + size]
        if len(value) < size:
            raise struct.error("a box is cut short")
        self.at += size
        return int.from_bytes(value, "big")


class _Meta:
    """The content of a box meta, whose first four bytes are version and flags."""

    def __init__(self, data: bytes, file_size: int) -> None:
        self.file_size = file_size
        self.boxes = dict(_boxes(data[4:]))
        described = dict(_boxes(self.boxes.get(b"iprp", b"")))
        self.properties = list(_boxes(described.get(b"ipco", b"")))
        self.of_item = _associations(described.get(b"ipma", b""))

    def summary(self) -> HeifBoxes:
        """What is said of the main picture and of all."""
        kinds = self.item_kinds()
        extra = b"tmap" in kinds.values() or any(
            kind == b"auxC" and b"alpha" not in body and b"auxid:1" not in body
            for kind, body in self.properties
        )
        return HeifBoxes(self.bits(), self.cicp(), self.whole(kinds), extra)

    def main_properties(self, kind: bytes) -> list[bytes]:
        """The main picture's properties of a kind; where it has none, those of any (its tiles)."""
        box = self.boxes.get(b"pitm", b"")
        main = _Reader(box, 4).number(2 if box[:1] == b"\0" else 4)
        indices = [index - 1 for index in self.of_item.get(main, [])]
        own = [self.properties[i] for i in indices if 0 <= i < len(self.properties)]
        found = [body for name, body in own if name == kind]
        return found or [body for name, body in self.properties if name == kind]

    def bits(self) -> int:
        """Bits a channel, by the codec's own configuration or the list of channels."""
        for av1 in self.main_properties(b"av1C"):
            return 8 if not av1[2] & 0x40 else 12 if av1[2] & 0x20 else 10
        for hevc in self.main_properties(b"hvcC"):
            return 8 + (hevc[17] & 7)
        for channels in self.main_properties(b"pixi"):
            return channels[5]
        return 8

    def cicp(self) -> bytes | None:
        """Primaries and transfer of the decoded pixels; None where the file leaves them open."""
        for body in self.main_properties(b"colr"):
            if body[:4] == b"nclx":
                code = bytes([body[5], body[7]])
                return None if body[4] or body[6] or 2 in code else code + FULL_RANGE
        return None

    def item_kinds(self) -> dict[int, bytes]:
        """The four letters of each item's kind, by its number."""
        box = self.boxes.get(b"iinf", b"")
        kinds: dict[int, bytes] = {}
        for kind, body in _boxes(box[6 if box[:1] == b"\0" else 8 :]):
            if kind == b"infe" and body[0] >= 2:
                reader = _Reader(body, 4)
                number = reader.number(2 if body[0] == 2 else 4)
                kinds[number] = body[reader.at + 2 : reader.at + 6]
        return kinds

    def whole(self, kinds: dict[int, bytes]) -> bool:
        """Whether every picture lies within the file, all its parts."""
        ends = {0: self.file_size, 1: len(self.boxes.get(b"idat", b""))}
        return all(
            end <= ends.get(place, end)
            for item, place, end in _extents(self.boxes.get(b"iloc", b""))
            if kinds.get(item) not in DESCRIPTIONS
        )


def _associations(box: bytes) -> dict[int, list[int]]:
    """The properties of each item, as numbers from 1, by the box ipma."""
    found: dict[int, list[int]] = {}
    if not box:
        return found
    reader = _Reader(box, 4)
    wide = box[3] & 1
    for _ in range(reader.number(4)):
        item = reader.number(2 if box[0] == 0 else 4)
        count = reader.number(1)
        found[item] = [reader.number(1 + wide) & (0x7FFF if wide else 0x7F) for _ in range(count)]
    return found


def _extents(box: bytes) -> Generator[tuple[int, int, int]]:
    """Each part of each item: the item, where it is (0 the file, 1 the box idat), and its end."""
    if not box:
        return
    version, reader = box[0], _Reader(box, 6)
    offset_size, length_size = box[4] >> 4, box[4] & 15
    base_size, index_size = box[5] >> 4, (box[5] & 15) if version else 0
    left = len(box)  # parts of no bytes could be without number
    for _ in range(reader.number(2 if version < 2 else 4)):
        item = reader.number(2 if version < 2 else 4)
        place = reader.number(2) & 15 if version else 0
        reader.number(2)  # the file, always this one
        base = reader.number(base_size)
        count = reader.number(2)
        left -= count
        if left < 0:
            raise struct.error("more parts than the box has bytes")
        for _ in range(count):
            reader.number(index_size)
            start = base + reader.number(offset_size)
            yield item, place, start + reader.number(length_size)
