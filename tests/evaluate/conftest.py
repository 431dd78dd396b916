"""Small CUFED5 data and a model that needs no network, for the tests of comparisons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refsr.arrays import Pixels
from refsr.evaluate import run
from refsr.resize import imresize


@pytest.fixture
def cufed5(tmp_path: Path, natural: Pixels) -> Path:
    """Two groups of small photos; a reference is bluer, the less similar it is."""
    folder = tmp_path / "data" / "test" / "CUFED5"
    folder.mkdir(parents=True)
    for group, image in (("000", natural), ("001", natural[::-1, ::-1])):
        for level in range(6):
            pixels = image[:48, :64].copy()
            pixels[..., 2] = 40 * level
            Image.fromarray(pixels).save(folder / f"{group}_{level}.png")
    return tmp_path / "data"


@pytest.fixture
def tinted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that adds to bicubic what the first reference's blue tells, no reference nothing."""

    def load_method(model: str, *_: object) -> run.Runner:
        def method(lr: Pixels, references: list[Pixels]) -> Pixels:
            sr = imresize(lr, scale=4.0)
            if model == "bicubic" or not references:
                return sr
            return np.clip(sr.astype(int) + int(references[0][..., 2].min()) // 40, 0, 255).astype(
                np.uint8
            )

        return run.Runner(method)

    monkeypatch.setattr(run, "load_method", load_method)
