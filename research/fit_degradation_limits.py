"""Fits the limits of refsr/degradation/blind.py, which choose between two models.

    python research/fit_degradation_limits.py PHOTOS CLEAN.onnx ROBUST.onnx [--photos N]

HR photos are shrunk (bicubic / 4), left clean or degraded in known ways, and upscaled without
reference by both models; the limits are those with the best mean PSNR of the chosen model, among
those that lose at most 0.02 dB on clean photos.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Pixels
from refsr.degradation.blind import estimate_degradation, is_degraded
from refsr.evaluate.metrics import psnr
from refsr.evaluate.protocol import encode_jpeg
from refsr.image.photo import Photo, load_photo
from refsr.resize import imresize
from refsr.upscaler import Upscaler

SIDE = 96  # LR pixels a side at most: enough to measure the degradation
QUALITIES = (30, 50, 60, 70, 75, 80, 85, 90, 93, 95, 97, 99)
LIMITS: dict[str, tuple[float, ...]] = {
    "jpeg_quality": (80, 85, 88, 91, 94, 96, 98),
    "blocks": (0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 9.0),
    "noise": (0.8, 1.0, 1.2, 1.4, 1.6, 9.0),
    "sharpness": (-0.7, -0.5, -0.4, -0.3, -0.2, -9.0),
}


def variants(lr: Pixels, hr: Pixels, rng: np.random.Generator) -> dict[str, Photo]:
    """The LR photo, clean and degraded; "as png": the pixels of a JPEG file without the file."""

    def blurred(sigma: float) -> Pixels:
        return imresize(np.asarray(cv2.GaussianBlur(hr, (0, 0), sigma), np.uint8), scale=0.25)

    def noisy(deviation: float) -> Pixels:
        grain = rng.normal(0, deviation, lr.shape)
        return np.clip(np.rint(lr + grain), 0, 255).astype(np.uint8)

    out = {"clean": Photo.of(lr)}
    out |= {f"jpeg {quality}": load_photo(encode_jpeg(lr, quality)) for quality in QUALITIES}
    for quality in (50, 75, 90):
        pixels = load_photo(encode_jpeg(lr, quality)).pixels
        out[f"jpeg {quality} as png"] = Photo.of(pixels)
    out |= {f"noise {d}": Photo.of(noisy(d)) for d in (2, 4, 8)}
    out |= {f"blur {s}": Photo.of(blurred(s)) for s in (1.5, 2.5, 4.0)}
    return out


def measure(path: Path, models: list[Upscaler], seed: int) -> list[dict[str, Any]]:
    """Degradation and PSNR by both models of every variant of one photo."""
    hr = load_photo(path).as_uint8()
    top, left = (max(0, (side - 4 * SIDE) // 2) for side in hr.shape[:2])
    hr = hr[top : top + 4 * SIDE, left : left + 4 * SIDE]
    height, width = (side // 4 * 4 for side in hr.shape[:2])
    hr = np.ascontiguousarray(hr[:height, :width])
    rows: list[dict[str, Any]] = []
    photos = variants(imresize(hr, scale=0.25), hr, np.random.default_rng(seed))
    for name, photo in photos.items():
        values = [psnr(np.asarray(m.upscale(photo.pixels).image), hr, 4) for m in models]
        rows.append({"name": name, "degradation": estimate_degradation(photo), "psnr": values})
    return rows


def chosen(rows: list[dict[str, Any]], limits: dict[str, float]) -> NDArray[np.float64]:
    """PSNR of the model that the limits choose, row by row."""
    return np.array([row["psnr"][int(is_degraded(row["degradation"], **limits))] for row in rows])


def fit(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The limits with the best mean PSNR, equal weight to each degradation."""
    names = [row["name"] for row in rows]
    count = {name: names.count(name) for name in names}
    weight = np.array([1.0 / count[name] for name in names])
    clean = np.array([name == "clean" for name in names])
    best, score = dict.fromkeys(LIMITS, 0.0), -np.inf
    clean_model = np.array([row["psnr"][0] for row in rows])
    for values in itertools.product(*LIMITS.values()):
        limits = dict(zip(LIMITS, values, strict=True))
        got = chosen(rows, limits)
        if (clean_model - got)[clean].mean() > 0.02:
            continue
        mean = float((got * weight).sum() / weight.sum())
        if mean > score:
            best, score = limits, mean
    return best


def main() -> None:
    """Measure, fit and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("clean")
    parser.add_argument("robust")
    parser.add_argument("--photos", dest="count", type=int, default=40)
    options = parser.parse_args()
    models = [Upscaler.load(options.clean), Upscaler.load(options.robust)]
    paths = sorted(options.photos.glob("*.jpg"))
    paths = paths[:: max(1, len(paths) // options.count)]
    rows = [row for seed, path in enumerate(paths) for row in measure(path, models, seed)]
    limits = fit(rows)
    got = chosen(rows, limits)
    print(f"limits: {limits}")
    print(f"{'LR photo':18} clean model   robust model  automatic  robust")
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = [index for index, row in enumerate(rows) if row["name"] == name]
        a, b = np.mean([rows[index]["psnr"] for index in mine], axis=0)
        share = np.mean([is_degraded(rows[i]["degradation"], **limits) for i in mine])
        print(f"{name:18} {a:11.2f} {b:14.2f} {got[mine].mean():10.2f} {share:7.0%}")


if __name__ == "__main__":
    main()
