"""Decoding a photo's file: which files are accepted, and everything that they say.

The pixels themselves are read in ``pixels.py``.
"""

from __future__ import annotations

import codecs
import dataclasses
import io
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
from refsr.image.descriptions import read_iptc, read_xmp
from refsr.image.exif import read_exif
from refsr.image.heif_boxes import read_boxes
from refsr.image.jpeg_structure import read_structure
from refsr.image.levels import Levels
from refsr.image.pixels import PHOTOMETRIC, read_pixels, tiff_tags, upright
from refsr.image.png_chunks import SIGNATURE, cicp, repaired
from refsr.image.rare_kinds import RAW, rare_kind

# Pillow knows some forty formats; decoders that no photographer needs are only a risk.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF", "BMP", "PPM")
READABLE = "JPEG, PNG, WebP, TIFF, AVIF, HEIC, GIF, BMP or PPM"
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
DNG_VERSION, NEW_SUBFILE_TYPE, SUB_IFDS = 50706, 254, 330  # TIFF tags
PREVIEW = 1  # a bit of NEW_SUBFILE_TYPE
DEVELOPED = range(10)  # PHOTOMETRIC of pictures; a sensor's raw values have higher numbers
MOST_PAGES = 16  # looked at for the full picture

MOST_SCANS = 100  # of a JPEG, as in libtiff: each one costs a pass over the picture
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
    xmp: bytes | None  # an XML packet, for upright pixels
    iptc: bytes | None  # IPTC-IIM records


@contextmanager
def plain_errors(name: str, file: BinaryIO | None = None) -> Generator[None]:
    """Turn whatever a decoder raises into a PhotoError of one sentence about the file ``name``.

    An open ``file`` is called by its kind where that is why it cannot be read.
    """
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
        kind = rare_kind(file) if file else None
        raise PhotoError(_unread(name, kind) if kind else _damaged(name)) from error


def decode_file(file: BinaryIO, name: str, max_pixels: int) -> Decoded:
    """Read a photo from an open file; errors call it ``name``.

    Raises PhotoError where it cannot be read whole or has more than ``max_pixels``.
    """
    notes = list[str]()
    with plain_errors(name, file):
        if file.read(len(SIGNATURE)) == SIGNATURE:
            file.seek(0)
            data, notes = repaired(file.read())
            file = io.BytesIO(data)
        file.seek(0)
        image = open_image(file, name)
    decoded = decode_image(image, file, name, max_pixels)
    return dataclasses.replace(decoded, notes=(*notes, *decoded.notes))


def decode_image(image: Image.Image, file: BinaryIO | None, name: str, max_pixels: int) -> Decoded:
    """Read an opened image; ``file`` is what it was opened from, None for a user's PIL image.

    Raises PhotoError as ``decode_file`` does.
    """
    check_cost(image, file, name, max_pixels)
    with plain_errors(name, file):
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
        xmp, xmp_notes = read_xmp(image)
        return Decoded(
            pixels=np.repeat(pixels[..., None], 3, axis=2) if gray else pixels,
            alpha=None if stored.alpha is None else upright(stored.alpha, orientation),
            gray=gray,
            icc=icc,
            exif=exif,
            format="JPEG" if image.format == "MPO" else image.format,
            # The same may be said twice: of other pictures, by the file and by its XMP.
            notes=tuple(dict.fromkeys((*stored.notes, *exif_notes, *xmp_notes, *icc_notes))),
            jpeg_quality=jpeg_quality(image),
            dpi=_dpi_of(image, orientation),
            xmp=xmp,
            iptc=read_iptc(image),
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
        kind = rare_kind(file)
        size = file.seek(0, io.SEEK_END)
        why = _unread(name, kind) if kind else _why_unreadable(head, size, name)
        raise PhotoError(why) from error
    if head[8:10] == b"CR" or _is_raw(image):
        raise PhotoError(_unread(name, RAW))
    return image


def check_cost(image: Image.Image, file: BinaryIO | None, name: str, max_pixels: int) -> None:
    """Refuse a photo of too many pixels or scans before it is decoded. Raises PhotoError.

    ``file`` is what it was opened from, if anything.
    """
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise TooLargeError(
            f"{name} has {image.width} x {image.height} pixels, more than the limit of "
            f"{max_pixels}",
            f"if you trust the file, allow it with --max-pixels {pixels}",
        )
    if file is not None and image.info.get("progressive"):
        at = file.tell()
        file.seek(0)
        with suppress(ValueError):  # the decoder says what is wrong
            scans = len(read_structure(file.read()).scans)
            if scans > MOST_SCANS:
                raise PhotoError(
                    f"{name} is a progressive JPEG of {scans} scans, more than the {MOST_SCANS} "
                    "that refsr decodes; save it again."
                )
        file.seek(at)


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
    if file is None or image.format not in ("PNG", "AVIF", "HEIF"):
        return icc, notes
    if image.format == "PNG":
        file.seek(0)
        code, source = cicp(file.read()), "cICP"  # counts before the profile
    else:
        code, source = (None if icc else read_boxes(file).cicp), "nclx"
    if code == color.SRGB_CICP:
        return None, notes
    profile = None if code is None or gray else color.profile_from_cicp(code)
    if profile is not None or icc is not None:
        return profile or icc, notes
    if code is not None:
        kind = "HDR colors" if code[1] in color.HDR else "colors described without a profile"
        notes.append(f"{kind} ({source}) taken as sRGB")
    elif image.format == "PNG" and color.differs_from_srgb(image.info):
        notes.append("colors described without a profile (gAMA, cHRM) taken as sRGB")
    return None, notes


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


def _damaged(name: str) -> str:
    return f"{name} is damaged or cut short and cannot be read."


def _unread(name: str, kind: str) -> str:
    if kind == RAW:
        return f"{name} is {kind}; develop it to a TIFF or JPEG first."
    return f"{name} is {kind}, which refsr does not read; save it as a usual JPEG, PNG or TIFF."


def _why_unreadable(head: bytes, size: int, name: str) -> str:
    """A sentence about a file of ``size`` bytes that no decoder accepts; ``head`` is its start."""
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        directory = int.from_bytes(head[4:8], "little" if head[:2] == b"II" else "big")
        if head[2:4] in (b"*\0", b"\0*") and directory >= size:  # it is mostly at the end
            return _damaged(name)
        return (
            f"{name} is a TIFF of an unusual kind or damaged; save it as RGB with 8 or 16 bits a "
            "channel."
        )
    starts = (b"\xff\xd8\xff", SIGNATURE, b"GIF8", b"BM")
    if head.startswith(starts) or head[8:12] == b"WEBP" or head[8:12] in (b"avif", b"avis"):
        return _damaged(name)
    with suppress(UnicodeDecodeError):
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last letter may be cut
        if b"\0" not in head:
            return f"{name} holds text, not a picture."
    return f"{name} is not a picture that refsr can read; give it as {READABLE}."


def _is_raw(image: Image.Image) -> bool:
    """Whether a TIFF is a camera's raw file, of whose pages the first is only a preview.

    Where a later page has the full picture, as scanners write it, the image is turned to it.
    """
    tags = tiff_tags(image)
    if DNG_VERSION in tags:
        return True
    if not _is_preview(tags):
        return False
    preview = image.width * image.height
    with suppress(Exception):  # a damaged page: the first stays a preview
        for page in range(1, MOST_PAGES if SUB_IFDS not in tags else 0):
            image.seek(page)
            tags = tiff_tags(image)
            full = not _is_preview(tags) and image.width * image.height > preview
            if full and tags.get(PHOTOMETRIC) in DEVELOPED and SUB_IFDS not in tags:
                return False
    return True


def _is_preview(tags: dict[int, Any]) -> bool:
    return bool(tags.get(NEW_SUBFILE_TYPE, 0) & PREVIEW)
