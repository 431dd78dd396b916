"""What a batch must not overwrite: its own photos and references, and one result by another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from refsr.batch.jobs import BatchJob
from refsr.batch.options import BatchOptions
from refsr.image.atomic import real_path


def mark_conflicts(
    jobs: list[BatchJob], options: BatchOptions, read: Iterable[Path]
) -> list[BatchJob]:
    """The jobs, with a problem for each that would overwrite what another one reads or writes.

    ``read``: files that the batch reads beside the photos and references of the jobs.
    """
    name_of = file_namer()
    kept = dict.fromkeys((name_of(path) for path in read), "is a file that the batch reads")
    kept |= {name_of(path): "is a reference" for job in jobs for path in job.references}
    kept |= {name_of(job.input): "is an input photo" for job in jobs}
    taken = {name_of(job.output) for job in jobs}
    marked: list[BatchJob] = []
    for job in jobs:
        files = side_files(job, options)
        side = {name_of(path): path for path in files}
        written = {name_of(job.output): job.output, **side}
        overwritten = [name for name in written if name in kept]
        twice = taken.intersection(side)
        if job.problem:
            pass
        elif overwritten:
            why = f"{written[overwritten[0]]} {kept[overwritten[0]]}"
            job = replace(job, problem=f"{why}; choose another output folder.")
        elif twice:
            path = side[min(twice)]
            job = replace(job, problem=f"{path} would be written twice; rename {job.input}.")
        taken.update(side)
        marked.append(job)
    return marked


def side_files(job: BatchJob, options: BatchOptions) -> list[Path]:
    """The files that a job writes beside its output: the map and the report."""
    endings = [(options.maps, "map.png"), (options.reports, "report.json")]
    return [job.output.with_name(f"{job.output.stem}.{end}") for wanted, end in endings if wanted]


def file_namer() -> Callable[[Path], str]:
    """A function from a path to what all paths of one file share, whether or not case counts."""
    real_folder = lru_cache(maxsize=None)(real_path)  # many files have the same

    def name_of(path: Path) -> str:
        is_link = True
        with suppress(OSError):  # of a name that is too long
            is_link = path.is_symlink()
        return str(real_path(path) if is_link else real_folder(path.parent) / path.name).lower()

    return name_of
