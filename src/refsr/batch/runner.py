"""Albums: many jobs, a journal of what is finished, and the engine of this machine.

The journal is OUTDIR/.refsr-batch.jsonl, one line a job, on the disk before the next begins. A job
is finished where its line fits its input, references and options as they are now, and the output
(and the map and report beside it) has the size and the SHA-256 of the line. All else is done again.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from refsr.batch.jobs import BatchJob, photos_below
from refsr.batch.options import Options
from refsr.errors import Cancelled, DataError, RefsrError
from refsr.image.atomic import atomic_write, real_path, reason
from refsr.inference.budget import PROGRAM
from refsr.inference.cores import usable_cores
from refsr.inference.memory import parse_memory

if TYPE_CHECKING:
    from refsr.registration.pool import ReferencePool
    from refsr.upscaler import Result, Upscaler

JOURNAL = ".refsr-batch.jsonl"
WORKER_BYTES = 500_000_000  # beside the program: what a worker should have for a photo of 1 MP
CHUNK = 1 << 20
LOCKED_BYTE = 1 << 30  # on Windows, where locked bytes cannot be read: far behind the end

Record = dict[str, Any]  # of one job: input, output, status and more; see ``perform``
Engine = Callable[
    [list[BatchJob], Options, "ReferencePool | None"], Iterable[tuple[BatchJob, Record]]
]


@dataclass(frozen=True)
class Share:
    """What the machine gives: workers, and the bytes that each may count with."""

    workers: int
    memory: int

    @staticmethod
    def of(max_memory: str, workers: int) -> Share:
        """As many workers as cores and memory allow, unless ``workers`` says how many.

        They are threads of one program: its own memory counts once. Raises DataError.
        """
        if workers < 0:
            raise DataError(f"{workers} workers do not exist; give 0 for as many as fit.")
        allowed = parse_memory(max_memory)
        spare = max(0, allowed - PROGRAM)
        fits = min(usable_cores(), spare // WORKER_BYTES)
        count = workers or max(1, fits)
        return Share(count, PROGRAM + spare // count)


def load_worker(options: Options, memory: int, workers: int = 1) -> Upscaler:
    """An Upscaler for workers of one core each, its networks measured before others disturb.

    Raises ModelError.
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
        concurrency=workers,
    )
    other = upscaler.for_damaged() if upscaler.for_damaged else None
    for network in (upscaler.network, other):
        if network is not None:
            network.probe()
    return upscaler


def perform(
    upscaler: Upscaler,
    job: BatchJob,
    options: Options,
    album: ReferencePool | None,
    progress: Callable[[float], None] | None = None,
) -> Record:
    """Do one job and say how it went; whatever is wrong with it becomes a sentence.

    status "done" has bytes, sha256, size, references, and the digests of the files "beside" the
    output where there are any; "failed" has error. Raises Cancelled where
    ``progress`` does. ``upscaler`` belongs to the caller alone: its references are set here.
    """
    from refsr.image.photo import check_output_path

    started = time.perf_counter()
    record: Record = {"input": str(job.input), "output": str(job.output), "status": "failed"}
    try:
        if job.problem:
            raise DataError(job.problem)
        read = {real_path(one) for one in (job.input, *job.references)}
        for path in (job.output, *beside(job, options)):
            if real_path(path) in read:
                raise DataError(f"{path} is a photo that is read; choose another folder.")
        job.output.parent.mkdir(parents=True, exist_ok=True)
        check_output_path(job.output)
        if job.search:
            upscaler.references, upscaler.album = (), album
        else:
            upscaler.set_reference(list(job.references))
        result = upscaler.upscale(
            job.input, scale=options.scale, strength=options.strength, progress=progress
        )
        result.save(job.output, strip_metadata=options.strip_metadata)
        written = {str(path): write_beside(path, result) for path in beside(job, options)}
        used = [one["reference"] for one in result.report["references"] if one["used"]]
        record |= {"status": "done", "references": used, "size": result.report["output_size"]}
        record |= {"bytes": job.output.stat().st_size, "sha256": digest(job.output)}
        record |= {"beside": written} if written else {}
    except Cancelled:
        raise
    except RefsrError as error:
        record["error"] = " ".join(str(error).split())
    except MemoryError:
        record["error"] = f"There is not enough memory for {job.input}; take fewer --workers."
    except (OSError, RuntimeError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        record["error"] = f"{job.input} could not be worked on: {why}."
    except Exception as error:  # of a library: the rest of the album goes on
        record["error"] = f"{job.input} could not be worked on ({type(error).__name__}: {error})."
    return record | {"seconds": round(time.perf_counter() - started, 2)}


def beside(job: BatchJob, options: Options) -> list[Path]:
    """The files that a job writes beside its output."""
    endings = [(options.maps, "map.png"), (options.reports, "report.json")]
    return [job.output.with_name(f"{job.output.stem}.{end}") for wanted, end in endings if wanted]


def write_beside(path: Path, result: Result) -> str:
    """Write the map or the report of a result; returns its digest. Raises PhotoError."""
    from refsr.result import save_map

    if path.suffix == ".json":
        atomic_write(path, json.dumps(result.report, indent=1).encode() + b"\n")
    else:
        save_map(result, path)
    return digest(path)


def apart(jobs: list[BatchJob], options: Options) -> list[BatchJob]:
    """The jobs, those with a problem that would write a file beside over one of another job."""
    taken = {job.output for job in jobs}
    done: list[BatchJob] = []
    for job in jobs:
        files = beside(job, options)
        twice = taken.intersection(files)
        if twice and not job.problem:
            job = replace(job, problem=f"{min(twice)} would be written twice; rename {job.input}.")
        taken.update(files)
        done.append(job)
    return done


def local(share: Share, stop: threading.Event) -> Engine:
    """The engine of this machine: threads that share the models; jobs come as they finish.

    Setting ``stop`` ends the jobs at their next tile, with nothing written.
    """

    def check(_: float) -> None:
        if stop.is_set():
            raise Cancelled("The batch was interrupted.")

    def run(
        jobs: list[BatchJob], options: Options, album: ReferencePool | None
    ) -> Iterator[tuple[BatchJob, Record]]:
        """Each job with its record, as it is done; several workers share the jobs."""
        waiting: queue.SimpleQueue[BatchJob] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[BatchJob, Record]] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        workers = min(share.workers, len(jobs))
        shared = load_worker(options, share.memory, workers)

        def work() -> None:
            own = copy.copy(shared)  # the same networks; references of its own
            with suppress(queue.Empty, Cancelled):
                while not stop.is_set():
                    job = waiting.get_nowait()
                    done.put((job, perform(own, job, options, album, check)))

        threads = [threading.Thread(target=work) for _ in range(workers)]
        for thread in threads:
            thread.start()
        try:
            for _ in jobs:
                yield done.get()
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    return run


def run_batch(
    jobs: list[BatchJob],
    options: Options,
    engine: Engine,
    *,
    out: Path,
    refs: Path | None,
    resume: bool,
    tell: Callable[[Record], None],
) -> dict[str, int]:
    """Do all jobs but, with ``resume``, those that are finished; ``tell`` hears of each one.

    Returns how many were "done", "failed" and "skipped" (finished before). Raises DataError where
    ``out`` cannot be used or another batch uses it, PhotoError where no reference can be read.
    """
    from refsr.registration.feature_cache import FeatureCache
    from refsr.registration.pool import build_pool

    jobs = apart(jobs, options)
    counts = {"done": 0, "failed": 0, "skipped": 0}
    album_files = [] if refs is None else [refs / one for one in photos_below(refs, [])[0]]
    searched = stamp(album_files)
    with journal(out) as (lines, file):
        if not resume:
            lines = {}
            file.truncate(0)
        sweep(jobs)
        keys = {job: fingerprint(job, options, searched) for job in jobs}
        left: list[BatchJob] = []
        for job in jobs:
            line = lines.get(str(job.output))
            if line is None or not finished(job, line, keys[job], beside(job, options)):
                left.append(job)
                continue
            counts["skipped"] += 1
            tell({**line, "status": "skipped"})
        search = any(job.search for job in left)
        cache = None if options.cache is None else FeatureCache(options.cache)
        album = None
        if search and album_files:
            album = build_pool(album_files, options.max_pixels, cache=cache)
        for job, record in engine(left, options, album) if left else ():
            counts[record["status"]] += 1
            file.write(json.dumps({**record, "key": keys[job]}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            tell(record)
    return counts


def finished(job: BatchJob, line: Record, key: str, others: list[Path]) -> bool:
    """Whether a line of the journal is true of the job, its output and the ``others`` as they are.

    ``others``: the files that belong beside the output.
    """
    if line.get("status") != "done" or line.get("key") != key:
        return False
    with suppress(OSError):
        if job.output.stat().st_size != line.get("bytes"):
            return False
        written = {str(path): digest(path) for path in others}
        return digest(job.output) == line.get("sha256") and written == line.get("beside", {})
    return False


def fingerprint(job: BatchJob, options: Options, searched: str) -> str:
    """A digest of what the result hangs on: files by path, size and time, options, the model."""
    from refsr import __version__
    from refsr.weights.models import AUTO, CLEAN, DAMAGED, DETAIL_TRANSFER, find_model

    names = {AUTO: [CLEAN, DAMAGED], DETAIL_TRANSFER: []}.get(options.model, [options.model])
    models = [find_model(name).card["sha256"] for name in names]
    wanted = asdict(options)
    del wanted["cache"]  # it changes no result
    what = [
        __version__,
        wanted,
        models,
        stamp([job.input, *job.references]),
        searched if job.search else "",
    ]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def stamp(files: list[Path]) -> str:
    """Path, size and time of change of files, as one text."""
    found: list[list[Any]] = []
    for path in files:
        with suppress(OSError, ValueError):
            facts = path.stat()
            found.append([str(path.absolute()), facts.st_size, facts.st_mtime_ns])
    return json.dumps(found)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()


def sweep(jobs: list[BatchJob]) -> None:
    """Remove the temporary files that a killed batch left beside its outputs."""
    for folder in {job.output.parent for job in jobs}:
        for path in folder.glob(".refsr-*.tmp"):
            with suppress(OSError):
                path.unlink()


@contextmanager
def journal(out: Path) -> Generator[tuple[dict[str, Record], BinaryIO]]:
    """The journal's lines by output, the last of each, and the file to append to; locked.

    A line that is no JSON was cut short by a crash and is left out. Raises DataError.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / JOURNAL).open("a+b")
    except OSError as error:
        raise DataError(f"{out} cannot be used for results: {reason(error)}.") from error
    with file, locked(file, out):
        file.seek(0)
        text = file.read()
        lines: dict[str, Record] = {}
        for one in text.splitlines():
            with suppress(ValueError, KeyError, TypeError):
                record = json.loads(one)
                lines[record["output"]] = record
        if text and not text.endswith(b"\n"):
            file.write(b"\n")
        yield lines, file


@contextmanager
def locked(file: BinaryIO, out: Path) -> Generator[None]:
    """Keep other batches out of a folder. Raises DataError where one is at work."""
    try:
        take_lock(file, True)
    except OSError as error:
        raise DataError(f"Another batch is writing to {out}; wait for it to end.") from error
    try:
        yield
    finally:
        take_lock(file, False)


def take_lock(file: BinaryIO, take: bool) -> None:
    """Lock an open file for this process, or unlock it. Raises OSError where another has it."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(LOCKED_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK if take else msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB if take else fcntl.LOCK_UN)
