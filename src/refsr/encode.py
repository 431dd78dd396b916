"""From arrays to the bytes of a PNG, TIFF, JPEG, WebP or AVIF file, with profile and EXIF.

Pillow writes the 8-bit formats. It has no 16-bit colour, so the 16-bit PNG and every TIFF are laid
out here; both are plain containers around zlib streams.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from refsr import exif as exif_tags
from refsr.errors import PhotoError

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
ICC_PROFILE = 34675  # tag
STRIP_BYTES = 1 << 20  # of a TIFF, before compression
PNG_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}  # by the number of channels
CLASSIC_TIFF_LIMIT = 2**32 - 2**24  # bytes; offsets have 32 bits and the header needs some room


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


def encode(
    format: str,
    pixels: NDArray[np.uint8] | NDArray[np.uint16],
    icc: bytes | None,
    exif: bytes | None,
    quality: int,
) -> bytes:
    """The bytes of a file.

    ``pixels``: HWC with 1 (grey), 2 (grey, alpha), 3 or 4 channels; uint8, or uint16 for the
    formats of DEEP. ``quality`` is 1 to 100, for the lossy formats. May raise anything.
    """
    if format == "TIFF":
        return _tiff(pixels, icc, exif)
    if pixels.dtype == np.uint16:
        return _png_16_bit(pixels, icc, exif)
    options: dict[str, Any] = {}
    if format == "JPEG":  # full colour resolution: results are looked at closely
        options = {"quality": quality, "subsampling": 0, "optimize": True}
        exif = exif and exif_tags.fitted_to_jpeg(exif)
    elif format == "WEBP":
        options = {"quality": quality, "method": 4}
    elif format == "AVIF":
        options = {"quality": quality, "subsampling": "4:4:4" if pixels.shape[2] > 2 else "4:0:0"}
    if exif is not None:
        options["exif"] = exif
    if icc is not None:
        options["icc_profile"] = icc
    out = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(out, format, **options)
    return out.getvalue()


def _png_16_bit(pixels: NDArray[Any], icc: bytes | None, exif: bytes | None) -> bytes:
    """PNG of 16 bits a channel; each row is stored as its difference to the row above."""
    height, width, channels = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 16, PNG_COLOUR_TYPE[channels], 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header)]
    if icc is not None:
        parts.append(chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)))
    if exif is not None:
        parts.append(chunk(b"eXIf", exif.removeprefix(exif_tags.PREFIX)))
    packer, above = zlib.compressobj(6), np.zeros(width * channels * 2, np.uint8)
    for row in pixels:
        line = row.astype(">u2").view(np.uint8).ravel()
        filter_up = b"\2"
        packed = packer.compress(filter_up + (line - above).tobytes())
        above = line
        if packed:
            parts.append(chunk(b"IDAT", packed))
    parts += [chunk(b"IDAT", packer.flush()), chunk(b"IEND", b"")]
    return b"".join(parts)


def _tiff(pixels: NDArray[Any], icc: bytes | None, exif: bytes | None) -> bytes:
    """TIFF with zlib-packed strips and horizontal differences, readable everywhere."""
    height, width, channels = pixels.shape
    rows = max(1, STRIP_BYTES // (width * channels * pixels.itemsize))
    strips = [_tiff_strip(pixels[top : top + rows]) for top in range(0, height, rows)]
    sizes = [len(strip) for strip in strips]
    if sum(sizes) > CLASSIC_TIFF_LIMIT:
        raise PhotoError("The result does not fit into a TIFF, which ends at 4 GB; write a PNG.")
    tags = ImageFileDirectory_v2(b"II*\0\x08\0\0\0")
    for tag, value in exif_tags.tags_of(exif).items() if exif else ():
        if tag in exif_tags.DESCRIPTIVE:
            tags[tag] = value
    tags[256], tags[257] = width, height
    tags[258] = (pixels.itemsize * 8,) * channels  # bits a sample
    tags[259], tags[317] = 8, 2  # zlib ("Adobe deflate"), horizontal differences
    tags[262] = 1 if channels < 3 else 2  # black is zero, or RGB
    tags[277], tags[278], tags[284] = channels, rows, 1
    if channels in (2, 4):
        tags[338] = 2  # alpha, not premultiplied
    if icc is not None:
        tags.tagtype[ICC_PROFILE], tags[ICC_PROFILE] = 7, icc
    tags[279] = tuple(sizes)
    tags[273] = tuple(
        int(at) for at in np.cumsum([0, *sizes[:-1]])
    )  # Pillow adds the header's size
    out = io.BytesIO()
    tags.save(out)
    return b"".join([out.getvalue(), *strips])


def _tiff_strip(rows: NDArray[Any]) -> bytes:
    difference = rows.astype(rows.dtype.newbyteorder("<"))
    difference[:, 1:] -= rows[:, :-1]
    return zlib.compress(difference.tobytes())
