"""The sampler: samples depend on seed, step and index alone, and their images stay aligned."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from refsr.arrays import Pixels
from refsr.errors import DataError
from refsr.resize import imresize
from refsr.train import sampler as sampler_module
from refsr.train.sampler import PatchSampler
from refsr.train.simulate import MARGIN
from runs import tiny_run


def test_samples_are_functions_of_seed_step_and_index(photos: Path, tmp_path: Path) -> None:
    config = tiny_run(photos, tmp_path).data
    first, again = PatchSampler(config, 3), PatchSampler(config, 3, workers=3)
    other = PatchSampler(config, 4)

    def arrays(sampler: PatchSampler, step: int, index: int) -> bytes:
        return b"".join(part.tobytes() for part in sampler.sample(step, index).images().values())

    seen = {arrays(first, step, index) for step in range(4) for index in range(3)}
    assert len(seen) == 12
    assert arrays(again, 3, 2) in seen
    assert arrays(first, 3, 2) == arrays(again, 3, 2)  # whatever was drawn before
    assert arrays(other, 3, 2) not in seen


def test_a_photo_too_small_or_broken_is_said(tmp_path: Path, photos: Path) -> None:
    config = tiny_run(photos, tmp_path).data
    with pytest.raises(DataError, match="No training photo is at least 512 pixels a side"):
        PatchSampler(dataclasses.replace(config, patch=512), 1)
    (photos / "broken.jpg").write_bytes(b"no photo")
    with pytest.raises(DataError, match=r"A training photo cannot be used: .*broken\.jpg"):
        PatchSampler(config, 1)
    with pytest.raises(DataError, match="no photos in"):
        PatchSampler(dataclasses.replace(config, photos=(str(tmp_path / "photos" / "x"),)), 1)


def test_all_of_a_sample_turns_together(
    monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path
) -> None:
    """References that are the photo itself, valid in their bright half, stay so when turned."""

    def itself(_: object, around: Pixels, __: object, size: int) -> tuple[Pixels, Pixels]:
        ref = around[MARGIN : MARGIN + size, MARGIN : MARGIN + size]
        return ref, np.where(ref.mean(axis=2) > 110, 255, 0).astype(np.uint8)

    monkeypatch.setattr(sampler_module, "simulate_reference", itself)
    config = tiny_run(photos, tmp_path).data
    config = dataclasses.replace(config, simulated=1.0, mismatched=0.0)
    sampler = PatchSampler(config, 1)
    for index in range(16):  # eight ways to turn and mirror
        sample = sampler.sample(0, index)
        again = imresize(sample.hr, scale=0.25)
        inner = np.s_[2:-2, 2:-2]  # borders were shrunk with what is beyond them
        difference = again[inner].astype(int) - sample.lr[inner]
        assert np.abs(difference).mean() < 0.5
        np.testing.assert_array_equal(sample.ref, sample.hr)
        expected = np.where(sample.ref.mean(axis=2) > 110, 255, 0)
        np.testing.assert_array_equal(sample.validity, expected)
