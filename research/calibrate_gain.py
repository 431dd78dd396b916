"""How well ``refsr check`` foresees the gain: measure pairs, fit the constants, count the hits.

    PYTHONPATH=src python research/calibrate_gain.py measure training      # about 8 CPU minutes
    PYTHONPATH=src python research/calibrate_gain.py measure validation    # about 5 CPU minutes
    PYTHONPATH=src python research/calibrate_gain.py fit                   # seconds

The constants are fitted to the training scenes alone (benchmarks/gain_training.csv) and counted on
benchmarks/validation.csv (benchmarks/gain_validation.csv). Measure again when the shipped model
changes, and write the printed constants into src/refsr/expected_gain.py. The gain is the model's
PSNR with the reference minus without: BT.601 luma, 8 bit, border 4 px, LR = MATLAB bicubic / 4.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from refsr import Upscaler
from refsr.evaluate.metrics import psnr
from refsr.evaluate.run import load_pixels, load_truth
from refsr.image.photo import load_photo
from refsr.registration import gain as foreseen
from refsr.resize import imresize

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parent / "shared" / "data" / "pairs"
TABLES = {split: HERE / "benchmarks" / f"gain_{split}.csv" for split in ("training", "validation")}
TRAINING_SIDE = 900  # px: the training photos' long side; their references have 1200 at most
PAIRS_A_SCENE = 2
CONSTANTS = ("SLOPE", "REACH", "FADE", "COARSE")


def training_pairs() -> list[tuple[str, str, str]]:
    """Two ordered pairs of every training scene of three views, one of every other scene."""
    held = set((HERE / "configs" / "held_out.txt").read_text().split())
    rng = np.random.default_rng(5)
    out: list[tuple[str, str, str]] = []
    for scene in sorted(p for p in ROOT.iterdir() if p.is_dir() and p.name not in held):
        views = [p.relative_to(ROOT).as_posix() for p in sorted(scene.glob("*.jpg"))]
        pairs = list(itertools.permutations(views, 2))
        order = rng.permutation(len(pairs))[: PAIRS_A_SCENE if len(views) > 2 else 1]
        out += [(*pairs[i], "training") for i in order]
    return out


def validation_pairs() -> list[tuple[str, str, str]]:
    """The rows of benchmarks/validation.csv."""
    with (HERE / "benchmarks" / "validation.csv").open(newline="") as file:
        return [(row["input"], row["reference"], row["kind"]) for row in csv.DictReader(file)]


def measure(upscaler: Upscaler, job: tuple[str, str, str], training: bool) -> dict[str, Any]:
    """One row: what registration says, and what the reference really brings."""
    hr = load_truth(ROOT / job[0], TRAINING_SIDE if training else None)
    lr = imresize(hr, scale=0.25)
    reference = load_pixels(ROOT / job[1], 1200 if training else None)

    def result(references: list[Any]) -> float:
        upscaler.set_reference(references)
        return psnr(np.asarray(upscaler.upscale(lr).image), hr, border=4)

    none = result([])
    given = result([reference])
    composite = upscaler.register(load_photo(lr))
    assert composite is not None
    used = composite.useful[0]
    worth = foreseen.gain_factors(composite.lr, composite.registrations[0])
    return {
        "input": job[0],
        "reference": job[1],
        "kind": job[2],
        "used": int(used),
        "share": round(worth.share if used else 0.0, 5),
        "error": round(worth.error if used else 0.0, 4),
        "zoom": round(worth.zoom if used else 0.0, 3),
        "none": round(none, 3),
        "given": round(given, 3),
    }


def read(split: str) -> list[dict[str, Any]]:
    """The measured rows."""
    with TABLES[split].open(newline="") as file:
        text = ("input", "reference", "kind")
        return [
            {key: value if key in text else float(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def predicted(rows: list[dict[str, Any]], constants: Any) -> Any:
    """The gains that ``expected_gain`` foresees with these constants: (N,)."""
    for name, value in zip(CONSTANTS, constants, strict=True):
        setattr(foreseen, name, float(value))
    worths = [foreseen.GainFactors(row["share"], row["error"], row["zoom"]) for row in rows]
    return np.array([foreseen.expected_gain([worth]) for worth in worths])


def fit() -> None:
    """Fit to the training rows; print the constants and the hits of both splits."""
    from scipy.optimize import minimize

    def loss(constants: Any) -> float:
        if not (constants > 0).all() or constants[1] >= 1:
            return 1e9
        # A dB counts less where there are many: the classes part at 0.15 and 1.
        off = np.log(predicted(rows, constants) + 0.15) - np.log(np.maximum(real, 0) + 0.15)
        return float(np.abs(off).mean())

    rows = [row for row in read("training") if row["used"]]
    real = np.array([row["given"] - row["none"] for row in rows])
    start = np.array([getattr(foreseen, name) for name in CONSTANTS])
    tries = [minimize(loss, start * k, method="Nelder-Mead") for k in (0.8, 1.0, 1.1)]
    best = min(tries, key=lambda found: found.fun).x
    print(", ".join(CONSTANTS), "=", ", ".join(f"{value:.3f}" for value in best))
    for split in TABLES:
        rows = read(split)
        gains = [row["given"] - row["none"] for row in rows]
        seen = predicted(rows, best)
        table = Counter(
            (foreseen.gain_class(a), foreseen.gain_class(float(b)))
            for a, b in zip(gains, seen, strict=True)
        )
        right = sum(count for (a, b), count in table.items() if a == b)
        rmse = float(np.sqrt(np.mean((np.array(gains) - seen) ** 2)))
        print(
            f"{split}: class right {right} of {len(rows)} ({100 * right / len(rows):.0f} %), ",
            end="",
        )
        print(f"rms error {rmse:.2f} dB")
        for (a, b), count in sorted(table.items()):
            print(f"    really {a:5s} foreseen {b:5s} {count}")


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=("measure", "fit"))
    parser.add_argument("split", nargs="?", choices=tuple(TABLES), default="validation")
    parser.add_argument("--model", default="ssen")
    options = parser.parse_args()
    if options.what == "fit":
        fit()
        return
    cv2.setNumThreads(1)
    upscaler = Upscaler.load(options.model, threads=1)
    training = options.split == "training"
    rows: list[dict[str, Any]] = []
    for job in training_pairs() if training else validation_pairs():
        rows.append(measure(upscaler, job, training))
        print(" ".join(str(value) for value in rows[-1].values()), flush=True)
        with TABLES[options.split].open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
