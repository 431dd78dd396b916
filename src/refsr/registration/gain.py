"""What references will be worth, known before the work: the gain in dB and its class.

The missing detail lies where the photo's own finest detail lies, and a reference restores it where
it explains the photo. So the gain grows with the *explained share*: the photo's finest energy,
weighted by how far registration trusts the reference there; and it fades with what registration
leaves uncertain and with what the reference is too coarse to hold. ``research/calibrate_gain.py``
measures gains and fits the constants; benchmarks/gain_*.csv hold what it measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.registration.flow import luma
from refsr.registration.register import Registration
from refsr.registration.warp import FIELD_SCALE

GATE = 0.9  # agreement from which a place counts as explained, in full at 1
# gain = -10 SLOPE log10(1 - REACH share) exp(-FADE error) min(1, zoom) ^ COARSE: fitted
SLOPE, REACH, FADE, COARSE = 0.871, 0.973, 1.439, 1.008
FLAT = 1e-3  # square levels: what a photo has less of is rounding
SMALL, CLEAR = 0.15, 1.0  # dB over no reference: where a gain can be seen, and where it strikes

GainClass = Literal["none", "small", "clear"]


@dataclass(frozen=True)
class Worth:
    """What one reference explains of a photo, and how well."""

    share: float  # of the photo's finest energy, 0..1
    error: float  # median error of the registration, LR px
    zoom: float  # reference pixels per HR pixel

    @property
    def quality(self) -> float:
        """What of the detail survives misplacement and coarseness, 0..1."""
        return float(np.exp(-FADE * self.error)) * min(1.0, self.zoom) ** COARSE


def gain_factors(
    lr: NDArray[np.uint8], registration: Registration, where: Image | None = None
) -> Worth:
    """The worth of a registered reference to ``lr`` (h, w, 3), in the places ``where`` (2h, 2w)."""
    gate = np.clip((registration.consistency - GATE) / (1 - GATE), 0, 1)
    trust = registration.validity * gate if where is None else registration.validity * gate * where
    share = explained_share(lr, trust.astype(np.float32))
    return Worth(share, registration.median_error, registration.zoom)


def explained_share(lr: NDArray[np.uint8], trust: Image) -> float:
    """The share of the finest detail of ``lr`` (h, w, 3) that lies where ``trust`` (2h, 2w) is."""
    height, width = lr.shape[:2]
    gray = luma(lr)
    energy = (gray - cv2.GaussianBlur(gray, (0, 0), 1.0)) ** 2
    at_lr = trust.reshape(height, FIELD_SCALE, width, FIELD_SCALE).mean(axis=(1, 3))
    total = float(energy.sum())
    flat = total < FLAT * energy.size
    return 0.0 if flat else float((energy * at_lr).sum()) / total


def expected_gain(worths: list[Worth]) -> float:
    """The expected gain in dB PSNR over no reference of those that share a photo out."""
    share = min(1.0, sum(worth.share for worth in worths))
    if share <= 0.0:
        return 0.0
    quality = sum(worth.share * worth.quality for worth in worths) / share
    return -10.0 * SLOPE * float(np.log10(1.0 - REACH * share)) * quality


def gain_class(gain: float) -> GainClass:
    """Whether a gain in dB is none (below 0.15), small, or clear (1 and more)."""
    return "none" if gain < SMALL else "small" if gain < CLEAR else "clear"
