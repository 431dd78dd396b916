"""The tables of the ablation, from one JSON line a run (research/ablate.py).

A run's ``psnr`` holds, by set and condition, the mean luma PSNR in dB: "blank" is no reference,
"foreign" another photo's, believed. What a reference is worth is "given" (or a level, or a
displacement) minus "blank" of the same weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from refsr.errors import DataError
from refsr.evaluate.paper.sections import Section

SETTINGS = ("registered", "unregistered")
WORTH = 0.1  # dB below which a reference is called worth nothing
BASE = "3 layers"
CLAIMS = (  # the paper's statement, the variant said to be better, the other one
    ("3 layers beat 0", BASE, "0 layers"),
    ("3 layers beat 1", BASE, "1 layer"),
    ("3 layers beat 2", BASE, "2 layers"),
    ("3 layers beat 4", BASE, "4 layers"),
    ("one layer beats none", "1 layer", "0 layers"),
    ("non-local blocks help", BASE, "3 layers, no non-local"),
    ("modulation helps", BASE, "3 layers, no modulation"),
)

Run = dict[str, Any]


def read_runs(path: Path) -> list[Run]:
    """The runs of a file of JSON lines; none where there is no such file. Raises DataError."""
    if not path.is_file():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} does not hold one JSON object a line ({error}).") from error


def spread(values: Iterable[float]) -> tuple[float, float]:
    """Mean of the seeds' values, and half the distance between the largest and the least."""
    array = np.array(list(values))
    return float(array.mean()), float(array.max() - array.min()) / 2


def shown(values: Iterable[float], sign: str = "+") -> str:
    """``spread`` as text; one seed alone has none."""
    values = list(values)
    mean, half = spread(values)
    return f"{mean:{sign}.2f}" + (f" ±{half:.2f}" if len(values) > 1 else "")


def worth(run: Run, name: str, condition: str) -> float:
    """dB that the reference brings in one condition of one set over none, with the same weights."""
    scores = run["psnr"][name]
    return scores[condition] - scores["blank"]


def by_variant(runs: list[Run], setting: str) -> dict[str, list[Run]]:
    """The runs of one setting by variant, in the order they were planned."""
    mine = [run for run in runs if run["setting"] == setting]
    return {v: [r for r in mine if r["variant"] == v] for v in dict.fromkeys(map(variant, mine))}


def variant(run: Run) -> str:
    """The row that a run belongs to."""
    return run["variant"]


def table(
    title: str,
    groups: dict[str, list[Run]],
    columns: dict[str, Callable[[Run], float]],
    signs: str,
    notes: list[str],
) -> Section:
    """A row for each variant, a column for each value; ``signs``: + or - (no sign) by column."""
    rows = [
        [
            name,
            f"{len(runs)}",
            f"{runs[0]['parameters'] / 1000:.0f} k",
            *(
                shown(map(value, runs), sign.replace("-", ""))
                for value, sign in zip(columns.values(), signs, strict=True)
            ),
        ]
        for name, runs in groups.items()
    ]
    return Section(title, ["network", "seeds", "parameters", *columns], rows, notes)


def registered_table(runs: list[Run]) -> Section:
    """Trained on registered references, measured on registered pairs of held-out scenes."""
    columns: dict[str, Callable[[Run], float]] = {
        "no reference": lambda run: run["psnr"]["pairs"]["blank"],
        "given": lambda run: run["psnr"]["pairs"]["given"],
        "worth of the reference": lambda run: worth(run, "pairs", "given"),
        "foreign": lambda run: worth(run, "pairs", "foreign"),
    }
    notes = [f"Bicubic: {runs[0]['bicubic']['pairs']:.2f} dB. Registered pairs of held-out scenes."]
    groups = by_variant(runs, "registered")
    return table("Trained on registered pairs", groups, columns, "--++", notes)


def distances(runs: list[Run]) -> list[str]:
    """The displacements that were measured, in LR px."""
    return [key for key in runs[0]["psnr"]["displaced"] if key not in ("blank", "foreign")]


def displaced_table(runs: list[Run], setting: str) -> Section:
    """What a reference is worth by how far it lies off."""
    columns: dict[str, Callable[[Run], float]] = {
        "no reference": lambda run: run["psnr"]["displaced"]["blank"]
    }
    for distance in distances(runs):
        columns[f"{distance} px off"] = lambda run, d=distance: worth(run, "displaced", d)
    columns["foreign"] = lambda run: worth(run, "displaced", "foreign")
    groups = by_variant(runs, setting)
    notes = [
        f"Bicubic: {runs[0]['bicubic']['displaced']:.2f} dB. First column in dB, then dB over it; "
        "LR px off, warp and exposure on top, believed everywhere; one crop a held-out scene.",
        *where_it_ends(groups, distances(runs)),
    ]
    title = f"Unregistered references, trained on {setting} ones"
    return table(title, groups, columns, "-" + "+" * (len(columns) - 1), notes)


def where_it_ends(groups: dict[str, list[Run]], measured: list[str]) -> list[str]:
    """A sentence for each farthest displacement at which a reference is still worth WORTH dB."""
    ends: dict[str, list[str]] = {}
    for name, runs in groups.items():
        means = {d: spread(worth(run, "displaced", d) for run in runs)[0] for d in measured}
        reached = [d for d, mean in means.items() if mean >= WORTH]
        ends.setdefault(f"up to {reached[-1]} LR px off" if reached else "nowhere", []).append(name)
    who = {where: "Every network" if len(ends) == 1 else "; ".join(n) for where, n in ends.items()}
    return [f"{who[where]}: the reference is worth {WORTH} dB or more {where}." for where in ends]


def cufed_table(runs: list[Run], setting: str) -> Section:
    """The paper's own kind of data, unregistered: one CUFED5 group and ten CUFED patches."""
    columns: dict[str, Callable[[Run], float]] = {
        f"L{level}": lambda run, level=level: worth(run, "cufed5", f"L{level}")
        for level in range(1, 6)
    }
    columns["patches"] = lambda run: worth(run, "cufed", "given")
    bicubic = runs[0]["bicubic"]
    notes = [
        "dB over no reference; references as they are, believed everywhere. L1 to L5: CUFED5 group "
        f"001 (bicubic {bicubic['cufed5']:.2f}); patches: ten CUFED training pairs of 160 px "
        f"(bicubic {bicubic['cufed']:.2f}).",
    ]
    title = f"CUFED, not registered, trained on {setting} references"
    return table(title, by_variant(runs, setting), columns, "+" * 6, notes)


def claims_table(runs: list[Run]) -> Section:
    """The paper's statements against ours: differences of the mean, and whether they repeat."""
    rows: list[list[str]] = []
    for claim, better, worse in CLAIMS:
        cells = [claim]
        for setting in SETTINGS:
            groups = by_variant(runs, setting)
            if better not in groups or worse not in groups:
                cells.append("not run")
                continue
            condition = ("pairs", "given") if setting == "registered" else ("displaced", "0")
            pair = [
                spread(run["psnr"][condition[0]][condition[1]] for run in groups[name])
                for name in (better, worse)
            ]
            verdict = judged(pair[0][0] - pair[1][0], pair[0][1] + pair[1][1])
            single = min(len(groups[better]), len(groups[worse])) == 1
            cells.append(verdict + " (one seed)" * single)
        rows.append(cells)
    notes = [
        "dB between the means of the seeds; no verdict within the two spreads' sum or 0.02 dB.",
        "Registered: given reference on registered pairs. Unregistered: reference 0 px off.",
    ]
    return Section("The paper's order", ["the paper says", *SETTINGS], rows, notes)


def judged(difference: float, noise: float) -> str:
    """A difference with what it says about the paper's statement."""
    noise = max(noise, 0.02)
    verdict = "repeats" if difference > noise else "does not" if difference < -noise else "open"
    return f"{difference:+.2f}, {verdict}"


def ablation_sections(runs: list[Run]) -> list[Section]:
    """Every table for which there are runs."""
    sections = [claims_table(runs)]
    if by_variant(runs, "registered"):
        sections.append(registered_table(runs))
    for setting in reversed(SETTINGS):
        if by_variant(runs, setting):
            sections += [displaced_table(runs, setting), cufed_table(runs, setting)]
    return sections
