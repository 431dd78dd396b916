"""Writes docs/QUALITY.md and its scatter plot from the results of `make quality`.

    make quality && python research/quality_page.py

Reads out/quality_MODEL_REFERENCE.json and, for the registration's measures,
benchmarks/gain_validation.csv.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

import photo_kinds
from refsr.evaluate.paper.sections import wrap_text

ROOT = Path(__file__).resolve().parents[1]
PAGE, PLOT = ROOT / "docs" / "QUALITY.md", ROOT / "docs" / "gallery" / "scatter.svg"
KINDS = (
    "near-identical",
    "moderate",
    "zoomed",
    "small-overlap",
    "strong",
    "hopeless",
    "irrelevant",
)
COLORS = ("#0072b2", "#009e73", "#cc79a7", "#e69f00", "#d55e00", "#56b4e9", "#999999")
COLUMNS = (
    ("Lanczos", "lanczos", "none"),
    ("detail-transfer, given", "detail-transfer", "given"),
    ("refsr, no reference", "ssen", "none"),
    ("refsr, mismatched", "ssen", "shuffled"),
    ("refsr, given", "ssen", "given"),
)
MEASURES = (
    ("psnr", "PSNR, dB", 2),
    ("ssim", "SSIM", 4),
    ("haarpsi", "HaarPSI", 4),
    ("lpips", "LPIPS: lower is better", 4),  # where `refsr evaluate --lpips` measured it
)
SIDE, EDGE = 420, 48  # pixels of the plot and its margin
MAX_GAIN = 8  # dB at the end of the axes
WORST = 10
WHY = {  # from `refsr evaluate --sheets`
    "buddha_statue": "a sculpture of many similar knobs, from above and from the side",
    "pt_piazza_san_marco": "a facade of repeated arches in other light: a grazing view, a frontal "
    "one in evening sun, one in rain with the arches alone",
    "saharov_monument": "a statue and a stone seen from three sides, with other houses behind",
}

Row = dict[str, Any]


def rows_of(model: str, reference: str) -> list[Row]:
    """The rows of one run of `refsr evaluate`."""
    path = ROOT / "out" / f"quality_{model}_{reference}.json"
    return json.loads(path.read_text())["rows"]


def table(measure: str, digits: int, runs: dict[str, list[Row]]) -> list[str]:
    """Means by kind of pair: bicubic, then one column per run."""
    first = next(iter(runs.values()))
    lines = [
        f"| pairs | n | bicubic | {' | '.join(runs)} |",
        "|---" * (3 + len(runs)) + "|",
    ]
    groups = {kind: [kind] for kind in KINDS} | {"all but irrelevant": list(KINDS[:-1])}
    for name, kinds in groups.items():
        chosen = [i for i, row in enumerate(first) if row["kind"] in kinds]
        columns = [[first[i][f"bicubic_{measure}"] for i in chosen]]
        columns += [[rows[i][measure] for i in chosen] for rows in runs.values()]
        means = " | ".join(f"{np.mean(values):.{digits}f}" for values in columns)
        lines.append(f"| {name} | {len(chosen)} | {means} |")
    return lines


def scatter(none: list[Row], given: list[Row]) -> str:
    """SVG: each pair's gain over bicubic without (x) and with (y) its reference."""

    def place(gain: float) -> float:
        return EDGE + SIDE * min(max(gain, 0.0), MAX_GAIN) / MAX_GAIN

    full = SIDE + 2 * EDGE
    style = "font-family='sans-serif' font-size='12' fill='#444'"
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{full + 140}' height='{full}' {style}>"
    ]
    parts.append(f"<rect width='{full + 140}' height='{full}' fill='white'/>")
    for value in range(0, MAX_GAIN + 1, 2):
        at = place(value)
        parts.append(f"<text x='{at}' y='{full - 28}' text-anchor='middle'>{value}</text>")
        parts.append(f"<text x='{EDGE - 8}' y='{full - at + 4}' text-anchor='end'>{value}</text>")
        for line in (
            f"x1='{at}' y1='{EDGE}' x2='{at}' y2='{full - EDGE}'",
            f"x1='{EDGE}' y1='{full - at}' x2='{full - EDGE}' y2='{full - at}'",
        ):
            parts.append(f"<line {line} stroke='#ddd'/>")
    parts.append(
        f"<line x1='{EDGE}' y1='{full - EDGE}' x2='{full - EDGE}' y2='{EDGE}' stroke='#888'/>"
    )
    for baseline, row in zip(none, given, strict=True):
        x = place(baseline["psnr"] - baseline["bicubic_psnr"])
        y = full - place(row["psnr"] - row["bicubic_psnr"])
        color = COLORS[KINDS.index(row["kind"])]
        parts.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='4.5' fill='{color}' opacity='.8'/>")
    for number, (kind, color) in enumerate(zip(KINDS, COLORS, strict=True)):
        y = EDGE + 20 * number
        parts.append(f"<circle cx='{full - 20}' cy='{y}' r='5' fill='{color}'/>")
        parts.append(f"<text x='{full - 8}' y='{y + 4}'>{kind}</text>")
    parts.append(
        f"<text x='{full / 2}' y='{full - 8}' text-anchor='middle'>"
        "gain over bicubic without a reference, dB</text>"
    )
    parts.append(
        f"<text transform='translate(14 {full / 2}) rotate(-90)' text-anchor='middle'>"
        "with its reference, dB</text></svg>"
    )
    return "\n".join(parts) + "\n"


def worst(none: list[Row], given: list[Row]) -> list[str]:
    """The matching pairs that gain least from their reference, with the registration's measures."""
    with (ROOT / "benchmarks" / "gain_validation.csv").open(newline="") as file:
        measures = {(row["input"], row["reference"]): row for row in csv.DictReader(file)}
    pairs = [pair for pair in zip(none, given, strict=True) if pair[1]["kind"] != "irrelevant"]
    pairs.sort(key=lambda pair: pair[1]["psnr"] - pair[0]["psnr"])
    lines = [
        "| photo | reference | kind | gain over no reference | explained | error, LR px | zoom |"
        " what it shows |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for baseline, row in pairs[:WORST]:
        facts = measures[row["input"], row["reference"]]
        used = facts["used"] == "1"
        cells = [f"{100 * float(facts['share']):.0f} %", facts["error"], facts["zoom"]]
        lines.append(
            f"| {row['input']} | {row['reference']} | {row['kind']} "
            f"| {row['psnr'] - baseline['psnr']:+.2f} dB "
            f"| {' | '.join(cells if used else ['not used', '', ''])} "
            f"| {WHY.get(row['input'].split('/')[0], '')} |"
        )
    return lines


def main() -> None:
    """Write the page and the plot."""
    runs = {name: rows_of(model, reference) for name, model, reference in COLUMNS}
    none, given = runs["refsr, no reference"], runs["refsr, given"]
    protocol = json.loads((ROOT / "out" / "quality_ssen_given.json").read_text())["protocol"]
    lines = [
        "# Quality",
        "",
        "Written by `research/quality_page.py` from the results of `make quality` on",
        "benchmarks/validation.csv: 52 real pairs of held-out scenes.",
        "",
        f"LR: {protocol['lr']}. Measured on {protocol['channel']}, border {protocol['border']} px.",
        f"HaarPSI: {protocol['haarpsi']}. Mismatched: each photo gets another pair's reference.",
        *([f"LPIPS: {protocol['lpips']}."] if "lpips" in protocol else []),
        "",
    ]
    for measure, title, digits in MEASURES:
        if any(measure not in row for rows in runs.values() for row in rows):
            continue
        lines += [f"## {title}", "", *table(measure, digits, runs), ""]
    lines += photo_kinds.section()
    least = min(row["psnr"] - b["psnr"] for b, row in zip(none, given, strict=True))
    lines += [
        "## Pair by pair",
        "",
        "Pairs above the line gain from their reference; for those on the line it was not used or",
        f"made no difference. The smallest gain is {least:+.2f} dB.",
        "",
        "![gain with over gain without reference](gallery/scatter.svg)",
        "",
        f"## The {WORST} matching pairs that gain least",
        "",
        "*Explained*: the share of the photo's finest detail where the reference is valid and",
        "consistent. *Error*: the registration's median error. Not used: the pair did not register",
        "(by definition for hopeless pairs) or is too little consistent. To see them:",
        "",
        "    refsr evaluate benchmarks/validation.csv --root PAIRS --sheets sheets",
        "",
        *worst(none, given),
    ]
    PAGE.write_text("\n".join(line if "|" in line else wrap_text(line) for line in lines) + "\n")
    PLOT.write_text(scatter(none, given))


if __name__ == "__main__":
    main()
