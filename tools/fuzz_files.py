"""Real files of every kind that refsr reads, and the mutations of tools/fuzz.py.

All choices come from the random generator passed in, so an input is reproducible by its number.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base

ROOT = Path(__file__).resolve().parents[1]
SIZE = 72, 96  # height and width of the drawn photo
MAX_BYTES = 300_000  # of a real photo; larger ones slow the fuzzer
EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
SIDES = (0, 1, 2, 255, 4096, 20_000, 65_500, 65_535, 1 << 20, (1 << 31) - 1, (1 << 32) - 1)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF/></x:xmpmeta>"

Mutation = Callable[[bytes, np.random.Generator], bytes]


def picture() -> NDArray[np.uint8]:
    """A small photo-like image: (72, 96, 3)."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float64)
    waves = [120 + 70 * np.sin(x / 11 + i) * np.cos(y / 17 - i) for i in range(3)]
    return np.clip(np.stack(waves, -1) + rng.normal(0, 6, (*SIZE, 3)), 0, 255).astype(np.uint8)


def exif_bytes() -> bytes:
    """EXIF with orientation, lens, GPS position and maker note."""
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Orientation], exif[Base.ImageDescription] = "Acme", 6, "a wall"
    exif[IFD.Exif] = {Base.ExifImageWidth: 96, Base.LensModel: "50mm", Base.MakerNote: bytes(90)}
    exif[IFD.GPSInfo] = {1: "N", 2: (48.0, 12.0, 30.0)}
    return exif.tobytes()


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    """The bytes of a file that Pillow writes."""
    out = io.BytesIO()
    image.copy().save(out, format, **options)  # Pillow stores writer state in an image
    return out.getvalue()


def deep(suffix: str) -> bytes:
    """A file of 16-bit color with alpha, as refsr writes it."""
    from refsr.image import encode

    levels = picture().astype(np.uint16) * 257 + 3
    pixels = np.dstack([levels, levels[..., 0]])
    out = io.BytesIO()
    encode.write(out, suffix, pixels, encode.Metadata(SRGB, exif_bytes(), (300, 300)), 95)
    return out.getvalue()


def synthetic_photos(exif: bytes, icc: bytes) -> dict[str, bytes]:
    """A file of every format and variant, with this EXIF and color profile."""
    image = Image.fromarray(picture())
    gray, cmyk = image.convert("L"), image.convert("CMYK")
    rgba = image.copy()
    rgba.putalpha(gray)

    def frames() -> dict[str, Any]:
        return {"save_all": True, "append_images": [image.rotate(180)]}

    metadata: dict[str, Any] = {"exif": exif, "icc_profile": icc}
    files = {
        "jpeg": saved(image, "JPEG", xmp=XMP, dpi=(300, 300), **metadata),
        "jpeg progressive": saved(image, "JPEG", progressive=True, **metadata),
        "jpeg cmyk": saved(cmyk, "JPEG", icc_profile=icc),
        "jpeg gray": saved(gray, "JPEG"),
        "mpo": saved(image, "MPO", **frames()),
        "png": saved(rgba, "PNG", dpi=(300, 300), **metadata),
        "png palette": saved(image.quantize(16), "PNG", transparency=3),
        "apng": saved(image, "PNG", **frames()),
        "webp": saved(image, "WEBP", quality=80, xmp=XMP, **metadata),
        "webp lossless": saved(rgba, "WEBP", lossless=True, **metadata),
        "webp animated": saved(image, "WEBP", **frames()),
        "tiff": saved(image, "TIFF", **metadata),
        "tiff lzw": saved(rgba, "TIFF", compression="tiff_lzw"),
        "tiff jpeg": saved(image, "TIFF", compression="jpeg"),
        "tiff g4": saved(image.convert("1"), "TIFF", compression="group4"),
        "tiff lab": saved(Image.merge("LAB", image.split()), "TIFF"),
        "tiff pages": saved(image, "TIFF", **frames()),
        "avif": saved(image, "AVIF", quality=70, **metadata),
        "gif": saved(image, "GIF", **frames()),
        "bmp": saved(image, "BMP"),
        "ppm": saved(image, "PPM"),
        "png 16": deep("PNG"),
        "tiff 16": deep("TIFF"),
        "png text": bomb(rgba, 1 << 12),
    }
    with suppress(ImportError):  # the extra `heif`
        from pillow_heif import from_pillow

        out = io.BytesIO()
        from_pillow(image).save(out, quality=60, exif=exif)
        files["heic"] = out.getvalue()
    return files


def bomb(image: Image.Image, size: int) -> bytes:
    """A PNG with a color profile and a text that decompress to ``size`` bytes."""
    png, packed = saved(image, "PNG"), zlib.compress(bytes(size))
    chunks = png_chunk(b"iCCP", b"ICC\0\0" + packed) + png_chunk(b"zTXt", b"Comment\0\0" + packed)
    return png[:33] + chunks + png[33:]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk with its checksum."""
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def real_photos(folder: Path | None) -> dict[str, bytes]:
    """Up to twenty small files below a folder of real photos."""
    paths = sorted(folder.rglob("*.jpg")) if folder else []
    small = [path for path in paths if path.stat().st_size < MAX_BYTES][:: max(1, len(paths) // 20)]
    return {path.name: path.read_bytes() for path in small[:20]}


# Mutations of any file


def flip(data: bytes, rng: np.random.Generator) -> bytes:
    """Replace some bytes, half of the time in the header."""
    out = bytearray(data)
    reach = len(out) if rng.random() < 0.5 else min(len(out), 512)
    for at in rng.integers(0, reach, rng.integers(1, 12)):
        out[at] = rng.integers(256)
    return bytes(out)


def truncate(data: bytes, rng: np.random.Generator) -> bytes:
    """Truncate the file."""
    return data[: rng.integers(1, len(data))]


def extreme_number(data: bytes, rng: np.random.Generator) -> bytes:
    """Replace numbers of two or four bytes by extreme ones: lengths, offsets, sizes, counts."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        order = "big" if rng.random() < 0.5 else "little"
        length = int(rng.choice([2, 4]))
        at = int(rng.integers(0, max(1, min(len(out), 2048) - length)))
        value = int(rng.choice(np.array(EXTREMES, np.int64))) % (1 << 8 * length)
        out[at : at + length] = value.to_bytes(length, order)
    return bytes(out)


def cut_out(data: bytes, rng: np.random.Generator) -> bytes:
    """Remove a piece."""
    at, length = int(rng.integers(len(data))), int(rng.integers(1, 200))
    return data[:at] + data[at + length :]


def repeat(data: bytes, rng: np.random.Generator) -> bytes:
    """Repeat a piece many times."""
    at, length = int(rng.integers(len(data))), int(rng.integers(1, 200))
    return data[:at] + data[at : at + length] * int(rng.integers(2, 60)) + data[at:]


def zero_out(data: bytes, rng: np.random.Generator) -> bytes:
    """Zero a piece, as a bad disk does."""
    at, length = int(rng.integers(len(data))), int(rng.integers(1, 4096))
    kept = data[at + length :]
    return data[:at] + bytes(len(data) - at - len(kept)) + kept


ANYWHERE: tuple[Mutation, ...] = (
    *(flip, flip, truncate, extreme_number, extreme_number),
    *(cut_out, repeat, zero_out),
)


def splice(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """The start of one file and the end of another."""
    return data[: rng.integers(1, len(data))] + other[rng.integers(0, len(other)) :]


# Mutations of photos


def false_size(data: bytes, rng: np.random.Generator) -> bytes:
    """Change the size in the header."""
    width, height = (int(rng.choice(np.array(SIDES, np.int64))) for _ in range(2))
    out = bytearray(data)
    if data[:4] == b"\x89PNG":
        out[16:24] = struct.pack(">II", width, height)
        return fix_checksums(bytes(out))
    if data[:2] == b"BM":
        out[18:26] = struct.pack("<II", width, height)
    elif data[:3] == b"GIF":
        out[6:10] = struct.pack("<HH", width & 0xFFFF, height & 0xFFFF)
    elif data[8:12] == b"WEBP":
        out[24:30] = (width & 0xFFFFFF).to_bytes(3, "little") + (height & 0xFFFFFF).to_bytes(
            3, "little"
        )
    elif data[:2] == b"\xff\xd8":
        for marker in (b"\xff\xc0", b"\xff\xc2"):
            if (at := data.find(marker)) >= 0:
                out[at + 5 : at + 9] = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
    elif data[:2] in (b"II", b"MM"):
        return false_tiff_entries(data, rng)
    elif (at := data.find(b"ispe")) >= 0:
        out[at + 8 : at + 16] = struct.pack(">II", width, height)
    return bytes(out)


def false_tiff_entries(data: bytes, rng: np.random.Generator) -> bytes:
    """Change entries of a TIFF's first directory."""
    order = "<" if data[:2] == b"II" else ">"
    out = bytearray(data)
    with suppress(struct.error):
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        for _ in range(rng.integers(1, 4)):
            entry = start + 2 + 12 * int(rng.integers(count))
            field, size = ((2, "H"), (4, "I"), (8, "I"))[rng.integers(3)]
            value = int(rng.choice(np.array(SIDES, np.int64))) & (0xFFFF if size == "H" else -1)
            struct.pack_into(order + size, out, entry + field, value)
    return bytes(out)


def fix_checksums(data: bytes) -> bytes:
    """Correct a PNG's checksums, so that the damage is not refused for them."""
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        (length,) = struct.unpack_from(">I", out, at)
        if at + 12 + length > len(out):
            break
        checksum = zlib.crc32(out[at + 4 : at + 8 + length])
        struct.pack_into(">I", out, at + 8 + length, checksum)
        at += 12 + length
    return bytes(out)


class Photos:
    """Makes damaged photos."""

    def __init__(self, folder: Path | None) -> None:
        """``folder``: of real photos, used in addition to the synthetic ones."""
        self.exif, self.icc = exif_bytes(), SRGB
        self.real = real_photos(folder)
        self.files = list({**synthetic_photos(self.exif, self.icc), **self.real}.values())

    def damaged(self, rng: np.random.Generator) -> bytes:
        """One damaged photo."""
        data = self.files[rng.integers(len(self.files))]
        kind = rng.integers(12)
        if kind == 0:
            return splice(data, self.files[rng.integers(len(self.files))], rng)
        if kind in (1, 2):
            return false_size(data, rng)
        if kind == 3 and data[:2] in (b"II", b"MM"):
            return false_tiff_entries(data, rng)
        if kind == 4:
            return self.with_bad_extras(rng)
        if kind == 5 and rng.random() < 0.05:  # these are slow
            return bomb(Image.new("RGBA", (9, 9)), int(rng.integers(1 << 20, 1 << 27)))
        for _ in range(rng.integers(1, 4)):
            data = ANYWHERE[rng.integers(len(ANYWHERE))](data, rng) or data
        return fix_checksums(data) if data[:4] == b"\x89PNG" and rng.random() < 0.7 else data

    def with_bad_extras(self, rng: np.random.Generator) -> bytes:
        """An intact photo with damaged EXIF and color profile."""
        mutate = ANYWHERE[rng.integers(len(ANYWHERE))]
        exif = self.exif[:6] + mutate(self.exif[6:], rng)
        icc = mutate(self.icc, rng)
        image = Image.fromarray(picture())
        format = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")[rng.integers(5)]
        if len(exif) > 60_000 or format == "TIFF":  # Pillow parses the EXIF that it writes there
            exif = self.exif
        try:
            return saved(image, format, exif=exif, icc_profile=icc)
        except Exception:  # the writer refuses it: damage only the profile
            return saved(image, "PNG", icc_profile=icc)


# Other files


def damaged_text(text: str, words: tuple[str, ...], rng: np.random.Generator) -> bytes:
    """A text file with changed lines, words and bytes."""
    lines = text.splitlines(keepends=True)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(lines)))
        word = words[rng.integers(len(words))]
        how = rng.integers(4)
        if how == 0:
            lines[at] = word + "\n"
        elif how == 1:
            lines.insert(at, lines[rng.integers(len(lines))])
        elif how == 2:
            column = int(rng.integers(len(lines[at]) + 1))
            lines[at] = lines[at][:column] + word + lines[at][column:]
        else:
            head, sign, _ = lines[at].partition("=" if "=" in lines[at] else ",")
            lines[at] = f"{head}{sign}{word}\n"
    data = "".join(lines).encode("utf-8", "surrogateescape")
    return ANYWHERE[rng.integers(len(ANYWHERE))](data, rng) if rng.random() < 0.4 else data


LIST = "input,reference,kind\na.png,b.png,near\nb.png,,near\nb.png,a.png;b.png,far\n"
LIST_WORDS = (
    *('"', '"""', "a.png", "../a.png", "/etc/passwd", "a.png;;;b.png", ";", ",,,,,,", "\0", "\r"),
    *("\ufeff", "x" * 5000, "a" * 200_000, "=cmd()", "input", "kind,input", "ä\u202e", "C:\\a.png"),
)
CONFIG_WORDS = (
    *("-1", "0", "1e999", "nan", "inf", "99999999999999999999", "true", '""', '"\\u0000"', "[]"),
    *("[[", "{}", "[" * 3000, "{a=" * 1500, '"""', "1979-05-27", "[train]", "[model.model]"),
    *('["a", 1]', '"../../x"', "'" + "x" * 9000 + "'", "channels = 0", "trunk = []", "a.b.c = 1"),
)
CARD_WORDS = (
    *('"multiple": 0,', '"multiple": -32,', '"multiple": 1e999,', '"multiple": "32",', "NaN,"),
    *('"multiple": 99999999999999999999,', '"multiple": [],', '"sha256": null,', "[" * 20_000),
    *(
        '"faithful": [1],',
        '{"a":' * 3000,
        '"\\ud800"',
        "null",
        "\0",
        '"scale": 2,',
        '"multiple":3,',
    ),
)


def configuration() -> str:
    """A run's TOML file."""
    return (ROOT / "configs" / "small.toml").read_text(encoding="utf-8")


def model_files() -> tuple[bytes, str]:
    """The shipped network and its card."""
    folder = ROOT / "src" / "refsr" / "weights" / "shipped"
    return (folder / "ssen.onnx").read_bytes(), (folder / "ssen.json").read_text(encoding="utf-8")


def with_digest(card: str, digest: str) -> str:
    """The card with another file's checksum, which would else refuse every damaged network."""
    return json.dumps({**json.loads(card), "sha256": digest}, indent=1)


def damaged_network(data: bytes, rng: np.random.Generator) -> bytes:
    """A network with changed bytes, mostly in its graph, which is before the weights."""
    mutate = ANYWHERE[rng.integers(len(ANYWHERE))]
    graph = data.find(b"DeformConv") + 20_000
    if rng.random() < 0.7:
        return mutate(data[:graph], rng) + data[graph:]
    return mutate(data, rng)


def damaged_checkpoint(data: bytes, rng: np.random.Generator) -> bytes:
    """A safetensors file with its header or its body damaged."""
    mutate = ANYWHERE[rng.integers(len(ANYWHERE))]
    if rng.random() < 0.3:
        return mutate(data, rng)
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    about = json.loads(header["__metadata__"]["about"])
    odd = (0, -8, 1 << 40, 512, 64, 1.5, "x", None, [], {}, True, 10**30)
    key = list(about["model"])[rng.integers(len(about["model"]))]
    how = rng.integers(4)
    if how == 0:
        about["model"][key] = odd[rng.integers(len(odd))]
    elif how == 1:
        about = odd[rng.integers(len(odd))]
    elif how == 2:
        about["model"] = odd[rng.integers(len(odd))]
    header["__metadata__"]["about"] = json.dumps(about)
    if how == 3:
        tensor = header[list(header)[rng.integers(1, len(header))]]
        field = ("shape", "dtype", "data_offsets")[rng.integers(3)]
        tensor[field] = ([1 << 40], "F64", [0, 1 << 40], [8], "I64", None)[rng.integers(6)]
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]
