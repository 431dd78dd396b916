"""The structure of a JPEG file: its frame, its scans and its end, without decoding a pixel.

ITU-T T.81, annex B. In a scan, a byte 255 is followed by 0 or is the start of a marker.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

MARKER = re.compile(rb"\xff([\x01-\xfe])")
SOI, EOI, SOS, DRI, TEM = 0xD8, 0xD9, 0xDA, 0xDD, 0x01
RESTARTS = range(0xD0, 0xD8)
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # SOF0 to SOF15; JPEG-LS
PROGRESSIVE = 0xC2
READ_BY_LIBJPEG = frozenset({0xC0, 0xC1, PROGRESSIVE})  # baseline, extended: with Huffman codes
COEFFICIENTS = range(64)  # of a block
BLOCK = 8  # samples a side


@dataclass(frozen=True)
class Frame:
    """The frame header (SOF)."""

    kind: int  # the marker's second byte
    bits: int  # a sample
    height: int  # 0: said later, in a DNL marker
    width: int
    sampling: dict[int, tuple[int, int]]  # horizontal and vertical factors, by component


@dataclass
class Scan:
    """A scan: some components, some of their coefficients, some of the coefficients' bits."""

    components: bytes
    coefficients: range
    low_bit: int  # the lowest bit that it brings
    interval: int  # MCUs between restart markers; 0: there are none
    restarts: int = 0  # markers found


@dataclass
class Structure:
    """What a JPEG file holds, as far as it goes."""

    frame: Frame | None = None
    scans: list[Scan] = field(default_factory=list[Scan])
    end: int | None = None  # where the end marker begins; None: there is none

    def has_all_scans(self) -> bool:
        """Whether every scan has begun: those of each coefficient's last bit, in each component."""
        if self.frame is None:
            return False
        missing = {name: set(COEFFICIENTS) for name in self.frame.sampling}
        for scan in self.scans:
            for name in scan.components if scan.low_bit == 0 else b"":
                missing[name] -= set(scan.coefficients)
        return not any(missing.values())

    def has_all_restarts(self) -> bool:
        """Whether every scan with restart markers has as many as its size asks for."""
        return all(scan.restarts >= self._expected_restarts(scan) for scan in self.scans)

    def _expected_restarts(self, scan: Scan) -> int:
        frame = self.frame
        if not scan.interval or frame is None or not frame.height:
            return 0
        most_h, most_v = (max(one[axis] for one in frame.sampling.values()) for axis in (0, 1))
        width, height, unit_h, unit_v = frame.width, frame.height, most_h, most_v
        if len(scan.components) == 1:  # its blocks alone, without those that fill up an MCU
            h, v = frame.sampling[scan.components[0]]
            width, height = -(-width * h // most_h), -(-height * v // most_v)
            unit_h = unit_v = 1
        units = -(-width // (BLOCK * unit_h)) * -(-height // (BLOCK * unit_v))
        return -(-units // scan.interval) - 1


def read_structure(data: bytes) -> Structure:
    """The structure of a JPEG file, which may be cut short. Raises ValueError if it is damaged."""
    found, interval, at = Structure(), 0, 2
    try:
        while marker := MARKER.search(data, at):
            kind, at = marker[1][0], marker.end()
            if kind in RESTARTS:
                if found.scans:
                    found.scans[-1].restarts += 1
                continue
            if kind == EOI:
                found.end = marker.start()
                break
            if kind in (SOI, TEM):
                continue
            length = struct.unpack_from(">H", data, at)[0]
            body = data[at + 2 : at + length]
            if kind in FRAMES:
                found.frame = _read_frame(kind, body)
            elif kind == DRI:
                interval = struct.unpack_from(">H", body)[0]
            elif kind == SOS:
                first, last, bits = body[-3:]
                names = body[1 : 1 + 2 * body[0] : 2]
                found.scans.append(Scan(names, range(first, last + 1), bits & 15, interval))
            at += length
    except (struct.error, IndexError, KeyError) as error:
        if not found.scans:
            raise ValueError("a damaged JPEG header") from error  # else it is cut within a marker
    return found


def _read_frame(kind: int, body: bytes) -> Frame:
    bits, height, width, count = struct.unpack_from(">BHHB", body)
    sampling = {
        name: (max(1, factors >> 4), max(1, factors & 15))
        for name, factors in struct.iter_unpack("2Bx", body[6 : 6 + 3 * count])
    }
    return Frame(kind, bits, height, width, sampling)
