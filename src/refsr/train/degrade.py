"""Random degradation of small photos: lenses, motion, every program's downscaling, sharpening,
noise, compression and screenshots, over the range that ``degradation/simulate.py`` names.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image as PillowImage

from refsr.arrays import Image, Pixels
from refsr.degradation.aliasing import estimate_aliasing
from refsr.degradation.condition import condition, nothing_told
from refsr.degradation.kernel import RADIUS, Kernel, solve, wiener_inverse
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
from refsr.registration.misfit import high_pass
from refsr.resize import SCALE, imresize

GRID = 8  # pixels a side of a JPEG block
CLEAR = 0.1  # a kernel whose center differs from one by less is not undone
MATCHED = 0.5  # correlation of a photo with its reference; registration refuses others
UNKNOWN = 0.08  # share of photos of which nothing is told
RANGE = 0.25, 2.5  # of a kernel's sum before it is normalized; beyond, nothing was learned


@dataclass(frozen=True)
class Degraded:
    """A degraded LR photo, and how it was taken."""

    pixels: Pixels  # (h, w, 3)
    aliasing: float  # share of the finest detail that no kernel explains
    noise: float  # levels, standard deviation in luma
    quality: int | None  # of its strongest JPEG compression


def degraded_lr(rng: np.random.Generator, hr: Pixels, aliased: float = 0.0) -> Degraded:
    """A randomly degraded LR photo of ``hr`` (4h, 4w, 3), uint8 RGB.

    Half of them are often degraded by their downscaling alone, seldom by several things at once.
    ``aliased``: share that is surely shrunk without antialiasing, beside those that are by chance.
    """
    share = 0.25 if rng.random() < 0.5 else 1.0
    image = lens(rng, hr) if rng.random() < 0.5 * share else hr
    if rng.random() < 0.1 * share:  # sharpened before it was made small
        image = to_levels(sharpen(image, float(rng.uniform(0.3, 1.5))))
    surely = aliased > 0 and rng.random() < aliased
    lr = alias(rng, image) if surely else downscale(rng, image)
    aliasing = measure_aliasing(lr, shrink(image))
    ideal = lr.astype(np.float32)
    if rng.random() < 0.4 * share:
        lr = noisy(rng, lr)
    if rng.random() < 0.35 * share:
        amount = float(rng.uniform(0.2, 1.2))
        lr, ideal = to_levels(sharpen(lr, amount)), sharpen(ideal, amount)
    noise = float(luma(lr - np.clip(ideal, 0, 255)).std())
    quality = None
    if rng.random() < 0.55 * share:
        lr, quality = compressed(rng, lr)
        if rng.random() < 0.2:  # twice
            lr, again = compressed(rng, lr)
            quality = min(quality, again)
    return Degraded(lr, aliasing, noise, quality)


def measure_aliasing(lr: Pixels, clean: Image) -> float:
    """The share of the finest detail of ``lr`` that no kernel makes of ``clean``, 0 to 1.5."""
    detail, source = high_pass(luma(lr)), high_pass(luma(clean))
    inner = slice(RADIUS, -RADIUS), slice(RADIUS, -RADIUS)
    inside = np.zeros(detail.shape, np.float32)
    inside[inner] = 1
    change = solve(detail - source, source, inside)  # the ridge draws to no change
    if change is None:
        return 0.0
    rest = (detail - source - filtered(source, change))[inner]
    fine = (detail - cv2.GaussianBlur(detail, (0, 0), 1.0))[inner]
    return min(math.sqrt(float((rest**2).mean()) / max(float((fine**2).mean()), 1.0)), 1.5)


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
    if kind < 0.84:
        return one_of_sixteen(rng, hr)
    between = float(rng.uniform(1.2, 3.0))
    first = imresize(hr, size=(round(height * between), round(width * between)))
    if rng.random() < 0.5:  # a screenshot: compressed at another size
        first = compressed(rng, first)[0]
    if rng.random() < 0.5:
        return imresize(first, size=(height, width))
    return np.asarray(cv2.resize(first, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def alias(rng: np.random.Generator, hr: Pixels) -> Pixels:
    """``hr`` (4h, 4w, 3) to (h, w, 3) without antialiasing."""
    kind = rng.random()
    if kind < 0.45:
        return shrink_opencv(hr, cv2.INTER_LINEAR)
    if kind < 0.6:
        return shrink_opencv(hr, cv2.INTER_CUBIC)
    return one_of_sixteen(rng, hr)


def one_of_sixteen(rng: np.random.Generator, hr: Pixels) -> Pixels:
    """One pixel of each 4 x 4 of ``hr``: Pillow's, or another of the inner ones."""
    top, left = (2, 2) if rng.random() < 0.7 else (int(v) for v in rng.integers(1, 3, 2))
    return np.ascontiguousarray(hr[top::SCALE, left::SCALE])


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


def compressed(rng: np.random.Generator, image: Pixels) -> tuple[Pixels, int]:
    """JPEG with a random block offset and mostly halved chroma, or WebP; and its quality."""
    quality = int(rng.integers(35, 97))
    if rng.random() < 0.1:
        file = io.BytesIO()
        PillowImage.fromarray(image).save(file, "WEBP", quality=quality, method=0)
        return np.asarray(PillowImage.open(file).convert("RGB")), quality
    return compress_jpeg(rng, image, quality), quality


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


def corrected_lr(
    rng: np.random.Generator, lr: Pixels, clean: Pixels
) -> tuple[Pixels, Kernel | None]:
    """A degraded LR photo with its kernel undone, as the pipeline does it; and the kernel.

    ``clean`` (h, w, 3): the same photo by MATLAB's bicubic, of which the kernel is measured, with
    an error of a few percent.
    """
    detail, source = high_pass(luma(lr)), high_pass(luma(clean))
    inner = slice(RADIUS, -RADIUS), slice(RADIUS, -RADIUS)
    inside = np.zeros(detail.shape, np.float32)
    inside[inner] = 1
    kernel = solve(detail, source, inside)
    if kernel is None or not RANGE[0] < kernel.sum() < RANGE[1]:
        return lr, None
    kernel = kernel / kernel.sum()
    kernel = kernel + rng.normal(0.0, 0.02, kernel.shape) * np.sqrt(np.abs(kernel))
    kernel /= kernel.sum()
    if abs(float(kernel[RADIUS, RADIUS]) - 1) < CLEAR:
        return lr, None
    rest: Image = detail - filtered(source, kernel)
    share = float((rest[inner] ** 2).mean() / max(float((detail[inner] ** 2).mean()), 1.0))
    ratio = float(np.clip(share * np.exp(rng.normal(0.0, 0.5)), 0.005, 0.3))
    return to_levels(filtered(lr.astype(np.float32), wiener_inverse(kernel, ratio))), kernel


def unaliased_lr(lr: Pixels, hr: Pixels, ref: Pixels, validity: Pixels) -> Pixels:
    """An LR photo less the aliasing that its reference shows, as the pipeline does it.

    What aliasing is is measured of the truth ``hr``; ``ref``, ``validity``: as of ``Sample``.
    """
    shown = high_pass(shrink(luma(ref)))
    seen = high_pass(luma(lr)) * (shrink(validity.astype(np.float32)) > 128)
    energy = float(np.sqrt((seen**2).sum() * (shown**2).sum()))
    if float((seen * shown).sum()) < MATCHED * energy:
        return lr
    everywhere = np.ones(lr.shape[:2], np.float32)
    aliasing = estimate_aliasing(luma(lr), luma(hr), everywhere, least=0)
    if aliasing is None or not aliasing.is_evident:
        return lr
    levels = (image.astype(np.float32) for image in (lr, ref, validity / np.float32(255)))
    return to_levels(aliasing.remove(*levels))


def told_condition(rng: np.random.Generator, photo: Degraded, undone: Kernel | None) -> Image:
    """What the pipeline would tell a network of a photo: estimates with errors, or nothing."""
    if rng.random() < UNKNOWN:
        return nothing_told()
    aliasing, noise = (
        value * float(np.exp(rng.normal(0.0, 0.25))) for value in (photo.aliasing, photo.noise)
    )
    aliasing = max(aliasing + float(rng.normal(0.0, 0.03)), 0.0)
    quality = photo.quality
    if quality is not None and rng.random() < 0.5:  # else of the file
        quality = int(np.clip(quality + rng.normal(0.0, 7.0), 5, 99))
    return condition(aliasing, noise, quality, undone)
