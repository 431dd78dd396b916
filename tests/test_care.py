"""A photographer's files through the public API: whatever comes in, what goes out is right.

With the training-free model and tiny photos: what travels beside the pixels is what is looked at.
"""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import IFD, Base

from files import (
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
from refsr import RefsrError, Upscaler
from refsr.cli import main
from refsr.evaluate.metrics import psnr
from refsr.image.descriptions import EXTRA_PICTURES_NOTE
from refsr.image.photo import load_photo
from refsr.resize import imresize
from refsr.upscaler import Result

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning")
P3 = rgb_profile(DISPLAY_P3, 2.2)
SMALL = 24, 32  # height and width of the photos here


@lru_cache
def loaded() -> Upscaler:
    return Upscaler.load("detail-transfer")


def upscaled(source: Any, **options: Any) -> Result:
    loaded().set_reference(None)
    return loaded().upscale(source, **options)


@pytest.fixture
def small(natural: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(imresize(natural, scale=0.25)[: SMALL[0], : SMALL[1]])


def kinds(small: NDArray[np.uint8]) -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Files of every kind, with what their results must be; encoded once."""
    return encoded(small.tobytes(), small.shape)


@lru_cache
def encoded(data: bytes, shape: tuple[int, ...]) -> dict[str, tuple[bytes, dict[str, Any]]]:
    small = np.frombuffer(data, np.uint8).reshape(shape)
    size = shape[:2]
    rgb = Image.fromarray(small)
    gray = np.asarray(rgb.convert("L"))
    deep_gray = gray.astype(np.uint16) * 257 + 3
    alpha = np.full(size, 255, np.uint8)
    alpha[:, :8] = 0
    deep = small.astype(np.uint16) * 257 + 3
    inks = Image.fromarray(np.dstack([255 - small, np.zeros(size, np.uint8)]), "CMYK")
    deep_alpha = np.dstack([deep, alpha.astype(np.uint16) * 257])

    def frames() -> dict[str, Any]:  # new ones for each file: Pillow leaves its settings in them
        return {"save_all": True, "append_images": [Image.fromarray(small[::-1].copy())]}

    huge = P3 + bytes(3 * 2**20 - len(P3) % 4)  # three segments' worth of padding behind it
    return {
        "Display-P3 with alpha": (
            saved(np.dstack([small, alpha]), "PNG", icc_profile=P3),
            {"alpha": True, "icc": P3},
        ),
        "16-bit TIFF": (tiff(deep, photometric="rgb", iccprofile=P3), {"bits": 16, "icc": P3}),
        "16-bit gray TIFF": (
            tiff(deep_gray, iccprofile=gray_profile(2.2)),
            {"bits": 16, "gray": True, "icc": gray_profile(2.2)},
        ),
        "CMYK JPEG": (
            saved(inks, "JPEG", icc_profile=cmyk_profile()),
            {"note": "CMYK converted to sRGB"},
        ),
        "16-bit TIFF with alpha": (
            tiff(deep_alpha, photometric="rgb", extrasamples=["unassalpha"]),
            {"bits": 16, "alpha": True},
        ),
        "CMYK JPEG without profile": (
            saved(inks, "JPEG", quality=98),
            {"note": "CMYK converted to sRGB"},
        ),
        "animated PNG": (
            saved(rgb, "PNG", **frames()),
            {"note": "animated file: first frame used"},
        ),
        "progressive JPEG": (saved(rgb, "JPEG", quality=95, progressive=True), {"loose": True}),
        "4:1:1 JPEG": (
            saved(rgb, "JPEG", quality=95, subsampling="4:1:1"),
            {"loose": True},
        ),
        "two pictures (MPO)": (
            saved(Image.fromarray(small), "MPO", quality=95, **frames()),
            {"loose": True, "note": EXTRA_PICTURES_NOTE},
        ),
        "animated GIF": (
            saved(rgb, "GIF", **frames()),
            {"note": "animated file: first frame used"},
        ),
        "animated WebP": (
            saved(rgb, "WEBP", lossless=True, **frames()),
            {"note": "animated file: first frame used"},
        ),
        "TIFF of pages": (
            saved(rgb, "TIFF", **frames()),
            {"note": "file of several pages: first page used"},
        ),
        "palette with transparency": (
            saved(rgb.quantize(16), "PNG", transparency=3),
            {"alpha": True, "loose": True},
        ),
        "1 bit": (saved(rgb.convert("1"), "PNG"), {"gray": True, "loose": True, "least": 10}),
        "gray with alpha": (
            saved(np.dstack([gray, alpha]), "PNG"),
            {"gray": True, "alpha": True},
        ),
        "16-bit gray PNG": (raw_png(deep_gray[..., None], 0, 16), {"bits": 16, "gray": True}),
        "float TIFF": (
            tiff((gray / 255).astype(np.float32)),
            {"bits": 16, "gray": True, "note": "floating-point values stored with 16 bits"},
        ),
        "lossless WebP": (saved(rgb, "WEBP", lossless=True), {}),
        "AVIF": (saved(rgb, "AVIF", quality=95), {"loose": True}),
        "huge profile": (saved(rgb, "JPEG", quality=98, icc_profile=huge), {"icc": huge}),
    }


UNLIKE = "CMYK JPEG"  # a press of one ink
UNSURE = "palette with transparency", "1 bit"  # 16 colors; dots without a lattice
KINDS = list(kinds(np.zeros((*SMALL, 3), np.uint8)))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file(
    small: NDArray[np.uint8], tmp_path: Path, kind: str, suffix: str
) -> None:
    data, wanted = kinds(small)[kind]
    path = tmp_path / "photo.jpg"  # a file is known by its content, whatever its name says
    path.write_bytes(data)
    result = upscaled(path)
    result.save(tmp_path / f"out{suffix}")
    again = load_photo(tmp_path / f"out{suffix}")
    assert (again.width, again.height) == (4 * SMALL[1], 4 * SMALL[0])
    notes = [note for note in result.report["notes"] if not note.startswith("black and white")]
    assert notes == ([wanted["note"]] if "note" in wanted else [])
    bits, alpha = wanted.get("bits", 8), wanted.get("alpha", False)
    if suffix == ".jpg":
        bits, alpha = 8, False
    assert (again.bits, again.alpha is not None) == (bits, alpha)
    assert again.gray == wanted.get("gray", False)
    if not (again.gray and suffix == ".png" and wanted.get("icc") is None):
        assert again.icc == wanted.get("icc")
    opened = load_photo(path)
    if alpha or opened.alpha is None:  # over white it is another picture
        back = imresize(again.as_uint8(), scale=0.25).astype(int)
        least = 20 if wanted.get("loose") or suffix == ".jpg" else 30
        least = wanted.get("least", least)  # no smooth enlargement shrinks to black and white
        assert psnr(back.astype(np.uint8), opened.as_uint8(), border=0) > least


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_as_reference(
    natural: NDArray[np.uint8], tmp_path: Path, kind: str
) -> None:
    """It is found, used, and what was said of it when it was read stands in the report."""
    data, wanted = kinds(natural)[kind]
    path = tmp_path / "two words,\nα.jpg"
    path.write_bytes(data)
    photo = imresize(natural, scale=0.25)
    upscaler = loaded()
    upscaler.set_reference(path)
    result = upscaler.upscale(photo)
    note = [f"{path.name}: {wanted['note']}"] if "note" in wanted else []
    # a small photo of dots or JPEG's ringing may pass for a noisy one
    seen = [one for one in result.report["notes"] if "its noise was removed" not in one]
    seen = [one for one in seen if "its raster could not be removed" not in one]  # 1 bit: dots
    assert seen == note
    (reference,) = result.report["references"]
    assert reference["matched"] == reference["used"]
    assert kind in UNSURE or reference["used"] == (kind != UNLIKE)
    change = result.photo.pixels.mean(axis=(0, 1)) - photo.mean(axis=(0, 1))
    assert np.abs(change).max() < 1  # the colors are the photo's, whatever the file's were


def test_check_says_which_frame_it_looked_at(
    natural: NDArray[np.uint8], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("animated PNG", "TIFF of pages"):
        (tmp_path / kind).write_bytes(kinds(natural)[kind][0])
    Image.fromarray(imresize(natural, scale=0.25)).save(tmp_path / "small.png")
    refs = [f"--ref={tmp_path / kind}" for kind in ("animated PNG", "TIFF of pages")]
    assert main(["check", str(tmp_path / "small.png"), *refs]) == 0
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "note: animated PNG: animated file: first frame used",
        "note: TIFF of pages: file of several pages: first page used",
    ]
    assert told.out.count("of your photo") == 2


def test_alpha_becomes_white_in_a_jpeg(small: NDArray[np.uint8], tmp_path: Path) -> None:
    alpha = np.full(SMALL, 255, np.uint8)
    alpha[:, :16] = 0
    upscaled(np.dstack([small, alpha])).save(tmp_path / "out.jpg", quality=98)
    seen = np.asarray(Image.open(tmp_path / "out.jpg"))
    assert seen[:, :48].min() > 245
    assert seen[:, 80:].mean() < 200


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("side", ["photo", "reference"])
def test_orientations_on_either_side(
    natural: NDArray[np.uint8], orientation: int, side: str
) -> None:
    """A file that is stored turned gives what the upright one gives."""
    photo = imresize(natural, scale=0.25)
    stored = {UPRIGHT[k](np.arange(6).reshape(2, 3)).tobytes(): k for k in range(1, 9)}
    assert len(stored) == 8
    turn_back = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}[orientation]

    def as_stored(image: NDArray[np.uint8]) -> bytes:
        turned = np.ascontiguousarray(UPRIGHT[turn_back](image))
        return saved(turned, "PNG", exif=some_exif(orientation))

    upscaler = loaded()
    upscaler.set_reference(natural if side == "photo" else as_stored(natural))
    result = upscaler.upscale(as_stored(photo) if side == "photo" else photo)
    upscaler.set_reference(natural)
    wanted = upscaler.upscale(photo)
    np.testing.assert_array_equal(result.photo.pixels, wanted.photo.pixels)
    assert wanted.report["references"][0]["matched"]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".avif"])
def test_place_and_print_size(small: NDArray[np.uint8], tmp_path: Path, suffix: str) -> None:
    exif = some_exif(6)
    photo = saved(small, "JPEG", exif=exif, dpi=(300, 200))
    result = upscaled(photo)
    result.save(tmp_path / f"kept{suffix}")
    result.save(tmp_path / f"bare{suffix}", strip_metadata=True)
    with (
        Image.open(tmp_path / f"kept{suffix}") as kept,
        Image.open(tmp_path / f"bare{suffix}") as bare,
    ):
        assert kept.getexif().get_ifd(IFD.GPSInfo)[2] == (48.0, 12.0, 30.0)
        assert kept.getexif().get(Base.Orientation, 1) == 1
        assert kept.size == (4 * SMALL[0], 4 * SMALL[1])  # upright
        assert not bare.getexif().get_ifd(IFD.GPSInfo)
        if suffix in (".jpg", ".png", ".tif"):
            print_size = [float(one) for one in kept.info["dpi"]]
            np.testing.assert_allclose(print_size, (200, 300), atol=0.02)
    exif = load_photo(tmp_path / f"bare{suffix}").exif
    assert exif is not None
    written = Image.Exif()
    written.load(exif)
    assert dict(written) == {Base.Software: "refsr result"}  # the mark, and nothing of the user's


def test_a_telephones_profile_and_a_plain_thumbnail(natural: NDArray[np.uint8]) -> None:
    """The reference is converted to the colors of the photo before it is used."""
    upscaler = loaded()
    photo = imresize(natural, scale=0.25)
    upscaler.set_reference(saved(natural, "PNG", icc_profile=P3))
    colors = upscaler.upscale(photo)
    assert colors.report["references"][0]["matched"]
    assert colors.photo.icc is None
    change = colors.photo.pixels.mean(axis=(0, 1)) - photo.mean(axis=(0, 1))
    assert np.abs(change).max() < 1


def test_what_is_refused_is_refused_in_words(small: NDArray[np.uint8]) -> None:
    colors = tiff((small / 255).astype(np.float32), photometric="rgb")
    too_bright = tiff(small[..., 0].astype(np.float32))
    for source, words in ((colors, "unusual kind"), (too_bright, r"not all in 0\.\.1")):
        with pytest.raises(RefsrError, match=words):
            upscaled(source)
        with pytest.raises(RefsrError, match=words):
            loaded().set_reference(source)


def test_damaged_print_size_is_left_out(small: NDArray[np.uint8], tmp_path: Path) -> None:
    nonsense = png_chunk(b"pHYs", bytes(8) + b"\1")
    result = upscaled(raw_png(small, 2, 8, nonsense))
    assert result.photo.dpi is None
    result.save(tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert "XResolution" not in file.pages.first.tags


# Scales


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_scales(small: NDArray[np.uint8], tmp_path: Path, scale: Any, dtype: Any) -> None:
    alpha = np.zeros(SMALL, np.uint8)
    alpha[:, 12:] = 255
    levels = np.dstack([small, alpha]).astype(dtype) * (257 if dtype == np.uint16 else 1)
    result = upscaled(levels, scale=scale)
    size = (scale * SMALL[0], scale * SMALL[1])
    assert result.photo.pixels.shape == result.map().shape == (*size, 3)
    assert result.photo.pixels.dtype == dtype
    assert result.photo.alpha is not None
    np.testing.assert_array_equal(result.photo.alpha, imresize(levels[..., 3], scale=float(scale)))
    assert result.provenance.shape == SMALL
    assert result.report["output_size"] == [size[1], size[0]]
    shrunk = imresize(result.photo.as_uint8(), size=SMALL).astype(int)
    assert np.abs(shrunk - small).mean() < 3
    result.save(tmp_path / "out.png")
    assert load_photo(tmp_path / "out.png").height == size[0]


def test_scale_two_is_the_result_of_four_shrunk(small: NDArray[np.uint8]) -> None:
    four = upscaled(small).photo.pixels.astype(np.float32)
    for scale in (2, 3):
        size = scale * SMALL[0], scale * SMALL[1]
        wanted = np.clip(imresize(four, size=size), 0, 255)
        assert np.abs(upscaled(small, scale=scale).photo.pixels - wanted).max() <= 1.5


def test_no_other_scales(small: NDArray[np.uint8]) -> None:
    for scale in (0, 5, 2.5):
        with pytest.raises(RefsrError, match="scale must be 1, 2, 3 or 4, not "):
            upscaled(small, scale=scale)


def test_heic(natural: NDArray[np.uint8], tmp_path: Path) -> None:
    pillow_heif: Any = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    picture = Image.fromarray(natural[:64, :96].copy())
    pillow_heif.from_pillow(picture).save(tmp_path / "a.heic", quality=95, exif=some_exif(1))
    result = upscaled(tmp_path / "a.heic")
    result.save(tmp_path / "out.jpg")
    out = Image.open(io.BytesIO((tmp_path / "out.jpg").read_bytes()))
    assert out.size == (384, 256)
    assert out.getexif().get_ifd(IFD.GPSInfo)[2] == (48.0, 12.0, 30.0)
