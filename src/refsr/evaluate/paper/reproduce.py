"""Reproduces the paper's tables: its numbers beside ours, each with its protocol.

Every table is a ``Report``: sections of rows for the Markdown file, all measurements for the JSON
file. A table's data is searched below one root; where it is missing, the error names the folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from refsr.data import layouts
from refsr.data.pairs import EvaluationJob, describe_jobs, load_jobs
from refsr.errors import DataError
from refsr.evaluate.paper import published
from refsr.evaluate.paper.ablation import ablation_sections, read_runs
from refsr.evaluate.paper.levels import table3
from refsr.evaluate.paper.sections import Report, Request, Section, find_folder, protocol_lines
from refsr.evaluate.paper.time import time_sections
from refsr.evaluate.protocol import ReferenceMode
from refsr.evaluate.run import evaluate
from refsr.image.atomic import atomic_write, make_folder

RUNS_NAME = "ablation.jsonl"


def table1(request: Request) -> Report:
    """CUFED5: ours with no reference, with the most similar one, and with all five."""
    first = load_jobs("cufed5-l1", request.root)[: request.limit]
    every = load_jobs("cufed5-all", request.root)[: request.limit]
    steps: list[tuple[str, str, ReferenceMode, list[EvaluationJob]]] = [
        ("bicubic", "bicubic", "none", first),
        ("detail-transfer (no network), L1", "detail-transfer", "given", first),
        (f"{request.model}, no reference", request.model, "none", first),
        (f"{request.model}, reference L1", request.model, "given", first),
        (f"{request.model}, all five references", request.model, "given", every),
    ]
    measured: dict[str, Any] = {}
    for index, (name, model, mode, jobs) in enumerate(steps):
        measured[name] = evaluate(jobs, model=model, reference=mode)
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
            [
                [name, f"{psnr:.2f}", f"{ssim:.3f}"]
                for name, (psnr, ssim) in published.CUFED5.items()
            ],
            ["-rec: trained for PSNR alone."],
        ),
        Section(
            f"Ours ({groups})",
            ["method", "groups", "PSNR", "SSIM"],
            ours,
            [
                "Means over different groups are not comparable: see the difference in bicubic.",
                *protocol_lines(),
            ],
        ),
    ]
    return Report("Table 1: CUFED5", sections, measured)


def table2(request: Request) -> Report:
    """Self-similarity: benchmarks without references, each photo being its own reference."""
    folders = {name: find_folder(request.root, name) for name in layouts.SINGLE_IMAGE}
    present = {name: folder for name, folder in folders.items() if folder is not None}
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
    if request.baseline:  # both networks alone: what differs is the reference path
        columns.append((f"{request.model}, alone", request.model, "as-is-none"))
        columns.append(("RCAN alone", request.baseline, "as-is-none"))
    measured: dict[str, Any] = {}
    rows: list[list[str]] = []
    found: list[str] = []
    for index, (name, folder) in enumerate(present.items()):
        jobs = load_jobs(name, folder)
        found.append(describe_jobs(name, jobs))
        jobs = jobs[: request.limit]
        results = {title: evaluate(jobs, model=m, reference=r) for title, m, r in columns}
        means = [result["mean"]["all"] for result in results.values()]
        cells = [f"{mean['psnr']:.2f} / {mean['ssim']:.4f}" for mean in means]
        bicubic = f"{means[0]['bicubic_psnr']:.2f} / {means[0]['bicubic_ssim']:.4f}"
        rcan = "{:.2f} / {:.4f}".format(*published.RCAN[name])
        rows.append([name, f"{len(jobs)}", bicubic, *cells, rcan])
        measured[name] = results
        if request.progress:
            request.progress((index + 1) / len(present))
    absent = [name for name, folder in folders.items() if folder is None]
    notes = [f"Not found, so not measured: {', '.join(absent)}."] if absent else []
    sections = [
        Section("The paper", [], [], list(published.SELF_SIMILARITY)),
        Section(
            "Ours, PSNR / SSIM",
            ["photos", "n", "bicubic", *(title for title, _, _ in columns), "RCAN, published"],
            rows,
            [
                *notes,
                *found,
                *baseline_notes(request.baseline, measured),
                "Itself: the LR photo is given as its own reference. A reference no finer than the "
                "photo is not used, and without one the network gets the upscaled photo in its "
                "place, so the two results are the same.",
                *protocol_lines(),
            ],
        ),
    ]
    return Report("Table 2: self-similarity", sections, measured)


def baseline_notes(baseline: str, measured: dict[str, Any]) -> list[str]:
    """The paper's statement on RCAN alone, by benchmark; or how to measure it."""
    if not baseline:
        return [
            "RCAN alone is measured with --baseline: configs/paper_rcan.toml, trained and exported."
        ]
    gains: list[str] = []
    for name, results in measured.items():
        own, alone = [result["mean"]["all"]["psnr"] for result in results.values()][-2:]
        gains.append(f"{name} {own - alone:+.3f}")
    return [f"With SSEN over RCAN alone, dB, both without back-projection: {', '.join(gains)}."]


def table4(request: Request) -> Report:
    """The ablation, from the runs that research/ablate.py recorded."""
    candidates = (*request.root.glob("*"), request.root, request.runs)
    path = next((p for p in candidates if p.name == RUNS_NAME and p.is_file()), None)
    runs = [] if path is None else read_runs(path)
    if not runs:
        raise DataError(
            f"There is no {RUNS_NAME} in {request.root}, nor is there {request.runs}; "
            "research/ablate.py writes it, and refsr's repository holds ours."
        )
    statements = Section("The paper", [], [], list(published.ABLATION_STATEMENTS))
    return Report("Table 4: ablation", [statements, *ablation_sections(runs)], {"runs": runs})


def fig7(request: Request) -> Report:
    """Sampling positions: in CUFED5's most similar reference, and in the photo itself."""
    from refsr.evaluate.paper.fig7 import Case, fig7_sections

    job = load_jobs("cufed5-l1", request.root)[0]
    cases = [
        Case("reference", f"{job.input.name} with {job.references[0].name}", job, True),
        Case("self", f"{job.input.name}, its own reference", job, False),
    ]
    sections, measured = fig7_sections(cases, request.model, request.out)
    statements = Section("The paper", [], [], list(published.FIGURE_STATEMENTS))
    return Report("Figure 7: sampling positions", [statements, *sections], measured)


def fig6(request: Request) -> Report:
    """Repeated structure, with and without SSEN, beside bicubic and the truth."""
    from refsr.evaluate.paper.fig6 import fig6_sections

    folder = find_folder(request.root, "urban100")
    photos = [job.input for job in load_jobs("urban100", folder)] if folder else []
    sections, measured = fig6_sections(
        photos[: request.limit or 3], request.model, request.baseline, request.out
    )
    statements = Section("The paper", [], [], list(published.SELF_SIMILARITY[:1]))
    return Report("Figure 6: repeated structure", [statements, *sections], measured)


def time(request: Request) -> Report:
    """Forward time and memory by size, beside the paper's seconds."""
    sections, measured = time_sections(request.model, request.progress)
    theirs = Section(
        "The paper",
        ["method", "seconds"],
        [[name, seconds] for name, seconds in published.SECONDS.items()],
        ["Its machine and sizes are not known here: compare the ratios, not the seconds."],
    )
    return Report("Time and memory", [theirs, *sections], measured)


TABLES: dict[str, Callable[[Request], Report]] = {
    "table1": table1,
    "table2": table2,
    "table3": table3,
    "table4": table4,
    "fig6": fig6,
    "fig7": fig7,
    "time": time,
}


def reproduce(name: str, request: Request) -> list[Path]:
    """Write one table as ``name``.md and ``name``.json into ``request.out``.

    Returns the files written. Raises DataError where the data is missing or the table unknown, and
    what ``evaluate`` raises.
    """
    if name not in TABLES:
        raise DataError(f"There is no table {name!r}; choose one of {', '.join(TABLES)}.")
    if not request.root.is_dir():
        raise DataError(
            f"The folder {request.root} does not exist; give the data's folder with --root."
        )
    make_folder(request.out)
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
