"""Words that commands share: what a photo, references and a result are called, and a place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from refsr.errors import DataError

Input = Positional[Path]
References = Annotated[UseAppendAction[tuple[Path, ...]], arg(name="ref", metavar="PHOTO|FOLDER")]
Output = Annotated[Path, arg(aliases=["-o"])]


def parse_place(text: str) -> tuple[int, int]:
    """The pixel of "X,Y". Raises DataError."""
    match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", text)
    if not match:
        raise DataError(f"{text!r} is no place in a photo; write for example --at 512,300.")
    return int(match.group(1)), int(match.group(2))


def check_distinct(inputs: list[Path], outputs: list[Path]) -> None:
    """Refuse to write over a photo that is read, or to write two things to one file.

    Of a folder every file counts. Raises DataError.
    """
    from refsr.image.atomic import is_folder, real_path

    read = [file for path in inputs for file in (path.iterdir() if is_folder(path) else [path])]
    taken = {real_path(path): "is a photo that is read" for path in read}
    for path in outputs:
        place = real_path(path)
        if place in taken:
            raise DataError(f"{path} {taken[place]}; give the result another name.")
        taken[place] = "would be written twice"
