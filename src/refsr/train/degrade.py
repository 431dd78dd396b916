"""Random degradation of small photos: lenses, motion, every program's downscaling, sharpening,
noise, compression and screenshots, over the range that ``degradation/simulate.py`` names.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image as PillowImage

from refsr.arrays import Image, Pixels
from refsr.degradation.kernel import RADIUS, high_pass, solve, wiener_inverse
from refsr.degradation.kernel import convolve as filtered
from refsr.degradation.simulate import (
    add_noise,
    blur,
    convolve,
    disk_kernel,
    motion_kernel,
    sharpen,
    shrink,
    shrink_lanczos,
    shrink_opencv,
    to_levels,
)
from refsr.registration.flow import luma
from refsr.resize import SCALE, imresize

GRID = 8  # pixels a side of a JPEG block
CLEAR = 0.1  # a kernel whose center differs from one by less is not undone
RANGE = 0.25, 2.5  # of a kernel's sum before it is normalized; beyond, nothing was learned


def degraded_lr(rng: np.random.Generator, hr: Pixels) -> Pixels:
    """A randomly degraded LR photo (h, w, 3) of ``hr`` (4h, 4w, 3), uint8 RGB.

    Half of them are often degraded by their downscaling alone, seldom by several things at once.
    """
    share = 0.25 if rng.random() < 0.5 else 1.0
    image = lens(rng, hr) if rng.random() < 0.5 * share else hr
    if rng.random() < 0.1 * share:  # sharpened before it was made small
        image = to_levels(sharpen(image, float(rng.uniform(0.3, 1.5))))
    lr = downscale(rng, image)
    if rng.random() < 0.4 * share:
        lr = noisy(rng, lr)
    if rng.random() < 0.35 * share:
        lr = to_levels(sharpen(lr, float(rng.uniform(0.2, 1.2))))
    if rng.random() < 0.55 * share:
        lr = compressed(rng, lr)
        if rng.random() < 0.2:  # twice
            lr = compressed(rng, lr)
    return lr


def lens(rng: np.random.Generator, hr: Pixels) -> Pixels:
    """Blurred by a lens (Gaussian or out of focus) or by motion."""
    kind = rng.random()
    if kind < 0.6:
        return to_levels(blur(hr, float(rng.uniform(0.4, 4.0))))
    if kind < 0.8:
        return to_levels(convolve(hr, disk_kernel(float(rng.uniform(1.0, 6.5)))))
    kernel = motion_kernel(float(rng.uniform(3.0, 18.0)), float(rng.uniform(0, 180)))
    return to_levels(convolve(hr, kernel))


def downscale(rng: np.random.Generator, hr: Pixels) -> Pixels:
    """``hr`` (4h, 4w, 3) to (h, w, 3) by a program's resize, with or without antialiasing."""
    height, width = hr.shape[0] // SCALE, hr.shape[1] // SCALE
    kind = rng.random()
    if kind < 0.3:
        return to_levels(shrink(hr))
    if kind < 0.46:
        return shrink_opencv(hr, cv2.INTER_AREA)
    if kind < 0.54:
        return shrink_lanczos(hr)
    if kind < 0.68:
        return shrink_opencv(hr, cv2.INTER_LINEAR)
    if kind < 0.72:
        return shrink_opencv(hr, cv2.INTER_CUBIC)
    if kind < 0.84:  # one pixel of 4 x 4: Pillow's, or another of the inner ones
        top, left = (2, 2) if rng.random() < 0.7 else (int(v) for v in rng.integers(1, 3, 2))
        return np.ascontiguousarray(hr[top::SCALE, left::SCALE])
    between = float(rng.uniform(1.2, 3.0))
    first = imresize(hr, size=(round(height * between), round(width * between)))
    if rng.random() < 0.5:  # a screenshot: compressed at another size
        first = compressed(rng, first)
    if rng.random() < 0.5:
        return imresize(first, size=(height, width))
    return np.asarray(cv2.resize(first, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def noisy(rng: np.random.Generator, image: Pixels) -> Pixels:
    """Shot and read noise, gray or colored; sometimes what a camera's denoising leaves of it."""
    read, shot = rng.exponential(3.0), rng.exponential(0.25)  # levels; levels per sqrt(level)
    deviation = np.sqrt(min(read, 12.0) ** 2 + (min(shot, 1.0) ** 2) * image.astype(np.float32))
    if rng.random() < 0.7:
        pixels = image + (add_noise(np.zeros(image.shape, np.float32), rng, 1.0)) * deviation
    else:
        gray = add_noise(np.zeros((*image.shape[:2], 1), np.float32), rng, 1.0)
        pixels = image + gray * deviation
    out = to_levels(pixels)
    if rng.random() < 0.25:
        strength = float(deviation.mean()) * float(rng.uniform(1.0, 4.0))
        out = np.asarray(cv2.bilateralFilter(out, 5, strength, 1.5), np.uint8)
    return out


def compressed(rng: np.random.Generator, image: Pixels) -> Pixels:
    """JPEG with a random block offset and mostly halved chroma, sometimes WebP instead."""
    quality = int(rng.integers(35, 97))
    if rng.random() < 0.1:
        file = io.BytesIO()
        PillowImage.fromarray(image).save(file, "WEBP", quality=quality, method=0)
        return np.asarray(PillowImage.open(file).convert("RGB"))
    return compress_jpeg(rng, image, quality)


def compress_jpeg(rng: np.random.Generator, image: Pixels, quality: int) -> Pixels:
    """JPEG compression with a random block offset and mostly 4:2:0 chroma."""
    top, left = (int(v) for v in rng.integers(0, GRID, 2)) if rng.random() < 0.3 else (0, 0)
    padded = np.pad(image, ((top, 0), (left, 0), (0, 0)), "edge")
    chroma = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    if rng.random() < 0.8:
        chroma = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, chroma]
    success, data = cv2.imencode(".jpg", padded[..., ::-1], options)  # OpenCV's order is BGR
    assert success
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[top:, left:, ::-1])


def corrected_lr(rng: np.random.Generator, lr: Pixels, clean: Pixels) -> Pixels:
    """A degraded LR photo with its kernel undone, as the pipeline does it with a reference.

    ``clean`` (h, w, 3): the same photo by MATLAB's bicubic, of which the kernel is measured, with
    an error of a few percent.
    """
    detail, source = high_pass(luma(lr)), high_pass(luma(clean))
    inner = slice(RADIUS, -RADIUS), slice(RADIUS, -RADIUS)
    inside = np.zeros(detail.shape, np.float32)
    inside[inner] = 1
    kernel = solve(detail, source, inside)
    if kernel is None or not RANGE[0] < kernel.sum() < RANGE[1]:
        return lr
    kernel = kernel / kernel.sum()
    kernel = kernel + rng.normal(0.0, 0.02, kernel.shape) * np.sqrt(np.abs(kernel))
    kernel /= kernel.sum()
    if abs(float(kernel[RADIUS, RADIUS]) - 1) < CLEAR:
        return lr
    rest: Image = detail - filtered(source, kernel)
    share = float((rest[inner] ** 2).mean() / max(float((detail[inner] ** 2).mean()), 1.0))
    ratio = float(np.clip(share * np.exp(rng.normal(0.0, 0.5)), 0.005, 0.3))
    return to_levels(filtered(lr.astype(np.float32), wiener_inverse(kernel, ratio)))
