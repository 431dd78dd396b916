"""Running a batch: the jobs that are not finished yet, on an engine, noted in the journal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from refsr.batch.jobs import BatchJob, find_photos, why_skipped
from refsr.batch.journal import Record, file_stamps, fingerprint, is_finished, open_journal
from refsr.batch.options import BatchOptions
from refsr.batch.worker import Engine, side_files

if TYPE_CHECKING:
    from refsr.registration.feature_cache import FeatureCache


def run_batch(
    jobs: list[BatchJob],
    options: BatchOptions,
    engine: Engine,
    *,
    out: Path,
    refs: Path | None,
    resume: bool,
    tell: Callable[[Record], None],
    cache: FeatureCache | None = None,
) -> dict[str, int]:
    """Run all jobs or, with ``resume``, those that are not finished.

    ``tell`` is called with the record of each job. ``cache``: for the features of the references
    in ``refs``. Returns how many jobs were "done", "failed" and "skipped": finished before, or
    refsr's own files, whose records say "why".
    Raises DataError where ``out`` cannot be used or another batch uses it, PhotoError where none
    of the references can be read.
    """
    from refsr.registration.own_results import without_own
    from refsr.registration.pool import build_pool

    jobs = mark_conflicts(jobs, options)
    counts = {"done": 0, "failed": 0, "skipped": 0}
    references = [] if refs is None else [refs / one for one in find_photos(refs, [])[0]]
    searched = file_stamps(references)
    with open_journal(out, resume) as journal:
        remove_temporary_files(jobs)
        keys = {job: fingerprint(job, options, searched) for job in jobs}
        unfinished: list[BatchJob] = []
        for job in jobs:
            record = journal.records.get(str(job.output))
            if record and is_finished(job, record, keys[job], side_files(job, options)):
                counts["skipped"] += 1
                tell({**record, "status": "skipped"})
            elif why := why_skipped(job, options.own_results):
                counts["skipped"] += 1
                own = {"input": str(job.input), "output": str(job.output)}
                tell({**own, "status": "skipped", "why": why})
            else:
                unfinished.append(job)
        pool = None
        if references and any(job.search for job in unfinished):
            pool = build_pool(references, options.max_pixels, cache=cache)
            pool = pool if options.own_results else without_own(pool)
        for job, record in engine(unfinished, options, pool) if unfinished else ():
            counts[record["status"]] += 1
            journal.append({**record, "key": keys[job]})
            tell(record)
    return counts


def mark_conflicts(jobs: list[BatchJob], options: BatchOptions) -> list[BatchJob]:
    """The jobs, with a problem for those whose map or report would overwrite another job's file."""
    taken = {job.output for job in jobs}
    marked: list[BatchJob] = []
    for job in jobs:
        files = side_files(job, options)
        twice = taken.intersection(files)
        if twice and not job.problem:
            job = replace(job, problem=f"{min(twice)} would be written twice; rename {job.input}.")
        taken.update(files)
        marked.append(job)
    return marked


def remove_temporary_files(jobs: list[BatchJob]) -> None:
    """Remove the temporary files that a killed batch left beside its outputs."""
    for folder in {job.output.parent for job in jobs}:
        for path in folder.glob(".refsr-*.tmp"):
            with suppress(OSError):
                path.unlink()
