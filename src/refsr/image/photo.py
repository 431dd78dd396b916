"""A photo: its pixels in its own colors, and what travels with them from file to file.

Pixels are never converted silently. They stay the encoded values of the photo's own color space,
with the ICC profile kept beside them, so a Display-P3 or AdobeRGB photo comes back as one.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from refsr.errors import PhotoError
from refsr.image import encode
from refsr.image.atomic import atomic_file, check_writable, reason
from refsr.image.color import convert_colors
from refsr.image.decode import decode_file, decode_image, open_image
from refsr.image.exif import Mark, mark_of, read_mark, with_mark, with_size
from refsr.image.levels import Levels, luma, to_8_bits, to_levels

Source = str | os.PathLike[str] | bytes | PIL.Image.Image | NDArray[Any]

# What to look for in a folder; a single file is recognised by its content, whatever its name.
SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".tif", ".tiff", ".avif"),
        *(".heic", ".heif", ".hif", ".gif", ".bmp", ".ppm", ".pgm"),
    }
)
# Folders in which other systems keep thumbnails of their own and what was deleted.
FOREIGN_FOLDERS = frozenset(
    {
        *("@eadir", "#recycle", "@recycle", "@tmp", "#snapshot", "__macosx", "$recycle.bin"),
        *("system volume information", "lost+found"),
    }
)


def is_photo_name(name: str) -> bool:
    """Whether a file of a folder is taken for a photo; hidden ones are not ("._a.jpg" of macOS)."""
    return Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")


def is_photo_folder(name: str) -> bool:
    """Whether a folder inside another one is searched for photos."""
    return not name.startswith(".") and name.lower() not in FOREIGN_FOLDERS


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
    xmp: bytes | None = None  # an XML packet, of an upright photo
    iptc: bytes | None = None  # IPTC-IIM records

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
        if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 2, 3, 4)):
            raise PhotoError(
                f"An array of shape {array.shape} is no photo; "
                "give (H, W) or (H, W, 1 to 4 channels)."
            )
        if array.size == 0:
            raise PhotoError(f"An array of shape {array.shape} holds no pixels.")
        levels: NDArray[Any] = to_levels(np.atleast_3d(array), "The array")
        channels = levels.shape[2]
        alpha = np.ascontiguousarray(levels[..., -1]) if channels in (2, 4) else None
        if channels < 3:
            return Photo(np.repeat(levels[..., :1], 3, axis=2), alpha, gray=True)
        return Photo(np.ascontiguousarray(levels[..., :3]), alpha)

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

    @property
    def mark(self) -> Mark | None:
        """What refsr made here, by the mark in the EXIF; None where it is no file of refsr's."""
        return read_mark(self.exif)

    def marked(self, mark: Mark) -> Photo:
        """The same photo, marked as made by refsr wherever it is saved."""
        return dataclasses.replace(self, exif=with_mark(self.exif, mark))

    def as_uint8(self) -> NDArray[np.uint8]:
        """The pixels, HWC RGB, rounded to 8 bits; no copy where they have 8 bits already."""
        return to_8_bits(self.pixels)

    def replaced(self, pixels: Levels, alpha: Levels | None) -> Photo:
        """A photo of the same kind and metadata with other pixels; size and depth may differ."""
        return dataclasses.replace(self, pixels=pixels, alpha=alpha)


def load_photo(source: Source, *, max_pixels: int = 200_000_000) -> Photo:
    """Read a photo from a path, a file's bytes, a PIL image or an array.

    Files: JPEG, PNG, WebP, TIFF, AVIF, GIF, BMP, PPM, and HEIC where pillow-heif is installed,
    recognised by their content. They are turned upright as their EXIF says; CMYK and LAB are
    converted to sRGB (with a note); of animations and pages the first is used (with a note). A file
    with more than ``max_pixels`` is refused before its pixels are decoded.

    Arrays: HW, or HWC with 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGBA) channels, of uint8,
    uint16 or floating point in 0..1 (kept with 16 bits); they are taken as sRGB, and copied.

    Raises PhotoError, one sentence that names the file, for whatever cannot be read whole.
    """
    if isinstance(source, np.ndarray):
        return Photo.of(source)
    if isinstance(source, PIL.Image.Image):
        decoded = decode_image(source, None, "The PIL image", max_pixels)
    else:
        with _open(source) as (file, name):
            decoded = decode_file(file, name, max_pixels)
    return Photo(**vars(decoded))


def mark_of_file(source: Source) -> Mark | None:
    """The mark of a photo, from its header alone; None where it has none or cannot be read."""
    with suppress(Exception):  # whoever loads the photo says what is wrong with it
        if isinstance(source, PIL.Image.Image):
            return mark_of(source.getexif())
        if not isinstance(source, np.ndarray):
            with _open(source) as (file, name):
                image = open_image(file, name)
                # For a PNG without EXIF getexif would decode the pixels; refsr writes it before.
                has = image.format != "PNG" or "exif" in image.info
                return mark_of(image.getexif()) if has else None
    return None


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
    JPEG, WebP and AVIF. ``strip_metadata`` leaves out EXIF, XMP, IPTC and the print resolution; the
    ICC profile stays, since without it the colors would change, and so does a mark of refsr.

    Raises PhotoError where the format is unknown or cannot hold the photo, or the file cannot be
    written.
    """
    name = os.fspath(path)
    check_quality(quality)
    check_side_limit(path, photo.width, photo.height)
    try:
        with atomic_file(path) as file:
            encode_photo(photo, file, encode.format_of(path), quality, strip_metadata)
    except PhotoError:
        raise
    except MemoryError as error:
        raise PhotoError(f"There is not enough memory to write {name}.") from error
    except Exception as error:  # an encoder may raise anything
        format = encode.format_of(path)
        raise PhotoError(f"{name} could not be encoded as {format} ({error}).") from error


def encode_photo(
    photo: Photo, file: BinaryIO, format: str, quality: int, strip_metadata: bool
) -> None:
    """Write a photo to an empty ``file``; arguments as for ``save_photo``. May raise anything."""
    exif = None
    if photo.exif is not None and not strip_metadata:
        with suppress(Exception):  # only EXIF that did not come from load_photo can be damaged
            exif = with_size(photo.exif, photo.width, photo.height)
    if strip_metadata and photo.mark:
        exif = with_mark(None, photo.mark)
    channels, icc = encode.channels_for(
        format, photo.pixels, photo.alpha, gray=photo.gray, icc=photo.icc
    )
    kept = (None, None, None) if strip_metadata else (photo.dpi, photo.xmp, photo.iptc)
    metadata = encode.Metadata(icc, exif, *kept)
    encode.write(file, format, channels, metadata, quality)


def check_side_limit(path: str | os.PathLike[str], width: int, height: int) -> None:
    """Raises PhotoError where the format of ``path`` cannot hold a photo of so many pixels."""
    format = encode.format_of(path)
    longest = encode.LONGEST_SIDE.get(format)
    if longest is not None and max(width, height) > longest:
        raise PhotoError(
            f"{os.fspath(path)}: a photo of {width} x {height} pixels does not fit into {format}, "
            f"which ends at {longest}; write a PNG or TIFF."
        )


def lost_in_format(photo: Photo, path: str | os.PathLike[str]) -> list[str]:
    """What a user should know that the format of ``path`` cannot hold of a photo, in words."""
    format, lost = encode.format_of(path), list[str]()
    if format == "JPEG" and photo.alpha is not None and not is_opaque(photo.alpha):
        lost.append("JPEG has no transparency: transparent parts were laid over white")
    if photo.bits == 16 and format not in encode.FORMATS_16_BIT:
        lost.append(f"{format} has 8 bits here, the photo 16; PNG and TIFF keep them")
    return lost + encode.lost_metadata(format, photo.exif, photo.xmp, photo.iptc)


def is_opaque(alpha: Levels) -> bool:
    """Whether nothing is transparent."""
    return bool((alpha == np.iinfo(alpha.dtype).max).all())


def check_output_path(path: str | os.PathLike[str]) -> None:
    """Check before a long job that its result can be written.

    Raises PhotoError where the extension is unknown, ``path`` is a folder or write-protected, or
    its folder is missing or cannot be written.
    """
    encode.format_of(path)
    check_writable(path)


def check_quality(quality: int) -> None:
    """Raises PhotoError where a quality is out of range."""
    if not 1 <= quality <= 100:
        raise PhotoError(f"The quality must be 1 to 100, not {quality}.")


def to_colors_of(reference: Photo, photo: Photo) -> NDArray[np.uint8]:
    """The reference's pixels (HWC RGB uint8) in the color space of ``photo``.

    Both are taken as sRGB where they have no profile. A gray ``photo`` gives three equal channels.
    The same pixels come back, uncopied, where nothing has to change.
    """
    pixels = convert_colors(reference.as_uint8(), reference.icc, photo.icc)
    if photo.gray and not reference.gray:
        return cv2.cvtColor(luma(pixels), cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)
    return pixels


@contextmanager
def _open(source: str | os.PathLike[str] | bytes) -> Generator[tuple[BinaryIO, str]]:
    """The file of a photo, and what errors call it. Raises PhotoError."""
    if isinstance(source, bytes):
        yield io.BytesIO(source), "The photo given as bytes"
        return
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
        yield file, name
