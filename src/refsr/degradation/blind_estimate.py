"""What a small photo alone shows of how it was taken: the value, and the kernel to undo.

``inference/blind_network.py`` makes it. The network gives the kernel as the log of what it lets
pass at each frequency, beside a deviation. Where that is wide, less of it is believed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.degradation.condition import condition, nothing_told
from refsr.degradation.kernel import RADIUS, Kernel, describe_kernel

GRID = 16  # frequencies a side at which the transfer is estimated, zero first
FLOOR = 0.02  # added to a transfer's square before its log: what is lost is lost
DOUBT = 0.9  # deviations at which half of a log transfer is believed
MIN_CHANGE = 0.28  # rms of the log transfer: of 80 clean photos kept out of training none had more
MAX_SPREAD = 0.285  # rms deviation; motion of 16 px has 0.29 to 0.48, most blurs up to 0.28
SMALL = 0.8  # rms of a log transfer that is undone in spite of a greater one
BLURRIER = 1.2  # log transfers of Gaussian blurs are underestimated by so much
FAINT = 0.05  # share that passes; the phase of less is noise
USUAL_DEVIATION = 0.2  # a greater one is doubt
CLEAN = 0.5  # probability from which nothing is undone
NOISE_SEEN = 1.5  # levels
ALIASING_SEEN = 0.35  # good downscaling has up to 0.3, OpenCV's linear 0.25 to 0.6
POSSIBLE_ALIASING = 0.08  # most photos by MATLAB have less: more is worth a look
SLIGHT_ALIASING = 0.13  # MATLAB's bicubic has up to 0.13: photos 0.07, pages more
COMPRESSION_SEEN = 0.5  # log1p of a quantisation over 20: JPEG 93

Transfer = NDArray[np.floating]  # (GRID, GRID), of the log


@dataclass(frozen=True)
class Spread:
    """Standard deviations of a BlindEstimate, as the network states them."""

    kernel: float  # rms over the frequencies of the log transfer's
    noise: float  # of the log of the noise
    compression: float  # of the log of the quantisation
    aliasing: float


@dataclass(frozen=True)
class BlindEstimate:
    """How a small photo was taken, beside a downscaling by MATLAB's bicubic."""

    kernel: Kernel | None  # (9, 9), sum 1; None where it is unsure or hardly changes anything
    noise: float  # levels, standard deviation in luma, before compression
    jpeg: int | None  # quality as libjpeg counts, of the file or of what was seen; None: neither
    aliasing: float  # share of the finest detail that no kernel explains: 0 to about 1
    clean: float  # probability that it was shrunk with antialiasing, and nothing else was done
    spread: Spread
    log_transfer: Transfer  # of the kernel, before doubt
    deviation: Transfer  # of log_transfer

    @property
    def is_aliased(self) -> bool:
        """Whether it was shrunk without antialiasing, which no kernel undoes altogether."""
        return self.aliasing > ALIASING_SEEN

    @property
    def is_unlike_matlab(self) -> bool:
        """Whether it was blurred, sharpened, or shrunk less carefully than by MATLAB's bicubic."""
        return self.kernel is not None or self.aliasing > SLIGHT_ALIASING

    @property
    def is_clean(self) -> bool:
        """Whether the photo shows enough to say that nothing was done to it."""
        return self.clean > CLEAN and self.spread is not UNKNOWN

    @property
    def is_disturbed(self) -> bool:
        """Whether noise, compression or aliasing would be sharpened with the photo."""
        return self.is_noisy or self.is_aliased

    @property
    def is_noisy(self) -> bool:
        """Whether noise or compression lies over the photo."""
        return self.noise > NOISE_SEEN or self.jpeg is not None

    def told(self, undone: Kernel | None = None) -> Image:
        """What a network is told of the photo, whose kernel ``undone`` was undone: (5,)."""
        if self.spread is UNKNOWN:
            return nothing_told()
        return condition(self.aliasing, self.noise, self.jpeg, undone)

    def in_words(self, kernel: Kernel | None = None) -> str:
        """What was seen: "sharpened; JPEG 70; noise of about 5 levels"; "" where nothing was.

        ``kernel``: one that is known better than this estimate's.
        """
        kernel = self.kernel if kernel is None else kernel
        words = [describe_kernel(kernel)] if kernel is not None else []
        words += ["shrunk without antialiasing"] if self.is_aliased else []
        words += [f"JPEG {self.jpeg}"] if self.jpeg is not None else []
        words += [f"noise of about {self.noise:.0f} levels"] if self.noise > NOISE_SEEN else []
        return "; ".join(words)


UNKNOWN = Spread(np.inf, np.inf, np.inf, np.inf)


def nothing_known(file_quality: int | None) -> BlindEstimate:
    """The estimate of a photo that is too small or too flat to show anything."""
    unknown = np.full((GRID, GRID), np.inf)
    return BlindEstimate(
        None, 0.0, file_quality, 0.0, 1.0, UNKNOWN, np.zeros((GRID, GRID)), unknown
    )


def estimate_of(
    log_transfer: Transfer,
    deviation: Transfer,  # of log_transfer
    scalars: NDArray[np.float32],  # log(noise + 0.5), compression, aliasing
    scalar_deviations: NDArray[np.float32],
    clean: float,
    file_quality: int | None,
) -> BlindEstimate:
    """The estimate from the network's outputs and the file's JPEG quality."""
    squared = log_transfer**2
    believed = log_transfer * (squared / (squared + (DOUBT * deviation) ** 2 + 1e-12))
    change = float(np.sqrt((believed**2).mean()))
    doubt = float(np.sqrt((deviation**2).mean()))
    is_sure = change > MIN_CHANGE and clean < CLEAN and (doubt < MAX_SPREAD or change < SMALL)
    kernel = kernel_of(believed) if is_sure else None
    noise, compression, aliasing = (float(value) for value in scalars)
    of_noise, of_compression, of_aliasing = (float(value) for value in scalar_deviations)
    seen = quality_of(compression) if compression - of_compression > COMPRESSION_SEEN else None
    return BlindEstimate(
        kernel,
        max(float(np.exp(noise)) - 0.5, 0.0),
        min((quality for quality in (seen, file_quality) if quality is not None), default=None),
        max(aliasing, 0.0),
        clean,
        Spread(doubt, of_noise, of_compression, of_aliasing),
        log_transfer,
        deviation,
    )


def believed_kernel(kernel: Kernel, blind: BlindEstimate) -> Kernel:
    """A kernel from a pair, no blurrier than the photo itself shows.

    A reference that its own camera sharpened makes any photo look blurred beside it.
    """
    placed = np.zeros((GRID, GRID))
    placed[: 2 * RADIUS + 1, : 2 * RADIUS + 1] = kernel
    spectrum = np.fft.fft2(np.roll(placed, (-RADIUS, -RADIUS), (0, 1)))
    passed = np.abs(spectrum)
    log_transfer = 0.5 * np.log(passed**2 + FLOOR)
    doubt = np.maximum(blind.deviation - USUAL_DEVIATION, 0)
    least = BLURRIER * np.minimum(blind.log_transfer, 0) - 2 * doubt
    phase = np.where(passed > FAINT, spectrum / np.maximum(passed, FAINT), 1)
    raised = np.sqrt(np.maximum(np.exp(2 * least) - FLOOR, 0)) * phase
    return kernel_from(np.where(log_transfer < least, raised, spectrum))


def kernel_of(log_transfer: Transfer) -> Kernel:
    """The kernel (9, 9), symmetric and of sum 1, that lets that much pass."""
    passed = np.sqrt(np.maximum(np.exp(2 * log_transfer.astype(np.float64)) - FLOOR, 0))
    return kernel_from(passed)


def kernel_from(spectrum: NDArray[np.floating] | NDArray[np.complexfloating]) -> Kernel:
    """The kernel (9, 9) of sum 1 of a spectrum (GRID, GRID)."""
    kernel = np.roll(np.fft.ifft2(spectrum).real, (RADIUS, RADIUS), (0, 1))
    kernel = kernel[: 2 * RADIUS + 1, : 2 * RADIUS + 1]
    return kernel / kernel.sum()


def quality_of(compression: float) -> int:
    """JPEG quality, 1 to 100, of log1p(quantisation / 20)."""
    scale = 20 * float(np.expm1(compression))  # percent of libjpeg's tables
    quality = 100 - scale / 2 if scale < 100 else 5000 / scale
    return int(np.clip(round(quality), 1, 100))
