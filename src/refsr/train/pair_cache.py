"""The cache of registered training pairs: each ordered pair of views is registered once."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from refsr.arrays import Pixels
from refsr.image.atomic import atomic_file
from refsr.image.photo import load_photo
from refsr.registration.register import align_reference, prepare_reference, register
from refsr.resize import SCALE, imresize
from refsr.train.config import DataConfig
from refsr.train.datasets import Sample, image_files, load_hr


def register_pair(hr: Pixels, reference: Pixels) -> Sample | None:
    """Register ``reference`` to ``hr`` shrunk by four; None where they do not match."""
    lr = imresize(hr, scale=1 / SCALE)
    prepared = prepare_reference(reference)
    registration = register(lr, prepared)
    if not registration.matched:
        return None
    rows, columns = slice(0, lr.shape[0]), slice(0, lr.shape[1])
    aligned, validity = align_reference(registration, prepared, lr, rows, columns)
    quantized = [
        np.clip(np.rint(part * 255.0), 0, 255).astype(np.uint8) for part in (aligned, validity)
    ]
    return Sample(lr, hr, quantized[0], quantized[1])


def cache_file(config: DataConfig, scene: str, first: Path, second: Path) -> Path:
    """The cache file of the view ``second`` registered to ``first``."""
    return Path(config.cache) / f"{scene}-{first.stem}-{second.stem}-{config.max_side}.npz"


def cached_pairs(folders: list[Path], config: DataConfig) -> list[Sample]:
    """Every ordered pair of views of every scene that registers, from the cache or computed now.

    A pair that does not register leaves an empty file, so that it is not tried again.
    """
    Path(config.cache).mkdir(parents=True, exist_ok=True)
    samples: list[Sample] = []
    for folder in tqdm(folders, desc="registered pairs", disable=None):
        for first, second in permutations(image_files(folder), 2):
            path = cache_file(config, folder.name, first, second)
            if not path.exists():
                hr = load_hr(first, config.max_side)
                sample = register_pair(hr, load_photo(second).as_uint8())
                with atomic_file(path) as file:  # other processes may write it, too
                    if sample is not None:
                        arrays: dict[str, Any] = dict(sample.images())
                        np.savez(file, **arrays)
            if path.stat().st_size:
                with np.load(path) as cached:
                    samples.append(Sample(**{key: cached[key] for key in cached.files}))
    return samples
