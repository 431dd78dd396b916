"""Kinds of small photos, each against an oracle of its own: numbers, NumPy or another library."""

from __future__ import annotations

import io
import subprocess
import sys

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from refsr.arrays import Pixels
from refsr.degradation.simulate import KINDS, disk_kernel, motion_kernel, parse_kind, simulate
from refsr.errors import DataError
from refsr.resize import imresize

EXAMPLES = (
    *("matlab", "area", "linear", "nearest", "sharpened", "lanczos", "blur:2", "disk:5"),
    *("motion:9,30", "noise:5", "jpeg:75", "phone", "messenger", "old"),
)
JPEG_QUALITY = {"jpeg:75": 75, "phone": 88, "messenger": 70, "old": 60}


def small(hr: Pixels, kind: str, seed: int = 0) -> Pixels:
    made = simulate(hr, parse_kind(kind), seed)
    return np.asarray(Image.open(io.BytesIO(made))) if isinstance(made, bytes) else made


def shrunk(hr: NDArray[np.floating]) -> Pixels:
    """MATLAB's bicubic, rounded once."""
    return np.clip(np.rint(imresize(hr.astype(np.float32), scale=1 / 4)), 0, 255).astype(np.uint8)


def gaussian(sigma: float, reach: int) -> NDArray[np.float64]:
    """The kernel (2 reach + 1, 2 reach + 1) from its formula."""
    line = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    return np.outer(line, line) / line.sum() ** 2


def convolved(image: NDArray[np.generic], kernel: NDArray[np.floating]) -> NDArray[np.float64]:
    """Convolution as a sum of shifted images, the border repeated."""
    reach = len(kernel) // 2
    padded = np.pad(image.astype(float), ((reach, reach), (reach, reach), (0, 0)), "edge")
    height, width = image.shape[:2]
    out = np.zeros(image.shape)
    for (row, column), weight in np.ndenumerate(kernel[::-1, ::-1]):
        if weight:
            out += weight * padded[row : row + height, column : column + width]
    return out


def near(a: Pixels, b: Pixels, level: int = 1, share: float = 0.01) -> bool:
    """Equal but for roundings of ``level`` gray levels, in a small share of the values."""
    difference = np.abs(a.astype(int) - b)
    return difference.max() <= level and (difference > 0).mean() <= share


def test_every_kind_is_a_small_photo_of_the_same_thing(natural: Pixels) -> None:
    assert {name.split(":")[0] for name in EXAMPLES} == set(KINDS)
    before, clean = natural.copy(), imresize(natural, scale=1 / 4).astype(float)
    for kind in EXAMPLES:
        made = simulate(natural, parse_kind(kind))
        assert isinstance(made, bytes) == (kind in JPEG_QUALITY)
        lr = small(natural, kind)
        assert lr.dtype == np.uint8
        assert lr.shape == (48, 64, 3)
        assert np.abs(lr - clean).mean() < 20
        assert np.abs(lr.mean((0, 1)) - clean.mean((0, 1))).max() < 1.5
        assert np.array_equal(lr, clean) == (kind == "matlab")
    np.testing.assert_array_equal(natural, before)
    with pytest.raises(ValueError, match="no multiples of 4"):
        simulate(natural[:190], parse_kind("area"))


def test_area_linear_and_nearest_are_means_of_pixels(natural: Pixels) -> None:
    cells = natural.reshape(48, 4, 64, 4, 3).astype(float)
    assert near(small(natural, "area"), np.rint(cells.mean((1, 3))).astype(np.uint8), share=0.1)
    inner = np.rint(cells[:, 1:3, :, 1:3].mean((1, 3))).astype(np.uint8)
    assert near(small(natural, "linear"), inner, share=0.15)  # halves round either way
    nearest = Image.fromarray(natural).resize((64, 48), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(small(natural, "nearest"), np.asarray(nearest))


def test_blur_is_the_gaussian_of_the_formula(natural: Pixels) -> None:
    for kind, sigma in (("blur:1", 1.0), ("blur:2.5", 2.5)):
        expected = shrunk(convolved(natural, gaussian(sigma, int(4 * sigma) + 1)))
        assert near(small(natural, kind), expected)


def test_lanczos_is_pillows_after_a_slight_blur(natural: Pixels) -> None:
    soft = np.rint(convolved(natural, gaussian(0.7, 4))).astype(np.uint8)
    expected = Image.fromarray(soft).resize((64, 48), Image.Resampling.LANCZOS)
    assert near(small(natural, "lanczos"), np.asarray(expected), share=0.03)


def test_a_disk_is_round_uniform_and_of_its_radius(natural: Pixels) -> None:
    for radius in (0.5, 3.0, 5.0, 7.3):
        kernel = disk_kernel(radius).astype(float)
        assert kernel.sum() == pytest.approx(1, abs=1e-6)
        assert np.array_equal(kernel, kernel.T)
        assert np.array_equal(kernel, kernel[::-1])
        reach = len(kernel) // 2
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        away = np.hypot(x, y)
        assert np.ptp(kernel[away <= radius - 0.5]) == 0
        assert not kernel[away >= radius + 0.5].any()
    # A uniform disk's mean squared radius is r^2 / 2.
    y, x = np.mgrid[-20:21, -20:21]
    assert (disk_kernel(20.0) * (x**2 + y**2)).sum() == pytest.approx(200, rel=0.01)
    expected = shrunk(convolved(natural, disk_kernel(5.0)))
    assert near(small(natural, "disk:5"), expected)


def test_motion_goes_where_its_angle_points() -> None:
    across, down = motion_kernel(9, 0), motion_kernel(9, 90)
    middle = len(across) // 2
    assert across[middle].sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(across, down.T, atol=1e-7)
    # A line's variance along itself is length^2 / 12; sharing between pixels adds up to 1/4.
    for length, angle in ((9, 30), (16, 60), (24, -45), (16, 135)):
        kernel = motion_kernel(length, angle).astype(float)
        assert kernel.sum() == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-7)  # about its center
        reach = len(kernel) // 2
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        xx, yy, xy = ((kernel * product).sum() for product in (x * x, y * y, x * y))
        assert 0 < xx + yy - length**2 / 12 < 0.51
        axis = np.rad2deg(np.arctan2(2 * xy, xx - yy) / 2)
        assert (axis - angle + 90) % 180 - 90 == pytest.approx(0, abs=0.5)


def test_motion_smears_an_impulse_right_and_down() -> None:
    hr = np.zeros((128, 128, 3), np.uint8)
    hr[62:66, 62:66] = 255
    lr = small(hr, "motion:40,30")[..., 0].astype(float)
    y, x = np.mgrid[:32, :32] - 15.5
    assert (lr * x * y).sum() > 0  # rows count downwards
    xx, yy, xy = ((lr * product).sum() for product in (x * x, y * y, x * y))
    assert np.rad2deg(np.arctan2(2 * xy, xx - yy) / 2) == pytest.approx(30, abs=2)
    assert small(hr, "motion:40,120")[..., 0].astype(float).ravel() @ (x * y).ravel() < 0


def test_the_unsharp_mask_overshoots_as_it_should() -> None:
    hr = np.full((64, 64, 3), 100, np.uint8)
    hr[:, 32:] = 150
    soft, sharp = imresize(hr.astype(np.float32), scale=1 / 4), small(hr, "sharpened")
    expected = soft + 0.8 * (soft - convolved(soft, gaussian(1.0, 5)))
    assert near(sharp, np.rint(expected).astype(np.uint8))
    assert sharp.min() <= 96  # of 100 and 150: a step's overshoot beside it
    assert sharp.max() >= 154
    np.testing.assert_array_equal(sharp[:, 0], 100)  # flat stays flat


def test_noise_has_its_level_and_its_seed() -> None:
    hr = np.full((256, 256, 3), 128, np.uint8)
    noise = small(hr, "noise:5", seed=3).astype(float) - 128
    assert noise.std() == pytest.approx(np.hypot(5, 1 / np.sqrt(12)), rel=0.02)
    assert abs(noise.mean()) < 0.2
    for a, b in ((noise[..., 0], noise[..., 1]), (noise[1:], noise[:-1])):  # white, in color too
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.05
    np.testing.assert_array_equal(small(hr, "noise:5", seed=3), noise + 128)
    for kind in ("noise:5", "phone", "old"):
        assert not np.array_equal(small(hr, kind, seed=3), small(hr, kind, seed=4))
    assert np.array_equal(small(hr, "messenger", seed=3), small(hr, "messenger", seed=4))


def test_noise_is_added_to_the_shrunk_photo(natural: Pixels) -> None:
    difference = small(natural, "noise:0").astype(int) - shrunk(natural.astype(float))
    assert not difference.any()


def test_jpeg_files_have_their_quality_and_halved_chroma(natural: Pixels) -> None:
    for kind, quality in JPEG_QUALITY.items():
        made = simulate(natural, parse_kind(kind))
        assert isinstance(made, bytes)
        opened = Image.open(io.BytesIO(made))
        own = io.BytesIO()
        Image.new("RGB", (8, 8)).save(own, "JPEG", quality=quality)
        assert opened.quantization == Image.open(own).quantization  # type: ignore[attr-defined]
        frame = made[made.index(b"\xff\xc0") :]
        assert frame[11] == 0x22  # luma: two by two samples for one of chroma
    success, data = cv2.imencode(
        ".jpg", imresize(natural, scale=1 / 4)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 75]
    )
    assert success
    expected = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]
    assert np.abs(small(natural, "jpeg:75").astype(int) - expected).mean() < 0.5


def test_compound_kinds_are_their_parts(natural: Pixels) -> None:
    """Put together again from the oracles above; JPEG by Pillow of the same pixels."""

    def unsharp(image: Pixels, amount: float) -> Pixels:
        sharp = image + amount * (image - convolved(image, gaussian(1.0, 5)))
        return np.clip(np.rint(sharp), 0, 255).astype(np.uint8)

    def compressed(image: Pixels, quality: int) -> Pixels:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=2)
        return np.asarray(Image.open(file))

    def blurred(sigma: float, noise: float) -> Pixels:
        soft = imresize(convolved(natural, gaussian(sigma, 9)).astype(np.float32), scale=1 / 4)
        grain = np.random.default_rng(6).standard_normal(soft.shape)
        return np.clip(np.rint(soft + noise * grain), 0, 255).astype(np.uint8)

    expected = {
        "messenger": compressed(unsharp(small(natural, "area"), 0.7), 70),
        "phone": compressed(unsharp(blurred(1.2, 3), 0.6), 88),
        "old": compressed(blurred(2, 6), 60),
    }
    for kind, image in expected.items():
        assert np.abs(small(natural, kind, seed=6).astype(int) - image).mean() < 0.1, kind


def test_kinds_are_read_and_written_alike() -> None:
    for text in EXAMPLES:
        assert str(parse_kind(text)) == text
    assert str(parse_kind("motion:9.25,-30.0")) == "motion:9.25,-30"
    assert parse_kind("blur:0.7").sentence.startswith("Gaussian of sigma 0.7 HR px of the truth")
    for text in EXAMPLES:
        sentence = parse_kind(text).sentence
        assert not set("{}") & set(sentence)
        assert ("seeded by the row's index" in sentence) == (text in ("noise:5", "phone", "old"))
        if text in JPEG_QUALITY:
            assert sentence.endswith(f"JPEG of quality {JPEG_QUALITY[text]} (4:2:0)")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("blurry", "There is no kind of photo 'blurry'"),
        ("", "There is no kind of photo ''"),
        ("blur", "'blur' has to be written as blur:SIGMA"),
        ("blur:", "'blur:' has to be written as blur:SIGMA"),
        ("blur:a", "'blur:a' has to be written as blur:SIGMA"),
        ("blur:1,2", "'blur:1,2' has to be written as blur:SIGMA"),
        ("motion:9", "'motion:9' has to be written as motion:LENGTH,ANGLE"),
        ("area:2", "'area:2' has to be written as area;"),
        ("area:x", "'area:x' has to be written as area;"),
        ("blur:0", r"sigma of the blur in HR px must be 0.1 to 20, not 0;"),
        ("blur:nan", "must be 0.1 to 20, not nan"),
        ("disk:41", "radius of the disk in HR px must be 0.5 to 40, not 41"),
        ("motion:0,5", "length of the motion in HR px must be 1 to 100, not 0"),
        ("motion:5,inf", "angle of the motion in degrees must be -360 to 360, not inf"),
        ("noise:-1", "sigma of the noise in levels must be 0 to 100, not -1"),
        ("jpeg:0", "The JPEG quality must be 1 to 100, not 0"),
        ("jpeg:75.5", "The JPEG quality must be 1 to 100 in whole steps, not 75.5"),
    ],
)
def test_what_is_no_kind_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence) as raised:
        parse_kind(text)
    assert str(raised.value).count(". ") == 0
    for name in KINDS:
        assert name in str(raised.value)
    assert "motion:LENGTH,ANGLE" in str(raised.value)


def test_the_room_needs_no_torch() -> None:
    code = "import sys, refsr.degradation.simulate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
