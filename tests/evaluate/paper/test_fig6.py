"""Fig. 6: repeated structure with and without SSEN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from refsr.evaluate.paper.fig6 import CROP, ENLARGED, facade, fig6_sections
from refsr.image.photo import load_photo
from refsr.resize import imresize


def test_the_drawn_facade_repeats_at_shrinking_sizes() -> None:
    """Its columns of windows: the spectrum of a column's luma peaks higher up, further right."""
    image = facade().astype(np.float32).mean(axis=2)
    assert image.shape == (384, 384)
    peaks = []
    for left in (20, 300):
        column = image[140:240, left : left + 8].mean(axis=1)
        spectrum = np.abs(np.fft.rfft(column - column.mean(), 512))
        peaks.append(int(spectrum[8:].argmax()) + 8)
    assert peaks[1] > 1.3 * peaks[0]


def test_the_methods_stand_beside_the_truth(tmp_path: Path) -> None:
    sections, measured = fig6_sections([], "ssen-tiny", "lanczos", tmp_path)
    scores = {name: values[0] for name, values in measured["facade"].items()}
    assert list(scores) == ["bicubic", "without SSEN", "with SSEN"]
    assert scores["bicubic"] < scores["without SSEN"] < scores["with SSEN"]
    assert sections[0].rows[0][1].startswith(f"{scores['bicubic']:.2f} / ")
    sheet = load_photo(tmp_path / "fig6_facade.png").as_uint8()
    side = CROP * ENLARGED
    assert sheet.shape == (side, 4 * side, 3)
    truth = sheet[:, 3 * side :: 1][::ENLARGED, ::ENLARGED]
    hr = facade()
    at = [
        (y, x)
        for y in range(0, 384 - CROP + 1)
        for x in range(0, 384 - CROP + 1)
        if (hr[y, x] == truth[0, 0]).all() and np.array_equal(hr[y : y + CROP, x : x + CROP], truth)
    ]
    ((y, x),) = at
    bicubic = imresize(imresize(hr, scale=0.25), scale=4.0)[y : y + CROP, x : x + CROP]
    assert np.array_equal(sheet[::ENLARGED, :side:ENLARGED], bicubic)
    _, alone = fig6_sections([], "bicubic", "", tmp_path)
    assert list(alone["facade"]) == ["bicubic", "with SSEN"]
    assert alone["facade"]["with SSEN"][0] == pytest.approx(scores["bicubic"])
