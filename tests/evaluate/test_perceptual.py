"""HaarPSI against another library's values, and the share of fine detail against what it means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refsr.arrays import Pixels
from refsr.evaluate.perceptual import detail_share, haarpsi
from refsr.resize import imresize


def noisy(photo: Pixels) -> Pixels:
    noise = np.random.default_rng(5).integers(-20, 21, photo.shape)
    return np.clip(photo.astype(int) + noise, 0, 255).astype(np.uint8)


def soft(photo: Pixels) -> Pixels:
    return imresize(imresize(photo, scale=0.25), size=photo.shape[:2])


def test_haarpsi_equals_another_library(natural: Pixels) -> None:
    """Values of piq 0.8.0 (its YIQ matrix has one digit more) on these pictures."""
    expected = {
        (192, 256): {"soft": 0.73059, "noisy": 0.85204, "turned": 0.33135},
        (177, 203): {"soft": 0.68885, "noisy": 0.86052, "turned": 0.34624},
    }
    for (height, width), values in expected.items():
        photo = np.ascontiguousarray(natural[:height, :width])
        others = {"soft": soft(photo), "noisy": noisy(photo), "turned": photo[::-1].copy()}
        for name, other in others.items():
            assert haarpsi(photo, other, border=0) == pytest.approx(values[name], abs=1e-4), name
            assert haarpsi(photo, other, border=0) == pytest.approx(haarpsi(other, photo, border=0))
    assert haarpsi(natural, natural) == pytest.approx(1.0)
    black = np.zeros_like(natural)
    assert haarpsi(black, black) == 1.0


def test_the_detail_share_tells_soft_from_sharp_from_noisy(natural: Pixels) -> None:
    assert detail_share(natural, natural) == 1.0
    assert detail_share(soft(natural), natural) < 0.2
    assert detail_share(noisy(natural), natural) > 1.3
    middle = ((natural.astype(int) + soft(natural)) // 2).astype(np.uint8)
    assert detail_share(middle, natural) == pytest.approx(0.5, abs=0.1)
    flat = np.full_like(natural, 90)
    assert detail_share(natural, flat) == 0.0


@pytest.mark.parametrize("measure", [haarpsi, detail_share])
def test_what_cannot_be_measured_is_said(natural: Pixels, measure: Any) -> None:
    with pytest.raises(ValueError, match="of one size are needed"):
        measure(natural, natural[1:])
    with pytest.raises(ValueError, match="too small to be measured: 24 a side"):
        measure(natural[:23], natural[:23])
