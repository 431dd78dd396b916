"""Checks a data set: opens every photo and reports each problem in one sentence."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from refsr.data.layouts import TITLES, DataSet, Pair, Problem, detect_layouts
from refsr.data.pairs import MIN_SIDE, csv_jobs
from refsr.errors import DataError, RefsrError
from refsr.image.photo import load_photo

# Pixels a side that photos of each layout need: training photos as many as a patch (the paper's, or
# 128 for own photos), benchmarks (not listed) MIN_SIDE.
MIN_SIDES = {"cufed": 160, "div2k": 192, "scenes": 128, "photos": 128}
MAX_RATIO = 2.0  # of the sides of a CUFED pair; training refuses larger ones and pads the others
PAIRS_FILE = "pairs.csv"  # of own scenes; written by `refsr data build`
MAX_LISTED = 10  # problems of one kind that the text report lists

Size = tuple[int, int]  # width, height
Progress = Callable[[float], None]


def size_or_problem(path: Path) -> Size | Problem:
    """The size of a photo, after decoding all of it, or why it cannot be read."""
    try:
        photo = load_photo(path)
    except RefsrError as error:
        return Problem("unreadable", path, str(error))
    return photo.width, photo.height


def read_sizes(
    paths: list[Path], progress: Progress | None
) -> Iterator[tuple[Path, Size | Problem]]:
    """The size or problem of every photo, in order; decoded in parallel."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for index, (path, found) in enumerate(
            zip(paths, pool.map(size_or_problem, paths), strict=True), start=1
        ):
            if progress:
                progress(index / len(paths))
            yield path, found


def size_problems(data: DataSet, sizes: dict[Path, Size]) -> Iterator[Problem]:
    """Photos that are too small for their layout, and CUFED pairs whose sizes differ too much."""
    least = MIN_SIDES.get(data.layout, MIN_SIDE)
    inputs = {pair.input for pair in data.pairs}  # a reference may be small: it is padded or fitted
    for path in sorted(inputs & sizes.keys()):
        width, height = sizes[path]
        if min(width, height) < least:
            text = f"{path} has {width} x {height} pixels; at least {least} a side are needed."
            yield Problem("small", path, text)
    for pair in data.pairs if data.layout == "cufed" else ():
        size, other = sizes.get(pair.input), sizes.get(pair.references[0])
        if size and other and sizes_differ(size, other):
            text = (
                f"{pair.references[0]} has {other[0]} x {other[1]} pixels and its input "
                f"{size[0]} x {size[1]}; the patches of a pair must have about the same size."
            )
            yield Problem("size", pair.references[0], text)


def sizes_differ(size: Size, other: Size) -> bool:
    """Whether training would refuse the pair: one side is more than twice the other's."""
    return any(max(a, b) > MAX_RATIO * min(a, b) for a, b in zip(size, other, strict=True))


def identical_references(pairs: Iterable[Pair]) -> Iterator[Problem]:
    """References that equal their input byte for byte: training on them only teaches copying."""
    seen: set[frozenset[Path]] = set()
    for pair in pairs:
        for reference in pair.references:
            both = frozenset((pair.input, reference))
            if both in seen or pair.input.stat().st_size != reference.stat().st_size:
                continue
            seen.add(both)
            if pair.input.read_bytes() == reference.read_bytes():
                text = f"{reference} is the same file as its input {pair.input}."
                yield Problem("same", reference, text)


def notes_on_sizes(data: DataSet, sizes: dict[Path, Size]) -> Iterator[str]:
    """How many references training pads or crops."""
    if data.layout == "cufed":
        padded = sum(
            size != other and not sizes_differ(size, other)
            for size, other in (
                (sizes[pair.input], sizes[pair.references[0]])
                for pair in data.pairs
                if pair.input in sizes and pair.references[0] in sizes
            )
        )
        if padded:
            yield f"{padded} references differ in size from their input and are padded or cropped"


def pair_list_problems(folder: Path) -> Iterator[Problem]:
    """Problems of the pairs.csv beside own scenes, if there is one."""
    path = folder / PAIRS_FILE
    if path.is_file():
        try:
            csv_jobs(path, folder)
        except DataError as error:
            yield Problem("list", path, str(error))


def check_set(data: DataSet, progress: Progress | None = None) -> DataSet:
    """The data set with the problems of its photos added to those of their names."""
    sizes: dict[Path, Size] = {}
    problems = list(data.problems)
    for path, found in read_sizes(data.photos, progress):
        if isinstance(found, Problem):
            problems.append(found)
        else:
            sizes[path] = found
    problems += [*size_problems(data, sizes), *identical_references(data.pairs)]
    if data.layout == "scenes":
        problems += pair_list_problems(data.folder)
    return replace(
        data, problems=tuple(problems), notes=(*data.notes, *notes_on_sizes(data, sizes))
    )


def check(folder: Path, progress: Progress | None = None) -> list[DataSet]:
    """Check every data set in ``folder``; ``progress`` is called with the finished share, 0..1.

    Raises DataError where the folder does not exist or holds no photos.
    """
    sets = detect_layouts(folder)
    total = sum(len(data.photos) for data in sets)
    done = 0
    checked: list[DataSet] = []
    for data in sets:
        count, before = len(data.photos), done

        def report(share: float, count: int = count, before: int = before) -> None:
            if progress:
                progress((before + share * count) / total)

        checked.append(check_set(data, report))
        done += count
    return checked


def describe(data: DataSet) -> dict[str, Any]:
    """A checked data set as JSON-ready values."""
    return {
        "folder": str(data.folder),
        "layout": data.layout,
        "photos": len(data.photos),
        "pairs": sum(len(pair.references) for pair in data.pairs),
        "notes": list(data.notes),
        "problems": [
            {"kind": problem.kind, "file": str(problem.file), "problem": problem.sentence}
            for problem in data.problems
        ],
    }


def render(data: DataSet) -> str:
    """A checked data set as text: what it is, then at most MAX_LISTED problems of each kind."""
    facts = describe(data)
    pairs = f", {facts['pairs']} pairs" if facts["pairs"] else ""
    lines = [f"{data.folder}: {TITLES[data.layout]}, {facts['photos']} photos{pairs}"]
    lines += [f"  note: {note}" for note in data.notes]
    for kind in dict.fromkeys(problem.kind for problem in data.problems):
        sentences = [problem.sentence for problem in data.problems if problem.kind == kind]
        lines += [f"  {kind}: {sentence}" for sentence in sentences[:MAX_LISTED]]
        if len(sentences) > MAX_LISTED:
            lines.append(f"  {kind}: {len(sentences) - MAX_LISTED} more; --json lists them all")
    return "\n".join([*lines, "" if data.problems else "  no problems"]).rstrip()
