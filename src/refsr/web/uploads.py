"""Uploads: the photo and references of a form, saved under file names that the server chooses."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Any

import anyio.to_thread
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from refsr.web.limits import Limits

MAX_NAME_LENGTH = 80  # characters of a file name that are shown
FILE_FIELDS = ("photo", "reference")
NO_PHOTO = "Send one photo in the form field `photo`."


class UploadError(Exception):
    """A form that cannot be used, with the HTTP status and message of the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


async def read_form(request: Request, limits: Limits, text_fields: tuple[str, ...]) -> FormData:
    """The form of a request, with the files and ``text_fields`` only. Raises UploadError."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise UploadError(415, "Send the form as multipart/form-data.")
    form = await request.form(max_files=64, max_fields=16, max_part_size=4096)
    for name, value in form.multi_items():
        known = FILE_FIELDS if isinstance(value, UploadFile) else text_fields
        if name not in known:
            fields = ", ".join((*FILE_FIELDS, *text_fields))
            raise UploadError(400, f"Unknown form field {name!r}; the fields are {fields}.")
    photos, references = form.getlist("photo"), form.getlist("reference")
    if len(photos) > 1 or (not photos and references):
        raise UploadError(400, NO_PHOTO)
    if len(references) > limits.references:
        raise UploadError(413, limits.messages()["references"])
    return form


async def save_files(form: FormData, folder: Path) -> dict[str, str]:
    """Write the files of a form to a job's folder; returns the user's name of each."""
    names: dict[str, str] = {}
    files: list[Any] = [("photo", form["photo"])]
    for number, reference in enumerate(form.getlist("reference"), start=1):
        files.append((f"reference-{number}", reference))
    for part, file in files:
        names[part] = display_name(file.filename, part)
        await anyio.to_thread.run_sync(copy, file.file, folder / part)
    return names


def copy(source: Any, path: Path) -> None:
    """Copy an open upload to a new file."""
    with path.open("xb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def display_name(name: str | None, part: str) -> str:
    """The last component of a file name without control characters; ``part`` where none is left."""
    last = PurePosixPath((name or "").replace("\\", "/")).name
    printable = "".join(c for c in last if unicodedata.category(c)[0] != "C")
    return printable[-MAX_NAME_LENGTH:].strip() or part
