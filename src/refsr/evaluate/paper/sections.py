"""The request for a reproduced table, and its report: titled tables with notes."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refsr.data import layouts
from refsr.evaluate.protocol import describe_protocol

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Request:
    """A request for one table."""

    root: Path  # holds the data, itself or in folders at most DEPTH levels below
    out: Path  # figures are written here
    model: str = "ssen"
    pairs: Path = Path("benchmarks/validation.csv")  # the list of own pairs, for table 3
    baseline: str = ""  # the same trunk without a reference path (RCAN alone), for table 2, fig. 6
    runs: Path = Path("docs/training/ablation.jsonl")  # of the ablation, unless the root has some
    limit: int | None = None  # photos of each data set, or pairs of each kind of own pairs
    progress: Progress | None = None


@dataclass(frozen=True)
class Section:
    """One table of a report; only notes where it has no columns."""

    title: str
    head: list[str]
    rows: list[list[str]]
    notes: list[str]


@dataclass(frozen=True)
class Report:
    """A finished table: ``sections`` are rendered, ``measured`` holds all measurements."""

    title: str
    sections: list[Section]
    measured: dict[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        """The whole report as Markdown."""
        return "\n\n".join([f"# {self.title}", *map(markdown, self.sections)]) + "\n"


def markdown(section: Section) -> str:
    """The section as Markdown; all columns but the first are right-aligned."""
    lines = [f"## {section.title}", ""]
    if section.head:
        lines += [
            f"| {' | '.join(section.head)} |",
            f"|---|{'---:|' * (len(section.head) - 1)}",
            *(f"| {' | '.join(row)} |" for row in section.rows),
            "",
        ]
    lines += [wrap_text(f"- {note}", indent="  ") for note in section.notes]
    return "\n".join(lines).rstrip()


def wrap_text(text: str, indent: str = "") -> str:
    """A paragraph of a Markdown page of at most 100 columns; ``indent`` from its second line on."""
    return textwrap.fill(
        text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def protocol_lines() -> list[str]:
    """The protocol of every PSNR and SSIM in the report, in two lines."""
    protocol = describe_protocol(None, "none")
    return [
        f"x{protocol['scale']}; PSNR and SSIM on {protocol['channel']}, a border of "
        f"{protocol['border']} px left out; means over photos.",
        f"LR: {protocol['lr']}.",
    ]


def find_folder(root: Path, name: str) -> Path | None:
    """The folder of the data set ``name``: the root, or one at most DEPTH levels below it."""
    folders = [root.resolve(), *layouts.folders_below(root, layouts.DEPTH)]
    return next((path for path in folders if layouts.canonical_name(path) == name), None)
