"""Photos that nobody shrank: real lenses, messengers, screenshots, scans, measured on their truth.

A folder holds ``cases.csv`` with the columns case, small, reference, truth (file names in the
case's own folder). A result is made at the scale at which its truth is kept, so that the truth need
not be resampled; where truth and photo do not lie on each other all the same, the truth is
registered to the photo.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Pixels
from refsr.csv_rows import file_names, read_csv_rows
from refsr.errors import DataError
from refsr.evaluate.metrics import luma
from refsr.evaluate.protocol import BORDER, MAX_PSNR, load_pixels
from refsr.evaluate.table import align_columns
from refsr.image.atomic import is_file
from refsr.inference.ensemble import Mode
from refsr.registration import matching
from refsr.resize import SCALE, imresize

CASES = "cases.csv"
COLUMNS = ("case", "small", "reference", "truth")
NOTES = {"what it is": "what", "what is right": "right"}  # columns that rows repeat, if there
WORKING_SIDE = 1280  # pixels a side at most, of the images that are registered
MAX_FEATURES = 4000
MIN_INLIERS = 20  # two photos of the same thing have hundreds
RATIO, THRESHOLD = 0.8, 1.5  # of Lowe's test; pixels, of the inliers of the homography
# HR px: a truth that lies off by less is compared as it is. Nine of our 14 cases
# measure 0.12 or less; real lenses, a moving camera and a screenshot 0.2 to 0.6.
IN_PLACE = 0.15
MARGIN = 3  # HR px at the edge of a registered truth, where interpolation sees the outside
MIN_COMMON = 0.05  # share of the result that truth and result must have in common
METHODS = ("bicubic", "none", "given")

Homography = NDArray[np.float64]  # (3, 3), result px -> truth px
Mask = NDArray[np.bool_]  # (H, W), the pixels that are compared


@dataclass(frozen=True)
class RealCase:
    """One line of cases.csv."""

    name: str
    small: Path
    references: tuple[Path, ...]
    truth: Path | None
    notes: dict[str, str]  # what it is, and what is right


@dataclass(frozen=True)
class Truth:
    """The truth in the frame of a result."""

    pixels: Pixels  # HWC uint8, as large as the result
    mask: Mask
    registered: bool  # or as the file is
    displacement: float  # HR px: how far the file's truth lies off the photo, at most


def load_cases(root: Path) -> list[RealCase]:
    """The cases of ``root/cases.csv``, or of the folder ``real`` in the root. Raises DataError."""
    found = [folder for folder in (root, root / "real") if is_file(folder / CASES)]
    if not found:
        raise DataError(f"There is no {CASES} in {root}; give its folder with --root.")
    path = found[0] / CASES
    rows = read_csv_rows(path, COLUMNS, tuple(NOTES))
    cases: list[RealCase] = []
    for number, row in enumerate(rows, start=2):
        if not row["case"] or not row["small"]:
            raise DataError(f"Line {number} of {path} names no case or no small photo.")
        folder = found[0] / row["case"]
        references = tuple(folder / name for name in file_names(row["reference"]))
        truth = folder / row["truth"] if row["truth"] else None
        for image in (folder / row["small"], *references, *([truth] if truth else [])):
            if not is_file(image):
                raise DataError(f"Line {number} of {path} names {image}, which does not exist.")
        notes = {key: row[column] for column, key in NOTES.items() if row.get(column)}
        cases.append(RealCase(row["case"], folder / row["small"], references, truth, notes))
    if not cases:
        raise DataError(f"{path} lists no cases.")
    return cases


def refuse_options(**given: bool) -> None:
    """Raises DataError where an option is given that does not go with real photos."""
    if wrong := [name for name, is_given in given.items() if is_given]:
        raise DataError(
            f"--{wrong[0]} does not go with real: its photos are measured as they are, "
            "without and with their reference."
        )


def measure_real(
    root: Path,
    *,
    model: str = "auto",
    look: Mode = "true",
    ensemble: bool = False,
    limit: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Upscale the photos that have a truth, without and with their reference; PSNR in dB of each.

    ``model``, ``look``, ``ensemble``: as for ``Upscaler.load``. ``limit``: only the first cases
    that have a truth. ``progress`` is called with the finished share, 0..1.

    Returns {"protocol", "model", "look", "ensemble", "rows", "mean", "left_out"}: a row for each
    case with its scale, how its truth was placed, bicubic_psnr, none_psnr, given_psnr, and the
    expected_gain_db that the report foretold (the last two None without a reference).
    ``left_out`` says why a case has no row. It can be written as JSON.

    Raises DataError for a folder that cannot be used, PhotoError for a photo that cannot be read,
    ModelError for a model that cannot be loaded.
    """
    from refsr.upscaler import Upscaler

    cases = load_cases(root)
    left_out = {case.name: "It has no truth." for case in cases if case.truth is None}
    with_truth = [case for case in cases if case.truth is not None][:limit]
    upscaler = Upscaler.load(model, look=look, ensemble=ensemble)
    rows: list[dict[str, Any]] = []
    for index, case in enumerate(with_truth):
        assert case.truth is not None
        lr, hr = load_pixels(case.small, None), load_pixels(case.truth, None)
        scale = choose_scale(lr, hr)
        bicubic = imresize(lr, scale=float(scale))
        truth = place_truth(hr, bicubic)
        if truth is None:
            left_out[case.name] = "Its truth could not be registered to the photo."
            continue
        results: dict[str, Pixels | None] = {"bicubic": bicubic, "given": None}
        foretold: float | None = None
        for method, paths in (("none", ()), ("given", case.references)):
            if method == "none" or paths:
                prepared = upscaler.prepare(list(paths) or None)
                result = upscaler.upscale(case.small, references=prepared, scale=scale)
                results[method] = result.photo.as_uint8()
                if paths:
                    foretold = result.report["expected_gain_db"]
        rows.append(
            {
                "case": case.name,
                **case.notes,
                "scale": scale,
                "truth": "registered" if truth.registered else "as it is",
                "displacement": truth.displacement,
                "common": float(truth.mask.mean()),
                **{
                    f"{method}_psnr": None
                    if (image := results[method]) is None
                    else psnr_within(image, truth.pixels, truth.mask)
                    for method in METHODS
                },
                "expected_gain_db": foretold,
            }
        )
        if progress:
            progress((index + 1) / len(with_truth))
    if not rows:
        raise DataError(f"No case in {root} could be measured: none has a truth that fits it.")
    return {
        "protocol": describe_real(),
        "model": model,
        "look": look,
        "ensemble": ensemble,
        "rows": rows,
        "mean": mean_of(rows),
        "left_out": left_out,
    }


def describe_real() -> dict[str, Any]:
    """Every choice that the numbers depend on."""
    from refsr import __version__

    return {
        "lr": "the photo as its file is",
        "scale": "truth over photo where that is 1 to 4 on both sides, else 4; the model's "
        "result at scales 2 and 3 is that of 4, shrunk with antialiasing",
        "truth": f"as its file is, where it lies within {IN_PLACE:g} HR px of the photo enlarged "
        "by bicubic; else registered to it (SIFT, homography by MAGSAC, refined by ECC on luma), "
        "resampled by bicubic, rounded to 8 bits, and compared on the common area",
        "displacement": "greatest of a grid of 5 x 5 points, HR px, measured by that registration",
        "bicubic": "MATLAB-compatible bicubic (a = -0.5) of the photo upwards, rounded to 8 bits",
        "none": "the model without a reference",
        "given": "the model with the case's reference",
        "foretold": "what the report says that the reference gains over none",
        "channel": "BT.601 luma (16 to 235, not rounded) of the 8-bit result",
        "border": BORDER,
        "psnr": f"peak 255; an exact copy counts {MAX_PSNR:g} dB",
        "mean": "of the rows that have all three",
        "refsr": __version__,
    }


def choose_scale(lr: Pixels, hr: Pixels) -> Literal[1, 2, 3, 4]:
    """The scale at which a result is as large as its truth; 4 where there is none."""
    for scale in (1, 2, 3, 4):
        if hr.shape[:2] == (lr.shape[0] * scale, lr.shape[1] * scale):
            return scale
    return SCALE


def place_truth(hr: Pixels, bicubic: Pixels) -> Truth | None:
    """The truth ``hr`` in the frame of the enlarged photo ``bicubic``; both HWC uint8.

    None where the two cannot be registered.
    """
    height, width = bicubic.shape[:2]
    shrink = max(height / hr.shape[0], width / hr.shape[1])
    if shrink < 1:  # antialiased before it is sampled
        hr = imresize(hr, scale=shrink)
    homography = register_truth(bicubic, hr)
    if homography is None:
        return None
    y, x = np.mgrid[0.1:0.9:5j, 0.1:0.9:5j]
    grid = np.stack([x.ravel() * width, y.ravel() * height], axis=1)
    displacement = float(np.hypot(*(matching.project(homography, grid) - grid).T).max())
    mask = np.zeros((height, width), np.bool_)
    mask[BORDER:-BORDER, BORDER:-BORDER] = True
    if hr.shape == bicubic.shape and displacement < IN_PLACE:
        return Truth(hr, mask, False, displacement)
    y, x = np.mgrid[:height, :width]
    xy = matching.project(homography, np.stack([x, y], axis=-1)).astype(np.float32)
    warped = cv2.remap(hr, xy[..., 0], xy[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    last = np.array([hr.shape[1] - 1, hr.shape[0] - 1])
    mask &= ((xy >= MARGIN) & (xy <= last - MARGIN)).all(axis=-1)
    if mask.mean() < MIN_COMMON:
        return None
    return Truth(np.asarray(warped, np.uint8), mask, True, displacement)


def register_truth(bicubic: Pixels, hr: Pixels) -> Homography | None:
    """The homography from an enlarged photo to its truth (both HWC uint8), or None."""
    shrink = min(1.0, WORKING_SIDE / max(*bicubic.shape, *hr.shape))
    photo, truth = (gray(imresize(i, scale=shrink) if shrink < 1 else i) for i in (bicubic, hr))
    a, b = (matching.detect(image, 1.0, MAX_FEATURES) for image in (photo, truth))
    pairs = matching.match(a, b, RATIO)
    xy, xy_truth = (f.xy[i].astype(np.float64) for f, i in ((a, pairs[:, 0]), (b, pairs[:, 1])))
    found = matching.fit_homography(xy, xy_truth, THRESHOLD)
    if found is None or not matching.preserves_area(found, xy):
        return None
    error = np.hypot(*(matching.project(found, xy) - xy_truth).T)
    if int((error < THRESHOLD).sum()) < MIN_INLIERS:
        return None
    # From working pixels to those of the images: their centers shrink about the corner's.
    middle = (1 / shrink - 1) / 2
    enlarge = np.array([[1 / shrink, 0, middle], [0, 1 / shrink, middle], [0, 0, 1]])
    return enlarge @ refine(photo, truth, found) @ np.linalg.inv(enlarge)


def gray(image: Pixels) -> NDArray[np.uint8]:
    """Luma of RGB (HWC, uint8), rounded: HW."""
    return np.rint(luma(image)).astype(np.uint8)


def refine(
    photo: NDArray[np.uint8], truth: NDArray[np.uint8], homography: Homography
) -> Homography:
    """A homography, fitted to all pixels of two luma images (HW) by their correlation (ECC).

    Points of features are worth half a pixel, this a few hundredths.
    """
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-6)
    start = (homography / homography[2, 2]).astype(np.float32)
    anything: Any = None  # OpenCV's types know no default
    try:
        _, found = cv2.findTransformECC(
            photo, truth, start, cv2.MOTION_HOMOGRAPHY, criteria, anything, 5
        )
    except cv2.error:  # it did not converge
        return homography
    return np.asarray(found, np.float64)


def psnr_within(sr: Pixels, hr: Pixels, mask: Mask) -> float:
    """PSNR in dB of BT.601 luma of two RGB images (HWC, uint8) where ``mask`` (HW) is set."""
    error = float(np.mean((luma(sr)[mask] - luma(hr)[mask]) ** 2))
    return MAX_PSNR if error == 0.0 else min(10.0 * float(np.log10(255.0**2 / error)), MAX_PSNR)


def mean_of(rows: list[dict[str, Any]]) -> dict[str, float | int]:
    """The means of the rows that have every method's number, and how many they are."""
    whole = [row for row in rows if row["given_psnr"] is not None]
    names = [f"{method}_psnr" for method in METHODS] if whole else []
    return {"cases": len(whole), **{n: float(np.mean([row[n] for row in whole])) for n in names}}


def render_real(result: dict[str, Any]) -> str:
    """The rows as an aligned plain-text table, followed by what is left out and the protocol."""

    def cells(row: dict[str, Any]) -> list[str]:
        values = [row[f"{method}_psnr"] for method in METHODS] + [row.get("expected_gain_db")]
        return ["-" if value is None else f"{value:.2f}" for value in values]

    lines = [
        [row["case"], f"x{row['scale']}", *cells(row), row["truth"], f"{row['displacement']:.2f}"]
        for row in result["rows"]
    ]
    if result["mean"]["cases"]:
        lines.append([f"mean of {result['mean']['cases']}", "", *cells(result["mean"]), "", ""])
    protocol = result["protocol"]
    return "\n".join(
        [
            f"model {result['model']}, PSNR in dB",
            *align_columns(["case", "scale", *METHODS, "foretold", "truth", "off px"], lines),
            *(f"{name} is left out: {why}" for name, why in result["left_out"].items()),
            f"{protocol['channel']}; border {protocol['border']} px",
            *(f"{name}: {protocol[name]}" for name in ("scale", "truth", "foretold")),
        ]
    )
