"""The paper's Fig. 7: the sampling positions behind one output pixel, and their modulation.

Two cases: a photo with its most similar reference, and a photo that is its own reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.data.pairs import EvaluationJob
from refsr.evaluate.paper.sections import Section
from refsr.evaluate.protocol import load_truth
from refsr.image.photo import Photo, save_photo
from refsr.report.explain import Explanation, InspectableModel, explain, modulation_map
from refsr.report.figure import draw_figure, draw_heat
from refsr.resize import SCALE, imresize
from refsr.upscaler import Upscaler, network_inputs

MARGIN = 16  # LR pixels at the border that are not chosen from
WINDOW = 9  # LR pixels a side over which the lost detail is averaged


@dataclass(frozen=True)
class Case:
    """One figure: its name in file names, its title and its input."""

    name: str
    title: str
    job: EvaluationJob
    with_reference: bool


def most_detailed_pixel(
    hr: NDArray[np.uint8], lr: NDArray[np.uint8], allowed: NDArray[np.float32]
) -> tuple[int, int]:
    """x, y in HR pixels where shrinking removed the most detail.

    ``hr`` (4h, 4w, 3) and ``lr`` (h, w, 3) uint8; LR pixels with ``allowed`` (h, w) of one half or
    less are not chosen, unless there are no others.
    """
    lost = np.abs(hr.astype(np.float32) - imresize(lr, scale=float(SCALE))).mean(axis=2)
    height, width = lr.shape[:2]
    cells = lost.reshape(height, SCALE, width, SCALE).mean(axis=(1, 3))
    score = np.asarray(cv2.blur(cells, (WINDOW, WINDOW)), np.float32)
    inside = np.zeros_like(score)
    edge = min(MARGIN, (min(height, width) - 1) // 2)
    inside[edge : height - edge, edge : width - edge] = 1
    wanted = inside * (np.asarray(cv2.blur(allowed, (WINDOW, WINDOW))) > 0.5)
    score = score * (wanted if wanted.any() else inside)
    y, x = np.unravel_index(int(score.argmax()), score.shape)
    return int(x) * SCALE + SCALE // 2, int(y) * SCALE + SCALE // 2


def draw_case(case: Case, model: str, out: Path) -> dict[str, Any]:
    """Draw one case and return its statistics. Raises ModelError, PhotoError, DataError."""
    hr = load_truth(case.job.input, None)
    photo = imresize(hr, scale=1 / SCALE)
    upscaler = Upscaler.load(model)
    references = upscaler.prepare(list(case.job.references) if case.with_reference else None)
    corrected, network = network_inputs(upscaler, photo, references)
    layers = InspectableModel(None if network is None else network.model)
    everywhere = np.ones(photo.shape[:2], np.float32)
    heat, valid = modulation_map(corrected, layers, lambda share: None)
    used = corrected.coarse is not None
    at = most_detailed_pixel(hr, photo, valid if used else everywhere)
    explanation = explain(corrected, layers, at)
    save_photo(Photo.of(draw_figure(explanation)).marked("sheet"), out / f"fig7_{case.name}.png")
    picture = draw_heat(photo, heat, valid if used else None)
    save_photo(Photo.of(picture).marked("map"), out / f"fig7_{case.name}_modulation.png")
    name = case.job.relative(case.job.input)
    return {"input": name, "at": list(at), **statistics(explanation)}


def statistics(explanation: Explanation) -> dict[str, Any]:
    """The number of samples and their distance from the undeformed position, in source pixels.

    ``reach``: the distance within which half, and nine tenths, of the modulation lie. Where the
    photo is its own reference, the pixels are those of the upscaled photo.
    """
    pixels = SCALE if explanation.source is None else 1
    distance = pixels * np.hypot(*(explanation.xy - explanation.xy_identity).T)
    order = np.argsort(distance)
    share = np.cumsum(explanation.strength[order]) / max(float(explanation.strength.sum()), 1e-9)
    half, most = (float(distance[order][np.searchsorted(share, part)]) for part in (0.5, 0.9))
    return {
        "layers": explanation.layers,
        "samples": len(explanation.xy),
        "mean_modulation": float(explanation.strength.mean()),
        "reach_half": half,
        "reach_nine_tenths": most,
    }


def fig7_sections(cases: list[Case], model: str, out: Path) -> tuple[list[Section], dict[str, Any]]:
    """Draw every case into ``out``, one row each. Raises ModelError, PhotoError, DataError."""
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
        "The pixel: where shrinking removed the most detail, within what the reference covers.",
        "Modulation: the product over the three layers, also the opacity in the picture.",
        "Within: the distance from the undeformed position, in pixels of the reference or of the "
        "upscaled photo, that holds half, and nine tenths, of the total modulation.",
        "fig7_*_modulation.png: the modulation over the whole photo.",
    ]
    return [Section(f"Ours: {model}", head, rows, notes)], measured
