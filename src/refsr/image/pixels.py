"""Reading the pixels of an opened image file, each kind at its full depth.

Pillow reads all but 16-bit color, which it cuts down to 8 bits: OpenCV reads that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from refsr.errors import PhotoError
from refsr.image.color import to_srgb
from refsr.image.descriptions import EXTRA_PICTURES_NOTE
from refsr.image.heif_boxes import read_boxes
from refsr.image.jpeg_trailer import decode_without_trailer, lacks_pixels
from refsr.image.levels import Levels, to_levels
from refsr.image.png_chunks import NO_END_NOTE, pixels_only
from refsr.image.rare_kinds import BITS_PER_SAMPLE, rare_tiff

PHOTOMETRIC, PLANAR, EXTRA_SAMPLES, COLOR_MAP = 262, 284, 338, 320  # of TIFF

BAND_ROWS = 256  # rows copied at a time
FULL_SCALE = {"L;2": 85, "L;4": 17}  # what Pillow makes of gray level 1 in a PNG of 2 or 4 bits


@dataclass
class StoredPixels:
    """Pixels as stored, before they are turned upright."""

    pixels: Levels  # HW gray or HWC RGB
    alpha: Levels | None = None  # HW
    notes: list[str] = field(default_factory=list[str])
    srgb: bool = False  # the colors were converted: the file's own profile no longer applies


def read_pixels(image: Image.Image, file: BinaryIO | None, name: str) -> StoredPixels:
    """Read the pixels of an opened image; ``file`` is what it was opened from, if anything.

    Raises PhotoError, and whatever the decoders raise: call it inside ``decode.plain_errors``.
    """
    notes = list[str]()
    if file is not None and image.format != "MPO" and getattr(image, "is_animated", False):
        notes.append(_pages_note(image))
    if file is not None and image.format in ("JPEG", "MPO"):
        image = _load_jpeg(image, file, notes)
    if file is not None and image.format in ("AVIF", "HEIF"):
        return _read_heif(image, file, name, notes)
    tags = tiff_tags(image)
    if tags.get(PLANAR) == 2 and 16 in _as_tuple(tags.get(BITS_PER_SAMPLE)):
        raise PhotoError(f"{name} keeps its 16-bit colors in separate planes; save it interleaved.")
    if file is not None and _is_16_bit_color(image):
        if kind := rare_tiff(tags):
            raise PhotoError(
                f"{name} is {kind}, which refsr does not read; save it with ZIP or LZW."
            )
        stored = _read_16_bit_color(image, file, tags)
    else:
        stored = _read_with_pillow(image, name, tags)
    stored.notes[:0] = notes
    return stored


def upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn and mirror an array (HW or HWC) as EXIF orientation 1 to 8 asks; others leave it."""
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, 0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def tiff_tags(image: Image.Image) -> dict[int, Any]:
    """The tags of a TIFF's first directory by number; none for other formats."""
    return dict(getattr(image, "tag_v2", {})) if image.format == "TIFF" else {}


def _pages_note(image: Image.Image) -> str:
    if image.format != "TIFF":
        return "animated file: first frame used"
    if image.tell():
        return "file of several pages: the full picture used, not its preview"
    return "file of several pages: first page used"


def _load_jpeg(image: Image.Image, file: BinaryIO, notes: list[str]) -> Image.Image:
    """A loaded JPEG; one that lacks only its end marker is loaded with a note."""
    if image.format == "MPO":
        notes.append(EXTRA_PICTURES_NOTE)
    data = _read_all(file)
    try:
        image.load()
    except OSError:
        complete = decode_without_trailer(data)
        if complete is None:
            raise
        notes.append(NO_END_NOTE)
        return complete
    if lacks_pixels(data, image):
        raise ValueError("the JPEG was cut short, and an end marker put behind")
    return image


def _read_heif(image: Image.Image, file: BinaryIO, name: str, notes: list[str]) -> StoredPixels:
    """AVIF and HEIC, with 16 bits where they have more than 8."""
    boxes = read_boxes(file)
    if not boxes.whole:
        raise ValueError("a picture lies behind the end of the file")
    if boxes.extra_pictures:
        notes.append(EXTRA_PICTURES_NOTE)
    deep = _deep_heif(image, file, boxes.bits) if boxes.bits > 8 else None
    if deep is None:
        stored = _read_with_pillow(image, name, {})
        if boxes.bits > 8:
            notes.append(f"{boxes.bits}-bit {image.format} read with 8 bits")
    elif deep.ndim == 2:
        stored = StoredPixels(deep)
    else:
        alpha = np.ascontiguousarray(deep[..., 3]) if deep.shape[2] == 4 else None
        stored = StoredPixels(np.ascontiguousarray(deep[..., :3]), alpha)
    stored.notes[:0] = notes
    return stored


def _deep_heif(image: Image.Image, file: BinaryIO, bits: int) -> NDArray[np.uint16] | None:
    """HW gray or HWC RGB or RGBA of an AVIF or HEIC file of 10 or 12 bits, of the full 16 bits.

    Pillow reads these with 8 bits. None where the other decoder reads another kind of picture.
    """
    file.seek(0)
    if image.format == "AVIF":
        found = _read_with_opencv(file.read())
        if found.ndim == 3:
            found = found[..., [2, 1, 0, 3][: found.shape[2]]]
    else:
        import pillow_heif  # pyright: ignore

        opened: Any = pillow_heif.open_heif(file, convert_hdr_to_8bit=False)
        found = np.asarray(opened)
        found = found >> (16 - bits)  # libheif's values, moved up
    if found.shape[:2] != (image.height, image.width) or found.dtype != np.uint16:
        return None
    top = 2**bits - 1
    full = np.minimum((np.arange(65536) * 65535 + top // 2) // top, 65535).astype(np.uint16)
    return full[found]


def _read_with_pillow(image: Image.Image, name: str, tags: dict[int, Any]) -> StoredPixels:
    """Everything but 16-bit color."""
    notes = list[str]()
    if (
        image.format == "PPM"
        and cast(Any, image).tile
        and _raw_args(image)[-1] in range(256, 65536)
    ):
        notes.append("16-bit PPM read with 8 bits")
    key = _small_gray_key(image)
    image.load()
    if image.mode == "P" and max(_as_tuple(tags.get(COLOR_MAP, 65535))) < 256:
        image.putpalette(bytes(tags[COLOR_MAP]), "RGB;L")  # a map of 8 bits, not of 16
    if image.mode in ("CMYK", "LAB"):
        notes.append(f"{image.mode} converted to sRGB")
        rgb = to_srgb(image, image.info.get("icc_profile"))
        return StoredPixels(_to_array(rgb), None, notes, srgb=True)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _read_deep_gray(image, name, tags)
    if key is not None:
        gray = _to_array(image)
        return StoredPixels(gray, np.where(gray == key, 0, 255).astype(np.uint8), notes)
    transparent = image.has_transparency_data
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    mode += "A" if transparent else ""
    if image.mode != mode:  # Pillow would copy it
        image = image.convert(mode)
    array = _to_array(image)
    if not transparent:
        return StoredPixels(array, None, notes)
    colors = array[..., 0] if array.shape[2] == 2 else array[..., :3]
    return StoredPixels(np.ascontiguousarray(colors), np.ascontiguousarray(array[..., -1]), notes)


def _small_gray_key(image: Image.Image) -> int | None:
    """The 8-bit level that is transparent in a PNG of 2 or 4 bits gray, before it is loaded.

    Pillow scales the pixels to 8 bits, but not the level (tRNS) that they are compared with.
    """
    key: Any = image.info.get("transparency")
    if image.format != "PNG" or not isinstance(key, int) or not cast(Any, image).tile:
        return None
    scale = FULL_SCALE.get(str(_raw_args(image)[0]))
    return None if scale is None else key * scale


def _to_array(image: Image.Image) -> NDArray[np.uint8]:
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


def _read_deep_gray(image: Image.Image, name: str, tags: dict[int, Any]) -> StoredPixels:
    """Gray of more than 8 bits, or floating point."""
    array, alpha, notes = np.array(image), None, list[str]()
    if image.mode == "F":
        notes.append("floating-point values stored with 16 bits")
    elif image.mode == "I":
        if array.min() < 0 or array.max() > 65535:
            raise PhotoError(f"{name} has 32-bit values; save it with 8 or 16 bits.")
        array = array.astype(np.uint16)
    pixels = to_levels(array, name)
    if "transparency" in image.info:
        alpha = np.where(pixels == image.info["transparency"], 0, 65535).astype(np.uint16)
    if tags.get(PHOTOMETRIC) == 0:  # white is zero; Pillow inverts it for 8 bits only
        pixels = (65535 - pixels).astype(np.uint16)
    return StoredPixels(pixels, alpha, notes)


def _is_16_bit_color(image: Image.Image) -> bool:
    """Whether Pillow would reduce the file's pixels from 16 to 8 bits."""
    if image.format not in ("PNG", "TIFF") or not cast(Any, image).tile:
        return False
    return ";16" in str(_raw_args(image)[0]) and image.mode in ("RGB", "RGBA", "RGBX")


def _raw_args(image: Image.Image) -> tuple[Any, ...]:
    """What Pillow tells its decoder; first comes the layout of the file's pixels."""
    args: Any = cast(Any, image).tile[0].args
    return (args,) if isinstance(args, str) else args or ("",)


def _read_16_bit_color(image: Image.Image, file: BinaryIO, tags: dict[int, Any]) -> StoredPixels:
    is_png = image.format == "PNG"
    data = _read_all(file)
    array = _read_with_opencv(pixels_only(data) if is_png else data, image.tell())
    height, width = array.shape[:2]
    sizes = {(width, height)} if is_png else {(width, height), (height, width)}
    if image.size not in sizes or array.dtype != np.uint16 or array.ndim != 3:
        raise ValueError("OpenCV and Pillow read different pictures")
    pixels = cast(NDArray[np.uint16], cv2.cvtColor(array[..., :3], cv2.COLOR_BGR2RGB))
    unused_fourth = not is_png and image.mode in ("RGB", "RGBX")
    if array.shape[2] == 3 or unused_fourth:
        return StoredPixels(pixels)
    alpha = np.ascontiguousarray(array[..., 3])
    if 1 in _as_tuple(tags.get(EXTRA_SAMPLES)):  # stored premultiplied
        straight = pixels / np.maximum(alpha, 1)[..., None].astype(np.float32) * 65535
        pixels = np.rint(np.clip(straight, 0, 65535)).astype(np.uint16)
    if str(_raw_args(image)[0]).startswith("LA"):
        return StoredPixels(np.ascontiguousarray(pixels[..., 0]), alpha)
    return StoredPixels(pixels, alpha)


def _read_with_opencv(data: bytes, page: int = 0) -> NDArray[Any]:
    """BGR or BGRA as stored, except that OpenCV turns a TIFF upright by itself."""
    encoded = np.frombuffer(data, np.uint8)
    logging = cv2.utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # it prints what it raises or returns as None
    try:
        if page:
            _, pages = cv2.imdecodemulti(encoded, cv2.IMREAD_UNCHANGED, range=(page, page + 1))
            array: Any = pages[0] if pages else None
        else:
            array = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    finally:
        logging.setLogLevel(level)
    if array is None:
        raise ValueError("OpenCV cannot decode the file")
    return array


def _read_all(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
