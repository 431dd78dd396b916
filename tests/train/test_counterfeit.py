"""Counterfeits: what differs, what does not, and what the small photo shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from refsr.arrays import Pixels
from refsr.resize import imresize
from refsr.train.config import DataConfig
from refsr.train.counterfeit import with_signs, with_swapped_shapes
from refsr.train.datasets import Sample
from refsr.train.sampler import PatchSampler


@pytest.fixture
def sample() -> Sample:
    """A patch whose reference is the photo itself."""
    hr = np.ascontiguousarray(skimage.data.astronaut()[:128, 160:288])
    return Sample(imresize(hr, scale=1 / 4), hr, hr, np.full((128, 128), 255, np.uint8), hr)


def apart(first: Pixels, second: Pixels) -> NDArray[np.int64]:
    return np.abs(first.astype(np.int64) - second).max(-1)


@pytest.mark.parametrize("seed", range(6))
def test_signs_stand_in_photo_label_and_reference(sample: Sample, seed: int) -> None:
    found = with_signs(np.random.default_rng(seed), sample)
    assert apart(found.hr, sample.hr).max() > 40
    np.testing.assert_array_equal(found.lr, imresize(found.hr, scale=1 / 4))
    assert found.target is not None
    np.testing.assert_array_equal(found.target, found.hr)  # as the label was the photo before
    drawn = np.mean(apart(found.hr, sample.hr) > 20)
    differs = np.mean(apart(found.hr, found.ref) > 40)
    assert differs < drawn  # the ground is the same
    assert found.validity.all()


def test_some_signs_differ_and_some_do_not(sample: Sample) -> None:
    differing = [
        np.mean(apart(found.hr, found.ref) > 60)
        for found in (with_signs(np.random.default_rng(seed), sample) for seed in range(12))
    ]
    assert max(differing) > 0.02
    assert min(differing) < 0.02


@pytest.mark.parametrize("seed", range(6))
def test_swapped_shapes_are_small_and_in_tone(sample: Sample, seed: int) -> None:
    other = np.ascontiguousarray(skimage.data.coffee()[100:228, 200:328])
    found = with_swapped_shapes(np.random.default_rng(seed), sample.ref, other)
    changed = apart(found, sample.ref) > 0
    assert 0 < changed.mean() < 0.6
    tone = np.abs(found[changed].mean(0) - sample.ref[changed].mean(0))
    assert tone.max() < 12  # levels


def test_references_are_counterfeited_by_their_share(tmp_path: Path) -> None:
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "a.png")

    def references(counterfeit: float, simulated: float) -> list[Pixels]:
        kinds: dict[str, Any] = {"real": 0.0, "mismatched": 0.0, "patch": 64}
        kinds |= {"simulated": simulated, "counterfeit": counterfeit}
        config = DataConfig(photos=(str(tmp_path),), **kinds)
        return [PatchSampler(config, 1).sample(0, index).ref for index in range(20)]

    def changed(counterfeit: float, simulated: float) -> int:
        pairs = zip(references(0.0, simulated), references(counterfeit, simulated), strict=True)
        return sum(not np.array_equal(before, after) for before, after in pairs)

    assert changed(1.0, 1.0) == 20
    assert 3 < changed(0.5, 1.0) <= 20
    assert changed(1.0, 0.0) == 0  # none without a reference
