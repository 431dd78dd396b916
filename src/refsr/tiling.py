"""Tiles: a photo is worked on in parts, so that memory does not grow with it.

Tiles are cut on the network's grid (its non-local blocks attend in windows of it) and overlap by a
halo that covers what reaches across, so a tiled result is the untiled one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class Tile:
    """A part of the photo in LR pixels: what is computed, and the core that is kept."""

    rows: slice
    cols: slice
    core_rows: slice
    core_cols: slice

    def core(self, scale: int) -> tuple[slice, slice]:
        """Where the core lies inside the computed tile, ``scale`` times enlarged."""
        top = (self.core_rows.start - self.rows.start) * scale
        left = (self.core_cols.start - self.cols.start) * scale
        height = (self.core_rows.stop - self.core_rows.start) * scale
        width = (self.core_cols.stop - self.core_cols.start) * scale
        return slice(top, top + height), slice(left, left + width)


def spans(length: int, step: int, halo: int) -> list[tuple[slice, slice]]:
    """(computed, core) intervals of one axis: cores of ``step`` with a halo to both sides."""
    starts = range(0, length, step)
    return [
        (slice(max(0, s - halo), min(length, s + step + halo)), slice(s, min(length, s + step)))
        for s in starts
    ]


def best_steps(height: int, width: int, halo: int, multiple: int, budget: int) -> tuple[int, int]:
    """Core height and width with the least computed area, no tile above ``budget`` LR pixels."""

    def choices(length: int) -> list[tuple[int, int, int]]:
        out: list[tuple[int, int, int]] = []
        for step in range(multiple, length + multiple, multiple):
            sizes = [
                -(-(c.stop - c.start) // multiple) * multiple for c, _ in spans(length, step, halo)
            ]
            out.append((step, sum(sizes), max(sizes)))
        return out

    possible = [
        (total_y * total_x, step_y, step_x)
        for (step_y, total_y, most_y), (step_x, total_x, most_x) in product(
            choices(height), choices(width)
        )
        if most_y * most_x <= budget
    ]
    return min(possible)[1:] if possible else (multiple, multiple)


def cut(height: int, width: int, halo: int, multiple: int, budget: int) -> list[Tile]:
    """Tiles of an LR photo, row by row.

    ``budget``: LR pixels that one computed tile may have; a tile is never smaller than one grid
    cell with its halo.
    """
    step_y, step_x = best_steps(height, width, halo, multiple, budget)
    return [
        Tile(rows, cols, core_rows, core_cols)
        for rows, core_rows in spans(height, step_y, halo)
        for cols, core_cols in spans(width, step_x, halo)
    ]
