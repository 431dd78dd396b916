"""EXIF: read from a file, made upright, and updated when the photo changes size.

EXIF is kept as bytes that begin with ``Exif\\0\\0``, as Pillow's writers take them.

What refsr made is marked in the tag Software, which every format that it writes can hold: "refsr
result", behind what another program wrote there ("Ver.1.02; refsr result").
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any, Literal, cast

from PIL import Image
from PIL.ExifTags import IFD, Base

PREFIX = b"Exif\0\0"
JPEG_LIMIT = 65533  # bytes that fit into one APP1 segment

Mark = Literal["result", "map", "sheet"]  # what refsr made; a sheet is any other drawing
MARK = re.compile(r"(?:^|; )refsr (result|map|sheet)$")

# The tags of a TIFF's first directory that describe the photo, not how its pixels are stored.
DESCRIPTIVE = frozenset(
    {
        *(Base.ImageDescription, Base.Make, Base.Model, Base.Orientation, Base.Software),
        *(Base.XResolution, Base.YResolution, Base.ResolutionUnit, Base.DateTime, Base.Artist),
        *(Base.HostComputer, Base.Copyright, Base.Rating, Base.RatingPercent),
        *(Base.XPTitle, Base.XPComment, Base.XPAuthor, Base.XPKeywords, Base.XPSubject),
        *(IFD.Exif, IFD.GPSInfo),
    }
)


class RawText(str):
    """Text of EXIF whose letters are the file's bytes, in whatever encoding; written unchanged.

    Pillow reads the bytes one by one (as Latin-1), which loses nothing, but would write ASCII.
    """

    __slots__ = ()

    def encode(self, encoding: str = "latin-1", errors: str = "strict") -> bytes:
        """The bytes as they were read; what Pillow asks for is ignored."""
        del encoding, errors
        return super().encode("latin-1", "replace")


def read_exif(image: Image.Image) -> bytes | None:
    """The EXIF of an image, which for a TIFF must not have been loaded yet; None without any.

    The orientation is set to 1 (the reader turns the pixels); the thumbnail is left out. May raise
    anything where the EXIF is damaged.
    """
    exif = image.getexif()
    fresh = _copy(exif, DESCRIPTIVE if image.format == "TIFF" else None)
    if not fresh:
        return None
    if Base.Orientation in fresh:
        fresh[Base.Orientation] = 1
    return fresh.tobytes()


def with_size(exif: bytes, width: int, height: int) -> bytes:
    """The same EXIF for an upright photo of this size. May raise anything if damaged."""
    fresh = parse_exif(exif)
    upright = 1
    about = ((Base.ImageWidth, width), (Base.ImageLength, height), (Base.Orientation, upright))
    for tag, value in about:
        if tag in fresh:
            fresh[tag] = value
    details = fresh.get(IFD.Exif, {})
    for tag, value in ((Base.ExifImageWidth, width), (Base.ExifImageHeight, height)):
        if tag in details:
            details[tag] = value
    return fresh.tobytes()


def fit_to_jpeg(exif: bytes) -> bytes | None:
    """The EXIF if it fits into a JPEG, else without the maker's note, else the mark, else None."""
    if len(exif) > JPEG_LIMIT:
        mark = read_mark(exif)
        fresh = parse_exif(exif)
        fresh.get(IFD.Exif, {}).pop(Base.MakerNote, None)
        exif = fresh.tobytes()
        if len(exif) > JPEG_LIMIT and mark:
            return with_mark(None, mark)
    return exif if len(exif) <= JPEG_LIMIT else None


def with_mark(exif: bytes | None, mark: Mark) -> bytes:
    """The EXIF with a mark of refsr in the tag Software, behind what stands there already.

    EXIF that is damaged is left out.
    """
    fresh = Image.Exif()
    if exif is not None:
        with suppress(Exception):
            fresh = parse_exif(exif)
    others = MARK.sub("", _software(fresh))
    own = f"refsr {mark}"
    fresh[Base.Software] = RawText(f"{others}; {own}" if others else own)
    return fresh.tobytes()


def read_mark(exif: bytes | None) -> Mark | None:
    """What refsr made, by the mark in the EXIF; None where it is no file of refsr's."""
    if exif is None:
        return None
    try:
        return mark_of(parse_exif(exif))
    except Exception:  # of damaged EXIF
        return None


def mark_of(exif: Image.Exif) -> Mark | None:
    """What refsr made, by the mark in parsed EXIF."""
    found = MARK.search(_software(exif))
    return cast(Mark, found[1]) if found else None


def _software(exif: Image.Exif) -> str:
    value: Any = exif.get(Base.Software, "")
    return value.rstrip("\0 ") if isinstance(value, str) else ""


def parse_exif(exif: bytes) -> Image.Exif:
    """Tags by number; the Exif, GPS and Interop directories are dictionaries inside."""
    stored = Image.Exif()
    stored.load(exif)
    return _copy(stored, None)


def _copy(exif: Image.Exif, only: frozenset[int] | None) -> Image.Exif:
    fresh = Image.Exif()
    fresh.endian = exif.endian  # makers' notes may be in the same byte order
    for tag in exif:
        if only is not None and tag not in only:
            continue
        nested = tag in (IFD.Exif, IFD.GPSInfo)
        fresh[tag] = _directory(exif, tag) if nested else _unchanged(exif[tag])
    return fresh


def _unchanged(value: Any) -> Any:
    return RawText(value) if isinstance(value, str) else value


def _directory(exif: Image.Exif, tag: int) -> dict[int, Any]:
    directory = {name: _unchanged(value) for name, value in exif.get_ifd(tag).items()}
    if IFD.Interop in directory:  # stored as an offset, which is meaningless elsewhere
        interop = exif.get_ifd(IFD.Interop).items()
        directory[IFD.Interop] = {name: _unchanged(value) for name, value in interop}
    return directory
