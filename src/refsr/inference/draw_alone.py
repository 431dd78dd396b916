"""What a network draws of a photo without any reference: to compare a reference's detail with."""

from __future__ import annotations

from functools import cache

import numpy as np

from refsr.arrays import Image, Pixels
from refsr.inference.network import Network
from refsr.resize import SCALE
from refsr.weights.models import SMALL, find_model


@cache
def small_network() -> Network:
    """The shipped small network, loaded once. Raises ModelError.

    One thread of ONNX Runtime: a few small parts are drawn, with the same bits on every machine.
    """
    return Network(find_model(SMALL), "cpu", 1, "onnx")


def draw_alone(lr: Pixels) -> Image:
    """A part of a photo (h, w, 3), four times larger, 0..1, as drawn without a reference.

    Raises ModelError.
    """
    height, width = lr.shape[0] * SCALE, lr.shape[1] * SCALE
    nothing = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    sr, _ = small_network().run(lr.astype(np.float32) / np.float32(255), *nothing)
    return np.clip(sr, 0, 1)
