"""Degraded LR photos for training: what changes, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from refsr.arrays import Pixels
from refsr.degradation.condition import condition
from refsr.degradation.simulate import parse_kind, shrink, simulate
from refsr.resize import imresize
from refsr.train.config import DataConfig, RunConfig
from refsr.train.degrade import (
    GRID,
    Degraded,
    compress_jpeg,
    corrected_lr,
    degraded_lr,
    downscale,
    measure_aliasing,
    noisy,
    told_condition,
    unaliased_lr,
)
from refsr.train.sampler import PatchSampler
from refsr.train.validation import Validation


def blockiness(image: Pixels) -> float:
    """Steps across the JPEG grid over steps beside it."""
    steps = np.abs(np.diff(image.astype(float).mean(axis=2), axis=1)).mean(axis=0)
    edge = np.arange(steps.size) % GRID == GRID - 1
    return float(steps[edge].mean() / steps[~edge].mean())


def test_a_degraded_photo_is_the_same_photo(natural: Pixels) -> None:
    clean = imresize(natural, scale=1 / 4).astype(float)
    seen: list[float] = []
    for seed in range(40):
        lr = degraded_lr(np.random.default_rng(seed), natural).pixels
        again = degraded_lr(np.random.default_rng(seed), natural).pixels
        assert lr.dtype == np.uint8
        assert lr.shape == clean.shape
        assert np.array_equal(lr, again)
        assert np.abs(lr.mean(axis=(0, 1)) - clean.mean(axis=(0, 1))).max() < 3.0  # colors stay
        seen.append(float(np.abs(lr - clean).mean()))
    assert 0.5 < np.median(seen) < 12  # damaged, not destroyed
    assert max(seen) > 3 * min(seen)


def test_no_way_of_shrinking_moves_the_photo(natural: Pixels) -> None:
    """The centre of mass of the difference to a shifted photo is least at no shift."""
    clean = imresize(natural, scale=1 / 4).astype(float)
    for seed in range(30):
        lr = downscale(np.random.default_rng(seed), natural).astype(float)
        errors = {
            (dy, dx): np.abs(np.roll(lr, (dy, dx), (0, 1)) - clean)[2:-2, 2:-2].mean()
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        }
        assert min(errors, key=errors.__getitem__) == (0, 0)
        if errors[0, 0] > 0.6 * errors[1, 0]:  # aliased: too unlike the photo to measure
            continue
        sides = [errors[-1, 0] - errors[1, 0], errors[0, -1] - errors[0, 1]]
        assert max(map(abs, sides)) < 0.5 * (errors[1, 0] - errors[0, 0])  # no half pixel either


def test_jpeg_leaves_its_grid_and_noise_its_grain(
    rng: np.random.Generator, natural: Pixels
) -> None:
    grids = [
        blockiness(compress_jpeg(np.random.default_rng(seed), natural, 30)) for seed in range(12)
    ]
    assert np.median(grids) > 1.1 * blockiness(natural)
    flat = np.full((64, 64, 3), 128, np.uint8)
    deviations = [float(noisy(rng, flat).std()) for _ in range(20)]
    assert 1.0 < np.median(deviations) < 20.0


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_share_of_the_patches_is_degraded(tmp_path: Path, natural: Pixels, share: float) -> None:
    Image.fromarray(natural).save(tmp_path / "a.png")
    shares: dict[str, Any] = {"real": 0.0, "simulated": 0.5, "patch": 64}
    clean = PatchSampler(DataConfig(photos=(str(tmp_path),), **shares), 1)
    worse = PatchSampler(DataConfig(photos=(str(tmp_path),), **shares, degraded=share), 1)
    changed = 0
    for index in range(40):
        a, b = clean.sample(0, index), worse.sample(0, index)
        assert np.array_equal(a.hr, b.hr)
        assert np.array_equal(a.ref, b.ref)
        changed += not np.array_equal(a.lr, b.lr)
    assert changed == 0 if share == 0.0 else 8 < changed < 32


def test_what_is_trained_on_damaged_photos_is_validated_on_them(
    tmp_path: Path, natural: Pixels
) -> None:
    Image.fromarray(natural).save(tmp_path / "a.png")
    sets = [
        Validation(RunConfig(data=DataConfig(benchmark=str(tmp_path), real=0.0, degraded=share)))
        for share in (0.0, 0.9, 0.9)
    ]
    clean, worse, again = (validation.sets["simulated"][0] for validation in sets)
    assert not np.array_equal(clean.lr, worse.lr)
    assert np.array_equal(worse.lr, again.lr)
    assert np.array_equal(clean.hr, worse.hr)
    assert np.array_equal(clean.ref, worse.ref)


@pytest.mark.parametrize("kind", ["blur:3", "sharpened"])
def test_a_corrected_photo_is_nearer_to_the_clean_one(natural: Pixels, kind: str) -> None:
    clean = imresize(natural, scale=1 / 4)
    lr = np.asarray(simulate(natural, parse_kind(kind)))
    before = np.abs(lr.astype(float) - clean).mean()
    for seed in range(5):
        found, undone = corrected_lr(np.random.default_rng(seed), lr, clean)
        assert undone is not None
        assert np.abs(found.astype(float) - clean).mean() < 0.8 * before


def test_a_clean_photo_is_not_corrected(natural: Pixels) -> None:
    clean = imresize(natural, scale=1 / 4)
    rng = np.random.default_rng(0)
    for lr in (clean, np.full_like(clean, 90)):
        found, undone = corrected_lr(rng, lr, clean)
        np.testing.assert_array_equal(found, lr)
        assert undone is None


@pytest.mark.parametrize("kind", ["linear", "nearest"])
def test_aliasing_is_removed_where_the_reference_is_valid(natural: Pixels, kind: str) -> None:
    clean = imresize(natural, scale=1 / 4)
    lr = np.asarray(simulate(natural, parse_kind(kind)))
    valid = np.full(natural.shape[:2], 255, np.uint8)
    valid[:, :128] = 0
    found = unaliased_lr(lr, natural, natural, valid)
    errors = [np.abs(image.astype(float) - clean) for image in (lr, found)]
    assert errors[1][:, 34:].mean() < 0.9 * errors[0][:, 34:].mean()
    np.testing.assert_array_equal(found[:, :32], lr[:, :32])
    np.testing.assert_array_equal(unaliased_lr(clean, natural, natural, valid), clean)


def test_what_is_told_is_what_was_done(natural: Pixels) -> None:
    """Of 60 photos: aliasing by the way of shrinking, noise and quality as they were."""
    seen = [degraded_lr(np.random.default_rng(seed), natural) for seed in range(60)]
    linear, matlab = (
        measure_aliasing(np.asarray(simulate(natural, parse_kind(kind))), shrink(natural))
        for kind in ("linear", "matlab")
    )
    assert matlab < 0.05 < 0.2 < linear
    assert sum(photo.quality is None for photo in seen) > 15
    assert all(35 <= photo.quality < 97 for photo in seen if photo.quality is not None)
    assert sum(photo.noise < 0.3 for photo in seen) > 15
    assert max(photo.noise for photo in seen) > 2
    photo, rng = Degraded(seen[0].pixels, 0.4, 3.0, 60), np.random.default_rng(0)
    told = np.stack([told_condition(rng, photo, None) for _ in range(300)])
    known = told[told[:, 0] > 0]
    assert 0.02 < 1 - len(known) / 300 < 0.15
    assert not told[told[:, 0] == 0].any()
    expected = condition(0.4, 3.0, 60, None)
    assert np.abs(np.median(known, axis=0) - expected).max() < 0.03
    assert known[:, 1].std() > 0.05


def test_photos_are_corrected_by_their_shares(tmp_path: Path, natural: Pixels) -> None:
    """Those with a reference by one share, those without by the other."""
    Image.fromarray(natural).save(tmp_path / "a.png")

    def samples(simulated: float, **shares: float) -> list[Pixels]:
        kinds: dict[str, Any] = {"real": 0.0, "mismatched": 0.0, "patch": 64, "degraded": 1.0}
        config = DataConfig(photos=(str(tmp_path),), simulated=simulated, **kinds, **shares)
        return [PatchSampler(config, 1).sample(0, index).lr for index in range(30)]

    def changed(simulated: float, **shares: float) -> int:
        pairs = zip(samples(simulated), samples(simulated, **shares), strict=True)
        return sum(not np.array_equal(a, b) for a, b in pairs)

    assert changed(1.0, corrected=1.0) > 8
    assert changed(1.0, corrected_blank=1.0) == 0
    assert changed(0.0, corrected_blank=1.0) > 8
    assert changed(0.0, corrected=1.0) == 0
