"""A titled table with notes, as Markdown: what every report is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """One table of a report; without columns it is its notes alone."""

    title: str
    head: list[str]
    rows: list[list[str]]
    notes: list[str]


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
