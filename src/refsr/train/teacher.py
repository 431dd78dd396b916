"""Distillation: a trained model's self-ensemble result is a second target beside the truth.

The truth holds detail that the LR photo does not determine, which adds noise to the gradient of
small batches. The model's mean over eight flips and rotations has no such detail and is closer to
the truth than a single pass: with it, training improves at a learning rate at which it gets worse
on the truth alone (docs/DECISIONS.md has the numbers).
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from refsr.arrays import Pixels
from refsr.image.atomic import atomic_file
from refsr.inference.back_projection import back_project
from refsr.inference.ensemble import Ensemble, TileNetwork
from refsr.inference.network import Network
from refsr.train.datasets import Sample
from refsr.weights.models import find_model


class Teacher:
    """A model and the cache of its results, named by a hash of model and inputs."""

    def __init__(self, name: str, cache: Path) -> None:
        """``name``: a shipped model or an ONNX file. Raises ModelError where there is none."""
        self.model = find_model(name)
        self.model_hash = str(self.model.card["sha256"])[:8]
        self.cache = cache
        self.network: TileNetwork | None = None  # loaded for the first sample that is not cached

    def add_target(self, sample: Sample) -> Sample:
        """The sample with its target, from the cache or computed now (1 to 10 seconds)."""
        inputs = [sample.lr, sample.ref, sample.validity] if sample.validity.any() else [sample.lr]
        digest = hashlib.sha256(self.model_hash.encode())
        for image in inputs:
            digest.update(repr(image.shape).encode())
            digest.update(image.tobytes())
        # "soft-" as in existing caches
        path = self.cache / f"soft-{self.model_hash}-{digest.hexdigest()[:20]}.npy"
        if not path.exists():
            self.cache.mkdir(parents=True, exist_ok=True)
            target = self.compute_target(sample)
            with atomic_file(path) as file:  # other processes may write it, too
                np.save(file, target)
        return replace(sample, target=np.asarray(np.load(path, mmap_mode="r")))

    def compute_target(self, sample: Sample) -> Pixels:
        """The self-ensemble result (4h, 4w, 3) uint8 of a sample, back-projected to its LR."""
        if self.network is None:
            self.network = Ensemble(Network(self.model))
        lr, ref, validity = (
            np.asarray(image, np.float32) / np.float32(255)
            for image in (sample.lr, sample.ref, sample.validity)
        )
        sr = back_project(self.network.run(lr, ref, validity)[0], lr)
        return np.clip(np.rint(sr * 255.0), 0, 255).astype(np.uint8)
