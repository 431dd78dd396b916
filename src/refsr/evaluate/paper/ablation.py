"""The tables of the ablation, from one JSON line per run (research/ablate.py).

``psnr`` of a run holds the mean luma PSNR in dB by set and reference: "blank" is no reference,
"mismatched" another photo's with full validity. The gain of a reference is "given" (or a level, or
a displacement) minus "blank" with the same weights.
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
MIN_GAIN = 0.1  # dB: a smaller gain counts as none
BASE = "3 layers"
NONE = "0 layers"
CLAIMS = (  # the paper's statement, the better variant by it, the other one
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
    """The runs of a JSON-lines file, [] where it does not exist. Raises DataError."""
    if not path.is_file():
        return []
    try:
        text = path.read_text(encoding="utf-8").replace('"foreign"', '"mismatched"')  # its old name
        return [json.loads(line) for line in text.splitlines() if line]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} does not hold one JSON object a line ({error}).") from error


def spread(values: Iterable[float]) -> tuple[float, float]:
    """Mean over the seeds, and half the range."""
    array = np.array(list(values))
    return float(array.mean()), float(array.max() - array.min()) / 2


def format_spread(values: Iterable[float], sign: str = "+") -> str:
    """``spread`` as text; without the range for a single seed."""
    values = list(values)
    mean, half = spread(values)
    return f"{mean:{sign}.2f}" + (f" ±{half:.2f}" if len(values) > 1 else "")


def gain(run: Run, name: str, reference: str) -> float:
    """dB that a reference gains over none on the set ``name``, with the same weights."""
    scores = run["psnr"][name]
    return scores[reference] - scores["blank"]


def by_variant(runs: list[Run], setting: str) -> dict[str, list[Run]]:
    """The runs of one setting by variant, in their order in the file."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if run["setting"] == setting:
            groups.setdefault(run["variant"], []).append(run)
    return groups


def table(
    title: str,
    groups: dict[str, list[Run]],
    columns: dict[str, Callable[[Run], float]],
    signs: str,
    notes: list[str],
) -> Section:
    """A row per variant, a column per value; ``signs``: for each column, + (signed) or -."""
    rows = [
        [
            name,
            f"{len(runs)}",
            f"{runs[0]['parameters'] / 1000:.0f} k",
            *(
                format_spread(map(value, runs), sign.replace("-", ""))
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
        "gain of the reference": lambda run: gain(run, "pairs", "given"),
        "mismatched": lambda run: gain(run, "pairs", "mismatched"),
    }
    notes = [f"Bicubic: {runs[0]['bicubic']['pairs']:.2f} dB. Registered pairs of held-out scenes."]
    groups = by_variant(runs, "registered")
    return table("Trained on registered pairs", groups, columns, "--++", notes)


def distances(runs: list[Run]) -> list[str]:
    """The measured displacements, in LR px."""
    return [key for key in runs[0]["psnr"]["displaced"] if key not in ("blank", "mismatched")]


def displaced_table(runs: list[Run], setting: str) -> Section:
    """The gain of a reference by its displacement."""
    columns: dict[str, Callable[[Run], float]] = {
        "no reference": lambda run: run["psnr"]["displaced"]["blank"]
    }
    for distance in distances(runs):
        columns[f"{distance} px off"] = lambda run, d=distance: gain(run, "displaced", d)
    columns["mismatched"] = lambda run: gain(run, "displaced", "mismatched")
    groups = by_variant(runs, setting)
    notes = [
        f"Bicubic: {runs[0]['bicubic']['displaced']:.2f} dB. First column in dB, then dB over it; "
        "displacement in LR px, warp and exposure on top, full validity; one crop per held-out "
        "scene.",
        *farthest_gains(groups, distances(runs)),
    ]
    title = f"Unregistered references, trained on {setting} ones"
    return table(title, groups, columns, "-" + "+" * (len(columns) - 1), notes)


def farthest_gains(groups: dict[str, list[Run]], measured: list[str]) -> list[str]:
    """One sentence per farthest displacement at which a reference still gains MIN_GAIN dB."""
    ends: dict[str, list[str]] = {}
    for name, runs in groups.items():
        means = {d: spread(gain(run, "displaced", d) for run in runs)[0] for d in measured}
        reached = [d for d, mean in means.items() if mean >= MIN_GAIN]
        ends.setdefault(f"up to {reached[-1]} LR px off" if reached else "nowhere", []).append(name)
    return [
        f"{'Every network' if len(ends) == 1 else '; '.join(names)}: "
        f"the reference gains {MIN_GAIN} dB or more {where}."
        for where, names in ends.items()
    ]


def cufed_table(runs: list[Run], setting: str) -> Section:
    """The paper's data, unregistered: one CUFED5 group and ten CUFED patches."""
    columns: dict[str, Callable[[Run], float]] = {
        f"L{level}": lambda run, level=level: gain(run, "cufed5", f"L{level}")
        for level in range(1, 6)
    }
    columns["patches"] = lambda run: gain(run, "cufed", "given")
    bicubic = runs[0]["bicubic"]
    notes = [
        "dB over no reference; references as they are, with full validity. L1 to L5: CUFED5 group "
        f"001 (bicubic {bicubic['cufed5']:.2f}); patches: ten CUFED training pairs of 160 px "
        f"(bicubic {bicubic['cufed']:.2f}).",
    ]
    title = f"CUFED, not registered, trained on {setting} references"
    return table(title, by_variant(runs, setting), columns, "+" * 6, notes)


def claims_table(runs: list[Run]) -> Section:
    """The paper's statements and our differences of the means, with a verdict on each."""
    rows = [["no layer already gains", *(baseline_gain(runs, setting) for setting in SETTINGS)]]
    for claim, better, worse in CLAIMS:
        cells = [claim]
        for setting in SETTINGS:
            groups = by_variant(runs, setting)
            if better not in groups or worse not in groups:
                cells.append("not run")
                continue
            name, reference = ("pairs", "given") if setting == "registered" else ("displaced", "0")
            (mean, half), (other, other_half) = (
                spread(run["psnr"][name][reference] for run in groups[variant])
                for variant in (better, worse)
            )
            verdict = judge(mean - other, half + other_half)
            single = min(len(groups[better]), len(groups[worse])) == 1
            cells.append(verdict + " (one seed)" * single)
        rows.append(cells)
    notes = [
        "dB between the means of the seeds; no verdict within the two spreads' sum or 0.02 dB.",
        "No layer: what the reference gives the network without deformable layers, over none.",
        "Registered: given reference on registered pairs. Unregistered: reference 0 px off.",
    ]
    return Section("The paper's order", ["the paper says", *SETTINGS], rows, notes)


def baseline_gain(runs: list[Run], setting: str) -> str:
    """What a reference gains over none without deformable layers, and the verdict on it."""
    group = by_variant(runs, setting).get(NONE)
    if not group:
        return "not run"
    name, reference = ("pairs", "given") if setting == "registered" else ("displaced", "0")
    mean, half = spread(gain(run, name, reference) for run in group)
    return judge(mean, half) + " (one seed)" * (len(group) == 1)


def judge(difference: float, noise: float) -> str:
    """A difference in dB and the verdict on the paper's statement."""
    noise = max(noise, 0.02)
    verdict = "repeats" if difference > noise else "does not" if difference < -noise else "open"
    return f"{difference:+.2f}, {verdict}"


def ablation_sections(runs: list[Run]) -> list[Section]:
    """All tables for which there are runs."""
    sections = [claims_table(runs)]
    if by_variant(runs, "registered"):
        sections.append(registered_table(runs))
    for setting in reversed(SETTINGS):
        if by_variant(runs, setting):
            sections += [displaced_table(runs, setting), cufed_table(runs, setting)]
    return sections
