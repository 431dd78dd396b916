"""A teacher: what a finished model makes of a training sample is a second target beside the truth.

The truth holds detail that nobody can foretell from the small photo. To a gradient that is noise,
and small batches are full of it. The mean over a model's eight views (its self-ensemble) has none,
and is nearer to the truth than any one view: from it a network learns at a learning rate at which
it only loses against the truth alone (docs/DECISIONS.md has the numbers).
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
    """A model and the folder where its results are kept, named by what they were made of."""

    def __init__(self, name: str, cache: Path) -> None:
        """``name``: a shipped model or an ONNX file. Raises ModelError where there is none."""
        self.model = find_model(name)
        self.mark = str(self.model.card["sha256"])[:8]
        self.cache = cache
        self.network: TileNetwork | None = None  # loaded for the first sample that is not kept

    def taught(self, sample: Sample) -> Sample:
        """The sample with its ``soft`` target, from the folder or made now (a second or ten)."""
        parts = [sample.lr, sample.ref, sample.validity] if sample.validity.any() else [sample.lr]
        digest = hashlib.sha256(self.mark.encode())
        for part in parts:
            digest.update(repr(part.shape).encode())
            digest.update(part.tobytes())
        kept = self.cache / f"soft-{self.mark}-{digest.hexdigest()[:20]}.npy"
        if not kept.exists():
            self.cache.mkdir(parents=True, exist_ok=True)
            target = self.target(sample)
            with atomic_file(kept) as file:  # others may be at it, too
                np.save(file, target)
        return replace(sample, soft=np.asarray(np.load(kept, mmap_mode="r")))

    def target(self, sample: Sample) -> Pixels:
        """What the teacher makes of a sample (4h, 4w, 3) uint8, its colors those of the LR."""
        if self.network is None:
            self.network = Ensemble(Network(self.model))
        lr, ref, validity = (
            np.asarray(part, np.float32) / np.float32(255)
            for part in (sample.lr, sample.ref, sample.validity)
        )
        sr = back_project(self.network.run(lr, ref, validity)[0], lr)
        return np.clip(np.rint(sr * 255.0), 0, 255).astype(np.uint8)
