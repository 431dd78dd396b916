from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from refsr.resize import imresize
from scenes import facade, seen_through
from web_api import SHIFT, encoded


@pytest.fixture(scope="module")
def photo() -> bytes:
    """A small photo, 96 x 64, a PNG with EXIF."""
    exif = PIL.Image.Exif()
    exif[0x010F] = "Camera of the test"
    return encoded(imresize(facade(3)[:256, :384], scale=0.25), exif=exif)


@pytest.fixture(scope="module")
def reference() -> bytes:
    return encoded(seen_through(facade(3), SHIFT, (512, 384)), "JPEG", quality=95)


@pytest.fixture(scope="module")
def mismatched(natural: NDArray[np.uint8]) -> bytes:
    return encoded(natural)
