"""The bicubic against MATLAB's output, a slow float64 form of its definition, and invariants."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from refsr.resize import contributions, cubic, imresize


def slow_resize(line: NDArray[np.float64], out_size: int, scale: float) -> NDArray[np.float64]:
    """imresize of one line from its definition: every source pixel, borders repeated, float64."""
    stretch = max(1.0, 1.0 / scale)
    out = np.empty(out_size)
    for i in range(out_size):
        centre = (i + 0.5) / scale - 0.5
        reach = math.ceil(2 * stretch) + 1
        total, weight_sum = 0.0, 0.0
        for j in range(math.floor(centre) - reach, math.floor(centre) + reach + 2):
            weight = float(cubic(np.array([(centre - j) / stretch]))[0])
            total += weight * line[min(max(j, 0), len(line) - 1)]
            weight_sum += weight
        out[i] = total / weight_sum
    return out


def test_shrunk_set5_is_matlabs(shared_data: Path) -> None:
    truths = sorted((shared_data / "sisr" / "set5").iterdir())
    shrunk = sorted((shared_data / "sisr" / "set5_lr").iterdir())
    assert len(truths) == len(shrunk) == 5
    for truth, matlab in zip(truths, shrunk, strict=True):
        hr = np.asarray(Image.open(truth).convert("RGB"))
        expected = np.asarray(Image.open(matlab).convert("RGB")).astype(int)
        hr = hr[: expected.shape[0] * 4, : expected.shape[1] * 4]
        difference = np.abs(imresize(hr, scale=0.25).astype(int) - expected)
        assert difference.max() <= 1, f"{truth.name}: {difference.max()} gray levels"
        assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize(
    ("size", "out_size"), [(40, 10), (41, 10), (10, 40), (7, 23), (23, 7), (1, 4), (4, 1), (9, 9)]
)
def test_equals_the_definition(rng: np.random.Generator, size: int, out_size: int) -> None:
    line = rng.uniform(0, 1, size)
    image = np.repeat(line[:, None].astype(np.float32), 3, axis=1)
    result = imresize(image, size=(out_size, 3))
    expected = slow_resize(line, out_size, out_size / size)
    np.testing.assert_allclose(result[:, 1], expected, atol=2e-6)


def test_the_kernel_is_keys() -> None:
    # Exact values of Keys' kernel with a = -0.5.
    x = np.array([0.0, 0.5, 1.0, 1.5, 2.0, -0.5])
    np.testing.assert_allclose(cubic(x), [1.0, 0.5625, 0.0, -0.0625, 0.0, 0.5625], atol=1e-12)


@pytest.mark.parametrize("scale", [0.1, 0.25, 0.37, 1.0, 2.5, 4.0])
def test_weights_sum_to_one_and_stay_inside(scale: float) -> None:
    weights, indices = contributions(17, math.ceil(17 * scale), scale)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-12)
    assert indices.min() >= 0
    assert indices.max() <= 16


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(13, 9), (13, 9, 3), (13, 9, 4)])
def test_a_flat_image_stays_flat(shape: tuple[int, ...], dtype: type) -> None:
    for scale in (0.25, 0.6, 4.0):
        flat = imresize(np.full(shape, 201, dtype), scale=scale)
        assert flat.dtype == dtype
        assert flat.shape[2:] == shape[2:]
        np.testing.assert_allclose(flat, 201, rtol=1e-6)


@pytest.mark.parametrize("scale", [0.25, 4.0])
def test_turning_and_mirroring_commute(natural: NDArray[np.uint8], scale: float) -> None:
    image = natural[:64, :96].astype(np.float32)
    expected = imresize(image, scale=scale)
    for turned, back in [
        (image[::-1], lambda a: a[::-1]),
        (image[:, ::-1], lambda a: a[:, ::-1]),
        (np.rot90(image), lambda a: np.rot90(a, -1)),
    ]:
        np.testing.assert_allclose(back(imresize(turned, scale=scale)), expected, atol=1e-3)


def test_the_image_does_not_shift(natural: NDArray[np.uint8]) -> None:
    # A linear ramp is reproduced where no border is near: any half-pixel shift would show.
    ramp = np.repeat(np.linspace(0, 1, 64, dtype=np.float32)[None], 8, axis=0)
    larger = imresize(ramp, scale=4.0)
    x = (np.arange(256) + 0.5) / 4 - 0.5
    np.testing.assert_allclose(larger[4, 16:-16], (x / 63)[16:-16], atol=1e-5)
    # Shrunk, the mean brightness stays.
    assert imresize(natural, scale=0.25).mean() == pytest.approx(natural.mean(), abs=0.5)


def test_sizes_are_matlabs() -> None:
    image = np.zeros((5, 7, 3), np.uint8)
    assert imresize(image, scale=0.25).shape == (2, 2, 3)  # rounded up
    assert imresize(image, size=(3, 11)).shape == (3, 11, 3)
    assert imresize(image[:1, :1], scale=4.0).shape == (4, 4, 3)


def test_integers_are_rounded_and_clipped() -> None:
    edge = np.zeros((8, 8), np.uint8)
    edge[:, 4:] = 255
    assert imresize(edge.astype(np.float32), scale=4.0).max() > 255  # bicubic overshoots
    assert imresize(edge, scale=4.0).max() == 255
    deep = np.full((4, 4), 65535, np.uint16)
    assert imresize(deep, scale=0.5).max() == 65535


def test_what_cannot_be_resized() -> None:
    image = np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match="either scale or size"):
        imresize(image)
    with pytest.raises(ValueError, match="either scale or size"):
        imresize(image, scale=2.0, size=(8, 8))
    with pytest.raises(ValueError, match="cannot resize 4x4 to 0x4"):
        imresize(image, size=(0, 4))
    with pytest.raises(ValueError, match="cannot resize 0x4"):
        imresize(image[:0], scale=4.0)


def test_an_empty_image_cannot_be_resized_to_a_size() -> None:
    with pytest.raises(ValueError, match="cannot resize 0x4"):
        imresize(np.zeros((0, 4), np.uint8), size=(4, 4))


def test_a_size_is_a_scale_of_each_axis(natural: NDArray[np.uint8]) -> None:
    image = natural[:48, :64].copy()
    np.testing.assert_array_equal(imresize(image, size=(12, 16)), imresize(image, scale=0.25))
    exact = image.astype(np.float32)
    one_by_one = imresize(imresize(exact, size=(48, 16)), size=(12, 16))
    np.testing.assert_allclose(one_by_one, imresize(exact, size=(12, 16)), atol=1e-3)
