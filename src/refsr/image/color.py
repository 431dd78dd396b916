"""Color spaces: reading ICC profiles, making them from cICP codes, converting between two."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
BAND_ROWS = 256  # rows converted at a time: Pillow's images are large
SRGB_GAMMA = 1 / 2.2  # as PNG files write it
SRGB_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # white, red, green, blue
HDR = (16, 18)  # transfers of a cICP chunk: PQ and HLG
# By the codes of ITU-T H.273, as in a cICP chunk: primaries adapted to D50, and the curve to linear
# light as ICC's parametric type 3 has it (g, a, b, c, d).
PRIMARIES = {
    1: ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)),
    12: ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
}
TRANSFERS = {
    1: (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081),
    13: (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
}
SRGB_CICP = bytes([1, 13, 0, 1])
NAMES = {1: "BT.709", 12: "Display P3"}
D50 = (0.9642, 1.0, 0.8249)
MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "LAB": "LAB"}


def color_space(icc: bytes) -> str | None:
    """The kind of pixels a profile describes, "RGB", "GRAY" or "CMYK"; None if it is damaged."""
    try:
        profile: Any = ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile
        return str(profile.xcolor_space).strip()
    except (OSError, ImageCms.PyCMSError, ValueError, TypeError):
        return None


def differs_from_srgb(info: dict[Any, Any]) -> bool:
    """Whether a PNG's gAMA or cHRM (Pillow's ``info``) describe other colors than sRGB's."""
    if "srgb" in info:
        return False
    gamma, primaries = info.get("gamma"), info.get("chromaticity")
    other_gamma = gamma is not None and abs(gamma - SRGB_GAMMA) > 0.02
    return other_gamma or (
        primaries is not None
        and not np.allclose(np.asarray(primaries, np.float64), SRGB_PRIMARIES, atol=0.01)
    )


def profile_from_cicp(code: bytes) -> bytes | None:
    """An ICC profile (version 4) for a cICP chunk's four bytes; None where they are unsupported.

    Supported: the primaries of BT.709 and Display P3, the curves of sRGB and BT.709, full range.
    """
    primaries, transfer = PRIMARIES.get(code[0]), TRANSFERS.get(code[1])
    if primaries is None or transfer is None or code[2:] != b"\0\1":
        return None

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))

    def text(words: str) -> bytes:
        data = words.encode("utf-16-be")
        return b"mluc" + bytes(4) + struct.pack(">2I4s2I", 1, 12, b"enUS", len(data), 28) + data

    curve = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + fixed(*transfer)
    tags: dict[bytes, bytes] = {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ", b"wtpt"), (*primaries, D50), strict=True):
        tags[name] = b"XYZ " + bytes(4) + fixed(*xyz)
    tags |= {b"desc": text(NAMES[code[0]]), b"cprt": text("No copyright")}
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">2I", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    sizes = struct.pack(">I4sI4s4s4s", start + len(body), b"", 4 << 24, b"mntr", b"RGB ", b"XYZ ")
    head = (sizes + bytes(12) + b"acsp").ljust(68, b"\0") + fixed(*D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """An image of any mode ("CMYK", "LAB", "L" or others) as 8-bit sRGB, through its profile.

    Without a usable profile it is Pillow's plain conversion.
    """
    try:
        if image.mode == "LAB":
            source = ImageCms.createProfile("LAB")
        elif icc is not None and MODES.get(color_space(icc) or "") == image.mode:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        else:
            return image.convert("RGB")
        transform = ImageCms.buildTransform(
            source, ImageCms.createProfile("sRGB"), image.mode, "RGB", INTENT, FLAGS
        )
        return ImageCms.applyTransform(image, transform) or image
    except ImageCms.PyCMSError:
        return image.convert("RGB")


def convert_colors(
    pixels: NDArray[np.uint8], source_icc: bytes | None, target_icc: bytes | None
) -> NDArray[np.uint8]:
    """Convert pixels (HWC uint8 RGB) from one ICC profile to another; None stands for sRGB.

    A gray profile on either side needs gray pixels: three equal channels. Returns the same array
    where the two spaces agree to one level, or where a profile cannot be used.
    """
    if source_icc == target_icc:
        return pixels
    try:
        source, source_mode = _profile(source_icc)
        target, target_mode = _profile(target_icc)
        transform = ImageCms.buildTransform(source, target, source_mode, target_mode, INTENT, FLAGS)
    except (OSError, ImageCms.PyCMSError, ValueError, TypeError):
        return pixels

    def apply(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        image = Image.fromarray(values).convert(source_mode)
        out = ImageCms.applyTransform(image, transform)
        assert out is not None  # only None when done in place
        return np.array(out.convert("RGB"))

    cube = _color_cube()
    if source_mode == target_mode == "RGB":
        difference = np.abs(apply(cube).astype(np.int16) - cube)
        if int(difference.max()) <= 1:  # two vendors' versions of one space
            return pixels
    out = np.empty_like(pixels)
    for top in range(0, len(pixels), BAND_ROWS):
        out[top : top + BAND_ROWS] = apply(np.ascontiguousarray(pixels[top : top + BAND_ROWS]))
    return out


def _profile(icc: bytes | None) -> tuple[ImageCms.ImageCmsProfile, str]:
    """A profile and the Pillow mode of its pixels."""
    if icc is None:
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")), "RGB"
    mode = "L" if color_space(icc) == "GRAY" else "RGB"
    return ImageCms.ImageCmsProfile(io.BytesIO(icc)), mode


def _color_cube() -> NDArray[np.uint8]:
    """Every color of 17 levels a channel: (17, 289, 3) uint8."""
    levels = np.linspace(0, 255, 17).astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    return cube.reshape(17, 289, 3)
