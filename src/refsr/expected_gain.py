"""What a reference will be worth, known before the work: the gain in dB and its class.

The missing detail lies where the photo's own finest detail lies, and a reference restores it where
it explains the photo. So the gain grows with the *explained share*: the photo's finest energy,
weighted by how far registration trusts the reference there. ``scripts/calibrate_gain.py`` measures
gains and fits the constants; benchmarks/gain_*.csv hold what it measured.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.flow import luma
from refsr.registration import Registration
from refsr.warp import FIELD

GATE = 0.95  # agreement from which a place counts as explained, in full at 1
REACH, SLOPE = 0.97, 0.75  # gain = -10 SLOPE log10(1 - REACH share), fitted to training scenes
SMALL, CLEAR = 0.15, 1.0  # dB over no reference: where a gain can be seen, and where it strikes

GainClass = Literal["none", "small", "clear"]
Image = NDArray[np.float32]


def trust_of(registration: Registration) -> Image:
    """How far a reference explains each place of the photo: (2h, 2w) 0..1."""
    gate = np.clip((registration.consistency - GATE) / (1 - GATE), 0, 1)
    return (registration.validity * gate).astype(np.float32)


def explained_share(lr: NDArray[np.uint8], trust: Image) -> float:
    """The share of the finest detail of ``lr`` (h, w, 3) that lies where ``trust`` (2h, 2w) is."""
    height, width = lr.shape[:2]
    gray = luma(lr)
    energy = (gray - cv2.GaussianBlur(gray, (0, 0), 1.0)) ** 2
    at_lr = trust.reshape(height, FIELD, width, FIELD).mean(axis=(1, 3))
    total = float(energy.sum())
    return float((energy * at_lr).sum()) / total if total > 0 else 0.0


def expected_gain(share: float) -> float:
    """The expected gain in dB PSNR over the result without reference, from the explained share."""
    return -10 * SLOPE * float(np.log10(1 - REACH * min(max(share, 0.0), 1.0)))


def gain_class(gain: float) -> GainClass:
    """Whether a gain in dB is none (below 0.15), small, or clear (1 and more)."""
    return "none" if gain < SMALL else "small" if gain < CLEAR else "clear"
