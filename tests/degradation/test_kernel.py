"""The photo's point spread from the pair: known kernels are found, undone, and none is invented."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import pytest
import skimage.data

from kernels import gaussian, grid, sharpening
from refsr.arrays import Image, Pixels
from refsr.degradation.kernel import (
    BLURRED,
    BLURRED_OF_FEW,
    RADIUS,
    Kernel,
    KernelEstimate,
    convolve,
    describe_kernel,
    estimate_kernel,
    response,
    wiener_inverse,
)
from refsr.registration.flow import luma
from refsr.resize import imresize


@lru_cache
def scene() -> Image:
    """Luma of a photo (256, 256) at LR size, 0..255."""
    photo = np.ascontiguousarray(skimage.data.astronaut())
    return luma(imresize(photo.astype(np.float32) / 255, scale=0.5) * np.float32(255))


def motion() -> Kernel:
    kernel = np.zeros((2 * RADIUS + 1,) * 2)
    kernel[RADIUS, RADIUS - 1 : RADIUS + 3] = 0.25  # not symmetric: it shows a flipped axis
    return kernel


def defocus() -> Kernel:
    y, x = grid()
    kernel = np.clip(2.5 - np.hypot(x, y), 0, 1)
    return kernel / kernel.sum()


KERNELS = {
    "gaussian 0.8": gaussian(0.8),
    "gaussian 1.2": gaussian(1.2),
    "sharpening": sharpening(),
    "motion": motion(),
    "defocus": defocus(),
}


@pytest.mark.parametrize("name", KERNELS)
def test_a_known_kernel_is_found(name: str, rng: np.random.Generator) -> None:
    """Through 8-bit rounding, noise of one level, and a part that shows something else."""
    truth, ref = KERNELS[name], scene()
    photo = convolve(ref, truth) + rng.normal(0, 1, ref.shape)
    photo[:80, :80] = ref[176:, 176:][::-1]
    lr = np.clip(np.rint(photo), 0, 255).astype(np.float32)
    found = estimate_kernel(lr, ref, np.ones_like(ref))
    assert found is not None
    assert found.is_evident
    assert np.abs(found.kernel - truth).max() < 0.09
    assert np.abs(found.kernel.sum() - 1) < 1e-9


@pytest.mark.parametrize("contrast", [1.0, 0.7, 1.4])
def test_a_clean_photo_has_none_whatever_its_contrast(
    contrast: float, rng: np.random.Generator
) -> None:
    ref = scene()
    lr = 20 + np.float32(contrast) * ref + rng.normal(0, 2, ref.shape).astype(np.float32)
    found = estimate_kernel(lr.astype(np.float32), ref, np.ones_like(ref))
    assert found is not None
    assert not found.is_evident


@pytest.mark.parametrize("amount", [0.6, 1.2])
def test_other_light_is_no_kernel(amount: float) -> None:
    """A reference under flatter light differs at every scale; the camera is not at fault."""
    ref = scene()
    lit = ref + np.float32(amount) * (ref - cv2.GaussianBlur(ref, (0, 0), 4.0))
    found = estimate_kernel(np.asarray(lit, np.float32), ref, np.ones_like(ref))
    assert found is not None
    assert found.residual < 0.9  # it does explain the photo better than a contrast
    assert not found.is_evident


@pytest.mark.parametrize("sigma", [0.25, 0.2])
def test_a_slight_blur_is_evident_and_a_slighter_one_left_alone(
    sigma: float, rng: np.random.Generator
) -> None:
    """Gaussians of 1 and 0.8 HR pixels, by their taps at LR size: 0.82 and 0.88 at the center."""
    y, x = grid()
    tap = (np.exp(-2 * (np.pi * sigma * 0.4) ** 2) - 1) / (np.cos(0.8 * np.pi) - 1) / 2
    kernel = np.where((y == 0) & (x == 0), 1 - 2 * tap, 0) + np.where(
        (y == 0) & (abs(x) == 1), tap, 0
    )
    kernel = cv2.filter2D(kernel, -1, kernel.T, borderType=cv2.BORDER_CONSTANT)
    photo = convolve(scene(), kernel) + rng.normal(0, 0.5, scene().shape)
    lr = np.clip(np.rint(photo), 0, 255).astype(np.float32)
    found = estimate_kernel(lr, scene(), np.ones_like(lr))
    assert found is not None
    assert found.is_evident == (sigma == 0.25)


def test_few_places_take_more_evidence() -> None:
    slight = gaussian(0.45)
    change = np.log(response(slight, 0.4) / response(slight, 0.15))
    assert BLURRED_OF_FEW < change < BLURRED
    assert KernelEstimate(slight, 0.9, 10_000).is_evident
    assert not KernelEstimate(slight, 0.9, 9_000).is_evident
    assert KernelEstimate(gaussian(0.8), 0.9, 9_000).is_evident
    assert not KernelEstimate(gaussian(0.8), 0.9, 4_000).is_evident
    assert not KernelEstimate(gaussian(0.8), 1.0, 20_000).is_evident


@pytest.mark.parametrize("name", ["gaussian 0.8", "sharpening", "defocus"])
def test_the_response_is_the_spectrum(name: str) -> None:
    """Of a kernel that is alike in all directions: the values of its Fourier transform."""
    padded = np.zeros((80, 80))
    padded[:9, :9] = KERNELS[name]
    along = np.real(np.fft.fft2(np.roll(padded, (-RADIUS, -RADIUS), (0, 1))))[0]
    assert response(KERNELS[name], 0.15) == pytest.approx(along[12], abs=0.03)
    assert response(KERNELS[name], 0.3) == pytest.approx(along[24], abs=0.05)


def test_what_shows_something_else_has_none() -> None:
    ref = scene()
    other = np.ascontiguousarray(ref[::-1, ::-1])
    found = estimate_kernel(other, ref, np.ones_like(ref))
    assert found is None or not found.is_evident
    assert estimate_kernel(ref, ref, np.zeros_like(ref)) is None
    flat = np.full_like(ref, 100)
    found = estimate_kernel(flat, flat, np.ones_like(ref))
    assert found is None or not found.is_evident


@pytest.mark.parametrize("name", KERNELS)
def test_the_inverse_undoes_the_kernel(name: str) -> None:
    """Far more of the scene is back than was left, and a flat gray stays as it is."""
    ref, kernel = scene(), KERNELS[name]
    seen = convolve(ref, kernel)
    back = convolve(seen, wiener_inverse(kernel, 0.001))
    assert np.abs(back - ref).mean() < 0.45 * np.abs(seen - ref).mean()
    flat = np.full((40, 50), 77.0, np.float32)
    np.testing.assert_allclose(convolve(flat, wiener_inverse(kernel, 0.01)), flat, atol=1e-3)


def test_more_noise_makes_the_inverse_gentler() -> None:
    gains = [np.square(wiener_inverse(gaussian(1.2), ratio)).sum() for ratio in (0.001, 0.01, 0.2)]
    assert gains[0] > gains[1] > gains[2]


def test_kernels_in_words() -> None:
    assert describe_kernel(sharpening()) == "sharpened"
    assert describe_kernel(gaussian(1.2)) == "blurred by about 1.2 pixels"
    assert describe_kernel(motion()).startswith("blurred by motion of about ")
    noisy = motion() - 0.006
    noisy[RADIUS, RADIUS] += 0.006 * noisy.size  # the sum stays one
    assert describe_kernel(noisy).startswith("blurred by motion of about ")


def test_convolve_is_a_convolution(natural: Pixels) -> None:
    """An impulse becomes the kernel, not its mirror image; channels stay apart."""
    impulse = np.zeros((21, 21), np.float32)
    impulse[10, 10] = 1
    out = convolve(impulse, motion())
    np.testing.assert_allclose(out[6:15, 6:15], motion(), atol=1e-7)
    image = natural.astype(np.float32)
    first = convolve(image, gaussian(0.8))[..., 1]
    np.testing.assert_allclose(first, convolve(image[..., 1].copy(), gaussian(0.8)), atol=1e-3)
