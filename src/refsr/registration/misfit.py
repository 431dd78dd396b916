"""What a photo shows beside what its reference, shrunk, would have it show."""

from __future__ import annotations

import cv2
import numpy as np

from refsr.arrays import Image

NEAR, SHAPE = 1.0, 3.0  # LR px: sigmas of a stroke, and of what is fitted to it
LOCAL = 6.0  # LR px: coarser structure says much of light and color, little of a camera
CONTRAST = 0.5, 2.0  # least and most of the reference's that the photo may have
FLOOR = 2.0  # square levels added to variances: less is rounding


def misfit(lr: Image, ref: Image) -> tuple[Image, Image]:
    """What is left of ``lr`` beside ``ref`` in the best local light and contrast, and the contrast.

    Both (h, w) levels, and so are the two results, RMS.
    """
    photo, shown = high_pass(lr, SHAPE), high_pass(ref, SHAPE)
    fitted = local_gain(photo, shown, SHAPE) * shown
    left = blurred(np.square(photo - fitted), NEAR)
    contrast = np.maximum(blurred(photo**2, SHAPE), blurred(np.square(fitted), SHAPE))
    return np.sqrt(np.maximum(left, 0)), np.sqrt(np.maximum(contrast, 0))


def local_gain(photo: Image, shown: Image, sigma: float) -> Image:
    """The contrast of ``photo`` over that of ``shown`` where they are alike, in Gaussian windows.

    Both (h, w) levels, less what is coarser than the windows.
    """
    common = blurred(np.asarray(photo * shown, np.float32), sigma)
    gain = (common + FLOOR) / (blurred(np.square(shown), sigma) + FLOOR)
    return np.asarray(np.clip(gain, *CONTRAST), np.float32)


def high_pass(image: Image, sigma: float = LOCAL) -> Image:
    """An image (h, w) less its Gaussian blur."""
    return np.asarray(image - blurred(image, sigma), np.float32)


def blurred(image: Image, sigma: float) -> Image:
    """An image (h, w) in Gaussian windows."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)
