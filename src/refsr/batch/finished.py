"""Which jobs of a batch need no work, for --resume.

A job is finished if its record in the journal matches its input, references and options as they are
now, and its output, and any map or report that is wanted beside it, still has the size and SHA-256
in the record. Everything else is done again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from refsr.batch.jobs import BatchJob
from refsr.batch.journal import Record
from refsr.batch.options import BatchOptions

WITHOUT_EFFECT = ("cache", "maps", "reports")  # options that change no result
LOSSY = (".jpg", ".jpeg", ".webp", ".avif")  # endings that ``quality`` has an effect on


def is_finished(job: BatchJob, record: Record, key: str, side_files: list[Path]) -> bool:
    """Whether a record of the journal still holds for the job, its output and ``side_files``.

    ``key``: the job's fingerprint now. ``side_files``: those that are wanted beside the output;
    there may be more.
    """
    if record.get("status") != "done" or record.get("key") != key:
        return False
    beside = record.get("beside")
    known = cast("dict[str, Any]", beside) if isinstance(beside, dict) else {}
    with suppress(OSError):
        if job.output.stat().st_size != record.get("bytes"):
            return False
        if file_digest(job.output) != record.get("sha256"):
            return False
        return all(known.get(path.name) == file_digest(path) for path in side_files)
    return False


def fingerprints(options: BatchOptions, album: list[Path]) -> Callable[[BatchJob], str]:
    """A function from a job to a digest of all that determines its result.

    These are files (path, size, mtime), options and models. ``album``: the references that jobs
    search. The models and the album are read here, once. Raises ModelError.
    """
    from refsr import __version__
    from refsr.weights.models import AUTO, CLEAN, DAMAGED, DETAIL_TRANSFER, find_model

    names = {AUTO: [CLEAN, DAMAGED], DETAIL_TRANSFER: []}.get(options.model, [options.model])
    models = [find_model(name).card["sha256"] for name in names]
    settings = {name: one for name, one in asdict(options).items() if name not in WITHOUT_EFFECT}
    quality = settings.pop("quality")
    searched = text_digest(file_stamps(album))

    def fingerprint(job: BatchJob) -> str:
        what = [__version__, settings, models, file_stamps([job.input, *job.references])]
        what += [searched if job.search else "", quality if is_lossy(job.output) else 0]
        return text_digest(json.dumps(what))

    return fingerprint


def is_lossy(output: Path) -> bool:
    """Whether the output's format has a quality."""
    return output.suffix.lower() in LOSSY


def text_digest(text: str) -> str:
    """SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


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
