"""Decoding a photo's file: which files are accepted, and everything that they say.

The pixels themselves are read in ``pixels.py``.
"""

from __future__ import annotations

import codecs
import io
import struct
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError
from PIL.ExifTags import Base

from refsr.errors import PhotoError, TooLargeError
from refsr.image import color
from refsr.image.atomic import reason
from refsr.image.exif import read_exif
from refsr.image.levels import Levels
from refsr.image.pixels import read_pixels, tiff_tags, upright

# Pillow knows some forty formats; decoders that no photographer needs are only a risk.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF", "BMP", "PPM")
READABLE = "JPEG, PNG, WebP, TIFF, AVIF, HEIC, GIF, BMP or PPM"
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
DNG_VERSION, NEW_SUBFILE_TYPE = 50706, 254  # TIFF tags

LARGEST_PROFILE = 16 << 20  # bytes; printers' profiles exceed the megabyte Pillow allows in a PNG
LIBJPEG_LUMA_SUM = 3688  # of libjpeg's luma quantisation table at quality 50

_pillow_limits = Lock()


@dataclass(frozen=True, eq=False)
class Decoded:
    """Everything that a file says of a photo; the fields are those of ``photo.Photo``."""

    pixels: Levels  # HWC RGB, upright
    alpha: Levels | None  # HW, same dtype
    gray: bool  # the file is gray: three equal channels here
    icc: bytes | None  # the profile of ``pixels``; None: sRGB
    exif: bytes | None  # begins with "Exif\0\0"; orientation 1, no thumbnail
    format: str | None  # Pillow's name; None for a PIL image that comes from no file
    notes: tuple[str, ...]  # what the user should be told
    jpeg_quality: int | None  # 1 to 100
    dpi: tuple[float, float] | None  # horizontal, vertical


@contextmanager
def plain_errors(name: str) -> Generator[None]:
    """Turn whatever a decoder raises into a PhotoError of one sentence about the file ``name``."""
    try:
        yield
    except PhotoError:
        raise
    except MemoryError as error:
        raise PhotoError(f"There is not enough memory to read {name}.") from error
    except Exception as error:  # a decoder may raise anything on damaged bytes
        if isinstance(error, OSError) and error.errno:
            raise PhotoError(f"{name} cannot be read: {reason(error)}.") from error
        if "text chunk" in str(error) or "MAX_TEXT_CHUNK" in str(error):  # Pillow's words
            raise PhotoError(
                f"{name} carries more text or a larger color profile than refsr reads "
                f"({LARGEST_PROFILE >> 20} MB); save it without its metadata."
            ) from error
        raise PhotoError(f"{name} is damaged or cut short and cannot be read.") from error


def decode_file(file: BinaryIO, name: str, max_pixels: int) -> Decoded:
    """Read a photo from an open file; errors call it ``name``.

    Raises PhotoError where it cannot be read whole or has more than ``max_pixels``.
    """
    with plain_errors(name):
        image = open_image(file, name)
    return decode_image(image, file, name, max_pixels)


def decode_image(image: Image.Image, file: BinaryIO | None, name: str, max_pixels: int) -> Decoded:
    """Read an opened image; ``file`` is what it was opened from, None for a user's PIL image.

    Raises PhotoError as ``decode_file`` does.
    """
    check_size(image, name, max_pixels)
    with plain_errors(name):
        if image.format == "TIFF":  # Pillow drops parts of its EXIF when it loads the pixels
            exif, exif_notes = _exif_of(image)
            stored = read_pixels(image, file, name)
        else:  # Pillow loads the pixels to find a PNG's EXIF, which may follow them
            stored = read_pixels(image, file, name)
            exif, exif_notes = _exif_of(image)
        gray = stored.pixels.ndim == 2
        icc, icc_notes = (None, []) if stored.srgb else _icc_of(image, file, gray)
        # Both readers of TIFFs turn the pixels upright by themselves.
        orientation = 1 if image.format == "TIFF" else image.getexif().get(Base.Orientation, 1)
        pixels = upright(stored.pixels, orientation)
        return Decoded(
            pixels=np.repeat(pixels[..., None], 3, axis=2) if gray else pixels,
            alpha=None if stored.alpha is None else upright(stored.alpha, orientation),
            gray=gray,
            icc=icc,
            exif=exif,
            format="JPEG" if image.format == "MPO" else image.format,
            notes=(*stored.notes, *exif_notes, *icc_notes),
            jpeg_quality=jpeg_quality(image),
            dpi=_dpi_of(image, orientation),
        )


def open_image(file: BinaryIO, name: str) -> Image.Image:
    """Read the header of a photo, not its pixels. Raises PhotoError."""
    head = file.read(512)
    file.seek(0)
    if not head:
        raise PhotoError(f"{name} is empty (0 bytes).")
    formats = FORMATS
    if head[4:8] == b"ftyp" and any(brand in head[8:64] for brand in HEIC_BRANDS):
        _register_heic(name)
        formats = ("HEIF",)
    try:
        with _pillow_limits:  # they are global; check_size replaces the first
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            chunk, PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_CHUNK, LARGEST_PROFILE
            try:
                image = Image.open(file, formats=formats)
            finally:
                Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = limit, chunk
    except UnidentifiedImageError as error:
        raise PhotoError(_why_unreadable(head, file.seek(0, io.SEEK_END), name)) from error
    if head[8:10] == b"CR" or _is_raw(image):
        raise PhotoError(f"{name} is a camera raw file; develop it to a TIFF or JPEG first.")
    return image


def check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    """Refuse a photo that is too large before its pixels are decoded. Raises PhotoError."""
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise TooLargeError(
            f"{name} has {image.width} x {image.height} pixels, more than the limit of "
            f"{max_pixels}",
            f"if you trust the file, allow it with --max-pixels {pixels}",
        )


def jpeg_quality(image: Image.Image) -> int | None:
    """The quality, 1 to 100, at which libjpeg would quantise luma as this JPEG file does.

    Other encoders' tables have other shapes: theirs is the quality of equal sum. None for other
    formats.
    """
    tables = cast(dict[int, Any] | None, getattr(image, "quantization", None))
    if image.format not in ("JPEG", "MPO") or not tables or 0 not in tables:
        return None
    percent = 100 * sum(tables[0]) / LIBJPEG_LUMA_SUM
    quality = (200 - percent) / 2 if percent <= 100 else 5000 / percent
    return int(min(100, max(1, round(quality))))


def _exif_of(image: Image.Image) -> tuple[bytes | None, list[str]]:
    """The EXIF, and a note where it is damaged, which is no reason to refuse a photo."""
    try:
        exif = read_exif(image)
    except Exception:
        return None, ["damaged EXIF left out"]
    lost = exif is None and image.info.get("exif")
    return exif, ["damaged EXIF left out"] if lost else []


def _icc_of(
    image: Image.Image, file: BinaryIO | None, gray: bool
) -> tuple[bytes | None, list[str]]:
    """The ICC profile of the pixels (None: sRGB), and notes on colors that cannot be honored."""
    icc: bytes | None = image.info.get("icc_profile") or None
    notes = list[str]()
    if icc is not None and color.color_space(icc) not in (("GRAY", "RGB") if gray else ("RGB",)):
        icc = None
        notes.append("color profile that does not fit the photo left out")
    if image.format != "PNG":
        return icc, notes
    code = None if file is None else _png_cicp(file)  # counts before the profile
    if code == color.SRGB_CICP:
        return None, notes
    profile = None if code is None or gray else color.profile_from_cicp(code)
    if profile is not None or icc is not None:
        return profile or icc, notes
    if code is not None:
        kind = "HDR colors" if code[1] in color.HDR else "colors described without a profile"
        notes.append(f"{kind} (cICP) taken as sRGB")
    elif color.differs_from_srgb(image.info):
        notes.append("colors described without a profile (gAMA, cHRM) taken as sRGB")
    return None, notes


def _png_cicp(file: BinaryIO) -> bytes | None:
    """The four bytes of a PNG's cICP chunk, which Pillow skips; None where there is none."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"cICP" and length == 4:
            return file.read(4)
        if kind in (b"IDAT", b"IEND"):
            break
        file.seek(length + 4, io.SEEK_CUR)
    return None


def _dpi_of(image: Image.Image, orientation: Any) -> tuple[float, float] | None:
    """The print resolution of the upright photo, where the file gives a plausible one."""
    with suppress(Exception):  # files say the strangest things
        x, y = (float(one) for one in image.info["dpi"])
        if 0.5 <= x <= 65535 and 0.5 <= y <= 65535:
            return (y, x) if orientation in (5, 6, 7, 8) else (x, y)
    return None


def _register_heic(name: str) -> None:
    try:
        from pillow_heif import register_heif_opener  # pyright: ignore
    except ImportError as error:
        raise PhotoError(
            f"{name} is a HEIC photo; install its decoder (pip install pillow-heif) or save it as "
            "JPEG."
        ) from error
    register_heif_opener()


def _why_unreadable(head: bytes, size: int, name: str) -> str:
    """A sentence about a file of ``size`` bytes that no decoder accepts; ``head`` is its start."""
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        directory = int.from_bytes(head[4:8], "little" if head[:2] == b"II" else "big")
        if head[2:4] in (b"*\0", b"\0*") and directory >= size:  # it is mostly at the end
            return f"{name} is damaged or cut short and cannot be read."
        return (
            f"{name} is a TIFF of an unusual kind or damaged; save it as RGB with 8 or 16 bits a "
            "channel."
        )
    starts = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")
    if head.startswith(starts) or head[8:12] == b"WEBP" or head[8:12] in (b"avif", b"avis"):
        return f"{name} is damaged or cut short and cannot be read."
    with suppress(UnicodeDecodeError):
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last letter may be cut
        if b"\0" not in head:
            return f"{name} holds text, not a picture."
    return f"{name} is not a picture that refsr can read; give it as {READABLE}."


def _is_raw(image: Image.Image) -> bool:
    """Whether a TIFF is a camera's raw file, whose first page is only a preview."""
    tags = tiff_tags(image)
    return DNG_VERSION in tags or tags.get(NEW_SUBFILE_TYPE) == 1
