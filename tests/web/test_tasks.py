"""What a worker answers: verdicts and outlines are those of the library."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from refsr import Upscaler
from refsr.report.report import describe, expected_together
from refsr.resize import imresize
from refsr.web.match_outlines import match_outlines
from refsr.web.tasks import WorkerState, check
from scenes import facade, seen_through
from web_api import SHIFT


def test_the_outline_on_the_reference_is_the_one_on_the_photo() -> None:
    hr = facade(3)[:256, :384]
    upscaler = Upscaler.load("detail-transfer")
    upscaler.set_reference(seen_through(facade(3), SHIFT, (512, 384)))
    composite = upscaler.check(imresize(hr, scale=0.25)).composite
    assert composite is not None
    (found,) = match_outlines(composite, 0)
    xy_hr = np.array(found["photo"]) * (384, 256)
    xy_ref = np.array(found["reference"]) * (512, 384)
    expected = cv2.perspectiveTransform(xy_hr[None].astype(np.float64), SHIFT)[0]
    inside = (expected > 0).all(axis=1) & (expected < (512, 384)).all(axis=1)
    assert inside.mean() > 0.5
    assert np.median(np.abs(xy_ref - expected)[inside]) < 2
    assert cv2.contourArea(xy_hr.astype(np.float32)) > 0.5 * 384 * 256


def test_references_looked_at_one_by_one_are_as_together(tmp_path: Path) -> None:
    """The check holds one reference at a time; its verdicts are those of the library."""
    hr = facade(3)[:256, :384]
    lr = imresize(hr, scale=0.25)
    view = seen_through(facade(3), SHIFT, (512, 384))
    others = [view, np.ascontiguousarray(view[:, :260]), hr[:, ::-1].copy()]
    PIL.Image.fromarray(lr).save(tmp_path / "photo", format="png")
    names = {"photo": "small.png"}
    for number, other in enumerate(others, start=1):
        PIL.Image.fromarray(other).save(tmp_path / f"reference-{number}", format="png")
        names[f"reference-{number}"] = f"{number}.png"
    state = WorkerState("detail-transfer", 450_000_000, 1, 4_000_000, 100_000_000)
    answer = check(state, {"folder": str(tmp_path), "names": names}, lambda _: None)
    state.upscaler.set_reference(list(others))
    composite = state.upscaler.check(lr).composite
    assert composite is not None
    for index, row in enumerate(answer["references"]):
        wanted = describe(f"{index + 1}.png", composite, index)
        assert {key: row[key] for key in wanted} == wanted
        assert (tmp_path / f"reference-{index + 1}.jpg").exists()
    assert [row["used"] for row in answer["references"]] == [True, True, False]
    assert answer["expected_gain_db"] == round(expected_together(composite), 2)
