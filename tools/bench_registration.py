"""Benchmarks registration and detail transfer on real pairs, against bicubic.

    PYTHONPATH=src python tools/bench_registration.py [--pairs 30] [--split validation]

Protocol: HR truth = a view shrunk to a long side of at most 900 and cropped to a multiple of 4;
LR = MATLAB bicubic / 4, 8 bit; reference = another view of the scene, long side at most 1200.
PSNR on BT.601 luma, 8 bit, 4 px border cropped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
import warnings
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.registration.detail_transfer import detail_transfer
from refsr.registration.register import prepare_reference, register
from refsr.resize import imresize

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "pairs"


def load(path: Path, long_side: int) -> NDArray[np.uint8]:
    """A photo as RGB uint8, shrunk to ``long_side`` if it is larger."""
    image = cast(NDArray[np.uint8], cv2.imread(str(path)))[..., ::-1]
    ratio = long_side / max(image.shape[:2])
    if ratio < 1:
        size = (round(image.shape[0] * ratio), round(image.shape[1] * ratio))
        image = imresize(np.ascontiguousarray(image), size=size)
    return np.ascontiguousarray(image)


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """PSNR on BT.601 luma, 4 px border cropped."""
    weights = np.array([65.481, 128.553, 24.966]) / 255
    luma_a, luma_b = (np.round(x[4:-4, 4:-4] @ weights + 16) for x in (a, b))
    return float(10 * np.log10(255**2 / max(((luma_a - luma_b) ** 2).mean(), 1e-10)))


def pairs_of(split: str, count: int) -> list[tuple[Path, Path, str]]:
    """(truth, reference, kind): ordered pairs of the views of each scene, then mismatched ones."""
    held_out = (DATA / "validation.txt").read_text().split()
    scenes = sorted(p.name for p in DATA.iterdir() if p.is_dir())
    scenes = held_out if split == "validation" else [s for s in scenes if s not in held_out]
    views = {scene: sorted((DATA / scene).glob("*.jpg")) for scene in scenes}
    orders = [list(itertools.permutations(views[scene], 2)) for scene in scenes]
    rounds = itertools.chain.from_iterable(itertools.zip_longest(*orders))
    real = [(a, b, "real") for pair in rounds if pair for a, b in [pair]][:count]
    mismatched = [
        (views[scene][0], views[scenes[(i + 3) % len(scenes)]][0], "mismatched")
        for i, scene in enumerate(scenes)
    ][: max(3, count // 4)]
    return real + mismatched


def measure(truth: Path, ref: Path, kind: str) -> dict[str, Any]:
    """One line of the table."""
    hr = load(truth, 900)
    hr = np.ascontiguousarray(hr[: hr.shape[0] // 4 * 4, : hr.shape[1] // 4 * 4])
    lr = imresize(hr, 0.25)
    pixels = load(ref, 1200)
    start = time.process_time()
    reference = prepare_reference(pixels)
    prepared = time.process_time()
    registration = register(lr, reference)
    registered = time.process_time()
    sr = detail_transfer(lr, registration, reference)
    bicubic = psnr(imresize(lr, 4.0), hr)
    return {
        "pair": f"{truth.parent.name}/{truth.stem}<{ref.parent.name}/{ref.stem}",
        "kind": kind,
        "bicubic": bicubic,
        "gain": psnr(sr, hr) - bicubic,
        "matches": registration.matches,
        "inliers": registration.inliers,
        "error": registration.median_error,
        "coverage": registration.coverage,
        "consistency": float((registration.consistency * registration.validity).mean()),
        "zoom": registration.zoom,
        "seconds_reference": prepared - start,
        "seconds": registered - prepared,
    }


def main() -> None:
    """Print the table and the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--split", choices=("validation", "training"), default="validation")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", default="", help="part of a pair's name")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    warnings.simplefilter("error")
    rows: list[dict[str, Any]] = []
    for truth, ref, kind in pairs_of(options.split, options.pairs):
        if options.only not in f"{truth.parent.name}/{truth.stem}<{ref.parent.name}/{ref.stem}":
            continue
        row = measure(truth, ref, kind)
        rows.append(row)
        print(
            f"{row['pair']:52.52s} bic {row['bicubic']:5.2f} gain {row['gain']:+5.2f}  "
            f"match {row['matches']:4d} in {row['inliers']:4d} err {row['error']:.2f} "
            f"cov {row['coverage']:.2f} cons {row['consistency']:.2f} zoom {row['zoom']:.2f} "
            f"t {row['seconds_reference']:.1f}+{row['seconds']:.1f}",
            flush=True,
        )
    for kind in ("real", "mismatched"):
        chosen = [row for row in rows if row["kind"] == kind]
        if chosen:
            gains = np.array([row["gain"] for row in chosen])
            seconds = np.mean([row["seconds"] for row in chosen])
            print(
                f"{kind}: n {len(gains)} bicubic {np.mean([r['bicubic'] for r in chosen]):.2f} "
                f"gain mean {gains.mean():+.3f} median {np.median(gains):+.3f} "
                f"worst {gains.min():+.3f}; register {seconds:.2f} s"
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
