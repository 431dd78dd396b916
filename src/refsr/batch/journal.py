"""The journal of a batch, OUTDIR/.refsr-batch.jsonl: which jobs are finished, for --resume.

It has one line per job, on disk before the next job starts. A job is finished if its line matches
its input, references and options as they are now, and the output (and any map or report beside it)
still has the size and SHA-256 in the line. Everything else is done again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from refsr.batch.jobs import BatchJob
from refsr.batch.options import BatchOptions
from refsr.errors import DataError
from refsr.image.atomic import reason, without_links

JOURNAL = ".refsr-batch.jsonl"
LOCKED_BYTE = 1 << 30  # on Windows, where locked bytes cannot be read: far behind the end

Record = dict[str, Any]  # of one job: input, output, status and more; see ``worker.run_job``


@dataclass(frozen=True)
class Journal:
    """The journal of an output folder, locked while it is open."""

    records: dict[str, Record]  # by output; the last of each
    file: BinaryIO

    def append(self, record: Record) -> None:
        """Add a line; it is on disk on return."""
        self.file.write(json.dumps(record).encode() + b"\n")
        self.file.flush()
        os.fsync(self.file.fileno())


@contextmanager
def open_journal(out: Path, resume: bool) -> Generator[Journal]:
    """The journal of the folder ``out`` (created if missing); emptied unless ``resume``.

    A line that is not JSON was cut short by a crash and is ignored. Raises DataError where the
    folder cannot be used or another batch uses it.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = open(out / JOURNAL, "a+b", opener=without_links)  # noqa: SIM115  # below
    except OSError as error:
        raise DataError(f"{out} cannot be used for results: {reason(error)}.") from error
    with file, locked(file, out):
        records: dict[str, Record] = {}
        if resume:
            file.seek(0)
            text = file.read()
            for line in text.splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    record = json.loads(line)
                    records[record["output"]] = record
            if text and not text.endswith(b"\n"):
                file.write(b"\n")
        else:
            file.truncate(0)
        yield Journal(records, file)


@contextmanager
def locked(file: BinaryIO, out: Path) -> Generator[None]:
    """Keep other batches out of a folder. Raises DataError where one is at work."""
    try:
        set_lock(file, True)
    except OSError as error:
        raise DataError(
            f"Another batch is writing to {out}; wait until it has finished."
        ) from error
    try:
        yield
    finally:
        set_lock(file, False)


def set_lock(file: BinaryIO, held: bool) -> None:
    """Lock an open file for this process, or unlock it. Raises OSError where another has it."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(LOCKED_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK if held else msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB if held else fcntl.LOCK_UN)


def is_finished(job: BatchJob, record: Record, key: str, side_files: list[Path]) -> bool:
    """Whether a record of the journal still holds for the job, its output and ``side_files``.

    ``key``: the job's fingerprint now. ``side_files``: the files that belong beside the output.
    """
    if record.get("status") != "done" or record.get("key") != key:
        return False
    with suppress(OSError):
        if job.output.stat().st_size != record.get("bytes"):
            return False
        written = {str(path): file_digest(path) for path in side_files}
        same = file_digest(job.output) == record.get("sha256")
        return same and written == record.get("beside", {})
    return False


def fingerprint(job: BatchJob, options: BatchOptions, searched: str) -> str:
    """A digest of all that determines the result: files (path, size, mtime), options and model.

    ``searched``: ``file_stamps`` of the reference folder.
    """
    from refsr import __version__
    from refsr.weights.models import AUTO, CLEAN, DAMAGED, DETAIL_TRANSFER, find_model

    names = {AUTO: [CLEAN, DAMAGED], DETAIL_TRANSFER: []}.get(options.model, [options.model])
    models = [find_model(name).card["sha256"] for name in names]
    settings = asdict(options)
    del settings["cache"]  # it changes no result
    what = [
        __version__,
        settings,
        models,
        file_stamps([job.input, *job.references]),
        searched if job.search else "",
    ]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def file_stamps(files: list[Path]) -> str:
    """Path, size and modification time of files, as JSON; missing files are left out."""
    found: list[list[Any]] = []
    for path in files:
        with suppress(OSError, ValueError):
            status = path.stat()
            found.append([str(path.absolute()), status.st_size, status.st_mtime_ns])
    return json.dumps(found)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
