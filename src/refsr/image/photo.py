"""A photo: its pixels in its own colors, and what travels with them from file to file.

Pixels are never converted silently. They stay the encoded values of the photo's own color space,
with the ICC profile kept beside them, so a Display-P3 or AdobeRGB photo comes back as one.
"""

from __future__ import annotations

import dataclasses
import io
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from refsr.errors import PhotoError
from refsr.image import color, decode, encode
from refsr.image.atomic import atomic_file, atomic_write, check_writable, reason
from refsr.image.decode import Levels
from refsr.image.exif import read_exif, resized

__all__ = [
    "SUFFIXES",
    "Photo",
    "Source",
    "atomic_write",
    "check_output_path",
    "load_photo",
    "save_photo",
    "to_colors_of",
]

Source = str | os.PathLike[str] | bytes | PIL.Image.Image | NDArray[Any]

# What to look for in a folder; a single file is known by its content, whatever its name.
SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".tif", ".tiff", ".avif"),
        *(".heic", ".heif", ".hif", ".gif", ".bmp", ".ppm", ".pgm"),
    }
)
_TO_8_BIT = ((np.arange(65536, dtype=np.uint32) + 128) // 257).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo, upright.

    Raises PhotoError where the arrays do not fit together.
    """

    pixels: Levels  # HWC RGB, encoded values of the photo's own color space, 0..255 or 0..65535
    alpha: Levels | None = None  # HW, same size and dtype; not premultiplied
    gray: bool = False  # the source was gray (three equal channels here); it is saved gray again
    icc: bytes | None = None  # the profile of `pixels`; None stands for sRGB
    exif: bytes | None = None  # begins with "Exif\0\0"; orientation 1, no thumbnail, GPS kept
    format: str | None = None  # Pillow's name of the file's format; None for arrays
    notes: tuple[str, ...] = ()  # what the user should be told
    jpeg_quality: int | None = None  # 1 to 100, of a JPEG file's quantisation, on libjpeg's scale
    dpi: tuple[float, float] | None = None  # horizontal, vertical; where the file says it

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if (
            len(shape) != 3
            or shape[2] != 3
            or 0 in shape
            or dtype.kind != "u"
            or dtype.itemsize > 2
        ):
            raise PhotoError(f"A photo is (H, W, 3) of uint8 or uint16, not {shape} of {dtype}.")
        alpha = self.alpha
        if alpha is not None and (alpha.shape, alpha.dtype) != (shape[:2], dtype):
            raise PhotoError(
                f"Alpha is {alpha.shape} of {alpha.dtype} beside pixels {shape} of {dtype}."
            )

    @staticmethod
    def of(array: NDArray[Any]) -> Photo:
        """A photo from an array alone; layouts, types and errors as in ``load_photo``."""
        return _from_array(array)

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """Pixels in a row."""
        return self.pixels.shape[1]

    @property
    def bits(self) -> int:
        """Bits a channel: 8 or 16."""
        return self.pixels.itemsize * 8

    def as_uint8(self) -> NDArray[np.uint8]:
        """The pixels, HWC RGB, rounded to 8 bits; no copy where they have 8 bits already."""
        return to_8_bits(self.pixels)

    def replaced(self, pixels: Levels, alpha: Levels | None) -> Photo:
        """A photo of the same kind and metadata with other pixels; size and depth may differ."""
        return dataclasses.replace(self, pixels=pixels, alpha=alpha)


def load_photo(source: Source, *, max_pixels: int = 200_000_000) -> Photo:
    """Read a photo from a path, a file's bytes, a PIL image or an array.

    Files: JPEG, PNG, WebP, TIFF, AVIF, GIF, BMP, PPM, and HEIC where pillow-heif is installed,
    known by their content. They are turned upright as their EXIF says; CMYK and LAB are converted
    to sRGB (with a note); of animations and pages the first is used (with a note). A file with more
    than ``max_pixels`` is refused before its pixels are decoded.

    Arrays: HW, or HWC with 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGBA) channels, of uint8,
    uint16 or floating point in 0..1 (kept with 16 bits); they are taken as sRGB, and copied.

    Raises PhotoError, one sentence that names the file, for whatever cannot be read whole.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, PIL.Image.Image):
        return _from_image(source, None, "The PIL image", max_pixels)
    if isinstance(source, bytes):
        return _from_file(io.BytesIO(source), "The photo given as bytes", max_pixels)
    if not isinstance(cast(object, source), str | os.PathLike):
        raise PhotoError(f"A {type(source).__name__} is no photo; give a path, bytes or an image.")
    name = os.fspath(source)
    if not name:  # else it would be the current folder
        raise PhotoError("An empty name is no photo.")
    try:
        path = Path(source)
        if path.is_dir():
            raise PhotoError(f"{name} is a folder; give the name of a photo.")
        if path.exists() and not path.is_file():
            raise PhotoError(f"{name} is no ordinary file.")
        file = path.open("rb")
    except FileNotFoundError as error:
        raise PhotoError(f"There is no file {name}.") from error
    except OSError as error:
        raise PhotoError(f"{name} cannot be read: {reason(error)}.") from error
    except ValueError as error:  # a zero byte in the name
        raise PhotoError(f"{name!r} cannot be the name of a file.") from error
    with file:
        return _from_file(file, name, max_pixels)


def save_photo(
    photo: Photo,
    path: str | os.PathLike[str],
    *,
    quality: int = 95,
    strip_metadata: bool = False,
) -> None:
    """Write a photo in the format that the extension names; whole, or not at all.

    PNG and TIFF keep 16 bits; JPEG, WebP and AVIF get 8, rounded. JPEG has no alpha: the photo is
    laid over white. Gray photos are written gray (WebP has no gray). ``quality`` is 1 to 100, for
    JPEG, WebP and AVIF. ``strip_metadata`` leaves out the EXIF and the print resolution; the ICC
    profile stays, since without it the colors would change.

    Raises PhotoError where the format is unknown or cannot hold the photo, or the file cannot be
    written.
    """
    name, format = os.fspath(path), encode.format_of(path)
    if not 1 <= quality <= 100:
        raise PhotoError(f"A quality of {quality} does not exist; choose 1 to 100.")
    longest = encode.LONGEST_SIDE.get(format)
    if longest is not None and max(photo.width, photo.height) > longest:
        raise PhotoError(
            f"{name}: a photo of {photo.width} x {photo.height} pixels does not fit into {format}, "
            f"which ends at {longest}; write a PNG or TIFF."
        )
    exif = None
    if photo.exif is not None and not strip_metadata:
        with suppress(Exception):  # only EXIF that did not come from load_photo can be damaged
            exif = resized(photo.exif, photo.width, photo.height)
    try:
        channels, icc = _channels_for(photo, format)
        extras = encode.Extras(icc, exif, None if strip_metadata else photo.dpi)
        with atomic_file(path) as file:
            encode.write(file, format, channels, extras, quality)
    except PhotoError:
        raise
    except MemoryError as error:
        raise PhotoError(f"There is not enough memory to write {name}.") from error
    except Exception as error:  # an encoder may raise anything
        raise PhotoError(f"{name} could not be encoded as {format} ({error}).") from error


def check_output_path(path: str | os.PathLike[str]) -> None:
    """Find out before a long job whether its result can be written.

    Raises PhotoError where the extension is unknown, ``path`` is a folder or write-protected, or
    its folder is missing or cannot be written.
    """
    encode.format_of(path)
    check_writable(path)


def to_colors_of(reference: Photo, photo: Photo) -> NDArray[np.uint8]:
    """The reference's pixels (HWC RGB uint8) in the color space of ``photo``.

    Both are taken as sRGB where they have no profile. A gray ``photo`` gives three equal channels.
    The same pixels come back, uncopied, where nothing has to change.
    """
    pixels = color.converted(reference.as_uint8(), reference.icc, photo.icc)
    if photo.gray and not reference.gray:
        return cv2.cvtColor(_luma(pixels), cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)
    return pixels


def to_8_bits(levels: Levels) -> NDArray[np.uint8]:
    """Levels of 8 or 16 bits, any shape, rounded to 8 bits."""
    if levels.dtype == np.uint8:
        return cast(NDArray[np.uint8], levels)
    return _TO_8_BIT[levels]


def _from_file(file: Any, name: str, max_pixels: int) -> Photo:
    with decode.plain_errors(name):
        image = decode.open_image(file, name)
        return _from_image(image, file, name, max_pixels)


def _from_image(image: PIL.Image.Image, file: Any, name: str, max_pixels: int) -> Photo:
    """A photo from an opened image; ``file`` is what it was opened from, None for a user's."""
    decode.check_size(image, name, max_pixels)
    with decode.plain_errors(name):
        if image.format == "TIFF":  # Pillow drops parts of its EXIF when it loads the pixels
            exif, notes = _exif_of(image)
            decoded = decode.decode(image, file, name)
        else:  # Pillow loads the pixels to find a PNG's EXIF, which may stand behind them
            decoded = decode.decode(image, file, name)
            exif, notes = _exif_of(image)
        icc = None if decoded.srgb else image.info.get("icc_profile") or None
        gray = decoded.pixels.ndim == 2
        if icc is not None and color.space_of(icc) not in (("GRAY", "RGB") if gray else ("RGB",)):
            icc = None
            notes.append("color profile that does not fit the photo left out")
        if image.format == "PNG" and not decoded.srgb:
            code = None if file is None else decode.png_color_code(file)
            icc = _png_profile(icc, code, gray, image.info, notes)
        # Both readers of TIFFs turn the pixels upright by themselves.
        orientation = 1 if image.format == "TIFF" else image.getexif().get(0x0112, 1)
        pixels = decode.upright(decoded.pixels, orientation)
        if gray:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        alpha = None if decoded.alpha is None else decode.upright(decoded.alpha, orientation)
        format = "JPEG" if image.format == "MPO" else image.format
        told = tuple(decoded.notes + notes)
        quality = decode.jpeg_quality(image)
        dpi = _dpi_of(image, orientation)
        return Photo(pixels, alpha, gray, icc, exif, format, told, quality, dpi)


def _png_profile(
    icc: bytes | None, code: bytes | None, gray: bool, info: dict[Any, Any], notes: list[str]
) -> bytes | None:
    """The profile of a PNG, whose cICP chunk (its four bytes) counts before its profile.

    ``notes`` get what is said of its colors and cannot be followed.
    """
    if code == color.SRGB_CODE:
        return None
    profile = None if code is None or gray else color.profile_of(code)
    if profile is not None or icc is not None:
        return profile or icc
    if code is not None:
        kind = "HDR colors" if code[1] in color.HDR else "colors described without a profile"
        notes.append(f"{kind} (cICP) taken as sRGB")
    elif color.unlike_srgb(info):
        notes.append("colors described without a profile (gAMA, cHRM) taken as sRGB")
    return None


def _dpi_of(image: PIL.Image.Image, orientation: Any) -> tuple[float, float] | None:
    """The resolution for print of the upright photo, where the file has a possible one."""
    with suppress(Exception):  # files say the strangest things
        x, y = (float(one) for one in image.info["dpi"])
        if 0.5 <= x <= 65535 and 0.5 <= y <= 65535:
            return (y, x) if orientation in (5, 6, 7, 8) else (x, y)
    return None


def _exif_of(image: PIL.Image.Image) -> tuple[bytes | None, list[str]]:
    """The EXIF, and a note where it is damaged, which is no reason to refuse a photo."""
    try:
        exif = read_exif(image)
    except Exception:
        return None, ["damaged EXIF left out"]
    lost = exif is None and image.info.get("exif")
    return exif, ["damaged EXIF left out"] if lost else []


def _from_array(array: NDArray[Any]) -> Photo:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 2, 3, 4)):
        raise PhotoError(
            f"An array of shape {array.shape} is no photo; give (H, W) or (H, W, 1 to 4 channels)."
        )
    if array.size == 0:
        raise PhotoError(f"An array of shape {array.shape} holds no pixels.")
    levels: NDArray[Any] = decode.levels_of(np.atleast_3d(array), "The array")
    channels = levels.shape[2]
    alpha = np.ascontiguousarray(levels[..., -1]) if channels in (2, 4) else None
    if channels < 3:
        return Photo(np.repeat(levels[..., :1], 3, axis=2), alpha, gray=True)
    return Photo(np.ascontiguousarray(levels[..., :3]), alpha)


def _channels_for(photo: Photo, format: str) -> tuple[Levels, bytes | None]:
    """What a format can hold of a photo: HWC with 1 to 4 channels, and the profile that fits."""
    pixels: NDArray[Any] = photo.pixels
    alpha: NDArray[Any] | None = photo.alpha
    icc = photo.icc
    if format not in encode.DEEP:
        pixels = to_8_bits(pixels)
        alpha = None if alpha is None else to_8_bits(alpha)
    if format == "JPEG" and alpha is not None:
        pixels, alpha = _over_white(pixels, alpha), None
    # Pillow's WebP has no gray, and Pillow reads no TIFF of 16-bit gray with alpha.
    as_color = format == "WEBP" or (format == "TIFF" and photo.bits == 16 and alpha is not None)
    if photo.gray and not as_color:
        pixels = _luma(pixels)[..., None]
        if format == "PNG" and icc is not None and color.space_of(icc) != "GRAY":
            icc = None  # PNG forbids it, and its readers complain
    elif photo.gray and icc is not None and color.space_of(icc) == "GRAY":
        if pixels.dtype == np.uint8:
            pixels = color.converted(pixels, icc, None)
        icc = None
    if alpha is not None:
        pixels = np.concatenate([pixels, alpha[..., None]], axis=2)
    return pixels, icc


def _over_white(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    weight = alpha[..., None].astype(np.uint16)
    return ((pixels * weight + 255 * (255 - weight) + 127) // 255).astype(np.uint8)


def _luma(pixels: Levels) -> Any:
    """HW, the same dtype; of three equal channels exactly their value."""
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
