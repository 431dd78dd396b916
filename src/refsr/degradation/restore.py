"""The photo as MATLAB's bicubic would have made it: its kernel undone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from refsr.arrays import Image
from refsr.degradation.aliasing import Aliasing, estimate_aliasing
from refsr.degradation.blind_estimate import (
    MAX_SPREAD,
    POSSIBLE_ALIASING,
    BlindEstimate,
    believed_kernel,
    kernel_of,
)
from refsr.degradation.kernel import (
    BLURRED,
    FINE,
    INVERSE_SIDE,
    Kernel,
    convolve,
    describe_kernel,
    estimate_kernel,
    log_response,
    responses,
    wiener_inverse,
)
from refsr.image.photo import Photo
from refsr.registration.flow import luma
from refsr.registration.large_image import (
    WINDOWS,
    CoarseRegistration,
    best_block,
    of_photo,
    through_camera,
)
from refsr.resize import imresize

WINDOW = 384  # LR pixels a side of the place in which the kernel is measured
BAND_ROWS = 256  # LR pixels that are filtered at a time
SLIGHT = 0.6  # of the finest detail passes: sharpened photos, a blur of 1 HR px (2: 0.45)
MIDDLE, UPPER = (0.15, 0.2, 0.25, 0.3), (0.2, 0.25, 0.3)  # cycles per LR pixel
LEAST_BLUR = -0.15  # mean log response in the middle: less is not worth a look
TOO_BLURRED = 1.35  # times the blind one: real lenses 1.4 to 2.0, Gaussian blurs 0.8 to 1.5
GAUSSIAN_FALL = 3.7, 4.6  # log response at FINE over that at half of it: Gaussian blurs 3.9 to 4.3
MAX_DISAGREEMENT = 0.18  # of pair and photo: beyond, the reference is too different to tell
NOISE_TO_SIGNAL = 0.005  # of the Wiener inverse: about what rounding to 8 bits adds
NOISE_TO_SIGNAL_DISTURBED = 0.2  # where noise, compression or aliasing would be sharpened, too
ALIASING_NOTE = "what the reference shows of its aliasing was removed"


@dataclass(frozen=True)
class Restoration:
    """A photo with its kernel undone."""

    photo: Photo
    before: Photo  # as it came
    kernel: Kernel  # (9, 9), LR pixels
    disturbed: bool  # whether noise, compression or aliasing lies over what the kernel left

    by_reference: bool  # or blindly
    reference_sharpened: float = 0.0  # share of its detail that the reference's camera added

    @property
    def is_slight(self) -> bool:
        """Whether so little was lost that the photo is now as good as a clean one."""
        return not self.disturbed and float(responses(self.kernel, FINE).min()) > SLIGHT

    @property
    def note(self) -> str:
        """What was done, for the report."""
        shown_by = "the reference" if self.by_reference else "the photo itself"
        return f"{describe_kernel(self.kernel)}, as {shown_by} shows: corrected"


def restore(photo: Photo, coarse: CoarseRegistration, blind: BlindEstimate) -> Restoration | None:
    """Undo what lens, motion or sharpening did to a photo; None where there is no evidence of it.

    ``coarse``: the photo's references, registered to it as it is. The kernel is one for the whole
    photo, measured where the references fit best. ``blind``: what the photo alone shows.
    """
    if not coarse.composite.matched:
        return None
    lr, aligned, weight = best_fit(coarse)
    ref = imresize(aligned, size=(lr.shape[0], lr.shape[1]))
    estimate = estimate_kernel(lr, luma(ref * np.float32(255)), weight)
    if estimate is None:
        return None
    if blind.kernel is not None and (added := added_by_reference(estimate.kernel, blind)):
        restoration = undo(photo, blind.kernel, blind, by_reference=True)
        return replace(restoration, reference_sharpened=added)
    believed = believed_kernel(estimate.kernel, blind)
    if disagreement(estimate.kernel, believed) > MAX_DISAGREEMENT:
        return None
    estimate = replace(estimate, kernel=believed)
    if not estimate.is_evident:
        return None
    return undo(photo, estimate.kernel, blind, by_reference=True)


def added_by_reference(kernel: Kernel, blind: BlindEstimate) -> float:
    """The share of a reference's detail that its own camera's sharpening added, 0 to 0.5.

    A reference sharpened by its camera makes the photo look more blurred than it is: ``kernel``, of
    the pair, is then well below what the photo alone shows. Where it falls with the square of the
    frequency all the same, it is a Gaussian blur, which ``blind`` underestimates on soft scenes.
    """
    if blind.kernel is None or blind.is_disturbed or blind.spread.kernel > MAX_SPREAD:
        return 0.0
    of_pair, alone = (mean_log(k, MIDDLE) for k in (kernel, kernel_of(blind.log_transfer)))
    if of_pair > LEAST_BLUR or of_pair > TOO_BLURRED * min(alone, 0):
        return 0.0
    falls = log_response(kernel, FINE) / log_response(kernel, FINE / 2)
    if GAUSSIAN_FALL[0] < falls < GAUSSIAN_FALL[1]:
        return 0.0
    excess = mean_log(kernel, UPPER) - mean_log(blind.kernel, UPPER)
    return float(np.clip(1 - np.exp(excess), 0.0, 0.5))


def mean_log(kernel: Kernel, frequencies: tuple[float, ...]) -> float:
    """The mean log response of a kernel at some frequencies, cycles per LR pixel."""
    return sum(log_response(kernel, frequency) for frequency in frequencies) / len(frequencies)


def disagreement(kernel: Kernel, believed: Kernel) -> float:
    """How much less passes a pair's kernel than what is believed of it: a mean of logs."""
    return mean_log(believed, (0.15, 0.2, 0.3)) - mean_log(kernel, (0.15, 0.2, 0.3))


def restore_blindly(photo: Photo, blind: BlindEstimate) -> Restoration | None:
    """Undo what a photo alone shows of its kernel; None where it shows none."""
    if blind.kernel is None or blind.is_aliased:
        return None
    return undo(photo, blind.kernel, blind, by_reference=False)


def undo(photo: Photo, kernel: Kernel, blind: BlindEstimate, by_reference: bool) -> Restoration:
    """Apply the Wiener inverse of a kernel."""
    noisy = blind.is_noisy or (blind.is_aliased and log_response(kernel, FINE) < 0)
    inverse = wiener_inverse(kernel, NOISE_TO_SIGNAL_DISTURBED if noisy else NOISE_TO_SIGNAL)
    return Restoration(filtered(photo, inverse), photo, kernel, blind.is_disturbed, by_reference)


@dataclass(frozen=True)
class Registered:
    """A photo registered to its references, its kernel undone where they show one."""

    coarse: CoarseRegistration  # of the restored photo
    restoration: Restoration | None
    aliasing: Aliasing | None = None  # that is left in the restored photo

    @property
    def notes(self) -> list[str]:
        """What was done to the photo, for the report."""
        notes = [self.restoration.note] if self.restoration else []
        return notes + ([ALIASING_NOTE] if self.aliasing else [])


def register_aliased(
    photo: Photo, coarse: CoarseRegistration, blind: BlindEstimate
) -> Registered | None:
    """Register the references of an aliased photo again; None where they show no aliasing.

    ``coarse``: of the photo as it is. What was blurred is not aliased. With the aliasing told
    apart, the kernel is known much better: it is undone whatever is left of it.
    """
    if not coarse.composite.matched or blind.aliasing < POSSIBLE_ALIASING:
        return None
    aliasing = aliasing_of(coarse)
    if aliasing is None or not aliasing.is_evident:
        return None
    if log_response(aliasing.blur, FINE) < BLURRED:
        return None
    for window in WINDOWS:
        coarse = through_camera(coarse, aliasing, (window,))
        aliasing = aliasing_of(coarse) or aliasing
    kernel = believed_kernel(aliasing.blur, blind)
    restoration = undo(photo, kernel, blind, by_reference=True)
    coarse = of_photo(coarse, restoration.photo.as_uint8())
    aliasing = aliasing_of(coarse) or aliasing
    return Registered(replace(coarse, camera=aliasing), restoration, aliasing)


def aliasing_of(coarse: CoarseRegistration) -> Aliasing | None:
    """How a photo samples the scene, in the part of it that the references fit best."""
    lr, aligned, weight = best_fit(coarse)
    return estimate_aliasing(lr, luma(aligned * np.float32(255)), weight)


def best_fit(coarse: CoarseRegistration) -> tuple[Image, Image, Image]:
    """The part of a photo that the references fit best: its luma, those aligned, their weight.

    (h, w) levels, (4h, 4w, 3) 0..1, (h, w) 0..1.
    """
    composite = coarse.block(best_block(coarse.composite.similarity(), coarse.lr.shape, WINDOW))
    height, width = composite.lr.shape[:2]
    aligned, validity = composite.aligned(slice(0, height), slice(0, width))
    weight = cv2.resize(validity, (width, height), interpolation=cv2.INTER_AREA)
    return luma(composite.lr), aligned, np.asarray(weight, np.float32)


def is_marred(
    blind: BlindEstimate, restoration: Restoration | None, aliasing: Aliasing | None
) -> bool:
    """Whether a photo is no longer, or not yet again, as good as a clean one.

    ``aliasing``: what a reference shows of it, and is removed. A little of it is then gone.
    """
    if aliasing is not None and aliasing.is_strong:
        return True
    if restoration is not None:
        return not restoration.is_slight
    if aliasing is not None and blind.kernel is None and not blind.is_aliased:
        return False
    return blind.is_unlike_matlab


def filtered(photo: Photo, kernel: Kernel) -> Photo:
    """A photo convolved with a kernel, of the same depth; a few rows at a time."""
    pixels, halo = photo.pixels, INVERSE_SIDE // 2
    out = np.empty_like(pixels)
    top_level = np.iinfo(pixels.dtype).max
    for top in range(0, photo.height, BAND_ROWS):
        bottom = min(photo.height, top + BAND_ROWS)
        first, last = max(0, top - halo), min(photo.height, bottom + halo)
        band = convolve(pixels[first:last].astype(np.float32), kernel)
        out[top:bottom] = np.clip(np.rint(band[top - first : bottom - first]), 0, top_level)
    return photo.replaced(out, photo.alpha)
