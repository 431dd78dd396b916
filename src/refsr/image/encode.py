"""Encoding a photo as a PNG, TIFF, JPEG, WebP or AVIF file, with profile and EXIF.

Pillow writes JPEG, WebP and AVIF, which holds the whole photo in memory twice. PNG and TIFF are
written here, a few rows at a time: Pillow has no 16-bit color, and a large result must not be
copied. Both are plain containers around zlib streams.
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
from refsr.image.color import color_space, convert_colors
from refsr.image.descriptions import (
    IPTC_TAG,
    JPEG_XMP_LIMIT,
    XMP_TAG,
    iptc_segment,
)
from refsr.image.exif import DESCRIPTIVE, JPEG_LIMIT, PREFIX, fit_to_jpeg, parse_exif
from refsr.image.levels import Levels, luma, to_8_bits
from refsr.image.png_chunks import SIGNATURE

FORMAT_OF = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".avif": "AVIF",
}
LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383, "AVIF": 65535}  # pixels, by the formats' own rules
FORMATS_16_BIT = ("PNG", "TIFF")
STRIP_OFFSETS, ICC_PROFILE = 273, 34675  # TIFF tags
INCHES = 0.0254  # metres
WRITING_BYTES = {"JPEG": 7, "WEBP": 12, "AVIF": 40}  # memory per pixel; the others need none
STRIP_BYTES = 1 << 20  # of pixels compressed at a time
PNG_COLOR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}  # by the number of channels
IPTC_LIMITS = {"JPEG": 65500, "TIFF": 1 << 30}  # bytes: one segment, a tag; others hold none
CLASSIC_TIFF_LIMIT = 2**32 - 2**24  # bytes; offsets have 32 bits and the header needs some room


@dataclass(frozen=True)
class Metadata:
    """What is written beside the pixels."""

    icc: bytes | None = None
    exif: bytes | None = None  # begins with "Exif\0\0"
    dpi: tuple[float, float] | None = None  # horizontal, vertical
    xmp: bytes | None = None
    iptc: bytes | None = None


def lost_metadata(
    format: str, exif: bytes | None, xmp: bytes | None, iptc: bytes | None
) -> list[str]:
    """What a format cannot hold of a photo's metadata, as notes."""
    lost = list[str]()
    if format == "JPEG" and len(exif or b"") > JPEG_LIMIT:
        lost.append("EXIF shortened: it is too long for a JPEG")
    if format == "JPEG" and len(xmp or b"") > JPEG_XMP_LIMIT:
        lost.append("XMP left out: it is too long for a JPEG")
    if len(iptc or b"") > IPTC_LIMITS.get(format, 0):
        lost.append(f"IPTC left out: it does not fit into {format}")
    return lost


def format_of(path: str | os.PathLike[str]) -> str:
    """The format of a file name's extension. Raises PhotoError where refsr cannot write it."""
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
    """Bytes of memory that writing a result of so many pixels takes beside it."""
    return WRITING_BYTES.get(format_of(path), 0) * pixels


def channels_for(
    format: str, pixels: Levels, alpha: Levels | None, *, gray: bool, icc: bytes | None
) -> tuple[Levels, bytes | None]:
    """What a format can hold of a photo: HWC with 1 to 4 channels, and the profile that fits them.

    ``pixels`` HWC RGB, ``alpha`` HW; of a ``gray`` photo the luma is kept.
    """
    out: NDArray[Any] = pixels
    if format not in FORMATS_16_BIT:
        out = to_8_bits(pixels)
        alpha = None if alpha is None else to_8_bits(alpha)
    if format == "JPEG" and alpha is not None:
        out, alpha = over_white(out, to_8_bits(alpha)), None
    # Pillow's WebP has no gray, and Pillow reads no TIFF of 16-bit gray with alpha.
    deep = pixels.itemsize == 2
    as_color = format == "WEBP" or (format == "TIFF" and deep and alpha is not None)
    if gray and not as_color:
        out = luma(out)[..., None]
        if format == "PNG" and icc is not None and color_space(icc) != "GRAY":
            icc = None  # PNG forbids it, and its readers complain
    elif gray and icc is not None and color_space(icc) == "GRAY":
        if out.dtype == np.uint8:
            out = convert_colors(out, icc, None)
        icc = None
    if alpha is not None:
        out = np.concatenate([out, alpha[..., None]], axis=2)
    return out, icc


def over_white(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels (HWC) with alpha (HW) composited over white."""
    weight = alpha[..., None].astype(np.uint16)
    return ((pixels * weight + 255 * (255 - weight) + 127) // 255).astype(np.uint8)


def write(
    file: BinaryIO,
    format: str,
    pixels: Levels,
    metadata: Metadata,
    quality: int,
) -> None:
    """Encode a photo into an empty ``file``.

    ``pixels``: HWC with 1 (gray), 2 (gray, alpha), 3 or 4 channels; uint8, or uint16 for
    FORMATS_16_BIT. ``quality`` is 1 to 100, for the lossy formats. May raise anything; OSError
    only where ``file`` cannot be written.
    """
    if format == "TIFF":
        _write_tiff(file, pixels, metadata)
    elif format == "PNG":
        _write_png(file, pixels, metadata)
    else:
        try:
            data = _with_pillow(format, pixels, metadata, quality)
        except OSError as error:
            raise ValueError(str(error)) from error
        file.write(data)


def _with_pillow(format: str, pixels: NDArray[Any], metadata: Metadata, quality: int) -> bytes:
    options: dict[str, Any] = {"quality": quality}
    exif = metadata.exif
    if format == "JPEG":  # full color resolution: results are viewed enlarged
        options |= {"subsampling": 0, "optimize": True}
        exif = exif and fit_to_jpeg(exif)
        if metadata.iptc is not None and len(metadata.iptc) <= IPTC_LIMITS[format]:
            options["extra"] = iptc_segment(metadata.iptc)
    elif format == "WEBP":
        options |= {"method": 4}
    elif format == "AVIF":
        options |= {"subsampling": "4:4:4" if pixels.shape[2] > 2 else "4:0:0"}
    if exif is not None:
        options["exif"] = exif
    if metadata.xmp is not None and not (format == "JPEG" and len(metadata.xmp) > JPEG_XMP_LIMIT):
        options["xmp"] = metadata.xmp
    if metadata.icc is not None:
        options["icc_profile"] = metadata.icc
    if metadata.dpi is not None and format == "JPEG":
        options["dpi"] = tuple(min(65535, max(1, round(one))) for one in metadata.dpi)
    out = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(out, format, **options)
    return out.getvalue()


def _write_png(file: BinaryIO, pixels: NDArray[Any], metadata: Metadata) -> None:
    height, width, channels = pixels.shape

    def chunk(kind: bytes, data: bytes) -> None:
        checksum = zlib.crc32(kind + data).to_bytes(4, "big")
        file.write(len(data).to_bytes(4, "big") + kind + data + checksum)

    file.write(SIGNATURE)
    bits = pixels.itemsize * 8
    head = struct.pack(">IIBBBBB", width, height, bits, PNG_COLOR_TYPE[channels], 0, 0, 0)
    chunk(b"IHDR", head)
    if metadata.icc is not None:
        chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc))
    if metadata.dpi is not None:
        metre = 1  # the unit
        chunk(b"pHYs", struct.pack(">IIB", *(round(d / INCHES) for d in metadata.dpi), metre))
    if metadata.exif is not None:
        chunk(b"eXIf", metadata.exif.removeprefix(PREFIX))
    if metadata.xmp is not None:
        chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + metadata.xmp)  # not packed, no language
    packer = zlib.compressobj(6)
    above = np.zeros((1, width * channels * pixels.itemsize), np.uint8)
    rows = max(1, STRIP_BYTES // above.size)
    for top in range(0, height, rows):
        band = pixels[top : top + rows]
        lines = np.ascontiguousarray(band, band.dtype.newbyteorder(">"))
        lines = lines.view(np.uint8).reshape(len(band), -1)
        packed = packer.compress(_filter_png_rows(lines, above, channels * pixels.itemsize))
        above = lines[-1:]
        if packed:
            chunk(b"IDAT", packed)
    chunk(b"IDAT", packer.flush())
    chunk(b"IEND", b"")


def _filter_png_rows(lines: NDArray[np.uint8], above: NDArray[np.uint8], pixel: int) -> bytes:
    """Rows of bytes (n, m), each by the PNG filter of the least absolute sum, its number in front.

    ``above`` (1, m) is the row before the first; a pixel has ``pixel`` bytes.
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
    filtered = [lines, lines - left, lines - up, lines - average, lines - paeth]
    sizes = [np.minimum(one, -one).sum(axis=1, dtype=np.int64) for one in filtered]  # signed
    best = np.argmin(sizes, axis=0).astype(np.uint8)
    out = np.empty((len(lines), lines.shape[1] + 1), np.uint8)
    out[:, 0] = best
    for number, one in enumerate(filtered):
        chosen = best == number
        out[chosen, 1:] = one[chosen]
    return out.tobytes()


def _write_tiff(file: BinaryIO, pixels: NDArray[Any], metadata: Metadata) -> None:
    """TIFF with zlib-packed strips and horizontal differences, which every reader supports."""
    height, width, channels = pixels.shape
    rows = max(1, STRIP_BYTES // (width * channels * pixels.itemsize))
    file.write(b"II*\0" + bytes(4))  # the offset of the tags is set at the end
    offsets, sizes = list[int](), list[int]()
    for top in range(0, height, rows):
        strip = _pack_tiff_strip(pixels[top : top + rows])
        offsets.append(file.tell())
        sizes.append(len(strip))
        file.write(strip + bytes(len(strip) % 2))  # offsets must be even
        if file.tell() > CLASSIC_TIFF_LIMIT:
            raise PhotoError(
                "The result does not fit into a TIFF, which ends at 4 GB; write a PNG."
            )
    tags = ImageFileDirectory_v2(b"II*\0\x08\0\0\0")
    for tag, value in parse_exif(metadata.exif).items() if metadata.exif else ():
        if tag in DESCRIPTIVE:
            tags[tag] = value
    tags[256], tags[257] = width, height
    tags[258] = (pixels.itemsize * 8,) * channels  # bits a sample
    tags[259], tags[317] = 8, 2  # zlib ("Adobe deflate"), horizontal differences
    tags[262] = 1 if channels < 3 else 2  # black is zero, or RGB
    tags[277], tags[278], tags[284] = channels, rows, 1
    if channels in (2, 4):
        tags[338] = 2  # alpha, not premultiplied
    if metadata.dpi is not None:
        tags[282], tags[283] = metadata.dpi
        tags[296] = 2  # inches
    if metadata.icc is not None:
        tags.tagtype[ICC_PROFILE], tags[ICC_PROFILE] = 7, metadata.icc
    for tag, kind, value in ((XMP_TAG, 1, metadata.xmp), (IPTC_TAG, 7, metadata.iptc)):
        if value is not None:
            tags.tagtype[tag], tags[tag] = kind, value
    tags[STRIP_OFFSETS], tags[279] = (0,) * len(offsets), tuple(sizes)
    at = file.tell()
    file.write(_tiff_directory(tags, at, offsets))
    file.seek(4)
    file.write(struct.pack("<I", at))


def _tiff_directory(tags: ImageFileDirectory_v2, at: int, offsets: list[int]) -> bytes:
    """A TIFF's tags at the file offset ``at``, after the strips at ``offsets``.

    Pillow assumes that the strips follow the tags, and changes their offsets: they are set here.
    """
    data = bytearray(tags.tobytes(at))
    for entry in range(2, 2 + 12 * struct.unpack_from("<H", data)[0], 12):
        tag, _, count, value = struct.unpack_from("<HHII", data, entry)
        if tag == STRIP_OFFSETS:
            where = entry + 8 if count == 1 else value - at
            struct.pack_into(f"<{count}I", data, where, *offsets)
    return bytes(data)


def _pack_tiff_strip(rows: NDArray[Any]) -> bytes:
    difference = rows.astype(rows.dtype.newbyteorder("<"))
    difference[:, 1:] -= rows[:, :-1]
    return zlib.compress(difference.tobytes())
