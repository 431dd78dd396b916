"""From arrays to the bytes of a PNG, TIFF, JPEG, WebP or AVIF file, with profile and EXIF.

Pillow writes JPEG, WebP and AVIF, for which the whole photo has to lie in memory twice. PNG and
TIFF are laid out here, a few rows at a time: Pillow has no 16-bit color, and a large result must
not be copied. Both are plain containers around zlib streams.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from refsr.errors import PhotoError
from refsr.image import exif as exif_tags

FORMAT_OF = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".avif": "AVIF",
}
LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383, "AVIF": 65535}  # px, by the formats' own rules
DEEP = ("PNG", "TIFF")  # formats that keep 16 bits
STRIP_OFFSETS, ICC_PROFILE = 273, 34675  # tags
INCHES = 0.0254  # metres
WRITING_BYTES = {"JPEG": 7, "WEBP": 12, "AVIF": 40}  # memory per pixel; the others take none
STRIP_BYTES = 1 << 20  # of pixels that are packed at a time
PNG_COLOR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}  # by the number of channels
CLASSIC_TIFF_LIMIT = 2**32 - 2**24  # bytes; offsets have 32 bits and the header needs some room


@dataclass(frozen=True)
class Extras:
    """What travels beside the pixels."""

    icc: bytes | None = None
    exif: bytes | None = None  # begins with "Exif\0\0"
    dpi: tuple[float, float] | None = None  # horizontal, vertical


def format_of(path: str | os.PathLike[str]) -> str:
    """The format that a file name asks for. Raises PhotoError for names that ask for none."""
    suffix = Path(path).suffix.lower()
    format = FORMAT_OF.get(suffix)
    if format is None:
        problem = f"ends in {suffix}" if suffix else "has no extension"
        raise PhotoError(
            f"{os.fspath(path)} {problem}, which refsr cannot write; use .png, .jpg, .webp, .tif "
            "or .avif."
        )
    if format == "AVIF" and not features.check("avif"):
        raise PhotoError(f"This Pillow cannot write AVIF ({os.fspath(path)}); use .png or .webp.")
    return format


def memory_to_write(path: str | os.PathLike[str], pixels: int) -> int:
    """Bytes that writing a result of so many pixels takes beside it, by the name's format."""
    return WRITING_BYTES.get(format_of(path), 0) * pixels


def write(
    file: BinaryIO,
    format: str,
    pixels: NDArray[np.uint8] | NDArray[np.uint16],
    extras: Extras,
    quality: int,
) -> None:
    """Write a whole file into an empty one.

    ``pixels``: HWC with 1 (gray), 2 (gray, alpha), 3 or 4 channels; uint8, or uint16 for the
    formats of DEEP. ``quality`` is 1 to 100, for the lossy formats. May raise anything; OSError
    only where ``file`` cannot be written.
    """
    if format == "TIFF":
        _tiff(file, pixels, extras)
    elif format == "PNG":
        _png(file, pixels, extras)
    else:
        try:
            data = _with_pillow(format, pixels, extras, quality)
        except OSError as error:
            raise ValueError(str(error)) from error
        file.write(data)


def _with_pillow(format: str, pixels: NDArray[Any], extras: Extras, quality: int) -> bytes:
    options: dict[str, Any] = {"quality": quality}
    exif = extras.exif
    if format == "JPEG":  # full color resolution: results are looked at closely
        options |= {"subsampling": 0, "optimize": True}
        exif = exif and exif_tags.fitted_to_jpeg(exif)
    elif format == "WEBP":
        options |= {"method": 4}
    elif format == "AVIF":
        options |= {"subsampling": "4:4:4" if pixels.shape[2] > 2 else "4:0:0"}
    if exif is not None:
        options["exif"] = exif
    if extras.icc is not None:
        options["icc_profile"] = extras.icc
    if extras.dpi is not None and format == "JPEG":
        options["dpi"] = tuple(min(65535, max(1, round(one))) for one in extras.dpi)
    out = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(out, format, **options)
    return out.getvalue()


def _png(file: BinaryIO, pixels: NDArray[Any], extras: Extras) -> None:
    height, width, channels = pixels.shape

    def chunk(kind: bytes, data: bytes) -> None:
        checksum = zlib.crc32(kind + data).to_bytes(4, "big")
        file.write(len(data).to_bytes(4, "big") + kind + data + checksum)

    file.write(b"\x89PNG\r\n\x1a\n")
    bits = pixels.itemsize * 8
    head = struct.pack(">IIBBBBB", width, height, bits, PNG_COLOR_TYPE[channels], 0, 0, 0)
    chunk(b"IHDR", head)
    if extras.icc is not None:
        chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(extras.icc))
    if extras.dpi is not None:
        metre = 1
        chunk(b"pHYs", struct.pack(">IIB", *(round(d / INCHES) for d in extras.dpi), metre))
    if extras.exif is not None:
        chunk(b"eXIf", extras.exif.removeprefix(exif_tags.PREFIX))
    packer = zlib.compressobj(6)
    above = np.zeros((1, width * channels * pixels.itemsize), np.uint8)
    rows = max(1, STRIP_BYTES // above.size)
    for top in range(0, height, rows):
        band = pixels[top : top + rows]
        lines = np.ascontiguousarray(band, band.dtype.newbyteorder(">"))
        lines = lines.view(np.uint8).reshape(len(band), -1)
        packed = packer.compress(_png_filtered(lines, above, channels * pixels.itemsize))
        above = lines[-1:]
        if packed:
            chunk(b"IDAT", packed)
    chunk(b"IDAT", packer.flush())
    chunk(b"IEND", b"")


def _png_filtered(lines: NDArray[np.uint8], above: NDArray[np.uint8], pixel: int) -> bytes:
    """Rows of bytes (n, m), each as the least of PNG's five differences, its number in front.

    ``above`` (1, m) is the row before; a pixel has ``pixel`` bytes.
    """
    up = np.concatenate([above, lines[:-1]])
    left, corner = np.zeros_like(lines), np.zeros_like(lines)
    left[:, pixel:], corner[:, pixel:] = lines[:, :-pixel], up[:, :-pixel]
    average = (left & up) + ((left ^ up) >> 1)  # of two bytes, in a byte
    wide_left, wide_up, wide_corner = (a.astype(np.int16) for a in (left, up, corner))
    to_left = np.abs(wide_up - wide_corner)
    to_up = np.abs(wide_left - wide_corner)
    to_corner = np.abs(wide_left + wide_up - 2 * wide_corner)
    paeth = np.where(to_up <= to_corner, up, corner)
    paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, paeth)
    tried = [lines, lines - left, lines - up, lines - average, lines - paeth]
    sizes = [np.minimum(one, -one).sum(axis=1, dtype=np.int64) for one in tried]  # of signed bytes
    best = np.argmin(sizes, axis=0).astype(np.uint8)
    out = np.empty((len(lines), lines.shape[1] + 1), np.uint8)
    out[:, 0] = best
    for number, one in enumerate(tried):
        chosen = best == number
        out[chosen, 1:] = one[chosen]
    return out.tobytes()


def _tiff(file: BinaryIO, pixels: NDArray[Any], extras: Extras) -> None:
    """TIFF with zlib-packed strips and horizontal differences, readable everywhere."""
    height, width, channels = pixels.shape
    rows = max(1, STRIP_BYTES // (width * channels * pixels.itemsize))
    file.write(b"II*\0" + bytes(4))  # where the tags begin is known in the end
    places, sizes = list[int](), list[int]()
    for top in range(0, height, rows):
        strip = _tiff_strip(pixels[top : top + rows])
        places.append(file.tell())
        sizes.append(len(strip))
        file.write(strip + bytes(len(strip) % 2))  # everything begins at an even place
        if file.tell() > CLASSIC_TIFF_LIMIT:
            raise PhotoError(
                "The result does not fit into a TIFF, which ends at 4 GB; write a PNG."
            )
    tags = ImageFileDirectory_v2(b"II*\0\x08\0\0\0")
    for tag, value in exif_tags.tags_of(extras.exif).items() if extras.exif else ():
        if tag in exif_tags.DESCRIPTIVE:
            tags[tag] = value
    tags[256], tags[257] = width, height
    tags[258] = (pixels.itemsize * 8,) * channels  # bits a sample
    tags[259], tags[317] = 8, 2  # zlib ("Adobe deflate"), horizontal differences
    tags[262] = 1 if channels < 3 else 2  # black is zero, or RGB
    tags[277], tags[278], tags[284] = channels, rows, 1
    if channels in (2, 4):
        tags[338] = 2  # alpha, not premultiplied
    if extras.dpi is not None:
        tags[282], tags[283] = extras.dpi
        tags[296] = 2  # inches
    if extras.icc is not None:
        tags.tagtype[ICC_PROFILE], tags[ICC_PROFILE] = 7, extras.icc
    tags[STRIP_OFFSETS], tags[279] = (0,) * len(places), tuple(sizes)
    at = file.tell()
    file.write(_directory(tags, at, places))
    file.seek(4)
    file.write(struct.pack("<I", at))


def _directory(tags: ImageFileDirectory_v2, at: int, places: list[int]) -> bytes:
    """A TIFF's tags as they lie at ``at``, behind the strips at ``places``.

    Pillow takes for granted that the strips follow the tags, and moves their places: they are put
    right here.
    """
    data = bytearray(tags.tobytes(at))
    for entry in range(2, 2 + 12 * struct.unpack_from("<H", data)[0], 12):
        tag, _, count, value = struct.unpack_from("<HHII", data, entry)
        if tag == STRIP_OFFSETS:
            where = entry + 8 if count == 1 else value - at
            struct.pack_into(f"<{count}I", data, where, *places)
    return bytes(data)


def _tiff_strip(rows: NDArray[Any]) -> bytes:
    difference = rows.astype(rows.dtype.newbyteorder("<"))
    difference[:, 1:] -= rows[:, :-1]
    return zlib.compress(difference.tobytes())
