"""Tiling: a photo is processed in parts, so that memory does not grow with it.

Tiles are aligned to the network's grid (its non-local blocks attend in windows of it) and overlap
by a halo that covers the receptive field, so a tiled result is the untiled one. With a halo of half
a grid cell the cores meet in the middle of a cell, which both neighbours compute whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Tile:
    """A part of the photo in LR pixels: the computed area, and the core that is kept of it."""

    rows: slice
    cols: slice
    core_rows: slice
    core_cols: slice

    @property
    def pixels(self) -> int:
        """LR pixels that are computed."""
        return (self.rows.stop - self.rows.start) * (self.cols.stop - self.cols.start)

    def core(self, scale: int) -> tuple[slice, slice]:
        """The core within the computed area, in its pixels ``scale`` times enlarged."""
        top = (self.core_rows.start - self.rows.start) * scale
        left = (self.core_cols.start - self.cols.start) * scale
        height = (self.core_rows.stop - self.core_rows.start) * scale
        width = (self.core_cols.stop - self.core_cols.start) * scale
        return slice(top, top + height), slice(left, left + width)

    def inside(self, outer: Tile) -> tuple[slice, slice]:
        """The computed area within that of ``outer``."""
        top, left = outer.rows.start, outer.cols.start
        return (
            slice(self.rows.start - top, self.rows.stop - top),
            slice(self.cols.start - left, self.cols.stop - left),
        )


def bands(height: int, step: int, halo: int) -> Iterator[tuple[slice, slice]]:
    """Bands of ``step`` rows that cover ``height``: the rows to compute, and which to keep of them.

    A band is computed with ``halo`` rows to both sides, or up to the border.
    """
    for start in range(0, height, step):
        stop = min(start + step, height)
        top, bottom = max(start - halo, 0), min(stop + halo, height)
        yield slice(top, bottom), slice(start - top, stop - top)


def whole(height: int, width: int) -> Tile:
    """A photo as a single tile."""
    rows, cols = slice(0, height), slice(0, width)
    return Tile(rows, cols, rows, cols)


def spans(
    part: slice, length: int, step: int, halo: int, multiple: int
) -> list[tuple[slice, slice]]:
    """(computed, core) intervals along one axis of a photo of that ``length``.

    Cores of ``step`` cover ``part``. A computed interval begins and ends on the grid, ``halo`` or
    more to both sides of its core, or at the photo's border.
    """
    shift = halo % multiple
    seams = range(part.start + step + shift, part.stop, step)
    out: list[tuple[slice, slice]] = []
    for start, stop in pairwise([part.start, *seams, part.stop]):
        low = max(0, (start - halo) // multiple * multiple)
        high = min(length, -(-(stop + halo) // multiple) * multiple)
        out.append((slice(low, high), slice(start, stop)))
    return out


def padded_length(computed: slice, multiple: int) -> int:
    """The length of an interval, rounded up to the grid."""
    return -(-(computed.stop - computed.start) // multiple) * multiple


def possible_steps(
    part: slice, length: int, halo: int, multiple: int
) -> list[tuple[int, int, int]]:
    """Possible steps along one axis: (step, total computed length, longest computed interval)."""
    out: list[tuple[int, int, int]] = []
    extent = part.stop - part.start
    count = 0
    for step in range(multiple, extent + multiple, multiple):
        parts = spans(part, length, step, halo, multiple)
        if len(parts) == count:
            continue  # as many parts as before, but less even
        count = len(parts)
        sizes = [padded_length(computed, multiple) for computed, _ in parts]
        out.append((step, sum(sizes), max(sizes)))
    return out


def cut(
    height: int,
    width: int,
    halo: int,
    multiple: int,
    budget: int,
    part: Tile | None = None,
) -> list[Tile]:
    """Tiles of an LR photo, row by row, with the least computed area that the budget allows.

    Each row is divided by itself: a lower one may have fewer, wider tiles. ``budget``: the most LR
    pixels that a tile may compute; a tile is never smaller than one grid cell with its halo.
    ``part``: only tiles that cover the core of this one, which begins on the grid.
    """
    part = part or whole(height, width)
    across = possible_steps(part.core_cols, width, halo, multiple)
    plans: list[tuple[int, int, list[int]]] = []  # computed, step_y, and step_x of each row
    for step_y, _, _ in possible_steps(part.core_rows, height, halo, multiple):
        rows = spans(part.core_rows, height, step_y, halo, multiple)
        sides = [padded_length(computed, multiple) for computed, _ in rows]
        fits = [
            [(total * side, step) for step, total, most in across if most * side <= budget]
            for side in sides
        ]
        if all(fits):
            best = [min(one) for one in fits]
            plans.append((sum(area for area, _ in best), step_y, [step for _, step in best]))
    if plans:
        _, step_y, steps_x = min(plans)
        rows = spans(part.core_rows, height, step_y, halo, multiple)
    else:
        rows = spans(part.core_rows, height, multiple, halo, multiple)
        steps_x = [multiple] * len(rows)
    return [
        Tile(computed, cols, core_rows, core_cols)
        for (computed, core_rows), step_x in zip(rows, steps_x, strict=True)
        for cols, core_cols in spans(part.core_cols, width, step_x, halo, multiple)
    ]
