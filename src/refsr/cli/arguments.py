"""Arguments that several commands share: their types, parsing and checks."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

from tyro.conf import Positional, UseAppendAction, arg

from refsr.errors import DataError

Command = TypeVar("Command", bound=Callable[..., None])

Input = Positional[Path]
Output = Annotated[Path, arg(aliases=["-o"])]
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

    read = [file for path in inputs for file in (path.iterdir() if is_folder(path) else [path])]
    taken = {real_path(path): "is an input photo" for path in read}
    for path in outputs:
        target = real_path(path)
        if target in taken:
            raise DataError(f"{path} {taken[target]}; give the result another name.")
        taken[target] = "would be written twice"
