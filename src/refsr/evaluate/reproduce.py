"""The paper's tables, made again: its numbers beside ours, each with its protocol.

Every table is a ``Report``: sections of rows for the Markdown, everything measured for the JSON.
What a table needs is looked for below one root; where it is absent, one sentence names the folder.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from refsr.atomic import atomic_write, reason
from refsr.data import layouts
from refsr.errors import DataError
from refsr.evaluate import paper
from refsr.evaluate.compare import MODES, compare_references, comparison_rows
from refsr.evaluate.pairs import Job, csv_jobs, load_jobs
from refsr.evaluate.reproduce_ablation import ablation_sections, read_runs
from refsr.evaluate.reproduce_time import time_sections
from refsr.evaluate.run import ReferenceMode, describe_protocol, evaluate
from refsr.evaluate.sections import Section, markdown

Table = Literal["table1", "table2", "table3", "table4", "fig7", "time"]
Progress = Callable[[float], None]

COST = 0.05  # dB that a poor reference may cost against none
# Our own pairs in the paper's five levels, from the labels that geometry gave them.
OWN_LEVELS = {
    "near-identical": "XH",
    "moderate": "H",
    "small-overlap": "M",
    "strong": "L",
    "hopeless": "XL",
}


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    root: Path  # the data lies in it, or in folders at most two levels below
    out: Path  # figures are written here
    model: str = "ssen"
    pairs: Path = Path("benchmarks/validation.csv")  # the list of own pairs, for table 3
    limit: int | None = None  # only so many photos of each data set, or kind of own pairs
    progress: Progress | None = None


@dataclass(frozen=True)
class Report:
    """A finished table: ``sections`` are what a reader sees, ``measured`` is everything."""

    title: str
    sections: list[Section]
    measured: dict[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        """The whole report as Markdown."""
        return "\n\n".join([f"# {self.title}", *map(markdown, self.sections)]) + "\n"


def find_folder(root: Path, name: str) -> Path | None:
    """The folder of the data set ``name``: the root itself, or at most two levels below it."""
    folders = [root.resolve(), *layouts.below(root, layouts.DEPTH)]
    return next((path for path in folders if layouts.named(path) == name), None)


def table1(request: Request) -> Report:
    """CUFED5: ours with no reference, with the most similar one, and with all five."""
    first = load_jobs("cufed5-l1", request.root)[: request.limit]
    every = load_jobs("cufed5-all", request.root)[: request.limit]
    steps: list[tuple[str, str, ReferenceMode, list[Job]]] = [
        ("bicubic", "bicubic", "none", first),
        ("detail-transfer (no network), L1", "detail-transfer", "given", first),
        (f"{request.model}, no reference", request.model, "none", first),
        (f"{request.model}, reference L1", request.model, "given", first),
        (f"{request.model}, all five references", request.model, "given", every),
    ]
    measured: dict[str, Any] = {}
    for index, (name, model, mode, some) in enumerate(steps):
        measured[name] = evaluate(some, model=model, reference=mode)
        if request.progress:
            request.progress((index + 1) / len(steps))
    ours = [
        [name, f"{len(first)}", f"{mean['psnr']:.2f}", f"{mean['ssim']:.4f}"]
        for name, mean in ((name, result["mean"]["all"]) for name, result in measured.items())
    ]
    groups = f"{len(first)} of CUFED5's 126 groups"
    sections = [
        Section(
            "The paper and what came after it (126 groups)",
            ["method", "PSNR", "SSIM"],
            [[name, f"{psnr:.2f}", f"{ssim:.3f}"] for name, (psnr, ssim) in paper.CUFED5.items()],
            ["-rec: trained for PSNR alone."],
        ),
        Section(
            f"Ours ({groups})",
            ["method", "groups", "PSNR", "SSIM"],
            ours,
            ["Means of different groups cannot be compared with each other; bicubic tells how far.",
             *protocol_lines()],
        ),
    ]  # fmt: skip
    return Report("Table 1: CUFED5", sections, measured)


def table2(request: Request) -> Report:
    """Self-similarity: benchmarks without references, the photo serving itself."""
    found = {name: find_folder(request.root, name) for name in layouts.SINGLE_IMAGE}
    present = {name: folder for name, folder in found.items() if folder is not None}
    if not present:
        raise DataError(
            f"There is no folder {', '.join(map(repr, layouts.SINGLE_IMAGE))} in {request.root}: "
            "each must hold its benchmark's photos."
        )
    columns: list[tuple[str, str, ReferenceMode]] = [
        ("Lanczos", "lanczos", "none"),
        (f"{request.model}, no reference", request.model, "none"),
        (f"{request.model}, itself", request.model, "self"),
    ]
    measured: dict[str, Any] = {}
    rows: list[list[str]] = []
    for index, (name, folder) in enumerate(present.items()):
        jobs = load_jobs(name, folder)[: request.limit]
        results = {title: evaluate(jobs, model=m, reference=r) for title, m, r in columns}
        means = [result["mean"]["all"] for result in results.values()]
        cells = [f"{mean['psnr']:.2f} / {mean['ssim']:.4f}" for mean in means]
        bicubic = f"{means[0]['bicubic_psnr']:.2f} / {means[0]['bicubic_ssim']:.4f}"
        rcan = "{:.2f} / {:.4f}".format(*paper.RCAN[name])
        rows.append([name, f"{len(jobs)}", bicubic, *cells, rcan])
        measured[name] = results
        if request.progress:
            request.progress((index + 1) / len(present))
    absent = [name for name, folder in found.items() if folder is None]
    notes = [f"Not here, so not measured: {', '.join(absent)}."] if absent else []
    sections = [
        Section("The paper", [], [], list(paper.SELF_SIMILARITY)),
        Section(
            "Ours, PSNR / SSIM",
            ["photos", "n", "bicubic", *(title for title, _, _ in columns), "RCAN, published"],
            rows,
            [
                *notes,
                "Itself: the small photo is given as its own reference. A reference no finer than "
                "the photo is not used, and without one the network is shown the enlarged photo "
                "in its place: so the two are the same.",
                *protocol_lines(),
            ],
        ),
    ]
    return Report("Table 2: self-similarity", sections, measured)


def table3(request: Request) -> Report:
    """Similarity levels: CUFED5's five, and our own pairs in five levels of viewpoint change."""
    cufed5 = find_folder(request.root, "cufed5")
    photos = find_folder(request.root, "pairs") or request.root
    listed = request.pairs.is_file()
    own = first_of_kind(csv_jobs(request.pairs, photos), request.limit) if listed else []
    if cufed5 is None and not own:
        raise DataError(
            f"There is neither a folder 'cufed5' in {request.root} (CUFED5's groups, 001_0.png to "
            f"001_5.png) nor the list of pairs {request.pairs}; --pairs names another."
        )
    sections = [Section("The paper", [], [], list(paper.LEVEL_STATEMENTS))]
    measured: dict[str, Any] = {}
    if cufed5 is not None:
        jobs = load_jobs("cufed5", cufed5)[: request.limit and 5 * request.limit]
        measured["cufed5"] = compared(request, jobs, 0.0, 0.2 if own else 1.0)
        notes = level_check(measured["cufed5"])
        groups = f"Ours on {len(jobs) // 5} of CUFED5's 126 groups"
        sections.append(level_section(groups, measured["cufed5"], paper.LEVELS, notes))
    if own:
        start = 0.2 if cufed5 is not None else 0.0
        measured["pairs"] = compared(request, own, start, 1.0 - start)
        notes = ["Levels by the geometry between the two views, not by gain."]
        sections.append(level_section("Ours on own pairs", measured["pairs"], OWN_LEVELS, notes))
    return Report("Table 3: how similar the reference is", sections, measured)


def first_of_kind(jobs: list[Job], limit: int | None) -> list[Job]:
    """The first ``limit`` jobs of each kind, in their order; all where there is no limit."""
    seen: Counter[str] = Counter()
    out: list[Job] = []
    for job in jobs:
        seen[job.kind] += 1
        if limit is None or seen[job.kind] <= limit:
            out.append(job)
    return out


def compared(request: Request, jobs: list[Job], start: float, share: float) -> dict[str, Any]:
    """The five kinds of reference, reporting progress from ``start`` over ``share``."""

    def report(done: float) -> None:
        if request.progress:
            request.progress(start + share * done)

    return compare_references(jobs, model=request.model, modes=MODES, progress=report)


def level_section(
    title: str, comparison: dict[str, Any], levels: dict[str, str], notes: list[str]
) -> Section:
    """A row for each level: PSNR by kind of reference, and the gain over bicubic."""
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
    """Whether the gain falls with the level, and what a poor reference costs: two sentences."""
    rows = {row["kind"]: row for row in comparison_rows(comparison)}
    gains = {level: rows[level]["given"] - rows[level]["bicubic"] for level in paper.LEVELS}
    names = list(paper.LEVELS)
    rising = [
        f"{after} gains {gains[after] - gains[before]:.2f} dB more than {before}"
        for before, after in pairwise(names)
        if gains[after] > gains[before]
    ]
    falls = f"No: {', '.join(rising)}." if rising else "Yes."
    least = min(rows[level]["given"] - rows[level]["none"] for level in names)
    verdict = "Never" if least >= -COST else "Yes"
    return [
        f"Does the gain fall from level to level? {falls}",
        f"Is any level more than {COST} dB below no reference? {verdict} (least: {least:+.2f} dB).",
    ]


def table4(request: Request) -> Report:
    """The ablation, from the runs that scripts/ablate.py kept."""
    path = next((p for p in (request.root, *request.root.glob("*")) if is_runs(p)), None)
    path = request.root / "ablation.jsonl" if path is None else path
    runs = read_runs(path)
    if not runs:
        raise DataError(
            f"There is no ablation.jsonl in {request.root}; scripts/ablate.py writes it "
            "(docs/training holds ours)."
        )
    statements = Section("The paper", [], [], list(paper.ABLATION_STATEMENTS))
    return Report("Table 4: ablation", [statements, *ablation_sections(runs)], {"runs": runs})


def is_runs(path: Path) -> bool:
    """Whether this is the file of the ablation's runs."""
    return path.name == "ablation.jsonl" and path.is_file()


def fig7(request: Request) -> Report:
    """Where the samples fall: with CUFED5's most similar reference, and on the photo itself."""
    from refsr.evaluate.reproduce_fig7 import Case, fig7_sections

    job = load_jobs("cufed5-l1", request.root)[0]
    cases = [
        Case("reference", f"{job.input.name} with {job.references[0].name}", job, True),
        Case("self", f"{job.input.name}, its own reference", job, False),
    ]
    sections, measured = fig7_sections(cases, request.model, request.out)
    said = Section("The paper", [], [], list(paper.FIGURE_STATEMENTS))
    return Report("Figure 7: where the samples fall", [said, *sections], measured)


def time(request: Request) -> Report:
    """Forward time and memory by size, the paper's seconds beside them."""
    sections, measured = time_sections(request.model, request.progress)
    said = Section(
        "The paper",
        ["method", "seconds"],
        [[name, seconds] for name, seconds in paper.SECONDS.items()],
        ["Its machine and sizes are not known here: compare the ratios, not the seconds."],
    )
    return Report("Time and memory", [said, *sections], measured)


def protocol_lines() -> list[str]:
    """What every PSNR and SSIM here depends on, in two lines."""
    protocol = describe_protocol(None, "none")
    return [
        f"x{protocol['scale']}; PSNR and SSIM on {protocol['channel']}, a border of "
        f"{protocol['border']} px left out; means over photos.",
        f"LR: {protocol['lr']}.",
    ]


TABLES: dict[str, Callable[[Request], Report]] = {
    "table1": table1,
    "table2": table2,
    "table3": table3,
    "table4": table4,
    "fig7": fig7,
    "time": time,
}


def reproduce(name: str, request: Request) -> list[Path]:
    """Make one table and write ``name``.md and ``name``.json into ``request.out``.

    Returns the files written. Raises DataError where the data is absent or the table unknown, and
    what ``evaluate`` raises.
    """
    if name not in TABLES:
        raise DataError(f"There is no {name!r}; there are: {', '.join(TABLES)}.")
    if not request.root.is_dir():
        raise DataError(f"The folder {request.root} does not exist; name the data with --root.")
    try:
        request.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"The folder {request.out} cannot be made: {reason(error)}.") from error
    report = TABLES[name](request)
    record = {
        "title": report.title,
        "model": request.model,
        "sections": [vars(section) for section in report.sections],
        "measured": report.measured,
    }
    texts = {".md": report.markdown(), ".json": json.dumps(record, indent=1) + "\n"}
    for suffix, text in texts.items():
        atomic_write(request.out / f"{name}{suffix}", text.encode())
    return [request.out / f"{name}{suffix}" for suffix in texts]
