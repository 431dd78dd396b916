"""Running a batch: the jobs that are not finished yet, on an engine, noted in the journal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from refsr.batch.conflicts import mark_conflicts, side_files
from refsr.batch.finished import fingerprints, is_finished
from refsr.batch.jobs import BatchJob, find_references, why_skipped
from refsr.batch.journal import JOURNAL, Record, open_journal
from refsr.batch.options import BatchOptions
from refsr.batch.worker import Engine
from refsr.errors import DataError
from refsr.image.atomic import check_writable

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
    source: Path | None = None,
) -> dict[str, int]:
    """Run all jobs or, with ``resume``, those that are not finished.

    ``tell`` is called with the record of each job, one at a time, from any thread. ``cache``: for
    the features of the references in ``refs``. ``source``: the folder or list of the jobs. Returns
    how many jobs were "done", "failed" and "skipped": finished before, or refsr's own files, whose
    records say "why".

    All is checked before the work, and nothing written until then. Raises DataError where ``out``
    cannot be used, is full, or another batch uses it, PhotoError where none of the references can
    be read, ModelError.
    """
    from refsr.image.photo import check_quality
    from refsr.registration.own_results import without_own
    from refsr.registration.pool import build_pool

    check_quality(options.quality)
    album = [] if refs is None else find_references(refs, source or refs, out)
    fingerprint = fingerprints(options, album)
    read = [*album, *([source] if source is not None and source.is_file() else [])]
    jobs = mark_conflicts(jobs, options, read)
    counts = {"done": 0, "failed": 0, "skipped": 0}
    with open_journal(out, resume) as journal:
        check_writable(out / JOURNAL)
        remove_temporary_files(jobs)
        keys: dict[BatchJob, str] = {}
        for job in jobs:
            key = fingerprint(job)
            record = journal.records.get(name_in(out, job))
            if record and is_finished(job, record, key, side_files(job, options)):
                counts["skipped"] += 1
                tell({**record, "status": "skipped"})
            elif why := why_skipped(job, options.own_results):
                counts["skipped"] += 1
                own = {"input": str(job.input), "output": str(job.output)}
                tell({**own, "status": "skipped", "why": why})
            else:
                keys[job] = key
        pool = None
        if album and any(job.search for job in keys):
            pool = build_pool(album, options.max_pixels, cache=cache)
            pool = pool if options.own_results else without_own(pool)

        def finish(job: BatchJob, record: Record) -> None:
            counts[record["status"]] += 1
            is_full = record.pop("disk_full", False)
            if not is_full:
                journal.append({**record, "key": keys[job], "name": name_in(out, job)})
            tell(record)
            if is_full:
                raise DataError(
                    f"The disk of {job.output.parent} is full; make room and continue with "
                    "--resume."
                )

        if keys:
            engine(list(keys), options, pool, finish)
    return counts


def name_in(out: Path, job: BatchJob) -> str:
    """The output of a job as the journal of ``out`` knows it, wherever that folder is moved."""
    return job.output.relative_to(out).as_posix()


def remove_temporary_files(jobs: list[BatchJob]) -> None:
    """Remove the temporary files that a killed batch left beside its outputs."""
    for folder in {job.output.parent for job in jobs}:
        for path in folder.glob(".refsr-*.tmp"):
            with suppress(OSError):
                path.unlink()
