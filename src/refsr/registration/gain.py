"""The expected gain of references in dB, and its class, from their registrations alone.

The missing detail lies where the photo's own finest detail lies, and a reference restores it where
it is consistent with the photo. So the gain grows with the *explained share*: the photo's energy in
the finest band, weighted by validity and consistency. It decreases with the registration error, and
for a reference coarser than the output. ``research/calibrate_gain.py`` measures gains and fits the
constants; benchmarks/gain_*.csv hold the measurements.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.registration.flow import luma
from refsr.registration.register import CONSISTENT, Registration
from refsr.registration.warp import FIELD_SCALE

GATE = 0.9  # consistency from which a pixel counts as explained, in full at 1
# Fitted: gain = -10 SLOPE log10(1 - REACH share) exp(-FADE error) min(1, zoom) ^ COARSE
SLOPE, REACH, FADE, COARSE = 0.871, 0.973, 1.439, 1.008
FLAT = 1e-3  # squared levels: mean energy below which a photo has no detail but rounding
SMALL, CLEAR = 0.15, 1.0  # dB over no reference: limits of the classes "small" and "clear"

GainClass = Literal["none", "small", "clear"]


@dataclass(frozen=True)
class GainFactors:
    """What the expected gain of one reference depends on."""

    share: float  # of the photo's energy in the finest band that it explains, 0..1
    error: float  # median error of the registration, LR px
    zoom: float  # reference pixels per HR pixel

    @property
    def quality(self) -> float:
        """The factor by which registration error and coarseness reduce the gain, 0..1."""
        return float(np.exp(-FADE * self.error)) * min(1.0, self.zoom) ** COARSE


def gain_factors(
    lr: NDArray[np.uint8], registration: Registration, where: Image | None = None
) -> GainFactors:
    """The gain factors of a reference registered to ``lr`` (h, w, 3).

    ``where`` (2h, 2w) 0..1: its blending weights among several references.
    """
    gate = np.clip((registration.consistency - GATE) / (1 - GATE), 0, 1)
    trust = registration.validity * gate if where is None else registration.validity * gate * where
    share = explained_share(lr, trust.astype(np.float32))
    return GainFactors(share, registration.median_error, registration.zoom)


def gain_where_covered(lr: NDArray[np.uint8], registration: Registration) -> float:
    """The expected gain in dB in the part of ``lr`` (h, w, 3) that the reference covers."""
    covered = registration.validity * registration.consistency > CONSISTENT
    inside = covered.astype(np.float32)
    of_covered = explained_share(lr, inside)
    if of_covered <= 0.0:
        return 0.0
    factors = gain_factors(lr, registration, inside)
    return expected_gain([replace(factors, share=min(1.0, factors.share / of_covered))])


def explained_share(lr: NDArray[np.uint8], trust: Image) -> float:
    """The share 0..1 of the finest-band energy of ``lr`` (h, w, 3), weighted by ``trust`` (2h, 2w).

    0 for a flat photo.
    """
    height, width = lr.shape[:2]
    gray = luma(lr)
    energy = (gray - cv2.GaussianBlur(gray, (0, 0), 1.0)) ** 2
    at_lr = trust.reshape(height, FIELD_SCALE, width, FIELD_SCALE).mean(axis=(1, 3))
    total = float(energy.sum())
    flat = total < FLAT * energy.size
    return 0.0 if flat else float((energy * at_lr).sum()) / total


def expected_gain(factors: list[GainFactors]) -> float:
    """The expected gain in dB PSNR over no reference, of references that are used together."""
    share = min(1.0, sum(one.share for one in factors))
    if share <= 0.0:
        return 0.0
    quality = sum(one.share * one.quality for one in factors) / share
    return -10.0 * SLOPE * float(np.log10(1.0 - REACH * share)) * quality


def gain_class(gain: float) -> GainClass:
    """Whether a gain in dB is none (below 0.15), small, or clear (1 and more)."""
    return "none" if gain < SMALL else "small" if gain < CLEAR else "clear"
