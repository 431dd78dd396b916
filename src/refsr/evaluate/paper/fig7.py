"""The paper's Fig. 7: where the samples behind one pixel of the result fall, and how open they are.

Two cases: a photo with its most similar reference, and a photo that is its own reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.evaluate.pairs import EvaluationJob
from refsr.evaluate.paper.sections import Section
from refsr.evaluate.run import load_truth
from refsr.image.photo import Photo, save_photo
from refsr.registration.fusion import Composite
from refsr.report.explain import Explanation, InspectableModel, explain, modulation_map
from refsr.report.figure import draw_figure, draw_heat
from refsr.resize import SCALE, imresize
from refsr.upscaler import Upscaler
from refsr.weights.models import DETAIL_TRANSFER

EDGE = 16  # LR pixels at the border from which no pixel is chosen
WIDTH = 9  # LR pixels a side over which the lost detail is summed


@dataclass(frozen=True)
class Case:
    """One figure: its name in file names, and what is shown."""

    name: str
    title: str
    job: EvaluationJob
    with_reference: bool


def liveliest(
    hr: NDArray[np.uint8], lr: NDArray[np.uint8], allowed: NDArray[np.float32]
) -> tuple[int, int]:
    """x, y in the result of the place where shrinking took the most: a figure's natural choice.

    ``hr`` (4h, 4w, 3) and ``lr`` (h, w, 3) uint8; only LR pixels with ``allowed`` (h, w) above one
    half are chosen, unless there are none.
    """
    lost = np.abs(hr.astype(np.float32) - imresize(lr, scale=float(SCALE))).mean(axis=2)
    height, width = lr.shape[:2]
    cells = lost.reshape(height, SCALE, width, SCALE).mean(axis=(1, 3))
    score = np.asarray(cv2.blur(cells, (WIDTH, WIDTH)), np.float32)
    inside = np.zeros_like(score)
    edge = min(EDGE, (min(height, width) - 1) // 2)
    inside[edge : height - edge, edge : width - edge] = 1
    wanted = inside * (np.asarray(cv2.blur(allowed, (WIDTH, WIDTH))) > 0.5)
    score = score * (wanted if wanted.any() else inside)
    y, x = np.unravel_index(int(score.argmax()), score.shape)
    return int(x) * SCALE + SCALE // 2, int(y) * SCALE + SCALE // 2


def draw_case(case: Case, model: str, out: Path) -> dict[str, Any]:
    """Draw one case; returns what it shows. Raises ModelError, PhotoError, DataError."""
    layers = InspectableModel(model)
    hr = load_truth(case.job.input, None)
    photo = Photo.of(imresize(hr, scale=1 / SCALE))
    composite: Composite | None = None
    if case.with_reference:
        upscaler = Upscaler.load(DETAIL_TRANSFER)
        upscaler.set_reference(list(case.job.references))
        composite = upscaler.register(photo)
    everywhere = np.ones((photo.height, photo.width), np.float32)
    heat, valid = modulation_map(photo, composite, layers, lambda done: None)
    used = composite is not None and composite.matched
    at = liveliest(hr, photo.as_uint8(), valid if used else everywhere)
    found = explain(photo, composite, layers, at)
    save_photo(Photo.of(draw_figure(found)), out / f"fig7_{case.name}.png")
    picture = draw_heat(photo.as_uint8(), heat, valid if used else None)
    save_photo(Photo.of(picture), out / f"fig7_{case.name}_modulation.png")
    return {"input": case.job.shown(case.job.input), "at": list(at), **statistics(found)}


def statistics(found: Explanation) -> dict[str, Any]:
    """How many samples there are, and how far from the pixel's own place, in pixels of the source.

    ``reach``: the distance within which half, and nine tenths, of the modulation lie. Where the
    photo is its own reference, the pixels are those of the enlarged photo.
    """
    pixels = SCALE if found.source is None else 1
    distance = pixels * np.hypot(*(found.xy - found.xy_identity).T)
    order = np.argsort(distance)
    share = np.cumsum(found.strength[order]) / max(float(found.strength.sum()), 1e-9)
    half, most = (float(distance[order][np.searchsorted(share, part)]) for part in (0.5, 0.9))
    return {
        "layers": found.layers,
        "samples": len(found.xy),
        "mean_modulation": float(found.strength.mean()),
        "reach_half": half,
        "reach_nine_tenths": most,
    }


def fig7_sections(cases: list[Case], model: str, out: Path) -> tuple[list[Section], dict[str, Any]]:
    """Draw every case into ``out``; a row for each. Raises ModelError, PhotoError, DataError."""
    measured = {case.name: draw_case(case, model, out) for case in cases}
    rows = [
        [
            case.title,
            f"{facts['at'][0]}, {facts['at'][1]}",
            f"{facts['samples']}",
            f"{facts['mean_modulation']:.3f}",
            f"{facts['reach_half']:.1f} / {facts['reach_nine_tenths']:.1f}",
            f"fig7_{case.name}.png",
        ]
        for case, facts in ((case, measured[case.name]) for case in cases)
    ]
    head = ["case", "x, y", "samples", "mean modulation", "half / 90 % within", "picture"]
    notes = [
        "The pixel: where shrinking took the most, within the part that the reference covers.",
        "Modulation: the product of the three layers', also the opacity in the picture.",
        "Within: the distance from the pixel's own place, in pixels of the reference or of the "
        "enlarged photo, that holds half, and nine tenths, of all modulation.",
        "fig7_*_modulation.png: the modulation over the whole photo.",
    ]
    return [Section(f"Ours: {model}", head, rows, notes)], measured
