"""Random degradation of real-world LR photos: blur, various downscaling, noise and JPEG."""

from __future__ import annotations

import cv2
import numpy as np

from refsr.arrays import Pixels
from refsr.resize import SCALE, imresize

KERNELS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)  # of common programs
GRID = 8  # pixels a side of a JPEG block


def downscale(rng: np.random.Generator, hr: Pixels) -> Pixels:
    """``hr`` (4h, 4w, 3) to (h, w, 3) by MATLAB's bicubic, area averages, or in two steps."""
    height, width = hr.shape[0] // SCALE, hr.shape[1] // SCALE
    kind = rng.random()
    if kind < 0.55:
        return imresize(hr, scale=1 / SCALE)
    if kind < 0.75:
        return np.asarray(cv2.resize(hr, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    between = float(rng.uniform(1.3, 3.0))
    first = imresize(hr, size=(round(height * between), round(width * between)))
    kernel = KERNELS[int(rng.integers(len(KERNELS)))]
    if kernel != cv2.INTER_AREA:  # the other kernels alias without a blur
        first = np.asarray(cv2.GaussianBlur(first, (0, 0), 0.3 * between), np.uint8)
    return np.asarray(cv2.resize(first, (width, height), interpolation=kernel), np.uint8)


def add_noise(rng: np.random.Generator, image: Pixels) -> Pixels:
    """Sensor noise: shot noise and read noise, gray or colored."""
    pixels = image.astype(np.float32)
    read, shot = rng.exponential(3.0), rng.exponential(0.25)  # levels; levels per sqrt(level)
    shape = pixels.shape if rng.random() < 0.7 else (*pixels.shape[:2], 1)
    grain = rng.standard_normal(shape).astype(np.float32)
    pixels += grain * np.sqrt(min(read, 12.0) ** 2 + (min(shot, 1.0) ** 2) * pixels)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


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


def degraded_lr(rng: np.random.Generator, hr: Pixels) -> Pixels:
    """A randomly degraded LR photo (h, w, 3) of ``hr`` (4h, 4w, 3), uint8 RGB."""
    if rng.random() < 0.3:  # defocus
        sigma = float(rng.uniform(0.4, 3.0))
        hr = np.asarray(cv2.GaussianBlur(hr, (0, 0), sigma), np.uint8)
    lr = downscale(rng, hr)
    if rng.random() < 0.4:
        lr = add_noise(rng, lr)
    if rng.random() < 0.85:
        lr = compress_jpeg(rng, lr, int(rng.integers(30, 96)))
        if rng.random() < 0.15:  # compressed twice
            lr = compress_jpeg(rng, lr, int(rng.integers(50, 96)))
    return lr
