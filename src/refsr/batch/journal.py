"""The journal of a batch, OUTDIR/.refsr-batch.jsonl: what was written there, and of which jobs.

It has one line per job, on disk before the next job starts, and is never emptied: a batch that
starts anew adds a line that says so. So the results of all batches in a folder are known as such,
whatever becomes of the next one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from refsr.errors import DataError
from refsr.image.atomic import real_path, reason, without_links

JOURNAL = ".refsr-batch.jsonl"
LOCKED_BYTE = 1 << 30  # on Windows, where locked bytes cannot be read: far behind the end
NEW_BATCH = "new batch"  # the status of a line after which nothing before counts as finished

# Of one job: input, output, status and more, see ``worker.run_job``; in the journal also "name",
# the output relative to the journal's folder.
Record = dict[str, Any]


@dataclass
class Journal:
    """The journal of an output folder, locked while it is open."""

    records: dict[str, Record]  # by name; the last of each, of the batch that is continued
    file: BinaryIO  # unbuffered
    starts_anew: bool  # and has not said so yet

    def append(self, record: Record) -> None:
        """Add a line; it is on disk on return. Raises DataError."""
        lines = [{"status": NEW_BATCH}] if self.starts_anew else []
        data = b"".join(json.dumps(one).encode() + b"\n" for one in [*lines, record])
        try:
            self.file.write(data)
            os.fsync(self.file.fileno())
        except OSError as error:
            raise DataError(f"{JOURNAL} cannot be written: {reason(error)}.") from error
        self.starts_anew = False


@contextmanager
def open_journal(out: Path, resume: bool) -> Generator[Journal]:
    """The journal of the folder ``out`` (created if missing); without records unless ``resume``.

    Raises DataError where the folder cannot be used or another batch uses it.
    """
    path = out / JOURNAL
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab", buffering=0, opener=without_links)  # noqa: SIM115  # below
    except OSError as error:
        raise DataError(f"{out} cannot be used for results: {reason(error)}.") from error
    with file, locked(file, out):
        records, any_before = dict[str, Record](), False
        for record in read_records(path):
            any_before = True
            if record["status"] == NEW_BATCH:
                records.clear()
            else:
                records[record["name"]] = record
        if is_torn(path):
            file.write(b"\n")
        yield Journal(records if resume else {}, file, any_before and not resume)


def read_records(path: Path) -> Generator[Record]:
    """The lines of a journal that hold a record; none where there is no journal.

    A line that was cut short by a crash, or holds anything else, is ignored. Raises DataError where
    the file cannot be read.
    """
    try:
        with open(path, "rb", opener=without_links) as file:
            for line in file:
                record: Any = None
                with suppress(ValueError, RecursionError):
                    record = json.loads(line)
                if isinstance(record, dict):
                    known = cast("Record", record)
                    name = known.setdefault("name", known.get("output"))
                    status = known.get("status")
                    if status == NEW_BATCH or isinstance(name, str):
                        yield {"status": None, **known}
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason(error)}.") from error


def is_torn(path: Path) -> bool:
    """Whether the last line of a file has no end."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def own_files(out: Path) -> frozenset[Path]:
    """The real paths of all that batches wrote to ``out``, as its journal knows it.

    Raises DataError where there is a journal that cannot be read.
    """
    folder = real_path(out)
    found: set[Path] = set()
    for record in read_records(out / JOURNAL):
        if record["status"] == "done":
            with suppress(ValueError, TypeError):  # whatever a damaged line holds
                output = folder / record["name"]
                found |= {output, *(output.with_name(one) for one in record.get("beside", ()))}
    return frozenset(found)


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
