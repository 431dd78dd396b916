"""Measures every kind of small photo, and writes benchmarks/photo_kinds.json.

    python research/photo_kinds.py --root ../shared/data/pairs [--kinds KIND ...] [--pairs 10]

The near-identical and moderate pairs of benchmarks/validation.csv, long side 900, luma PSNR by
`refsr evaluate`'s protocol, without and with the reference. Kinds that are measured replace those
of the file; `make photo-kinds` measures all. `research/quality_page.py` has the table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from refsr.data.pairs import load_jobs
from refsr.evaluate.run import evaluate

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "benchmarks" / "photo_kinds.json"
LIST = ROOT / "benchmarks" / "validation.csv"
CATEGORIES = ("near-identical", "moderate")
MAX_SIDE = 900
KINDS = (
    *("matlab", "area", "lanczos", "linear", "nearest", "sharpened"),
    *("blur:1", "blur:2", "blur:3", "blur:4", "disk:5", "motion:9,30", "motion:16,70"),
    *("noise:5", "jpeg:75", "phone", "messenger", "old"),
)


def section() -> list[str]:
    """The section of docs/QUALITY.md: what was measured, and the means."""
    pairs = len(json.loads(FILE.read_text())["pairs"])
    return [
        "## Small photos of every kind",
        "",
        f"Mean PSNR in dB of {pairs} near-identical and moderate pairs, long side {MAX_SIDE}, "
        "model auto. `refsr evaluate --photo KIND` makes each kind, benchmarks/photo_kinds.json "
        "says how, `python research/photo_kinds.py --root PAIRS` measures them.",
        "",
        *table(),
        "",
    ]


def table() -> list[str]:
    """The measured means as a Markdown table, the file's kinds in the order of KINDS."""
    measured = json.loads(FILE.read_text())["kinds"]
    lines = ["| the small photo | bicubic | no reference | given reference |", "|---|---|---|---|"]
    for kind in KINDS:
        if row := measured.get(kind):
            cells = " | ".join(f"{row[name]:.2f}" for name in ("bicubic", "none", "given"))
            lines.append(f"| {kind} | {cells} |")
    return lines


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the folder of scenes")
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    parser.add_argument(
        "--pairs", type=int, default=0, help="only so many, spread over the list; 0: all"
    )
    parser.add_argument("--model", default="auto")
    parser.add_argument("--json", type=Path, default=FILE)
    args = parser.parse_args()
    jobs = [job for job in load_jobs(str(LIST), args.root) if job.kind in CATEGORIES]
    if args.pairs:
        jobs = [jobs[i * len(jobs) // args.pairs] for i in range(args.pairs)]
    for kind in args.kinds:
        row: dict[str, Any] = {"pairs": len(jobs)}
        for reference in ("none", "given"):
            result = evaluate(
                jobs, model=args.model, reference=reference, max_side=MAX_SIDE, photo=kind
            )
            mean = result["mean"]["all"]
            row |= {"bicubic": mean["bicubic_psnr"], reference: mean["psnr"]}
            row[f"worst_{reference}"] = min(r["psnr"] - r["bicubic_psnr"] for r in result["rows"])
        document = json.loads(args.json.read_text()) if args.json.exists() else {"kinds": {}}
        document["kinds"][kind] = {"how": result["protocol"]["lr"], **row}
        document["pairs"] = [job.relative(job.input) for job in jobs]
        args.json.write_text(json.dumps(document, indent=1) + "\n")
        print(kind, {name: round(value, 2) for name, value in row.items()}, flush=True)


if __name__ == "__main__":
    main()
