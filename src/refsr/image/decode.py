"""From a photo's file to arrays: which files are taken, and how each kind of pixel is read."""

from __future__ import annotations

import codecs
import io
import struct
import threading
import zlib
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from refsr.errors import PhotoError
from refsr.image.atomic import reason
from refsr.image.color import to_srgb
from refsr.image.jpeg_trailer import ended

Levels = NDArray[np.uint8] | NDArray[np.uint16]

# Pillow knows some forty formats; decoders that no photographer needs are only a risk.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF", "BMP", "PPM")
READABLE = "JPEG, PNG, WebP, TIFF, AVIF, HEIC, GIF, BMP or PPM"
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")

DNG_VERSION, NEW_SUBFILE_TYPE = 50706, 254
BITS_PER_SAMPLE, PHOTOMETRIC, PLANAR, EXTRA_SAMPLES = 258, 262, 284, 338

LARGEST_PROFILE = 16 << 20  # bytes; those of printers exceed the megabyte that Pillow allows a PNG
BAND_ROWS = 256  # that are copied or converted at a time
FULL_SCALE = {"L;2": 85, "L;4": 17}  # what Pillow makes of a small PNG's gray level 1
LIBJPEG_LUMA_SUM = 3688  # of its luma quantisation table at quality 50

NO_END_NOTE = "file without its end: all of the picture is there"

_pillow_limit = threading.Lock()


@dataclass
class Decoded:
    """Pixels as stored, before they are turned upright."""

    pixels: Levels  # HW gray or HWC RGB
    alpha: Levels | None = None  # HW
    notes: list[str] = field(default_factory=list[str])
    srgb: bool = False  # the colors were converted: the file's own profile no longer applies


@contextmanager
def plain_errors(name: str) -> Generator[None]:
    """Turn whatever a decoder raises into a PhotoError of one sentence about the file ``name``."""
    try:
        yield
    except PhotoError:
        raise
    except MemoryError as error:
        raise PhotoError(f"There is not enough memory to read {name}.") from error
    except Exception as error:  # a decoder fed with damaged bytes may raise anything
        if isinstance(error, OSError) and error.errno:
            raise PhotoError(f"{name} cannot be read: {reason(error)}.") from error
        if "text chunk" in str(error) or "MAX_TEXT_CHUNK" in str(error):  # Pillow's words
            raise PhotoError(
                f"{name} carries more text or a larger color profile than refsr reads "
                f"({LARGEST_PROFILE >> 20} MB); save it without its metadata."
            ) from error
        raise PhotoError(f"{name} is damaged or cut short and cannot be read.") from error


def open_image(file: BinaryIO, name: str) -> Image.Image:
    """Read the header of a photo; its pixels stay unread. Raises PhotoError."""
    head = file.read(512)
    file.seek(0)
    if not head:
        raise PhotoError(f"{name} is empty (0 bytes).")
    formats = FORMATS
    if head[4:8] == b"ftyp" and any(brand in head[8:64] for brand in HEIC_BRANDS):
        _register_heic(name)
        formats = ("HEIF",)
    try:
        with _pillow_limit:  # Pillow's own limits are global; check_size replaces the first
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            chunk, PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_CHUNK, LARGEST_PROFILE
            try:
                image = Image.open(file, formats=formats)
            finally:
                Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = limit, chunk
    except UnidentifiedImageError as error:
        raise PhotoError(_what_it_is(head, file.seek(0, io.SEEK_END), name)) from error
    if head[8:10] == b"CR" or _is_raw(image):
        raise PhotoError(f"{name} is a camera raw file; develop it to a TIFF or JPEG first.")
    return image


def check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    """Refuse a photo too large for the caller, before any of its pixels are decoded."""
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise PhotoError(
            f"{name} has {image.width} x {image.height} pixels, more than the limit of "
            f"{max_pixels}; if you trust the file, allow it with --max-pixels {pixels}."
        )


def decode(image: Image.Image, file: BinaryIO | None, name: str) -> Decoded:
    """Read the pixels of an opened image; ``file`` is what it was opened from, if anything.

    Raises PhotoError, and whatever the decoders raise: call it inside ``plain_errors``.
    """
    notes = list[str]()
    if file is not None and image.format != "MPO" and getattr(image, "is_animated", False):
        several_pages = "file of several pages: first page used"
        notes.append(several_pages if image.format == "TIFF" else "animated file: first frame used")
    if file is not None and image.format == "PNG":
        file = io.BytesIO(_bare_png(_whole(file)))  # Pillow would not notice a wrong checksum
    if file is not None and image.format == "JPEG":
        image = _with_end(image, file, notes)
    tags = _tiff_tags(image)
    if tags.get(PLANAR) == 2 and 16 in _as_tuple(tags.get(BITS_PER_SAMPLE)):
        raise PhotoError(f"{name} keeps its 16-bit colors in separate planes; save it interleaved.")
    decoded = (
        _decode_16_bit_color(image, file, tags)
        if file is not None and _is_16_bit_color(image)
        else _decode_with_pillow(image, name, tags)
    )
    decoded.notes[:0] = notes
    return decoded


def _with_end(image: Image.Image, file: BinaryIO, notes: list[str]) -> Image.Image:
    """A JPEG image, loaded, though the end of its file be missing; notes tell of that."""
    try:
        image.load()
    except OSError:
        whole = ended(_whole(file))
        if whole is None:
            raise
        notes.append(NO_END_NOTE)
        return whole
    return image


def jpeg_quality(image: Image.Image) -> int | None:
    """The quality, 1 to 100, at which libjpeg would quantise luma as this JPEG file does.

    Other encoders' tables have other shapes: theirs is the quality of equal sum. None for files
    of other formats.
    """
    tables = cast(dict[int, Any] | None, getattr(image, "quantization", None))
    if image.format not in ("JPEG", "MPO") or not tables or 0 not in tables:
        return None
    percent = 100 * sum(tables[0]) / LIBJPEG_LUMA_SUM
    quality = (200 - percent) / 2 if percent <= 100 else 5000 / percent
    return int(min(100, max(1, round(quality))))


def png_color_code(file: BinaryIO) -> bytes | None:
    """The four bytes of a PNG's cICP chunk, which Pillow leaves out; None where there is none."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"cICP" and length == 4:
            return file.read(4)
        if kind in (b"IDAT", b"IEND"):
            break
        file.seek(length + 4, io.SEEK_CUR)
    return None


def upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn and mirror an array (HW or HWC) as EXIF orientation 1 to 8 asks; others leave it."""
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, 0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def levels_of(array: NDArray[Any], name: str) -> Levels:
    """Pixels of any supported type as uint8 or uint16; floating point 0..1 becomes uint16.

    Raises PhotoError for other types and ranges.
    """
    if array.dtype.kind == "u" and array.itemsize <= 2:
        return array.astype(array.dtype.newbyteorder("="))  # a copy, too
    if np.issubdtype(array.dtype, np.floating):
        # A resize or a conversion may leave 1 by a rounding error; NaN fails both comparisons.
        if not (array.min() >= -1e-5 and array.max() <= 1 + 1e-5):
            raise PhotoError(f"{name} has floating-point values that are not all in 0..1.")
        out = np.clip(array, 0, 1) * np.asarray(65535, np.promote_types(array.dtype, np.float32))
        return np.rint(out).astype(np.uint16)
    raise PhotoError(
        f"{name} has pixels of type {array.dtype}; give uint8, uint16 or floating point in 0..1."
    )


def _decode_with_pillow(image: Image.Image, name: str, tags: dict[int, Any]) -> Decoded:
    """Everything but 16-bit color, which Pillow cuts down to 8 bits."""
    notes = list[str]()
    if (
        image.format == "PPM"
        and cast(Any, image).tile
        and _raw_args(image)[-1] in range(256, 65536)
    ):
        notes.append("16-bit PPM read with 8 bits")
    key = _small_gray_key(image)
    image.load()
    if image.mode in ("CMYK", "LAB"):
        notes.append(f"{image.mode} converted to sRGB")
        rgb = to_srgb(image, image.info.get("icc_profile"))
        return Decoded(array_of(rgb), None, notes, srgb=True)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _decode_deep_gray(image, name, tags)
    if key is not None:
        gray = array_of(image)
        return Decoded(gray, np.where(gray == key, 0, 255).astype(np.uint8), notes)
    transparent = image.has_transparency_data
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    mode += "A" if transparent else ""
    if image.mode != mode:  # Pillow would copy it
        image = image.convert(mode)
    array = array_of(image)
    if not transparent:
        return Decoded(array, None, notes)
    colors = array[..., 0] if array.shape[2] == 2 else array[..., :3]
    return Decoded(np.ascontiguousarray(colors), np.ascontiguousarray(array[..., -1]), notes)


def _small_gray_key(image: Image.Image) -> int | None:
    """The 8-bit level that is transparent in a PNG of 2 or 4 bits gray, before it is loaded.

    Pillow stretches the pixels to 8 bits, but not the level (tRNS) that they are compared with.
    """
    key: Any = image.info.get("transparency")
    if image.format != "PNG" or not isinstance(key, int) or not cast(Any, image).tile:
        return None
    scale = FULL_SCALE.get(str(_raw_args(image)[0]))
    return None if scale is None else key * scale


def array_of(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels of an 8-bit image (HW or HWC), a few rows at a time.

    ``np.array`` would hold them three times, which for a photo of 50 MP is half a gigabyte.
    """
    width, height = image.size
    bands = image.getbands()
    out = np.empty((height, width, len(bands)) if len(bands) > 1 else (height, width), np.uint8)
    for top in range(0, height, BAND_ROWS):
        bottom = min(height, top + BAND_ROWS)
        out[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return out


def _decode_deep_gray(image: Image.Image, name: str, tags: dict[int, Any]) -> Decoded:
    array, alpha, notes = np.array(image), None, list[str]()
    if image.mode == "F":
        notes.append("floating-point values stored with 16 bits")
    elif image.mode == "I":
        if array.min() < 0 or array.max() > 65535:
            raise PhotoError(f"{name} has 32-bit values; save it with 8 or 16 bits.")
        array = array.astype(np.uint16)
    pixels = levels_of(array, name)
    if "transparency" in image.info:
        alpha = np.where(pixels == image.info["transparency"], 0, 65535).astype(np.uint16)
    if tags.get(PHOTOMETRIC) == 0:  # white is zero; Pillow turns that round for 8 bits only
        pixels = (65535 - pixels).astype(np.uint16)
    return Decoded(pixels, alpha, notes)


def _is_16_bit_color(image: Image.Image) -> bool:
    """Whether Pillow would reduce the file's pixels from 16 to 8 bits."""
    if image.format not in ("PNG", "TIFF") or not cast(Any, image).tile:
        return False
    return ";16" in str(_raw_args(image)[0]) and image.mode in ("RGB", "RGBA", "RGBX")


def _raw_args(image: Image.Image) -> tuple[Any, ...]:
    """What Pillow tells its decoder; first comes the layout of the file's pixels."""
    args: Any = cast(Any, image).tile[0].args
    return (args,) if isinstance(args, str) else args or ("",)


def _decode_16_bit_color(image: Image.Image, file: BinaryIO, tags: dict[int, Any]) -> Decoded:
    is_png = image.format == "PNG"
    array = _read_with_opencv(_whole(file))
    height, width = array.shape[:2]
    sizes = {(width, height)} if is_png else {(width, height), (height, width)}
    if image.size not in sizes or array.dtype != np.uint16 or array.ndim != 3:
        raise ValueError("OpenCV and Pillow read different pictures")
    pixels = cast(NDArray[np.uint16], cv2.cvtColor(array[..., :3], cv2.COLOR_BGR2RGB))
    unused_fourth = not is_png and image.mode in ("RGB", "RGBX")
    if array.shape[2] == 3 or unused_fourth:
        return Decoded(pixels)
    alpha = np.ascontiguousarray(array[..., 3])
    if 1 in _as_tuple(tags.get(EXTRA_SAMPLES)):  # stored premultiplied
        straight = pixels / np.maximum(alpha, 1)[..., None].astype(np.float32) * 65535
        pixels = np.rint(np.clip(straight, 0, 65535)).astype(np.uint16)
    if str(_raw_args(image)[0]).startswith("LA"):
        return Decoded(np.ascontiguousarray(pixels[..., 0]), alpha)
    return Decoded(pixels, alpha)


def _read_with_opencv(data: bytes) -> NDArray[Any]:
    """BGR or BGRA as stored, except that OpenCV turns a TIFF upright by itself."""
    logging = cv2.utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # it prints what it raises or returns as None
    try:
        array: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    finally:
        logging.setLogLevel(level)
    if array is None:
        raise ValueError("OpenCV cannot decode the file")
    return array


def _whole(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _bare_png(data: bytes) -> bytes:
    """A PNG with nothing but its pixels, their checksums verified.

    libpng prints its thoughts on profiles and broken data to stderr, whoever may be listening.
    """
    parts, at, kind = [data[:8]], 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if kind in (b"IHDR", b"tRNS", b"IDAT", b"IEND"):
            chunk = data[at:end]
            if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
                raise ValueError("a chunk is cut short or its checksum is wrong")
            parts.append(chunk)
        at = end
    return b"".join(parts)


def _register_heic(name: str) -> None:
    try:
        from pillow_heif import register_heif_opener  # pyright: ignore
    except ImportError as error:
        raise PhotoError(
            f"{name} is a HEIC photo; install its decoder (pip install pillow-heif) or save it as "
            "JPEG."
        ) from error
    register_heif_opener()


def _what_it_is(head: bytes, size: int, name: str) -> str:
    """A sentence about a file of ``size`` bytes that no decoder takes."""
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        directory = int.from_bytes(head[4:8], "little" if head[:2] == b"II" else "big")
        if head[2:4] in (b"*\0", b"\0*") and directory >= size:  # it mostly stands at the end
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
    tags = _tiff_tags(image)
    return DNG_VERSION in tags or tags.get(NEW_SUBFILE_TYPE) == 1


def _tiff_tags(image: Image.Image) -> dict[int, Any]:
    return dict(getattr(image, "tag_v2", {})) if image.format == "TIFF" else {}


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
