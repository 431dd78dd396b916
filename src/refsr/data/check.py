"""Is a data set whole? Every photo is opened, and what is wrong is said in sentences."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from refsr.data.layouts import TITLES, DataSet, Pair, Problem, recognise
from refsr.errors import DataError, RefsrError
from refsr.evaluate.pairs import csv_jobs
from refsr.evaluate.run import SMALLEST
from refsr.image.photo import load_photo

# The least side in pixels that a photo of each layout needs; benchmarks must be large enough to be
# measured, what is trained on as large as a patch: the paper's, or 128 for own photos.
LEAST = {"cufed": 160, "div2k": 192, "scenes": 128, "photos": 128}
RATIO = 2.0  # sides of a CUFED pair that differ by more are refused in training, others padded
LIST = "pairs.csv"  # of own scenes; written by `refsr data build`
SHOWN = 10  # problems of one kind that a report for people names

Size = tuple[int, int]  # width, height
Progress = Callable[[float], None]


def size_or_problem(path: Path) -> Size | Problem:
    """A photo's size, having decoded all of it; or why it cannot be read."""
    try:
        photo = load_photo(path)
    except RefsrError as error:
        return Problem("unreadable", path, str(error))
    return photo.width, photo.height


def sizes_of(paths: list[Path], progress: Progress | None) -> Iterator[tuple[Path, Size | Problem]]:
    """Every photo's size or problem, in order; the decoders work side by side."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for index, (path, found) in enumerate(
            zip(paths, pool.map(size_or_problem, paths), strict=True), start=1
        ):
            if progress:
                progress(index / len(paths))
            yield path, found


def size_problems(data: DataSet, sizes: dict[Path, Size]) -> Iterator[Problem]:
    """Photos too small for what the layout is for, and CUFED pairs of too different sizes."""
    least = LEAST.get(data.layout, SMALLEST)
    needed = {pair.input for pair in data.pairs}  # a reference may be small: it is padded or fitted
    for path in sorted(needed & sizes.keys()):
        width, height = sizes[path]
        if min(width, height) < least:
            text = f"{path} has {width} x {height} pixels; {least} a side are needed."
            yield Problem("small", path, text)
    for pair in data.pairs if data.layout == "cufed" else ():
        here, there = sizes.get(pair.input), sizes.get(pair.references[0])
        if here and there and too_different(here, there):
            text = (
                f"{pair.references[0]} has {there[0]} x {there[1]} pixels and its input "
                f"{here[0]} x {here[1]}: a pair's patches must be of about one size."
            )
            yield Problem("size", pair.references[0], text)


def too_different(here: Size, there: Size) -> bool:
    """Whether training would refuse the pair: one side is more than twice the other's."""
    return any(max(a, b) > RATIO * min(a, b) for a, b in zip(here, there, strict=True))


def same_files(pairs: Iterable[Pair]) -> Iterator[Problem]:
    """References that are their own input, byte for byte: they would teach nothing but copying."""
    seen: set[frozenset[Path]] = set()
    for pair in pairs:
        for reference in pair.references:
            both = frozenset((pair.input, reference))
            if both in seen or pair.input.stat().st_size != reference.stat().st_size:
                continue
            seen.add(both)
            if pair.input.read_bytes() == reference.read_bytes():
                text = f"{reference} is the same file as {pair.input}, whose reference it is."
                yield Problem("same", reference, text)


def notes_on_sizes(data: DataSet, sizes: dict[Path, Size]) -> Iterator[str]:
    """What training and evaluation do about sizes that differ, or are no multiple of four."""
    if data.layout == "cufed":
        padded = sum(
            here != there and not too_different(here, there)
            for here, there in (
                (sizes[pair.input], sizes[pair.references[0]])
                for pair in data.pairs
                if pair.input in sizes and pair.references[0] in sizes
            )
        )
        if padded:
            yield f"{padded} references of another size than their input: padded or cropped"


def list_problems(folder: Path) -> Iterator[Problem]:
    """What is wrong with the pairs.csv of own scenes, where there is one."""
    path = folder / LIST
    if path.is_file():
        try:
            csv_jobs(path, folder)
        except DataError as error:
            yield Problem("list", path, str(error))


def check_set(data: DataSet, progress: Progress | None = None) -> DataSet:
    """The data set with every problem that its photos have, beside those of their names."""
    sizes: dict[Path, Size] = {}
    problems = list(data.problems)
    for path, found in sizes_of(data.photos, progress):
        if isinstance(found, Problem):
            problems.append(found)
        else:
            sizes[path] = found
    problems += [*size_problems(data, sizes), *same_files(data.pairs)]
    if data.layout == "scenes":
        problems += list_problems(data.folder)
    return replace(
        data, problems=tuple(problems), notes=(*data.notes, *notes_on_sizes(data, sizes))
    )


def check(folder: Path, progress: Progress | None = None) -> list[DataSet]:
    """Every data set in ``folder``, checked; ``progress`` gets the finished share, 0..1.

    Raises DataError where the folder does not exist or holds no photos.
    """
    sets = recognise(folder)
    total = sum(len(data.photos) for data in sets)
    done = 0
    checked: list[DataSet] = []
    for data in sets:
        count, before = len(data.photos), done

        def move(share: float, count: int = count, before: int = before) -> None:
            if progress:
                progress((before + share * count) / total)

        checked.append(check_set(data, move))
        done += count
    return checked


def describe(data: DataSet) -> dict[str, Any]:
    """A checked data set for JSON."""
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
    """A checked data set for people: what it is, then what is wrong, at most SHOWN of a kind."""
    facts = describe(data)
    pairs = f", {facts['pairs']} pairs" if facts["pairs"] else ""
    lines = [f"{data.folder}: {TITLES[data.layout]}, {facts['photos']} photos{pairs}"]
    lines += [f"  note: {note}" for note in data.notes]
    for kind in dict.fromkeys(problem.kind for problem in data.problems):
        sentences = [problem.sentence for problem in data.problems if problem.kind == kind]
        lines += [f"  {kind}: {sentence}" for sentence in sentences[:SHOWN]]
        if len(sentences) > SHOWN:
            lines.append(f"  {kind}: {len(sentences) - SHOWN} more; --json lists them all")
    return "\n".join([*lines, "" if data.problems else "  nothing is wrong"]).rstrip()
