"""The cache of registered pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refsr.arrays import Pixels
from refsr.resize import imresize
from refsr.train import pair_cache
from refsr.train.config import DataConfig
from refsr.train.datasets import Sample, load_hr
from refsr.train.pair_cache import cached_pairs


def test_pairs_are_registered_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, natural: Pixels
) -> None:
    """A pair that does not match leaves an empty file, and neither kind is tried again."""
    scene = tmp_path / "pairs" / "house"
    scene.mkdir(parents=True)
    for name in ("a", "b"):
        Image.fromarray(natural).save(scene / f"{name}.png")
    config = DataConfig(pairs=str(tmp_path / "pairs"), cache=str(tmp_path / "cache"))
    tries: list[int] = []

    def second_only(hr: Pixels, reference: Pixels) -> Sample | None:
        tries.append(1)
        full = np.full(hr.shape[:2], 255, np.uint8)
        lr = imresize(hr, scale=0.25)
        return Sample(lr, hr, reference, full) if len(tries) == 2 else None

    monkeypatch.setattr(pair_cache, "register_pair", second_only)
    first = cached_pairs([scene], config)
    again = cached_pairs([scene], config)
    assert len(tries) == 2
    sizes = {p.name: p.stat().st_size > 0 for p in (tmp_path / "cache").iterdir()}
    assert sizes == {"house-a-b-1000.npz": False, "house-b-a-1000.npz": True}
    assert len(first) == len(again) == 1
    for key, value in vars(first[0]).items():
        np.testing.assert_array_equal(value, getattr(again[0], key))
    np.testing.assert_array_equal(again[0].hr, load_hr(scene / "b.png", 1000))
