"""What a worker of a batch does, in a thread or in a Ray actor: load the models, run jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from refsr.batch.jobs import BatchJob
from refsr.batch.journal import Record, file_digest
from refsr.batch.options import BatchOptions
from refsr.errors import Cancelled, DataError, RefsrError
from refsr.image.atomic import atomic_write, real_path, reason

if TYPE_CHECKING:
    from refsr.registration.pool import ReferencePool
    from refsr.upscaler import Result, Upscaler

# Runs jobs on some machine or cluster, and yields each with its record as soon as it ends.
Engine = Callable[
    [list[BatchJob], BatchOptions, "ReferencePool | None"], Iterable[tuple[BatchJob, Record]]
]


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
    references and, if there are side files, "beside" with their digests; "failed" with error.
    Raises Cancelled where ``progress`` does.
    """
    started = time.perf_counter()
    record: Record = {"input": str(job.input), "output": str(job.output), "status": "failed"}
    try:
        record |= upscale_job(upscaler, job, options, pool, progress)
    except Cancelled:
        raise
    except RefsrError as error:
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
    from refsr.image.photo import check_output_path
    from refsr.registration.references import References

    if job.problem:
        raise DataError(job.problem)
    read = {real_path(one) for one in (job.input, *job.references)}
    for path in (job.output, *side_files(job, options)):
        if real_path(path) in read:
            raise DataError(f"{path} is an input photo; choose another output folder.")
    job.output.parent.mkdir(parents=True, exist_ok=True)
    check_output_path(job.output)
    references = upscaler.prepare(job.references) if not job.search else References(pool=pool)
    result = upscaler.upscale(
        job.input,
        references=references,
        scale=options.scale,
        strength=options.strength,
        strict=options.strict,
        progress=progress,
    )
    result.save(job.output, strip_metadata=options.strip_metadata)
    written = {str(path): write_side_file(path, result) for path in side_files(job, options)}
    used = [one["reference"] for one in result.report["references"] if one["used"]]
    record: Record = {"status": "done", "references": used, "size": result.report["output_size"]}
    record |= {"bytes": job.output.stat().st_size, "sha256": file_digest(job.output)}
    return record | ({"beside": written} if written else {})


def side_files(job: BatchJob, options: BatchOptions) -> list[Path]:
    """The files that a job writes beside its output: the map and the report."""
    endings = [(options.maps, "map.png"), (options.reports, "report.json")]
    return [job.output.with_name(f"{job.output.stem}.{end}") for wanted, end in endings if wanted]


def write_side_file(path: Path, result: Result) -> str:
    """Write the map or the report of a result; returns its digest. Raises PhotoError."""
    from refsr.result import save_map

    if path.suffix == ".json":
        atomic_write(path, json.dumps(result.report, indent=1).encode() + b"\n")
    else:
        save_map(result, path)
    return file_digest(path)
