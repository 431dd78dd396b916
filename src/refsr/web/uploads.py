"""Uploads: a form with a photo and references becomes files with names of our own."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Any

import anyio.to_thread
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from refsr.web.limits import Limits

LONGEST_NAME = 80  # characters of a name that are shown
FIELDS = ("photo", "reference")
NO_PHOTO = "Send one photo, as the form's field `photo`."
UNKNOWN = "The form has a field {name!r} that is not known here; there are: {known}."


class UploadError(Exception):
    """A form that cannot be used: status and sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


async def read_form(request: Request, limits: Limits, options: tuple[str, ...]) -> FormData:
    """The request's form. ``options``: which fields of text it may have. Raises UploadError."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise UploadError(415, "Send a form of the type multipart/form-data.")
    form = await request.form(max_files=64, max_fields=16, max_part_size=4096)
    for name, value in form.multi_items():
        known = FIELDS if isinstance(value, UploadFile) else options
        if name not in known:
            words = UNKNOWN.format(name=name, known=", ".join((*FIELDS, *options)))
            raise UploadError(400, words)
    photos, references = form.getlist("photo"), form.getlist("reference")
    if len(photos) > 1 or (not photos and references):
        raise UploadError(400, NO_PHOTO)
    if len(references) > limits.references:
        raise UploadError(413, limits.words()["references"])
    return form


async def keep_files(form: FormData, folder: Path) -> dict[str, str]:
    """Write the form's files to a job's folder; returns what the user calls each of them."""
    names: dict[str, str] = {}
    files: list[Any] = [("photo", form["photo"])]
    for number, reference in enumerate(form.getlist("reference"), start=1):
        files.append((f"reference-{number}", reference))
    for part, file in files:
        names[part] = shown(file.filename, part)
        await anyio.to_thread.run_sync(copy, file.file, folder / part)
    return names


def copy(source: Any, path: Path) -> None:
    """Copy an open upload to a file."""
    with path.open("xb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def shown(name: str | None, part: str) -> str:
    """A file's name for the reader: its last part, without what could not be printed."""
    last = PurePosixPath((name or "").replace("\\", "/")).name
    last = "".join(c for c in last if unicodedata.category(c)[0] != "C")[-LONGEST_NAME:].strip()
    return last or part
