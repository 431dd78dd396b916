"""Photos in and out, held against Pillow, OpenCV, tifffile and numpy."""

from __future__ import annotations

import dataclasses
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base

from files import (
    ADOBE_GAMMA,
    ADOBE_RGB,
    DISPLAY_P3,
    UPRIGHT,
    cmyk_profile,
    gray_profile,
    png_chunk,
    raw_png,
    rgb_profile,
    saved,
    some_exif,
    tiff,
)
from refsr.errors import PhotoError
from refsr.image.descriptions import EXTRA_PICTURES_NOTE
from refsr.image.exif import parse_exif
from refsr.image.photo import Photo, load_photo, save_photo, to_colors_of

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning")


def picture(natural: NDArray[np.uint8], channels: int, dtype: Any) -> NDArray[Any]:
    """A small photo-like array; its 16-bit version uses the low bits."""
    image = np.concatenate([natural, natural[::-1, :, :1]], axis=2)[:61, :47]
    image = image[..., {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]]
    return image if dtype == np.uint8 else image.astype(np.uint16) * 256 + image[::-1]


# What comes in


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "BMP", "PPM"])
def test_8_bit_color_is_what_pillow_reads(natural: NDArray[np.uint8], format: str) -> None:
    data = saved(natural, format)
    photo = load_photo(data)
    np.testing.assert_array_equal(photo.pixels, np.array(Image.open(io.BytesIO(data))))
    assert (photo.format, photo.bits, photo.gray, photo.alpha) == (format, 8, False, None)
    assert (photo.height, photo.width, photo.notes) == (192, 256, ())


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", ["png", "tiff", "tiff, lzw", "tiff, tiles"])
def test_16_bits_of_other_libraries(natural: NDArray[np.uint8], channels: int, kind: str) -> None:
    image = picture(natural, channels, np.uint16)
    if kind in ("png", "tiff, lzw"):
        swapped = image[..., [2, 1, 0, 3][:channels]] if channels > 1 else image
        ok, data = cv2.imencode(".png" if kind == "png" else ".tif", swapped)
        assert ok
        source = data.tobytes()
    else:
        options = {"tile": (16, 16), "compression": "zlib"} if kind == "tiff, tiles" else {}
        if channels == 4:
            options["extrasamples"] = ["unassalpha"]
        source = tiff(image, photometric="rgb" if channels > 1 else "minisblack", **options)
    photo = load_photo(source)
    assert (photo.bits, photo.gray) == (16, channels == 1)
    np.testing.assert_array_equal(photo.pixels, np.broadcast_to(image[..., :3], (61, 47, 3)))
    if channels == 4 and kind != "tiff, lzw":  # OpenCV does not say that its fourth one is alpha
        np.testing.assert_array_equal(photo.alpha, image[..., 3])


def test_kinds_of_pixels(natural: NDArray[np.uint8]) -> None:
    gray, rgb = natural[..., 0], Image.fromarray(natural)
    palette = rgb.quantize(16)
    see_through = saved(palette, "PNG", transparency=3)
    expected = np.array(Image.open(io.BytesIO(see_through)).convert("RGBA"))
    photo = load_photo(see_through)
    np.testing.assert_array_equal(photo.pixels, expected[..., :3])
    assert photo.alpha is not None
    np.testing.assert_array_equal(photo.alpha, expected[..., 3])
    assert set(np.unique(photo.alpha)) == {0, 255}

    assert load_photo(saved(palette, "PNG")).alpha is None
    one_bit = load_photo(saved(rgb.convert("1"), "PNG"))
    assert one_bit.gray
    assert set(np.unique(one_bit.pixels)) == {0, 255}

    key = png_chunk(b"tRNS", natural[0, 0].astype(">u2").tobytes())
    keyed = load_photo(raw_png(natural, 2, 8, key))
    assert keyed.alpha is not None
    np.testing.assert_array_equal(keyed.alpha == 0, (natural == natural[0, 0]).all(-1))

    deep = gray.astype(np.uint16) * 257
    key = png_chunk(b"tRNS", deep[0, :1].astype(">u2").tobytes())
    keyed = load_photo(raw_png(deep, 0, 16, key))
    assert keyed.alpha is not None
    np.testing.assert_array_equal(keyed.alpha == 0, deep == deep[0, 0])
    two = np.stack([deep, deep[::-1]], axis=-1)
    photo = load_photo(raw_png(two, 4, 16))
    assert photo.gray
    assert photo.alpha is not None
    np.testing.assert_array_equal(photo.pixels[..., 1], deep)
    np.testing.assert_array_equal(photo.alpha, deep[::-1])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_transparent_level_of_small_gray(bits: int) -> None:
    """Pillow stretches the levels to 8 bits and forgets the transparent one."""
    levels = (np.arange(64, dtype=np.uint8) % 2**bits).reshape(8, 8)
    packed = np.packbits(np.unpackbits(levels[..., None], axis=2)[..., 8 - bits :], axis=None)
    rows = b"".join(b"\0" + row.tobytes() for row in packed.reshape(8, bits))
    key = 2**bits - 1 if bits == 1 else 2
    parts = [
        png_chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, bits, 0, 0, 0, 0)),
        png_chunk(b"tRNS", struct.pack(">H", key)),
        png_chunk(b"IDAT", zlib.compress(rows)),
        png_chunk(b"IEND", b""),
    ]
    photo = load_photo(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    np.testing.assert_array_equal(photo.pixels[..., 0], levels * (255 // (2**bits - 1)))
    assert photo.gray
    assert photo.alpha is not None
    np.testing.assert_array_equal(photo.alpha, np.where(levels == key, 0, 255))


def test_colors_without_a_profile_are_noted(natural: NDArray[np.uint8]) -> None:
    note = ("colors described without a profile (gAMA, cHRM) taken as sRGB",)
    linear = png_chunk(b"gAMA", struct.pack(">I", 100000))
    usual = png_chunk(b"gAMA", struct.pack(">I", 45455))
    wide = (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
    srgb = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    for chunks, expected in (
        ([linear], note),
        ([png_chunk(b"cHRM", struct.pack(">8I", *wide))], note),
        ([usual, png_chunk(b"cHRM", struct.pack(">8I", *srgb))], ()),
        ([png_chunk(b"sRGB", b"\0"), usual], ()),
        ([], ()),
    ):
        assert load_photo(raw_png(natural, 2, 8, *chunks)).notes == expected


def test_too_much_text_is_called_so(natural: NDArray[np.uint8]) -> None:
    text = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(17 << 20)))
    with pytest.raises(PhotoError, match="more text or a larger color profile"):
        load_photo(raw_png(natural, 2, 8, text))


def test_kinds_of_tiff(natural: NDArray[np.uint8]) -> None:
    gray = natural[..., 0]
    deep = gray.astype(np.uint16) * 257
    for stored in (gray, deep):
        inverted = load_photo(tiff(np.invert(stored), photometric="miniswhite"))
        np.testing.assert_array_equal(inverted.pixels[..., 0], stored)

    as_float = load_photo(tiff((deep / 65535).astype(np.float32)))
    assert as_float.notes == ("floating-point values stored with 16 bits",)
    np.testing.assert_array_equal(as_float.pixels[..., 0], deep)
    with pytest.raises(PhotoError, match=r"not all in 0\.\.1"):
        load_photo(tiff(deep.astype(np.float32)))
    with pytest.raises(PhotoError, match="32-bit values"):
        load_photo(tiff(deep.astype(np.int32) + 70000))
    with pytest.raises(PhotoError, match="TIFF of an unusual kind"):
        load_photo(tiff(natural.astype(np.float32), photometric="rgb"))
    planes = np.ascontiguousarray(np.moveaxis(picture(natural, 3, np.uint16), 2, 0))
    with pytest.raises(PhotoError, match="separate planes"):
        load_photo(tiff(planes, photometric="rgb", planarconfig="separate"))

    image = picture(natural, 4, np.uint16)
    alpha = image[..., 3:].astype(np.uint32)
    premultiplied = (image[..., :3] * alpha / 65535).round().astype(np.uint16)
    both = np.concatenate([premultiplied, image[..., 3:]], axis=2)
    photo = load_photo(tiff(both, photometric="rgb", extrasamples=["assocalpha"]))
    error = np.abs(photo.pixels.astype(int) - image[..., :3])[image[..., 3] > 8000]
    assert error.max() <= 4  # half a level, divided by an alpha of an eighth


def test_first_frame_with_a_note(natural: NDArray[np.uint8]) -> None:
    first, second = Image.fromarray(natural), Image.fromarray(natural[::-1])
    for format in ("GIF", "WEBP", "PNG", "AVIF"):
        data = saved(first, format, save_all=True, append_images=[second])
        photo = load_photo(data)
        assert photo.notes == ("animated file: first frame used",), format
        error = np.abs(photo.pixels.astype(int) - natural).mean()
        assert error < (12 if format == "GIF" else 6), format
    pages = load_photo(saved(first, "TIFF", save_all=True, append_images=[second]))
    assert pages.notes == ("file of several pages: first page used",)
    np.testing.assert_array_equal(pages.pixels, natural)
    multi_picture = saved(first, "MPO", save_all=True, append_images=[second])  # telephones' JPEG
    assert (load_photo(multi_picture).format, load_photo(multi_picture).notes) == (
        "JPEG",
        (EXTRA_PICTURES_NOTE,),
    )


def test_cmyk_goes_through_its_profile() -> None:
    inks = np.zeros((32, 32, 4), np.uint8)
    inks[:, 16:, 0] = 255
    for format in ("JPEG", "TIFF"):
        image = Image.fromarray(inks, "CMYK")
        photo = load_photo(saved(image, format, icc_profile=cmyk_profile(), quality=100))
        assert photo.notes == ("CMYK converted to sRGB",)
        assert photo.icc is None
        np.testing.assert_allclose(photo.pixels[4, 4], 255, atol=2)
        np.testing.assert_allclose(photo.pixels[4, 28], 119, atol=2)  # L* = 50 in sRGB
        plain = load_photo(saved(image, format))
        np.testing.assert_allclose(plain.pixels[4, 28], [0, 255, 255], atol=3)


def test_lab_becomes_srgb() -> None:
    lab = Image.merge("LAB", [Image.new("L", (8, 8), v) for v in (128, 128, 128)])
    photo = load_photo(saved(lab, "TIFF"))
    assert photo.notes == ("LAB converted to sRGB",)
    np.testing.assert_allclose(photo.pixels, 119, atol=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(natural: NDArray[np.uint8], orientation: int) -> None:
    exif, turned = some_exif(orientation), UPRIGHT[orientation]
    image, deep = picture(natural, 4, np.uint8), picture(natural, 4, np.uint16)
    turn_tag = {"extratags": [(274, 3, 1, orientation, True)], "extrasamples": ["unassalpha"]}
    sources: list[tuple[bytes, NDArray[Any]]] = [
        (saved(image, "PNG", exif=exif), image),
        (saved(image, "WEBP", exif=exif, lossless=True, exact=True), image),
        (saved(image, "TIFF", exif=exif), image),
        (tiff(image, photometric="rgb", compression="zlib", **turn_tag), image),
        (raw_png(deep, 6, 16, png_chunk(b"eXIf", exif[6:])), deep),
        (tiff(deep, photometric="rgb", **turn_tag), deep),
        (tiff(deep[..., 0], extratags=turn_tag["extratags"]), deep[..., :1]),
    ]
    for data, stored in sources:
        photo = load_photo(data)
        expected = turned(stored)
        np.testing.assert_array_equal(
            photo.pixels, np.broadcast_to(expected[..., :3], (*expected.shape[:2], 3))
        )
        if stored.shape[2] == 4:
            np.testing.assert_array_equal(photo.alpha, expected[..., 3])
        assert photo.exif is not None
        assert parse_exif(photo.exif)[Base.Orientation] == 1
    for format in ("JPEG", "AVIF"):
        photo = load_photo(saved(natural, format, exif=exif, quality=95))
        assert np.abs(photo.pixels.astype(int) - turned(natural)).mean() < 6, format


def test_arrays(rng: np.random.Generator) -> None:
    rgba = rng.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    photo = load_photo(rgba)
    np.testing.assert_array_equal(photo.pixels, rgba[..., :3])
    np.testing.assert_array_equal(photo.alpha, rgba[..., 3])
    for gray in (rgba[..., 0], rgba[..., :1], rgba[..., :2]):
        photo = load_photo(gray)
        assert photo.gray
        np.testing.assert_array_equal(photo.pixels, np.repeat(rgba[..., :1], 3, axis=2))
        assert (photo.alpha is None) == (gray.shape[2:] != (2,))
    source = rgba[..., :3].copy()
    photo = load_photo(source)
    source[:] = 0
    np.testing.assert_array_equal(photo.pixels, rgba[..., :3])  # copied

    exact = rng.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(Photo.of((exact / 65535).astype(dtype)).pixels, exact)
    np.testing.assert_array_equal(Photo.of(exact.astype(">u2")).pixels, exact)
    np.testing.assert_array_equal(Photo.of(exact).as_uint8(), np.rint(exact / 257))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((0, 5, 3), np.uint8), "holds no pixels"),
        (np.zeros((3, 20, 20), np.uint8), "shape"),
        (np.zeros(5, np.uint8), "shape"),
        (np.full((4, 4), 200.0), r"not all in 0\.\.1"),
        (np.full((4, 4), np.nan), r"not all in 0\.\.1"),
        (np.zeros((4, 4), np.int64), "int64"),
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros((4, 4), object), "object"),
    ],
)
def test_arrays_refused(array: NDArray[Any], words: str) -> None:
    with pytest.raises(PhotoError, match=words):
        load_photo(array)


def test_pil_images(natural: NDArray[np.uint8], tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(saved(natural, "PNG", exif=some_exif(6), icc_profile=gray_profile(2.2)))
    with Image.open(path) as image:
        photo = load_photo(image)
        assert image.size == (256, 192)  # the caller's image is left as it was
    np.testing.assert_array_equal(photo.pixels, np.rot90(natural, -1))
    assert photo.notes == ("color profile that does not fit the photo left out",)
    hsv = Image.fromarray(natural).convert("HSV")
    np.testing.assert_array_equal(load_photo(hsv).pixels, np.array(hsv.convert("RGB")))
    with pytest.raises(PhotoError, match="--max-pixels"):
        load_photo(Image.new("RGB", (100, 100)), max_pixels=9999)
    with pytest.raises(PhotoError):
        load_photo(Image.new("RGB", (0, 5)))


# What goes out


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp", ".avif"])
def test_round_trip(
    natural: NDArray[np.uint8], tmp_path: Path, channels: int, dtype: Any, suffix: str
) -> None:
    image = picture(natural, channels, dtype)
    icc = gray_profile(2.2) if channels < 3 else rgb_profile(DISPLAY_P3, 2.2)
    photo = dataclasses.replace(Photo.of(image), icc=icc, exif=some_exif())
    save_photo(photo, tmp_path / f"x{suffix}")
    again = load_photo(tmp_path / f"x{suffix}")
    color_only = suffix == ".webp" or (channels == 2 and suffix == ".avif")
    color_only |= suffix == ".tif" and channels == 2 and dtype == np.uint16
    assert again.gray == (channels < 3 and not color_only)
    assert again.icc == (None if channels < 3 and color_only else icc)
    assert again.exif is not None
    assert parse_exif(again.exif)[IFD.GPSInfo] == {1: "N", 2: (48.0, 12.0, 30.0)}
    assert parse_exif(again.exif)[Base.Make] == "Acme"
    if suffix in (".png", ".tif"):
        assert again.bits == photo.bits
        np.testing.assert_array_equal(again.pixels, photo.pixels)
        assert (again.alpha is None) == (photo.alpha is None)
        if photo.alpha is not None:
            np.testing.assert_array_equal(again.alpha, photo.alpha)
        return
    assert again.bits == 8
    expected = photo.as_uint8().astype(float)
    if channels in (2, 4):
        alpha = np.rint(image[..., -1:] / (1 if dtype == np.uint8 else 257))
        if suffix == ".jpg":
            assert again.alpha is None
            expected = (expected * alpha + 255 * (255 - alpha)) / 255
        else:
            assert again.alpha is not None
            assert np.abs(again.alpha - alpha[..., 0]).mean() < 3
    assert np.abs(again.pixels - expected).mean() < 6


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_other_libraries_read_what_is_written(
    natural: NDArray[np.uint8], tmp_path: Path, dtype: Any
) -> None:
    icc = rgb_profile(DISPLAY_P3, 2.2)
    for channels in (1, 3, 4):
        image = picture(natural, channels, dtype)
        photo = dataclasses.replace(Photo.of(image), icc=None if channels == 1 else icc)
        for suffix in (".tif", ".png"):
            save_photo(photo, tmp_path / f"x{suffix}")
            if suffix == ".tif" and channels == 4 and dtype == np.uint8:
                continue  # OpenCV premultiplies it
            with_opencv = cv2.imread(str(tmp_path / f"x{suffix}"), cv2.IMREAD_UNCHANGED)
            assert with_opencv is not None
            swapped = image[..., [2, 1, 0, 3][:channels]] if channels > 1 else image[..., 0]
            np.testing.assert_array_equal(with_opencv, swapped)
        with tifffile.TiffFile(tmp_path / "x.tif") as file:
            page = file.pages.first
            np.testing.assert_array_equal(page.asarray().reshape(image.shape), image)
            assert page.iccprofile == photo.icc
        with Image.open(tmp_path / "x.png") as file:
            assert file.info.get("icc_profile") == photo.icc
            file.verify()


@pytest.mark.parametrize(("primaries", "gamma"), [(DISPLAY_P3, 2.2), (ADOBE_RGB, ADOBE_GAMMA)])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".avif"])
def test_wide_colors_come_back(
    natural: NDArray[np.uint8],
    tmp_path: Path,
    primaries: list[list[float]],
    gamma: float,
    suffix: str,
) -> None:
    """A color managed reader sees the same colors in the photo and in the saved one."""
    icc = rgb_profile(primaries, gamma)
    original = saved(natural, "JPEG", icc_profile=icc, quality=95)
    save_photo(load_photo(original), tmp_path / f"x{suffix}")

    def as_seen(file: Any) -> NDArray[np.float64]:
        with Image.open(file) as image:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
            seen = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"))
            return np.array(seen, float)

    difference = np.abs(as_seen(io.BytesIO(original)) - as_seen(tmp_path / f"x{suffix}"))
    assert difference.mean() < (0.01 if suffix in (".png", ".tif") else 3)


def test_exif_is_kept_true(natural: NDArray[np.uint8], tmp_path: Path) -> None:
    photo = load_photo(saved(natural[:48, :64], "JPEG", exif=some_exif(6)))
    assert (photo.height, photo.width) == (64, 48)
    bigger = photo.replaced(np.repeat(np.repeat(photo.pixels, 4, 0), 4, 1), None)
    for suffix in (".jpg", ".png", ".tif", ".webp", ".avif"):
        save_photo(bigger, tmp_path / f"x{suffix}")
        with Image.open(tmp_path / f"x{suffix}") as image:
            exif = image.getexif()
            assert image.size == (192, 256)
            assert exif.get(Base.Orientation, 1) == 1
            assert exif[Base.Make] == "Acme"
            details = exif.get_ifd(IFD.Exif)
            sides = details[Base.ExifImageWidth], details[Base.ExifImageHeight]
            assert (sides, details[Base.LensModel]) == ((192, 256), "50mm")
            assert exif.get_ifd(IFD.GPSInfo)[2] == (48.0, 12.0, 30.0)
        save_photo(bigger, tmp_path / f"x{suffix}", strip_metadata=True)
        assert load_photo(tmp_path / f"x{suffix}").exif is None


def test_thumbnail_and_damaged_exif_are_left_out(natural: NDArray[np.uint8]) -> None:
    thumbnail = saved(natural[:20, :20], "JPEG")
    first = struct.pack("<HHHI4sI", 1, 0x010F, 2, 4, b"Acm\0", 26)
    second = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, 56, 0x0202, 4, 1, len(thumbnail), 0)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + first + second + thumbnail
    photo = load_photo(saved(natural, "JPEG", exif=exif))
    assert photo.exif is not None
    assert parse_exif(photo.exif)[Base.Make] == "Acm"
    assert b"\xff\xd8" not in photo.exif
    damaged = load_photo(saved(natural, "JPEG", exif=b"Exif\0\0XX not a directory at all"))
    assert damaged.exif is None
    assert damaged.notes == ("damaged EXIF left out",)


def test_exif_too_long_for_jpeg(natural: NDArray[np.uint8], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[Base.Make] = "Acme"
    exif[IFD.Exif] = {Base.MakerNote: bytes(70_000), Base.LensModel: "50mm"}
    photo = load_photo(saved(natural, "PNG", exif=exif.tobytes()))
    save_photo(photo, tmp_path / "x.jpg")
    with Image.open(tmp_path / "x.jpg") as image:
        assert image.getexif().get_ifd(IFD.Exif) == {Base.LensModel: "50mm"}


def test_gray_with_unequal_channels_is_saved_as_luma(
    natural: NDArray[np.uint8], tmp_path: Path
) -> None:
    save_photo(dataclasses.replace(Photo.of(natural), gray=True), tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert image.mode == "L"
        luma = natural @ np.array([0.299, 0.587, 0.114])
        assert np.abs(np.array(image) - luma).max() <= 1


# Color spaces


def test_reference_in_the_photos_colors(natural: NDArray[np.uint8]) -> None:
    """From AdobeRGB to Display-P3, against the matrices in float64."""
    muted = (natural // 2 + 64).astype(np.uint8)  # inside both gamuts
    reference = dataclasses.replace(Photo.of(muted), icc=rgb_profile(ADOBE_RGB, ADOBE_GAMMA))
    photo = dataclasses.replace(Photo.of(natural), icc=rgb_profile(DISPLAY_P3, 2.2))
    xyz = (muted / 255) ** ADOBE_GAMMA @ np.array(ADOBE_RGB)
    linear = np.clip(xyz @ np.linalg.inv(DISPLAY_P3), 0, 1)
    expected = 255 * linear ** (1 / 2.2)
    assert np.abs(to_colors_of(reference, photo) - expected).max() < 1.5
    assert np.abs(muted - expected).max() > 5  # the test would notice if nothing was done


def test_equal_spaces_are_left_alone(natural: NDArray[np.uint8]) -> None:
    plain = Photo.of(natural)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    p3, almost_p3 = rgb_profile(DISPLAY_P3, 2.2), rgb_profile(DISPLAY_P3, 2.203)
    for icc, other in ((None, None), (None, srgb), (srgb, None), (p3, p3), (p3, almost_p3)):
        reference = dataclasses.replace(plain, icc=icc)
        photo = dataclasses.replace(plain, icc=other)
        assert to_colors_of(reference, photo) is reference.pixels
    wide = dataclasses.replace(plain, icc=p3)
    assert to_colors_of(plain, wide) is not plain.pixels


def test_gray_photos_get_gray_references(natural: NDArray[np.uint8]) -> None:
    for icc in (None, gray_profile(1.8)):
        gray = dataclasses.replace(Photo.of(natural[..., 0]), icc=icc)
        result = to_colors_of(Photo.of(natural), gray)
        assert result.shape == natural.shape
        np.testing.assert_array_equal(result[..., 0], result[..., 1])
        np.testing.assert_array_equal(result[..., 0], result[..., 2])
    level = np.full((4, 4, 3), 119, np.uint8)  # sRGB of L* = 50, luminance 0.184
    gray = dataclasses.replace(Photo.of(level[..., 0]), icc=gray_profile(1.8))
    expected = 255 * 0.184 ** (1 / 1.8)
    np.testing.assert_allclose(to_colors_of(Photo.of(level), gray), expected, atol=1.5)
    np.testing.assert_allclose(
        to_colors_of(dataclasses.replace(gray, pixels=level), Photo.of(level)),
        255 * (1.055 * ((119 / 255) ** 1.8) ** (1 / 2.4) - 0.055),
        atol=1.5,
    )


# cICP: colors by the codes of ITU-T H.273


def coded(image: NDArray[np.uint8], *code: int, profile: bytes | None = None) -> bytes:
    chunks = [png_chunk(b"cICP", bytes(code))]
    if profile is not None:
        chunks.append(png_chunk(b"iCCP", b"own\0\0" + zlib.compress(profile)))
    return raw_png(image, 2, 8, *chunks)


@pytest.mark.parametrize("transfer", [1, 13])
@pytest.mark.parametrize("primaries", [1, 12])
def test_a_png_that_says_its_colors_by_codes(
    natural: NDArray[np.uint8], tmp_path: Path, primaries: int, transfer: int
) -> None:
    """The oracle is the codes' own arithmetic, in float64."""
    photo = load_photo(coded(natural, primaries, transfer, 0, 1))
    assert photo.notes == ()
    np.testing.assert_array_equal(photo.pixels, natural)
    encoded = natural / 255.0
    if transfer == 13:
        light = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    else:
        light = np.where(encoded < 0.081, encoded / 4.5, ((encoded + 0.099) / 1.099) ** (1 / 0.45))
    if primaries == 12:  # Display P3 to BT.709, both of D65
        light = (
            light
            @ np.array(
                [
                    [1.2249401, -0.2249404, 0],
                    [-0.0420569, 1.0420571, 0],
                    [-0.0196376, -0.0786361, 1.0982735],
                ]
            ).T
        )
    light = np.clip(light, 0, 1)
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    seen = to_colors_of(photo, Photo.of(natural)).astype(float)
    assert np.abs(seen - 255 * srgb).max() < 2.5
    assert (photo.icc is None) == ((primaries, transfer) == (1, 13))
    save_photo(photo, tmp_path / "out.png")
    assert load_photo(tmp_path / "out.png").icc == photo.icc


def test_codes_count_before_the_profile_where_they_are_known(natural: NDArray[np.uint8]) -> None:
    own = rgb_profile(ADOBE_RGB, ADOBE_GAMMA)
    assert load_photo(coded(natural, 1, 13, 0, 1, profile=own)).icc is None
    assert load_photo(coded(natural, 12, 13, 0, 1, profile=own)).icc not in (own, None)
    for unknown in ((9, 16, 0, 1), (9, 18, 0, 1), (9, 14, 0, 1), (1, 13, 0, 0), (1, 13, 1, 1)):
        photo = load_photo(coded(natural, *unknown, profile=own))
        assert (photo.icc, photo.notes) == (own, ())
        alone = load_photo(coded(natural, *unknown))
        kind = "HDR colors" if unknown[1] in (16, 18) else "colors described without a profile"
        assert (alone.icc, alone.notes) == (None, (f"{kind} (cICP) taken as sRGB",))
    gray = raw_png(natural[..., :1], 0, 8, png_chunk(b"cICP", bytes([12, 13, 0, 1])))
    assert load_photo(gray).icc is None
