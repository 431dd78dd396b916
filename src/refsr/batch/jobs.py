"""The jobs of a batch: a folder or a CSV file becomes jobs with references and output paths.

No photo is decoded here. A row or folder that cannot become a job still becomes one, whose
``problem`` says why: one bad file never stops the rest.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from refsr.batch.journal import own_files
from refsr.csv_rows import file_names, read_csv_rows
from refsr.errors import DataError
from refsr.image.atomic import real_path, reason
from refsr.image.decode import open_image
from refsr.image.photo import SUFFIXES, is_photo_folder, is_photo_name, mark_of_file

OUTPUT_FORMATS = ("png", "jpg", "webp", "tif", "avif")


@dataclass(frozen=True)
class BatchJob:
    """One photo of a batch."""

    input: Path
    output: Path
    references: tuple[Path, ...] = ()
    search: bool = False  # the reference folder for matches, in place of ``references``
    problem: str = ""  # why the job cannot be done, where that is known already


def plan_jobs(source: Path, out: Path, refs: Path | None, format: str) -> list[BatchJob]:
    """The jobs of a folder (recursive; symlinked folders are not followed) or of a CSV file.

    The folders may lie in each other: what a batch wrote to ``out``, and the folder ``out`` or
    ``refs`` inside ``source``, are not read as input. Outputs mirror the tree: a/b.jpg becomes
    OUT/a/b.FORMAT. Raises DataError where there is nothing to do.
    """
    if format not in OUTPUT_FORMATS:
        names = ", ".join(OUTPUT_FORMATS)
        raise DataError(f"{format!r} is not an output format; choose one of {names}.")
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is not a folder; give a folder for the results.")
    if refs is not None and not refs.is_dir():
        raise DataError(f"The reference folder {refs} does not exist.")
    own = own_files(out)
    if source.is_dir():
        found, problems = find_photos(source, [out] if refs is None else [out, refs], own)
        jobs = [BatchJob(source / one, out / one.with_suffix(f".{format}")) for one in found]
        jobs += [BatchJob(path, out, problem=text) for path, text in problems.items()]
    elif source.is_file():
        refuse_photo(source)
        jobs = [without_own_input(job, own) for job in read_csv(source, out, format)]
    else:
        raise DataError(f"{source} does not exist; give a folder of photos or a CSV file.")
    if not jobs:
        raise DataError(f"{source} contains no photos.")
    root = source if source.is_dir() else source.parent
    if refs is not None:
        find = index_references(refs, find_references(refs, source, out))
        jobs = [job if job.references else with_references(job, root, find) for job in jobs]
    return with_unique_outputs(jobs, format)


def refuse_photo(source: Path) -> None:
    """Raises DataError where a photo is given in the place of a list."""
    is_photo = source.suffix.lower() in SUFFIXES
    with suppress(Exception), source.open("rb") as file:  # of no photo anything may be raised
        is_photo = is_photo or bool(open_image(file, source.name))
    if is_photo:
        raise DataError(f"{source} is a photo; upscale a single one with `refsr upscale {source}`.")


def without_own_input(job: BatchJob, own: frozenset[Path]) -> BatchJob:
    """A job of a CSV file, with a problem where its input is what a batch wrote to the folder."""
    if job.problem or not own or real_path(job.input) not in own:
        return job
    why = f"{job.input} is a result of an earlier batch in this folder"
    return dataclasses.replace(job, problem=f"{why}; choose another output folder.")


def find_references(refs: Path, source: Path, out: Path) -> list[Path]:
    """The photos of the folder ``refs``, without what a batch wrote to ``out``.

    The folders ``source`` and ``out`` inside ``refs`` are not read. Raises DataError.
    """
    return [refs / one for one in find_photos(refs, [source, out], own_files(out))[0]]


def find_photos(
    folder: Path, exclude: list[Path], own: frozenset[Path] = frozenset()
) -> tuple[list[Path], dict[Path, str]]:
    """Photos in a folder tree (relative, sorted), and each unreadable folder with the reason.

    A broken symlink is listed, too: it becomes a job that fails. Folders of ``exclude`` inside
    ``folder``, files of ``own`` (real paths), names that begin with a dot and other systems'
    thumbnails are skipped.
    """
    found: list[Path] = []
    problems: dict[Path, str] = {}

    def note_problem(error: OSError) -> None:
        path = Path(os.fsdecode(error.filename))
        problems[path] = f"The folder {path} cannot be read: {reason(error)}."

    excluded = {real_path(path) for path in exclude} - {real_path(folder)}
    for root, folders, files in os.walk(folder, onerror=note_problem):
        here = Path(root)
        folders[:] = [
            one for one in folders if is_photo_folder(one) and real_path(here / one) not in excluded
        ]
        real, relative = real_path(here), here.relative_to(folder)
        for name in files:
            if is_photo_name(name) and real / name not in own:
                found.append(relative / name)
    return sorted(found), problems


def read_csv(path: Path, out: Path, format: str) -> list[BatchJob]:
    """The jobs of a CSV file with the columns input, reference (optional) and output (optional).

    Paths are relative to the CSV file, outputs to ``out``. Several references are separated by ';'
    or given in several rows of the same input. Raises DataError where it is not such a file.
    """
    merged: dict[tuple[str, str], dict[Path, None]] = {}
    for row in read_csv_rows(path, ("input",), ("reference", "output")):
        references = merged.setdefault((row["input"], row["output"]), {})
        references.update((path.parent / one, None) for one in file_names(row["reference"]))
    return [
        csv_job(path, out, format, name, output, tuple(references))
        for (name, output), references in merged.items()
    ]


def csv_job(
    path: Path, out: Path, format: str, name: str, output: str, references: tuple[Path, ...]
) -> BatchJob:
    """The job of one input of a CSV file; an output outside ``out`` is a problem."""
    if not name or any("\0" in one for one in (name, output, *map(str, references))):
        return BatchJob(path, out, problem=f"{path} has a row without a valid input path.")
    given = Path(name)
    mirrored = Path(given.name) if leaves_folder(given) else given
    target = Path(output) if output else mirrored.with_suffix(f".{format}")
    problem = ""
    if leaves_folder(target):
        problem = f"The output {output} of {name} is outside {out}; give a path relative to it."
    return BatchJob(path.parent / given, out / target, references, problem=problem)


def why_skipped(job: BatchJob, own_results: bool) -> str:
    """Why refsr's own file is no input of a batch, in a sentence; "" where it may be one.

    ``own_results``: whether results are wanted as inputs. Maps and sheets never are.
    """
    mark = None if job.problem else mark_of_file(job.input)
    if mark == "result":
        allow = "--own-results upscales it all the same"
        return "" if own_results else f"{job.input} is a result of refsr already; {allow}."
    return f"{job.input} is a {mark} that refsr drew, not a photo." if mark else ""


def leaves_folder(path: Path) -> bool:
    """Whether a path leads out of the folder it is joined to; on Windows \\a and C:a do so, too."""
    return bool(path.anchor) or ".." in path.parts


def index_references(refs: Path, album: list[Path]) -> Callable[[Path], tuple[Path, ...]]:
    """A function from a photo (a relative path) to its references; see ``with_references``.

    ``album``: the photos of the folder ``refs``.
    """
    by_path: dict[str, list[Path]] = {}
    by_stem: dict[str, list[Path]] = {}
    for path in album:
        one = path.relative_to(refs)
        by_path.setdefault(one.with_suffix("").as_posix().lower(), []).append(path)
        by_stem.setdefault(one.stem.lower(), []).append(path)
        for folder in one.parents[:-1]:
            by_path.setdefault(folder.as_posix().lower(), []).append(path)

    def find(photo: Path) -> tuple[Path, ...]:
        same = by_path.get(photo.with_suffix("").as_posix().lower())
        same = same or by_path.get(photo.stem.lower())
        stems = by_stem.get(photo.stem.lower(), [])
        return tuple(same or (stems if len(stems) == 1 else ()))

    return find


def with_references(
    job: BatchJob, root: Path, find: Callable[[Path], tuple[Path, ...]]
) -> BatchJob:
    """A job with the references of its own name, or else one that searches all references.

    By name, for a/b.jpg: REFS/a/b.* or the photos in REFS/a/b/; else REFS/b.* or REFS/b/; else the
    only reference with the stem b, in any folder. Case is ignored. No photo is its own reference.
    """
    inside = job.input.is_relative_to(root)
    references = find(job.input.relative_to(root) if inside else Path(job.input.name))
    if references:
        itself = real_path(job.input)
        references = tuple(one for one in references if real_path(one) != itself)
    return dataclasses.replace(job, references=references, search=not references)


def with_unique_outputs(jobs: list[BatchJob], format: str) -> list[BatchJob]:
    """The jobs without duplicate outputs: a.jpg and a.png become a.jpg.FORMAT and a.png.FORMAT."""

    def key(path: Path) -> str:
        return str(path).lower()  # some file systems ignore case

    times = Counter(key(job.output) for job in jobs)
    taken = {name for name, count in times.items() if count == 1}
    used = Counter[str]()  # how often each new name was asked for
    done: list[BatchJob] = []
    for job in jobs:
        output = job.output
        if times[key(output)] > 1 and not job.problem:
            output = first = output.with_name(f"{job.input.name}.{format}")
            while key(output) in taken:
                used[key(first)] += 1
                number = used[key(first)] + 1
                output = first.with_name(f"{job.input.name}-{number}.{format}")
            taken.add(key(output))
        done.append(dataclasses.replace(job, output=output))
    return done
