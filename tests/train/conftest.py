"""Photos to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refsr.arrays import Pixels


@pytest.fixture
def photos(tmp_path: Path, natural: Pixels) -> Path:
    """A folder of three photos."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, pixels in enumerate((natural, natural[::-1], natural[:, ::-1, ::-1])):
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{index}.png")
    return folder
