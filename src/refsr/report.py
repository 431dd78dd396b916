"""Where each detail came from: the numbers, the verdict, and a picture."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.composite import Composite
from refsr.registration import Registration

BORROWED = np.array([40, 170, 60], np.float32)  # green: detail of the reference
OWN = np.array([120, 120, 120], np.float32)  # grey: made from the photo alone


def describe(name: str, registration: Registration) -> dict[str, Any]:
    """One reference's registration as plain numbers."""
    return {
        "reference": name,
        "matched": registration.matched,
        "coverage": round(registration.coverage, 4),
        "matches": registration.matches,
        "inliers": registration.inliers,
        "median_error_lr_px": round(registration.median_error, 4) if registration.matched else None,
        "zoom": round(registration.zoom, 3) if registration.matched else None,
    }


def verdict(registration: Registration, useful: bool) -> str:
    """One plain sentence: does the reference match, how much of the photo, is it worth it?"""
    percent = round(100 * registration.coverage)
    if not registration.matched:
        return "This reference shows something else: it will not be used."
    if not useful:
        return (
            f"It matches {percent} % of your photo, but shows it no finer than the photo itself: "
            "it has nothing to give and will not be used."
        )
    if registration.zoom < 0.5:
        return (
            f"It matches {percent} % of your photo, but shows it at {registration.zoom:.2f} times "
            "the size of the result: it has little detail to give."
        )
    if percent < 10:
        return f"It matches only {percent} % of your photo: expect a small gain there."
    return f"It matches {percent} % of your photo: use it."


def provenance_map(sr: NDArray[np.uint8], provenance: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The result in grey, tinted green where its detail is the reference's: (4h, 4w, 3) uint8.

    ``sr`` (4h, 4w, 3) RGB; ``provenance`` (h, w) 0..1, share of borrowed detail.
    """
    height, width = sr.shape[:2]
    share = cv2.resize(provenance, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
    gray = cv2.cvtColor(sr, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    tint = BORROWED * share + OWN * (1 - share)
    return np.clip(0.55 * gray + 0.45 * tint * (0.4 + 0.6 * gray / 255), 0, 255).astype(np.uint8)


def build_report(
    *,
    composite: Composite | None,
    names: list[str],
    provenance: NDArray[np.float32],
    seconds: dict[str, float],
    lr_error: float,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Everything a caller may want to know of a job, as JSON-ready values.

    ``lr_error``: mean absolute difference, in 8-bit levels, of the result shrunk again to the LR
    photo. ``facts``: sizes, model, notes.
    """
    registrations = composite.registrations if composite else ()
    references = [describe(*pair) for pair in zip(names, registrations, strict=True)]
    source = composite.source() if composite else np.empty(0)
    for index, reference in enumerate(references):
        assert composite is not None
        reference["verdict"] = verdict(composite.registrations[index], composite.useful[index])
        reference["share_of_photo"] = round(float(np.mean(source == index)), 4)
    return {
        **facts,
        "references": references,
        "borrowed_detail": round(float(provenance.mean()), 4),
        "lr_error_levels": round(lr_error, 4),
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
    }
