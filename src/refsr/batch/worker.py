"""What a worker of a batch does, in a thread or in a Ray actor: load the models, run jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from refsr.batch.conflicts import side_files
from refsr.batch.finished import file_digest
from refsr.batch.jobs import BatchJob
from refsr.batch.journal import Record
from refsr.batch.options import BatchOptions
from refsr.errors import Cancelled, DataError, DiskFullError, RefsrError
from refsr.image.atomic import atomic_write, check_writable, make_folder, real_path, reason

if TYPE_CHECKING:
    from refsr.inference.plan import Estimate
    from refsr.registration.pool import ReferencePool
    from refsr.upscaler import Result, Upscaler

Finish = Callable[[BatchJob, Record], None]  # may raise: the batch ends
# Runs jobs on some machine or cluster, and gives each with its record to ``Finish``, one at a time,
# as soon as it ends.
Engine = Callable[[list[BatchJob], BatchOptions, "ReferencePool | None", Finish], None]


def load_upscaler(options: BatchOptions, memory: int, workers: int = 1) -> Upscaler:
    """An Upscaler for workers of one core each.

    The speed of its networks is measured here, before other workers load the machine. ``memory``:
    bytes of one worker. Raises ModelError.
    """
    import cv2

    from refsr.upscaler import Upscaler

    cv2.setNumThreads(1)
    upscaler = Upscaler.load(
        options.model,
        device=options.device,
        runtime=options.runtime,
        threads=1,
        max_memory=memory,
        max_pixels=options.max_pixels,
        look=options.look,
        ensemble=options.ensemble,
        cache=options.cache,
        own_results=options.own_results,
        concurrency=workers,
    )
    upscaler.networks.probe()
    return upscaler


def run_job(
    upscaler: Upscaler,
    job: BatchJob,
    options: BatchOptions,
    pool: ReferencePool | None,
    progress: Callable[[float], None] | None = None,
) -> Record:
    """Run one job and return its record; every failure becomes a sentence in it.

    The record has input, output, status and seconds. status "done" comes with bytes, sha256, size,
    references, notes and, if there are side files, "beside" with their names and digests; "failed"
    with error and, if no other job can do better, "disk_full". Raises Cancelled where ``progress``
    does.
    """
    started = time.perf_counter()
    record: Record = {"input": str(job.input), "output": str(job.output), "status": "failed"}
    try:
        record |= upscale_job(upscaler, job, options, pool, progress)
    except Cancelled:
        raise
    except RefsrError as error:
        if isinstance(error, DiskFullError):
            record["disk_full"] = True
        record["error"] = " ".join(str(error).split())
    except MemoryError:
        record["error"] = f"Not enough memory for {job.input}; use fewer --workers."
    except (OSError, RuntimeError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        record["error"] = f"{job.input} could not be upscaled: {why}."
    except Exception as error:  # of a library: the other jobs go on
        record["error"] = f"{job.input} could not be upscaled ({type(error).__name__}: {error})."
    return record | {"seconds": round(time.perf_counter() - started, 2)}


def upscale_job(
    upscaler: Upscaler,
    job: BatchJob,
    options: BatchOptions,
    pool: ReferencePool | None,
    progress: Callable[[float], None] | None,
) -> Record:
    """Upscale and write a job's photo; returns what its record says of it, with status "done"."""
    from refsr.image.photo import check_output_path, check_side_limit, lost_in_format
    from refsr.registration.references import References

    def check_fit(estimate: Estimate) -> None:
        check_side_limit(job.output, estimate.width, estimate.height)

    if job.problem:
        raise DataError(job.problem)
    make_folder(job.output.parent)
    files = side_files(job, options)
    check_output_path(job.output)
    for path in files:
        check_writable(path)
    if job.search:
        references = References(pool=pool and without_itself(pool, job.input))
    else:
        references = upscaler.prepare(job.references)
    result = upscaler.upscale(
        job.input,
        references=references,
        scale=options.scale,
        strength=options.strength,
        strict=options.strict,
        progress=progress,
        announce=check_fit,
    )
    result.save(job.output, quality=options.quality, strip_metadata=options.strip_metadata)
    written = {path.name: write_side_file(path, result) for path in files}
    used = [one["reference"] for one in result.report["references"] if one["used"]]
    record: Record = {"status": "done", "references": used, "size": result.report["output_size"]}
    record["notes"] = [*result.report["notes"], *lost_in_format(result.photo, job.output)]
    record |= {"bytes": job.output.stat().st_size, "sha256": file_digest(job.output)}
    return record | ({"beside": written} if written else {})


def without_itself(pool: ReferencePool, photo: Path) -> ReferencePool | None:
    """A pool without the photo that it is searched for; None where nothing is left."""
    from refsr.registration.pool import ReferencePool

    def is_photo(path: Path) -> bool:
        return path.name == photo.name and real_path(path) == real_path(photo)

    others = [one for one in pool.thumbnails if not is_photo(Path(str(one.source)))]
    return ReferencePool(tuple(others)) if others else None


def write_side_file(path: Path, result: Result) -> str:
    """Write the map or the report of a result; returns its digest. Raises PhotoError."""
    from refsr.result import save_map

    if path.suffix == ".json":
        atomic_write(path, json.dumps(result.report, indent=1).encode() + b"\n")
    else:
        save_map(result, path)
    return file_digest(path)
