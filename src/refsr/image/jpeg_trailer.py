"""JPEG files that end early: are all pixels there?

libjpeg silently fills missing data with zeros. So the file is decoded several times, with the end
marker (EOI) directly behind the data and behind different filler bytes: where pixels are missing,
the filler is decoded as pixels, and the pictures differ. Restart markers stop the filler: of these,
there must be as many as the photo's size asks for.
"""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image

from refsr.image.jpeg_structure import BLOCK, PROGRESSIVE, read_structure

END = b"\xff\xd9"
# Longer than a block can be, with different first bits; a byte 255 is followed by 0.
FILLERS = b"\xff\0" * 2048, b"\xaa" * 4096, b"\x55" * 4096, b"\x6c\x93" * 2048
BAND_ROWS = 256  # rows hashed at a time


def decode_without_trailer(data: bytes) -> Image.Image | None:
    """Decode a JPEG file that lacks its end marker; None where more than that is missing.

    Raises whatever Pillow raises for other damage.
    """
    data = data.rstrip(b"\xff")  # half of a marker
    structure = read_structure(data)
    if not (structure.has_all_scans() and structure.has_all_restarts()):
        return None
    image = _decode(data)
    return image if _is_whole(data, image) else None


def lacks_pixels(data: bytes, image: Image.Image) -> bool:
    """Whether a loaded JPEG file with its end marker lacks pixels: cut, and the marker put behind.

    libjpeg continues a picture that is cut with one flat color, so only files whose last blocks are
    flat are decoded again. A progressive file has all blocks after its first scan.
    """
    structure = read_structure(data)
    if structure.end is None:
        return False
    if not structure.has_all_restarts():
        return True
    if structure.frame is not None and structure.frame.kind == PROGRESSIVE:
        return False
    left, top = (1 + (side - 1) // BLOCK * BLOCK for side in image.size)  # 1: upsampling smooths
    last = np.asarray(image.crop((left, top, max(left, image.width), max(top, image.height))))
    if last.size and np.ptp(last, axis=(0, 1)).any():
        return False
    return not _is_whole(data[: structure.end], image)


def pixel_digest(image: Image.Image) -> bytes:
    """SHA-256 of an image's pixels; this decodes it."""
    image.load()
    digest = hashlib.sha256()
    for top in range(0, image.height, BAND_ROWS):
        bottom = min(image.height, top + BAND_ROWS)
        digest.update(image.crop((0, top, image.width, bottom)).tobytes())
    return digest.digest()


def _decode(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data + END), formats=("JPEG",))


def _is_whole(data: bytes, image: Image.Image) -> bool:
    """Whether filler behind the data of a decoded image changes none of its pixels."""
    wanted = pixel_digest(image)
    return all(pixel_digest(_decode(data + filler)) == wanted for filler in FILLERS)
