"""Draws docs/gallery/learning_curve.svg, the validation scores of the shipped models' training.

    python research/learning_curve.py

Reads the logs in docs/training; ssen-large was not shipped. A run that continues another one is
drawn after it. Set5 without a reference is measured on whole photos, the held-out pairs on crops of
384 pixels, so their numbers differ from the README's.
"""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOGS, PLOT = ROOT / "docs" / "training", ROOT / "docs" / "gallery" / "learning_curve.svg"
RUNS = (  # model, its log, and the logs of the runs that it continues
    ("ssen", "ssen", ()),
    ("ssen", "ssen-2", ("ssen",)),
    ("ssen", "ssen-3", ("ssen", "ssen-2")),
    ("ssen", "ssen-4", ("ssen", "ssen-2", "ssen-3")),
    ("ssen-large", "ssen-large", ("ssen", "ssen-2", "ssen-3")),
    ("ssen-tiny", "ssen-tiny", ()),
    ("ssen-tiny", "ssen-tiny-2", ("ssen-tiny",)),
)
COLORS = {"ssen": "#0072b2", "ssen-large": "#d55e00", "ssen-tiny": "#009e73"}
PANELS = (  # title, key in the logs, lower and upper limit in dB
    ("Set5 without a reference, dB", "benchmark/blank", 30.0, 31.8),
    ("held-out pairs with their reference, dB", "pairs/given", 30.4, 31.6),
)
OTHER_CROPS = "ssen"  # the first run was validated on other pairs
WIDTH, HEIGHT, EDGE = 400, 260, 56  # pixels of a panel and its margin

Point = tuple[float, float]


def lines(log: str) -> list[dict[str, float]]:
    """The validations of a run."""
    return [json.loads(line) for line in (LOGS / f"{log}.jsonl").read_text().splitlines()]


def curve(log: str, before: tuple[str, ...], name: str) -> list[Point]:
    """Hours of training (with the runs ``before``) and dB of each validation."""
    hours = sum(lines(one)[-1]["seconds"] for one in before) / 3600
    return [(hours + one["seconds"] / 3600, one[name]) for one in lines(log) if name in one]


def panel(left: float, title: str, name: str, low: float, high: float, most: float) -> list[str]:
    """SVG of one measure over training time."""

    def place(point: Point) -> str:
        x = left + WIDTH * point[0] / most
        return f"{x:.1f},{EDGE + HEIGHT * (high - point[1]) / (high - low):.1f}"

    parts = [f"<text x='{left}' y='{EDGE - 16}' font-weight='bold'>{title}</text>"]
    for step in range(round((high - low) / 0.2) + 1):
        value = low + 0.2 * step
        start, end = place((0, value)), place((most, value))
        parts.append(f"<polyline points='{start} {end}' stroke='#ddd'/>")
        y = float(start.split(",")[1]) + 4
        parts.append(f"<text x='{left - 6}' y='{y}' text-anchor='end'>{value:.1f}</text>")
    for hour in range(int(most) + 1):
        x = left + WIDTH * hour / most
        parts.append(f"<text x='{x}' y='{EDGE + HEIGHT + 18}' text-anchor='middle'>{hour}</text>")
    for model, log, before in RUNS:
        if (log, name) == (OTHER_CROPS, "pairs/given"):
            continue
        points = [place(point) for point in curve(log, before, name) if low <= point[1] <= high]
        color = COLORS[model]
        parts.append(f"<polyline points='{' '.join(points)}' fill='none' stroke='{color}'/>")
        for x, y in (point.split(",") for point in points):
            parts.append(f"<circle cx='{x}' cy='{y}' r='2.5' fill='{color}'/>")
    return parts


def main() -> None:
    """Write the SVG file."""
    most = max(curve(log, before, "benchmark/blank")[-1][0] for _, log, before in RUNS)
    width, height = 2 * (WIDTH + EDGE) + EDGE, HEIGHT + 2 * EDGE + 24
    style = "font-family='sans-serif' font-size='12' fill='#444'"
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' {style}>",
        f"<rect width='{width}' height='{height}' fill='white'/>",
    ]
    for number, (title, name, low, high) in enumerate(PANELS):
        parts += panel(EDGE + number * (WIDTH + EDGE), title, name, low, high, most)
    for number, (model, color) in enumerate(COLORS.items()):
        x = EDGE + 110 * number
        parts.append(f"<circle cx='{x}' cy='{height - 16}' r='5' fill='{color}'/>")
        parts.append(f"<text x='{x + 10}' y='{height - 12}'>{model}</text>")
    parts.append(
        f"<text x='{width - EDGE}' y='{height - 12}' text-anchor='end'>"
        "hours of training on about one shared core</text></svg>"
    )
    PLOT.write_text("\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
