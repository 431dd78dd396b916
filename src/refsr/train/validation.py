"""Validation during training: PSNR on fixed crops, with and without reference."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from refsr.arrays import pad_to_multiple
from refsr.degradation.condition import condition
from refsr.errors import DataError
from refsr.evaluate.metrics import psnr
from refsr.evaluate.perceptual import MIN_SIDE, detail_share, haarpsi
from refsr.model.ssen import SSEN
from refsr.resize import SCALE, imresize
from refsr.train.collate import stack
from refsr.train.config import RunConfig
from refsr.train.datasets import (
    Sample,
    image_files,
    load_hr,
    load_patch_pair,
    split_patch_pairs,
    split_scenes,
    without_reference,
)
from refsr.train.degrade import degraded_lr
from refsr.train.pair_cache import cached_pairs
from refsr.train.simulate import MARGIN, simulate_reference

PERCEPTUAL = ("haarpsi", "detail")  # measured, too, with an adversarial term
CROP = 384  # HR pixels a side of a validation crop; a validation takes a few seconds


class Validation:
    """Fixed crops: benchmark photos, held-out registered pairs and patch pairs."""

    def __init__(self, config: RunConfig) -> None:
        self.sets: dict[str, list[Sample]] = {}
        self.perceptual = config.adversarial.weight > 0  # PSNR does not measure sharpness
        self.reference_path = config.train.reference_path
        self.best, data = config.train.best, config.data
        if data.benchmark:
            photos = [load_hr(path, 10_000) for path in image_files(Path(data.benchmark))]
            self.sets["benchmark"] = [
                without_reference(imresize(hr, scale=1 / SCALE), hr) for hr in photos
            ]
            if self.reference_path:
                self.sets["simulated"] = [simulated_sample(hr, i) for i, hr in enumerate(photos)]
        held_out = split_scenes(data)[1] if data.pairs and data.real > 0 else []
        pairs = [center_crop(pair, CROP) for pair in cached_pairs(held_out, data)][::2]
        if pairs:
            self.sets["pairs"] = pairs
        patches = split_patch_pairs(Path(data.patch_pairs))[1] if data.patch_pairs else []
        if patches:
            self.sets["patch_pairs"] = [load_patch_pair(pair, min_side=0) for pair in patches]
        if data.degraded > 0:
            self.sets = {
                name: degrade(samples, data.aliased) for name, samples in self.sets.items()
            }
        measured = [f"{name}/{kind}" for name in self.sets for kind in self.kinds(name)]
        for name in self.best:
            score, _, metric = name.partition("/")[2].partition("/")
            wanted = f"{name.partition('/')[0]}/{score}"
            if wanted not in measured or metric not in ("", *PERCEPTUAL * self.perceptual):
                raise DataError(
                    f"best = {name!r} is no score of this run; it measures: {', '.join(measured)}."
                )

    def kinds(self, name: str) -> tuple[str, ...]:
        """The references that the set ``name`` is measured with."""
        blank_only = name == "benchmark" or not self.reference_path
        return ("blank",) if blank_only else ("blank", "given", "mismatched")

    def best_by(self, scores: dict[str, float]) -> float | None:
        """The score by which the best weights are chosen; None where nothing says it.

        With an adversarial term PSNR falls on purpose, so only scores that the configuration names
        choose among those weights.
        """
        names = list(self.best)
        if not names and self.perceptual:
            return None
        names = names or [name for name in scores if name.endswith(("/given", "/blank"))]
        return float(np.mean([scores[name] for name in names] or [0.0]))

    @torch.no_grad()
    def run(self, model: SSEN) -> tuple[dict[str, float], np.ndarray | None]:
        """Mean luma PSNR by set and reference, and a sheet: bicubic | none | given | truth."""
        scores: dict[str, float] = {}
        rows: list[np.ndarray] = []
        for name, samples in self.sets.items():
            kinds = self.kinds(name)
            values: dict[str, list[float]] = {kind: [] for kind in kinds}
            perceptual: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
            for index, sample in enumerate(samples):
                other = samples[(index + len(samples) // 2) % len(samples)]
                outputs = {
                    kind: infer(model, with_reference(sample, other, kind), self.reference_path)
                    for kind in kinds
                }
                for kind, sr in outputs.items():
                    values[kind].append(psnr(sr, sample.hr, border=SCALE))
                    if self.perceptual and min(sr.shape[:2]) >= MIN_SIDE + 2 * SCALE:
                        perceptual[kind, "haarpsi"].append(haarpsi(sr, sample.hr, border=SCALE))
                        perceptual[kind, "detail"].append(detail_share(sr, sample.hr, border=SCALE))
                if "given" in kinds and len(rows) < 4:
                    images = [
                        imresize(sample.lr, scale=SCALE),
                        outputs["blank"],
                        outputs["given"],
                        sample.hr,
                    ]
                    rows.append(np.hstack([image[:256, :256] for image in images]))
            scores |= {f"{name}/{kind}": float(np.mean(v)) for kind, v in values.items()}
            scores |= {
                f"{name}/{kind}/{m}": float(np.mean(v)) for (kind, m), v in perceptual.items()
            }
            if "given" in kinds:
                scores[f"{name}/gap"] = scores[f"{name}/given"] - scores[f"{name}/blank"]
        rows = [row for row in rows if row.shape == rows[0].shape]
        return scores, np.vstack(rows) if rows else None


def degrade(samples: list[Sample], aliased: float) -> list[Sample]:
    """The samples with degraded LR photos, the same in every run."""
    found: list[Sample] = []
    for index, sample in enumerate(samples):
        rng = np.random.default_rng((98, index))
        photo = degraded_lr(rng, sample.hr, aliased)
        told = condition(photo.aliasing, photo.noise, photo.quality, None)
        found.append(replace(sample, lr=photo.pixels, condition=told))
    return found


def simulated_sample(hr: np.ndarray, index: int) -> Sample:
    """The top left square of a photo, without a margin, with a simulated reference."""
    rng = np.random.default_rng((99, index))
    size = (min(hr.shape[:2]) - 2 * MARGIN) // (8 * SCALE) * 8 * SCALE
    hr = hr[: size + 2 * MARGIN, : size + 2 * MARGIN]
    ref, validity = simulate_reference(rng, hr, hr[::-1], size)
    inner = np.ascontiguousarray(hr[MARGIN : MARGIN + size, MARGIN : MARGIN + size])
    return Sample(imresize(inner, scale=1 / SCALE), inner, ref, validity)


def center_crop(pair: Sample, size: int) -> Sample:
    """The central ``size`` x ``size`` HR pixels of a pair, or all of a shorter side."""
    top, left = ((side - min(side, size)) // 2 // SCALE for side in pair.hr.shape[:2])
    lr = pair.lr[top : top + size // SCALE, left : left + size // SCALE]
    area = slice(top * SCALE, top * SCALE + size), slice(left * SCALE, left * SCALE + size)
    return Sample(lr, pair.hr[area], pair.ref[area], pair.validity[area])


def with_reference(sample: Sample, other: Sample, kind: str) -> Sample:
    """The sample with its own, a blank, or the reference of ``other`` with full validity."""
    if kind == "given":
        return sample
    if kind == "blank":
        return replace(without_reference(sample.lr, sample.hr), condition=sample.condition)
    height, width = sample.hr.shape[:2]
    ref = np.pad(other.ref, ((0, height), (0, width), (0, 0)), "symmetric")[:height, :width]
    return replace(sample, ref=ref, validity=np.full((height, width), 255, np.uint8))


def infer(model: SSEN, sample: Sample, reference_path: bool = True) -> np.ndarray:
    """SR (4h, 4w, 3) uint8 of a sample, padded to the network's grid and cropped again."""
    (height, width), multiple = sample.lr.shape[:2], model.config.multiple
    padded = {
        name: pad_to_multiple(image, multiple if name == "lr" else SCALE * multiple)
        for name, image in sample.images().items()
    }
    batch = {
        key: torch.from_numpy(value).to(device_of(model))
        for key, value in stack([replace(sample, **padded)]).items()
        if reference_path or key not in ("ref", "validity")
    }
    inputs = (batch.get(name) for name in ("ref", "validity", "condition"))
    sr, _ = model(batch["lr"], *inputs)
    pixels = sr[0, :, : height * SCALE, : width * SCALE].permute(1, 2, 0).float().cpu().numpy()
    return np.clip(np.rint(pixels * 255.0), 0, 255).astype(np.uint8)


def device_of(model: SSEN) -> torch.device:
    """The device of the network's weights."""
    return next(model.parameters()).device
