"""Metrics against scikit-image, against closed forms, and against the field's own anchors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from refsr.evaluate.metrics import luma, psnr, ssim
from refsr.resize import imresize


@pytest.fixture
def noisy(natural: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    noise = rng.normal(0, 12, natural.shape)
    return np.clip(natural + noise, 0, 255).astype(np.uint8)


def skimage_ssim(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    # skimage averages over the windows wholly inside the image, as we do: no crop is needed.
    return float(
        structural_similarity(
            a, b, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
    )


def test_luma_is_matlab_rgb2ycbcr() -> None:
    colors = np.array(
        [[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8
    )
    # MATLAB: rgb2ycbcr of doubles, times 255.
    expected = [16.0, 235.0, 81.481, 144.553, 40.966]
    np.testing.assert_allclose(luma(colors)[0], expected, atol=1e-9)


@pytest.mark.parametrize("border", [0, 4])
def test_psnr_equals_scikit_image(
    natural: NDArray[np.uint8], noisy: NDArray[np.uint8], border: int
) -> None:
    inside = slice(border, -border or None)
    x, y = luma(natural)[inside, inside], luma(noisy)[inside, inside]
    expected = peak_signal_noise_ratio(x, y, data_range=255)
    assert psnr(natural, noisy, border) == pytest.approx(expected, abs=1e-9)
    x, y = natural[inside, inside], noisy[inside, inside]
    expected = peak_signal_noise_ratio(x, y, data_range=255)
    assert psnr(natural, noisy, border, luma=False) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("border", [0, 4])
def test_ssim_equals_scikit_image(
    natural: NDArray[np.uint8], noisy: NDArray[np.uint8], border: int
) -> None:
    inside = slice(border, -border or None)
    expected = skimage_ssim(luma(natural)[inside, inside], luma(noisy)[inside, inside])
    assert ssim(natural, noisy, border) == pytest.approx(expected, abs=1e-6)
    a = natural[inside, inside].astype(np.float64)
    b = noisy[inside, inside].astype(np.float64)
    expected = float(np.mean([skimage_ssim(a[..., i], b[..., i]) for i in range(3)]))
    assert ssim(natural, noisy, border, luma=False) == pytest.approx(expected, abs=1e-6)


def test_equal_images(natural: NDArray[np.uint8]) -> None:
    assert psnr(natural, natural) == math.inf
    assert ssim(natural, natural) == pytest.approx(1.0, abs=1e-12)


def test_psnr_of_a_known_error() -> None:
    black, gray = np.zeros((20, 20, 3), np.uint8), np.full((20, 20, 3), 51, np.uint8)
    assert psnr(black, gray, luma=False) == pytest.approx(20 * math.log10(5))


def test_the_border_is_left_out(natural: NDArray[np.uint8]) -> None:
    framed = natural.copy()
    framed[:4], framed[-4:], framed[:, :4], framed[:, -4:] = 0, 0, 0, 0
    assert psnr(natural, framed, border=4) == math.inf
    assert psnr(natural, framed, border=3) < 60


def test_what_cannot_be_compared() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(ValueError, match="one size"):
        psnr(image, image[:, 1:])
    with pytest.raises(ValueError, match="one size"):
        psnr(image, image.astype(np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="too small"):
        ssim(image[:18], image[:18])
    with pytest.raises(ValueError, match="too small"):
        psnr(image[:8], image[:8])


def bicubic_mean(folder: Path) -> float:
    values: list[float] = []
    for path in sorted(folder.iterdir()):
        hr = np.asarray(Image.open(path).convert("RGB"))
        hr = hr[: hr.shape[0] // 4 * 4, : hr.shape[1] // 4 * 4]
        values.append(psnr(imresize(imresize(hr, 0.25), 4.0), hr))
    return float(np.mean(values))


@pytest.mark.parametrize(("name", "anchor"), [("set5", 28.43), ("set14", 26.09)])
def test_bicubic_meets_the_published_anchor(shared_data: Path, name: str, anchor: float) -> None:
    assert bicubic_mean(shared_data / "sisr" / name) == pytest.approx(anchor, abs=0.01)
