"""How the numbers are measured: ground truth, LR photo, reference modes, and their description."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from refsr.arrays import Pixels
from refsr.data.layouts import scene_id
from refsr.data.pairs import MIN_SIDE, EvaluationJob
from refsr.degradation.simulate import LowRes, PhotoKind
from refsr.errors import DataError
from refsr.evaluate import lpips as lpips_metric
from refsr.image.photo import load_photo
from refsr.resize import SCALE, imresize

BORDER = SCALE  # HR pixels left out at each side: the field's convention, as many as the scale
MAX_PSNR = 100.0  # dB counted for an exact copy, whose PSNR is infinite, so that means stay finite
GRAY = 128  # level of a blank reference: the middle of 8 bits

# fmt: off
ReferenceMode = Literal[
    "given", "none", "shuffled", "blank", "self", "upscaled",
    "as-is", "as-is-shuffled", "as-is-none",  # the network alone: as_is.py
]
# fmt: on
ALONE = "by the network alone: no registration, color match or back-projection"
MODE_SENTENCES: dict[str, str] = {
    "given": "the references that the list names",
    "none": "no reference",
    "shuffled": "the references of another row, of which none shows the input's scene",
    "blank": f"one image of gray level {GRAY}, as large as the given reference (else as the truth)",
    "self": "the shrunk photo itself",
    "upscaled": "the shrunk photo, upscaled by bicubic",
    "as-is": "the given reference as it lies, shrunk and padded to the result's frame, validity 1, "
    + ALONE,
    "as-is-shuffled": f"another scene's reference as it lies, {ALONE}",
    "as-is-none": f"no reference, {ALONE}",
}

MATLAB = PhotoKind("matlab")  # the field's small photos


def describe_protocol(
    max_side: int | None,
    reference: ReferenceMode,
    photo: PhotoKind = MATLAB,
    lpips: bool = False,
) -> dict[str, Any]:
    """Every choice that the numbers depend on; "lpips" only where that is measured."""
    from refsr import __version__

    return {
        "scale": SCALE,
        "truth": "8-bit RGB, upright, no alpha; bottom and right cropped to a multiple of 4",
        "max_side": max_side,
        "photo": str(photo),
        "lr": photo.sentence,
        "bicubic": "MATLAB-compatible bicubic (a = -0.5) of the LR upwards, rounded to 8 bits",
        "lanczos": "Pillow's Lanczos (a = 3) of the LR, rounded to 8 bits",
        "channel": "BT.601 luma (16 to 235, not rounded) of the 8-bit result",
        "border": BORDER,
        "psnr": f"peak 255; an exact copy counts {MAX_PSNR:g} dB",
        "ssim": "11x11 Gaussian of sigma 1.5, windows wholly inside, K1 0.01, K2 0.03, L 255",
        "haarpsi": "Reisenhofer et al. 2018, on RGB: perceptual similarity to the truth, 0 to 1",
        "detail": "root of the energy of luma that shrinking by four removes, over the truth's",
        **({"lpips": lpips_metric.PROTOCOL} if lpips else {}),
        "mean": "of the rows' values",
        "references": MODE_SENTENCES[reference],
        "reference_size": "as it is" if max_side is None else f"long side at most {max_side} px",
        "seconds": "preparing the references and upscaling; reading the files is not counted",
        "refsr": __version__,
    }


def load_pixels(path: Path, max_side: int | None) -> Pixels:
    """A photo as 8-bit RGB (HWC), shrunk to ``max_side`` px if it is larger. Raises PhotoError."""
    pixels = load_photo(path).as_uint8()
    height, width = pixels.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return pixels
    shrink = max_side / max(height, width)
    return imresize(pixels, size=(max(1, round(height * shrink)), max(1, round(width * shrink))))


def load_truth(path: Path, max_side: int | None) -> Pixels:
    """The ground truth (HWC, uint8), sides multiples of SCALE. Raises PhotoError, DataError."""
    pixels = load_pixels(path, max_side)
    height, width = (side // SCALE * SCALE for side in pixels.shape[:2])
    if min(height, width) < MIN_SIDE:
        raise DataError(
            f"{path} is too small to measure ({pixels.shape[1]} x {pixels.shape[0]} pixels); "
            f"each side needs {MIN_SIDE}."
        )
    return np.ascontiguousarray(pixels[:height, :width])


def shuffled_references(jobs: Sequence[EvaluationJob]) -> list[tuple[Path, ...]]:
    """For every job the references of another one, none of which shows the job's scene.

    Deterministic: the search starts half the list away, so that neighbors do not swap.
    Raises DataError where no such job exists.
    """
    if not any(job.references for job in jobs):
        raise DataError("These jobs have no references to shuffle; use the mode none.")
    out: list[tuple[Path, ...]] = []
    for index, job in enumerate(jobs):
        scene = scene_id(job.input)
        for step in range(len(jobs)):
            other = jobs[(index + len(jobs) // 2 + step) % len(jobs)].references
            if other and all(scene_id(path) != scene for path in other):
                out.append(other)
                break
        else:
            raise DataError(
                f"No other scene's reference can be given to {job.relative(job.input)}: "
                "shuffling needs rows of two scenes at least."
            )
    return out


def reference_pixels(
    mode: ReferenceMode, paths: Sequence[Path], hr: Pixels, lr: Pixels, max_side: int | None
) -> list[Pixels]:
    """The references that a mode gives to the model: RGB images (HWC, uint8). Raises PhotoError."""
    if mode in ("none", "as-is-none"):
        return []
    if mode == "self":
        return [lr]
    if mode == "upscaled":
        return [imresize(lr, scale=float(SCALE))]
    references = [load_pixels(path, max_side) for path in paths]
    if mode == "blank":
        return [np.full_like(references[0] if references else hr, GRAY)]
    return references


def decode_lr(lr: LowRes) -> Pixels:
    """The LR photo's pixels (HWC, uint8)."""
    return load_photo(lr).as_uint8() if isinstance(lr, bytes) else lr
