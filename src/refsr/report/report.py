"""The report of a job: numbers and a verdict for each reference, and for all of it."""

from __future__ import annotations

from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from refsr.image.exif import Mark
from refsr.registration.fusion import Composite
from refsr.registration.gain import expected_gain, gain_class, gain_factors, gain_where_covered
from refsr.registration.own_results import why_withheld
from refsr.registration.reference import SMALLEST
from refsr.registration.references import PoolReport
from refsr.report.provenance import borrowed_share, overall_shares

NOTED = 0.003  # share of the photo: less is often an edge that lies a little off
DOUBTED = 0.05  # share that is noted without --strict: 0.01 to 0.03 of every photo is so fine
CONTRADICTED = (
    "in {about} {percent} % of the photo the reference shows something else, such as other text or "
    "another face: nothing is taken there"
)
LARGE = (
    "the photo is large: only {percent} % of it, where it is likeliest to differ from the "
    "references, was compared at full size"
)
UNCONFIRMED = (
    "borrowed, cannot be confirmed: {percent} % of the photo, which is too coarse there to tell"
)
LEFT = (
    "left to the photo: {percent} % of it, where it is too coarse to confirm what the references "
    "show"
)
DOUBTFUL = "in up to {percent} % of the photo it is too coarse to confirm what the references show"
PROMISE = {  # by the class of the gain in the part that is covered
    "none": "it does no harm, but do not expect to see a gain.",
    "small": "there expect a small gain (about {gain:.1f} dB over the whole photo); use it if you "
    "have no better.",
    "clear": "there expect a clear gain (about {gain:.1f} dB over the whole photo).",
}


class ReferenceReport(TypedDict):
    """What is known of one reference of a job."""

    reference: str  # its name
    matched: bool
    used: bool
    coverage: float  # share of the photo in which it lies, 0..1
    contradicted: float  # share of the photo that shows something else: nothing is taken there
    matches: int
    inliers: int
    median_error_lr_px: float | None
    zoom: float | None  # reference pixels per HR pixel
    expected_gain_db: float  # of it alone, over none
    expected_gain: str  # "none", "small" or "clear"
    verdict: str  # in words
    share_of_photo: NotRequired[float]  # of a finished job, 0..1
    share_of_borrowed: NotRequired[float]


class JobFacts(TypedDict):
    """The part of a report that only the pipeline knows."""

    input_size: list[int]  # width, height in pixels
    output_size: list[int]
    model: str
    runtime: str | None
    scale: int
    degradation: str  # how the photo was taken, in words: "sharpened; JPEG 70"; "" if unseen
    held: int | None  # at scale 1: it holds no more than 1/held of its pixels a side, 1 to 4
    strength: float
    strict: bool  # where the photo cannot confirm the references, nothing is taken
    unconfirmed: float  # share of the photo in which it cannot, and they give most of the detail
    look: str
    notes: list[str]


class Report(JobFacts):
    """What is known of a finished job, ready for JSON."""

    references: list[ReferenceReport]
    album: PoolReport | None
    borrowed_detail: float  # share of the new detail, 0..1
    detail: dict[str, float]  # shares of "own", "borrowed" and "guessed" detail, summing to 1
    expected_gain_db: float  # of all references together, over none
    expected_gain: str
    lr_error_levels: float  # mean absolute difference of the shrunk result to the photo, 8 bits
    seconds: dict[str, float]  # by stage: "load", "registration", "network"


def describe(
    name: str, composite: Composite, index: int, mark: Mark | None = None
) -> ReferenceReport:
    """One reference's registration as plain numbers, and what it is worth alone.

    ``mark``: of a reference that was withheld because refsr made it.
    """
    registration, used = composite.registrations[index], composite.useful[index]
    gain = 0.0
    if used:
        gain = expected_gain([gain_factors(composite.lr, registration)])
    words = why_withheld(mark) if mark else verdict(composite, index, gain)
    matched = registration.matched
    return {
        "reference": name,
        "matched": matched,
        "used": used,
        "coverage": round(registration.coverage, 4),
        "contradicted": round(registration.contradicted, 4),
        "matches": registration.matches,
        "inliers": registration.inliers,
        "median_error_lr_px": round(registration.median_error, 4) if matched else None,
        "zoom": round(registration.zoom, 3) if matched else None,
        "expected_gain_db": round(gain, 2),
        "expected_gain": gain_class(gain),
        "verdict": words,
    }


def verdict(composite: Composite, index: int, gain: float) -> str:
    """One plain sentence: how much of the photo does a reference cover, and what is it worth?

    ``gain``: what is expected of it over the whole photo, in dB.
    """
    registration, reference = composite.registrations[index], composite.references[index]
    percent = max(1, round(100 * registration.coverage))
    height, width = reference.pixels.shape[:2]
    if min(height, width) < SMALLEST:
        return (
            f"This reference of {width} x {height} pixels is too small to show "
            "anything: it will not be used."
        )
    if reference.blank:
        return "This reference is transparent all over and shows nothing: it will not be used."
    if index in composite.copies:
        return (
            "This reference is the photo itself, enlarged: it holds no detail of its own and will "
            "not be used."
        )
    if not registration.matched:
        return (
            "This reference could not be matched: no place of the photo was found in it, and it "
            "will not be used."
        )
    if not composite.useful[index]:
        return (
            f"It covers {percent} % of your photo, but shows too little of it, or shows it no "
            "finer than the photo itself: it has nothing to give and will not be used."
        )
    promise = PROMISE[gain_class(gain_where_covered(composite.lr, registration))]
    return f"It covers {percent} % of your photo; {promise.format(gain=gain)}"


def differences(composite: Composite | None, judged: float = 1.0) -> list[str]:
    """What to say of places where a used reference shows something else than the photo.

    ``judged``: share of the photo in which that was looked for.
    """
    if composite is None or not composite.matched:
        return []
    share = float(composite.contradicted[list(composite.useful)].max())
    about, percent = "about" if judged == 1 else "at least", max(1, round(100 * share))
    notes = [CONTRADICTED.format(about=about, percent=percent)] if share > NOTED else []
    return notes + ([LARGE.format(percent=round(100 * judged))] if judged < 1 else [])


def doubts(words: str, share: float) -> list[str]:
    """What to say, if anything, of the share of the photo that cannot confirm the references.

    ``words``: UNCONFIRMED or LEFT of a finished job, DOUBTFUL before it.
    """
    noted = NOTED if words == LEFT else DOUBTED
    return [words.format(percent=max(1, round(100 * share)))] if share > noted else []


def expected_together(composite: Composite | None) -> float:
    """The expected gain of all references together, in dB over none."""
    if composite is None or not composite.matched:
        return 0.0
    parts = zip(composite.registrations, composite.blend_weights, composite.useful, strict=True)
    return expected_gain(
        [gain_factors(composite.lr, found, share) for found, share, used in parts if used]
    )


def build_report(
    *,
    composite: Composite | None,
    album: PoolReport | None,
    names: list[str],
    marks: list[Mark | None],
    amounts: NDArray[np.float32],
    seconds: dict[str, float],
    lr_error: float,
    facts: JobFacts,
) -> Report:
    """Everything a caller may want to know of a job, as JSON-ready values.

    ``amounts``: (h, w, 3), see ``provenance``. ``lr_error``: mean absolute difference, in
    8-bit levels, of the result shrunk again to the LR photo. ``album``: of many references, which
    were registered and why the others not. ``marks``: of references that were withheld because
    refsr made them. ``facts``: sizes, model, notes.
    """
    references: list[ReferenceReport] = []
    if composite is not None:
        source = composite.source_index()
        borrowed = amounts[..., 1]
        for index, name in enumerate(names):
            mine = source == index
            reference = describe(name, composite, index, marks[index])
            reference["share_of_photo"] = round(float(mine.mean()), 4)
            given = float(borrowed[mine].sum()) / max(float(borrowed.sum()), 1e-9)
            reference["share_of_borrowed"] = round(given, 4)
            references.append(reference)
    gain = expected_together(composite)
    return {
        **facts,
        "references": references,
        "album": album,
        "borrowed_detail": round(float(borrowed_share(amounts).mean()), 4),
        "detail": overall_shares(amounts),
        "expected_gain_db": round(gain, 2),
        "expected_gain": gain_class(gain),
        "lr_error_levels": round(lr_error, 4),
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
    }
