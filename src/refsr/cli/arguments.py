"""Arguments that several commands share: their types, parsing and checks."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

from tyro.conf import Positional, UseAppendAction, arg

from refsr.errors import DataError

STANDARD = Path("-")  # stdin or stdout

Command = TypeVar("Command", bound=Callable[..., None])

Input = Positional[Path]
Output = Annotated[Path, arg(aliases=["-o"])]
OptionalOutput = Annotated[Path | None, arg(aliases=["-o"], metavar="PATH", help_behavior_hint="")]
OptionalPath = Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="")]
OptionalInt = Annotated[int | None, arg(metavar="INT", help_behavior_hint="")]
OptionalKind = Annotated[str | None, arg(metavar="KIND", help_behavior_hint="")]
References = Annotated[UseAppendAction[tuple[Path, ...]], arg(name="ref", metavar="PHOTO|FOLDER")]


def command(function: Command) -> Command:
    """Decorator of every command: joins the lines of an argument's description.

    tyro keeps their line breaks, which would not fit the width of the terminal.
    """
    function.__doc__ = re.sub(r"\n {8}(?=\S)", " ", inspect.cleandoc(function.__doc__ or ""))
    return function


def read_source(photo: Path) -> Path | bytes:
    """What to load for a photo's argument: its path, or the bytes of stdin for -. Raises DataError.

    Call it before the work: a file that is missing or a folder is told so here.
    """
    if photo == STANDARD:
        if sys.stdin is None or sys.stdin.isatty():
            raise DataError("- is a photo on stdin, which is a terminal; pipe one in.")
        return sys.stdin.buffer.read()
    return photo


def prepare_output(path: Path) -> None:
    """Make the folder of an output file, and check that it can be written.

    Raises DataError, PhotoError.
    """
    from refsr.image.atomic import check_writable, make_folder

    make_folder(path.parent)
    check_writable(path)


def check_outputs(inputs: list[Path], pictures: list[Path], others: list[Path]) -> None:
    """Make sure before the work that all outputs can be written, pictures in their formats.

    Raises DataError, PhotoError.
    """
    from refsr.image.encode import format_of

    for path in pictures:
        format_of(path)
    check_distinct(inputs, [*pictures, *others])
    for path in (*pictures, *others):
        prepare_output(path)


def parse_pixel(text: str) -> tuple[int, int]:
    """The pixel (x, y) of "X,Y". Raises DataError."""
    match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", text)
    if not match:
        raise DataError(f"--at must be a pixel X,Y such as 512,300, not {text!r}.")
    return int(match.group(1)), int(match.group(2))


def check_distinct(inputs: list[Path], outputs: list[Path]) -> None:
    """Make sure that no output overwrites an input, a file of an input folder or another output.

    Raises DataError.
    """
    from refsr.image.atomic import is_folder, real_path

    inputs, outputs = ([one for one in paths if one != STANDARD] for paths in (inputs, outputs))
    read = [file for path in inputs for file in (path.iterdir() if is_folder(path) else [path])]
    taken = {real_path(path): "is an input photo" for path in read}
    for path in outputs:
        target = real_path(path)
        if target in taken:
            raise DataError(f"{path} {taken[target]}; give the result another name.")
        taken[target] = "would be written twice"
