"""EXIF: read from a file, made upright, and updated when the photo changes size.

EXIF is kept as bytes that begin with ``Exif\\0\\0``, as Pillow's writers take them.
"""

from __future__ import annotations

from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base

PREFIX = b"Exif\0\0"
JPEG_LIMIT = 65533  # bytes that fit into one APP1 segment

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
    """The EXIF if it fits into a JPEG, else without the maker's note, else None."""
    if len(exif) > JPEG_LIMIT:
        fresh = parse_exif(exif)
        fresh.get(IFD.Exif, {}).pop(Base.MakerNote, None)
        exif = fresh.tobytes()
    return exif if len(exif) <= JPEG_LIMIT else None


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
        fresh[tag] = _directory(exif, tag) if tag in (IFD.Exif, IFD.GPSInfo) else exif[tag]
    return fresh


def _directory(exif: Image.Exif, tag: int) -> dict[int, Any]:
    directory = dict(exif.get_ifd(tag))
    if IFD.Interop in directory:  # stored as an offset, which is meaningless elsewhere
        directory[IFD.Interop] = dict(exif.get_ifd(IFD.Interop))
    return directory
