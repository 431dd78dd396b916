"""What a reproduced table is asked for with, and what it is made of: titled tables with notes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refsr.data import layouts
from refsr.evaluate.run import describe_protocol

Progress = Callable[[float], None]


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
class Section:
    """One table of a report; without columns it is its notes alone."""

    title: str
    head: list[str]
    rows: list[list[str]]
    notes: list[str]


@dataclass(frozen=True)
class Report:
    """A finished table: ``sections`` are what a reader sees, ``measured`` is everything."""

    title: str
    sections: list[Section]
    measured: dict[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        """The whole report as Markdown."""
        return "\n\n".join([f"# {self.title}", *map(markdown, self.sections)]) + "\n"


def markdown(section: Section) -> str:
    """The section as Markdown; columns but the first are aligned to the right."""
    lines = [f"## {section.title}", ""]
    if section.head:
        lines += [
            f"| {' | '.join(section.head)} |",
            f"|---|{'---:|' * (len(section.head) - 1)}",
            *(f"| {' | '.join(row)} |" for row in section.rows),
            "",
        ]
    lines += [f"- {note}" for note in section.notes]
    return "\n".join(lines).rstrip()


def protocol_lines() -> list[str]:
    """What every PSNR and SSIM here depends on, in two lines."""
    protocol = describe_protocol(None, "none")
    return [
        f"x{protocol['scale']}; PSNR and SSIM on {protocol['channel']}, a border of "
        f"{protocol['border']} px left out; means over photos.",
        f"LR: {protocol['lr']}.",
    ]


def find_folder(root: Path, name: str) -> Path | None:
    """The folder of the data set ``name``: the root itself, or at most two levels below it."""
    folders = [root.resolve(), *layouts.below(root, layouts.DEPTH)]
    return next((path for path in folders if layouts.named(path) == name), None)
