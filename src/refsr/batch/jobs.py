"""What a batch is to do: a folder or a CSV becomes jobs, each with its references and its output.

Nothing here opens a photo. A line or folder that cannot become a job is one all the same, with its
problem in words: one bad file never stops the rest.
"""

from __future__ import annotations

import csv
import dataclasses
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from refsr.errors import DataError
from refsr.image.atomic import real_path, reason
from refsr.image.photo import SUFFIXES

ENDINGS = ("png", "jpg", "webp", "tif", "avif")
COLUMNS = ("input", "reference", "output")


@dataclass(frozen=True)
class BatchJob:
    """One photo of a batch."""

    input: Path
    output: Path
    references: tuple[Path, ...] = ()
    search: bool = False  # among the folder of references, in place of ``references``
    problem: str = ""  # why it cannot be done, where that is known already


def plan(source: Path, out: Path, refs: Path | None, ending: str) -> list[BatchJob]:
    """The jobs of a folder (recursive; links to folders are not followed) or of a CSV file.

    The folders ``out`` and ``refs`` are not read as input where they lie in ``source``. Outputs
    mirror the tree: a/b.jpg becomes OUT/a/b.ENDING. Raises DataError where there is nothing to do.
    """
    if ending not in ENDINGS:
        raise DataError(f"Results cannot end in {ending!r}; choose {', '.join(ENDINGS)}.")
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is no folder; give a folder for the results.")
    if refs is not None and not refs.is_dir():
        raise DataError(f"The folder of references {refs} does not exist.")
    if source.is_dir():
        found, problems = photos_below(source, [out] if refs is None else [out, refs])
        jobs = [BatchJob(source / one, out / one.with_suffix(f".{ending}")) for one in found]
        jobs += [BatchJob(path, out, problem=text) for path, text in problems.items()]
    elif source.is_file():
        jobs = csv_jobs(source, out, ending)
    else:
        raise DataError(f"There is no folder or list {source}.")
    if not jobs:
        raise DataError(f"{source} holds no photos.")
    root = source if source.is_dir() else source.parent
    if refs is not None:
        partner = partners(refs)
        jobs = [job if job.references else paired(job, root, partner) for job in jobs]
    return distinct(jobs, ending)


def photos_below(folder: Path, without: list[Path]) -> tuple[list[Path], dict[Path, str]]:
    """Photos below a folder, relative to it and sorted; and folders that cannot be read, and why.

    A link that leads nowhere is listed, too: it is a job that fails. Folders of ``without`` and
    names that begin with a dot are left out.
    """
    found: list[Path] = []
    problems: dict[Path, str] = {}

    def refuse(error: OSError) -> None:
        path = Path(os.fsdecode(error.filename))
        problems[path] = f"The folder {path} cannot be read: {reason(error)}."

    left_out = {real_path(path) for path in without} - {real_path(folder)}
    for place, folders, files in os.walk(folder, onerror=refuse):
        here = Path(place)
        folders[:] = [
            one
            for one in folders
            if not one.startswith(".") and real_path(here / one) not in left_out
        ]
        for name in files:
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                found.append((here / name).relative_to(folder))
    return sorted(found), problems


def csv_jobs(path: Path, out: Path, ending: str) -> list[BatchJob]:
    """The jobs of a CSV with the columns input, reference (optional) and output (optional).

    Paths are relative to the CSV, outputs to ``out``. Several references are parted by ';', or
    given in several rows of the same input. Raises DataError where it is no such list.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or ()
            if "input" not in names:
                raise DataError(
                    f"{path} has no column 'input'; its first line must name the columns "
                    f"{', '.join(COLUMNS)}, of which the last two may be left out."
                )
            rows = [{name: (row.get(name) or "").strip() for name in COLUMNS} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a CSV file ({error}).") from error
    merged: dict[tuple[str, str], list[Path]] = {}
    for row in rows:
        listed = merged.setdefault((row["input"], row["output"]), [])
        given = (path.parent / one.strip() for one in row["reference"].split(";") if one.strip())
        listed += [one for one in given if one not in listed]
    return [
        csv_job(path, out, ending, name, output, tuple(references))
        for (name, output), references in merged.items()
    ]


def csv_job(
    path: Path, out: Path, ending: str, name: str, output: str, references: tuple[Path, ...]
) -> BatchJob:
    """The job of one input of a CSV; its output stays below ``out``, or it has a problem."""
    if not name or "\0" in name + output:
        return BatchJob(path, out, problem=f"A line of {path} names no possible input.")
    given = Path(name)
    mirrored = Path(given.name) if leaves(given) else given
    target = Path(output) if output else mirrored.with_suffix(f".{ending}")
    problem = ""
    if leaves(target):
        problem = f"The output {output} of {name} does not lie below {out}."
    return BatchJob(path.parent / given, out / target, references, problem=problem)


def leaves(path: Path) -> bool:
    """Whether a path leads out of the folder that it is joined to; on Windows so do \\a and C:a."""
    return bool(path.anchor) or ".." in path.parts


def partners(refs: Path) -> Callable[[Path], tuple[Path, ...]]:
    """Finds the references of a photo (a relative path) by name; see ``paired``."""
    found, _ = photos_below(refs, [])
    by_path: dict[str, list[Path]] = {}
    by_stem: dict[str, list[Path]] = {}
    for one in found:
        by_path.setdefault(one.with_suffix("").as_posix().lower(), []).append(refs / one)
        by_stem.setdefault(one.stem.lower(), []).append(refs / one)
        for folder in one.parents[:-1]:
            by_path.setdefault(folder.as_posix().lower(), []).append(refs / one)

    def find(photo: Path) -> tuple[Path, ...]:
        same = by_path.get(photo.with_suffix("").as_posix().lower())
        same = same or by_path.get(photo.stem.lower())
        stems = by_stem.get(photo.stem.lower(), [])
        return tuple(same or (stems if len(stems) == 1 else ()))

    return find


def paired(job: BatchJob, root: Path, find: Callable[[Path], tuple[Path, ...]]) -> BatchJob:
    """A job with its references by name, or that is to search among all of them.

    By name: REFS/a/b.* or the photos of the folder REFS/a/b/ for a/b.jpg; else REFS/b.* or REFS/b/;
    else the one reference with the stem b, wherever it is. Upper and lower case are the same.
    """
    inside = job.input.is_relative_to(root)
    references = find(job.input.relative_to(root) if inside else Path(job.input.name))
    return dataclasses.replace(job, references=references, search=not references)


def distinct(jobs: list[BatchJob], ending: str) -> list[BatchJob]:
    """The jobs with no output twice: a.jpg and a.png become a.jpg.ENDING and a.png.ENDING."""

    def key(path: Path) -> str:
        return str(path).lower()  # some disks see no difference

    times = Counter(key(job.output) for job in jobs)
    taken = {name for name, count in times.items() if count == 1}
    done: list[BatchJob] = []
    for job in jobs:
        output, number = job.output, 1
        if times[key(output)] > 1 and not job.problem:
            output = output.with_name(f"{job.input.name}.{ending}")
            while key(output) in taken:
                number += 1
                output = output.with_name(f"{job.input.name}-{number}.{ending}")
            taken.add(key(output))
        done.append(dataclasses.replace(job, output=output))
    return done
