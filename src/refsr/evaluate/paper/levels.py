"""Table 3: the gain of a reference by its similarity, in five levels."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

from refsr.data.pairs import EvaluationJob, csv_jobs, load_jobs
from refsr.errors import DataError
from refsr.evaluate.compare import MODES, compare_references, comparison_rows
from refsr.evaluate.paper import published
from refsr.evaluate.paper.sections import Report, Request, Section, find_folder, protocol_lines
from refsr.evaluate.run import evaluate
from refsr.weights.models import WITH_LOOKS

MAX_LOSS = 0.05  # dB that a poor reference may lose against none
# The paper's level of each kind of own pairs, which are labelled by geometry.
OWN_LEVELS = {
    "near-identical": "XH",
    "moderate": "H",
    "small-overlap": "M",
    "strong": "L",
    "hopeless": "XL",
}


def table3(request: Request) -> Report:
    """Similarity levels: CUFED5's five, and our own pairs in five levels of viewpoint change."""
    cufed5 = find_folder(request.root, "cufed5")
    photos = find_folder(request.root, "pairs") or request.root
    listed = request.pairs.is_file()
    own = limit_per_kind(csv_jobs(request.pairs, photos), request.limit) if listed else []
    if cufed5 is None and not own:
        raise DataError(
            f"There is neither a folder 'cufed5' in {request.root} (CUFED5's groups, 001_0.png to "
            f"001_5.png) nor the list of pairs {request.pairs}; --pairs names another."
        )
    head = ["method", *published.LEVELS.values()]
    unknown = [[name, *["?"] * len(published.LEVELS)] for name in published.LEVEL_ROWS]
    sections = [Section("The paper", head, unknown, list(published.LEVEL_STATEMENTS))]
    measured: dict[str, Any] = {}
    if cufed5 is not None:
        jobs = load_jobs("cufed5", cufed5)[: request.limit and 5 * request.limit]
        measured["cufed5"] = compare(request, jobs, 0.0, 0.2 if own else 0.9)
        notes = level_check(measured["cufed5"])
        groups = f"Ours on {len(jobs) // 5} of CUFED5's 126 groups"
        sections.append(level_section(groups, measured["cufed5"], published.LEVELS, notes))
        crisp = None
        if request.model in WITH_LOOKS:
            crisp = measured["crisp"] = evaluate(jobs, model=request.model, look="crisp")
        sections.append(perceptual_section(measured["cufed5"], crisp))
    if own:
        start = 0.2 if cufed5 is not None else 0.0
        measured["pairs"] = compare(request, own, start, 1.0 - start)
        notes = ["Levels by the geometry between the two views, not by gain."]
        sections.append(level_section("Ours on own pairs", measured["pairs"], OWN_LEVELS, notes))
    return Report("Table 3: how similar the reference is", sections, measured)


def perceptual_section(comparison: dict[str, Any], crisp: dict[str, Any] | None) -> Section:
    """The perceptual rows: HaarPSI by level, of each reference mode and of the crisp look."""
    levels = comparison_rows(comparison, "haarpsi")
    modes = list(comparison["results"])
    columns = {mode: [f"{row[mode]:.4f}" for row in levels] for mode in ("bicubic", *modes)}
    if crisp is not None:
        mean = crisp["mean"]
        columns["given, crisp"] = [f"{mean[row['kind']]['haarpsi']:.4f}" for row in levels]
        columns["its PSNR"] = [f"{mean[row['kind']]['psnr']:.2f}" for row in levels]
    names = [f"{published.LEVELS.get(row['kind'], '')} {row['kind']}".strip() for row in levels]
    rows = [list(cells) for cells in zip(names, *columns.values(), strict=True)]
    notes = ["HaarPSI: perceptual similarity to the truth, 0 to 1. Crisp: trained adversarially."]
    return Section("Ours, perceptual", ["level", *columns], rows, notes)


def limit_per_kind(jobs: list[EvaluationJob], limit: int | None) -> list[EvaluationJob]:
    """The first ``limit`` jobs of each kind, in their order; all where there is no limit."""
    seen: Counter[str] = Counter()
    out: list[EvaluationJob] = []
    for job in jobs:
        seen[job.kind] += 1
        if limit is None or seen[job.kind] <= limit:
            out.append(job)
    return out


def compare(
    request: Request, jobs: list[EvaluationJob], start: float, share: float
) -> dict[str, Any]:
    """All reference modes, reporting progress from ``start`` over ``share``."""

    def report(finished: float) -> None:
        if request.progress:
            request.progress(start + share * finished)

    return compare_references(jobs, model=request.model, modes=MODES, progress=report)


def level_section(
    title: str, comparison: dict[str, Any], levels: dict[str, str], notes: list[str]
) -> Section:
    """A row per level: PSNR by reference mode, and the gain over bicubic."""
    modes = list(comparison["results"])
    rows = comparison_rows(comparison)
    order = [*levels, *(row["kind"] for row in rows if row["kind"] not in levels)]
    rows.sort(key=lambda row: order.index(row["kind"]))
    cells = [
        [
            " ".join(filter(None, (levels.get(row["kind"], ""), row["kind"]))),
            f"{row['pairs']}",
            *(f"{row[name]:.2f}" for name in ("bicubic", *modes)),
            f"{row['given'] - row['bicubic']:+.2f}",
        ]
        for row in rows
    ]
    left_out = [f"{mode} is left out: {why}" for mode, why in comparison["left_out"].items()]
    means = [f"{mode}: {sentence}." for mode, sentence in comparison["modes"].items()]
    return Section(
        title,
        ["level", "pairs", "bicubic", *modes, "given over bicubic"],
        cells,
        [*notes, *left_out, *means, *protocol_lines()],
    )


def level_check(comparison: dict[str, Any]) -> list[str]:
    """Two sentences: whether the gain falls with the level, and what a poor reference loses."""
    rows = {row["kind"]: row for row in comparison_rows(comparison)}
    gains = {level: rows[level]["given"] - rows[level]["bicubic"] for level in published.LEVELS}
    names = list(published.LEVELS)
    rising = [
        f"{after} gains {gains[after] - gains[before]:.2f} dB more than {before}"
        for before, after in pairwise(names)
        if gains[after] > gains[before]
    ]
    falls = f"No: {', '.join(rising)}." if rising else "Yes."
    least = min(rows[level]["given"] - rows[level]["none"] for level in names)
    verdict = "Never" if least >= -MAX_LOSS else "Yes"
    return [
        f"Does the gain fall from level to level? {falls}",
        f"Is any level more than {MAX_LOSS} dB below no reference? {verdict} "
        f"(least: {least:+.2f} dB).",
    ]
