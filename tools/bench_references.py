"""Benchmarks several references against the best single one, on scenes of three or more views.

    PYTHONPATH=src python tools/bench_references.py [--split validation] [--csv OUT.csv]

Every view is the ground truth once; the other views are its references. As in ``refsr evaluate``:
LR = MATLAB bicubic / 4 of the truth, PSNR on BT.601 luma of the 8-bit result, border 4 px.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from refsr import Upscaler
from refsr.evaluate.metrics import psnr
from refsr.evaluate.protocol import load_pixels, load_truth
from refsr.resize import imresize

ROOT = Path(__file__).resolve().parents[2] / "shared" / "data" / "pairs"
HELD_OUT = Path(__file__).resolve().parents[1] / "configs" / "held_out.txt"
MIN_GAIN = 0.15  # dB: a reference with a smaller gain does not count as helping


def triples(split: str) -> list[tuple[Path, list[Path]]]:
    """(truth, its references) of every scene of the split with three views or more."""
    held = set(HELD_OUT.read_text().split())
    scenes = sorted(p for p in ROOT.iterdir() if p.is_dir())
    scenes = [p for p in scenes if (p.name in held) == (split == "validation")]
    views = [sorted(scene.glob("*.jpg")) for scene in scenes]
    return [(v, [w for w in group if w != v]) for group in views if len(group) > 2 for v in group]


def measure(upscaler: Upscaler, truth: Path, refs: list[Path], side: int | None) -> dict[str, Any]:
    """PSNR without a reference, with each one alone, and with all of them."""
    hr = load_truth(truth, side)
    lr = imresize(hr, scale=0.25)
    pixels = [load_pixels(ref, side) for ref in refs]

    def score(references: list[Any]) -> float:
        upscaler.set_reference(references)
        return psnr(np.asarray(upscaler.upscale(lr).image), hr, border=4)

    alone = [score([one]) for one in pixels]
    none, together = score([]), score(list(pixels))
    return {
        "input": truth.relative_to(ROOT).as_posix(),
        "references": ";".join(ref.relative_to(ROOT).as_posix() for ref in refs),
        "none": round(none, 3),
        "alone": ";".join(f"{value:.3f}" for value in alone),
        "together": round(together, 3),
        "over_best": round(together - max(alone), 3),
        "helping": sum(value > none + MIN_GAIN for value in alone),
    }


def main() -> None:
    """Print one line per input, and the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=("validation", "training"), default="validation")
    parser.add_argument("--side", type=int, help="shrink photos to this long side first")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--model", default="ssen")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    upscaler = Upscaler.load(options.model, threads=1)
    chosen = triples(options.split)
    if options.limit:
        chosen = chosen[:: max(1, len(chosen) // options.limit)]
    rows: list[dict[str, Any]] = []
    for truth, refs in chosen:
        rows.append(measure(upscaler, truth, refs, options.side))
        print(" ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    for label, least in (("all", 0), ("where two or more references help", 2)):
        over = [row["over_best"] for row in rows if row["helping"] >= least]
        if over:
            print(
                f"{label}: n {len(over)}, over the best alone: mean {np.mean(over):+.3f}, ", end=""
            )
            print(
                f"median {np.median(over):+.3f}, worst {min(over):+.3f}, best {max(over):+.3f} dB"
            )
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
