"""Several threads that share one Upscaler, as in a server: arrays in, arrays out."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from refsr import Upscaler

upscaler = Upscaler.load(threads=1)  # one core per call; calls run in parallel


def answer(pixels: np.ndarray) -> np.ndarray:  # (h, w, 3) RGB uint8 -> (4h, 4w, 3) RGB uint8
    """Serve one request."""
    return upscaler.upscale(pixels).image


rng = np.random.default_rng(0)
requests = [rng.integers(0, 256, (24, 32, 3), np.uint8) for _ in range(4)]
with ThreadPoolExecutor(max_workers=2) as pool:
    for request, result in zip(requests, pool.map(answer, requests), strict=True):
        print(request.shape, "->", result.shape, result.dtype)
