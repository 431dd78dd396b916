"""What is said while a command works, and the forms of its answer."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refsr.inference.budget import Estimate

LONG = 20.0  # seconds; what takes longer is announced


def say(text: str, quiet: bool = False) -> None:
    """A line for the reader, on stderr: stdout belongs to the answer."""
    if not quiet:
        print(text, file=sys.stderr)


@contextlib.contextmanager
def progress_bar(name: str, quiet: bool) -> Generator[Callable[[float], None]]:
    """A bar on stderr with the time left; silent where stderr is no terminal."""
    from tqdm import tqdm

    style = "{desc} {percentage:3.0f}%|{bar}| {elapsed} elapsed, {remaining} left"
    disable = True if quiet else None
    least = 0  # updates are shares, not counts: none is too small to show
    with tqdm(
        total=1.0, desc=name, disable=disable, bar_format=style, miniters=least, leave=False
    ) as bar:

        def move(done: float) -> None:
            bar.update(done - bar.n)

        yield move


def announcer(out: Path, quiet: bool) -> Callable[[Estimate], None]:
    """Says what a long job, or one that needs more memory than it is allowed, will take."""

    def announce(estimate: Estimate) -> None:
        """Say it in a line above the bar, if there is anything to say."""
        from tqdm import tqdm

        from refsr.image.encode import memory_to_write
        from refsr.inference.memory import in_words

        pixels = estimate.width * estimate.height
        memory = max(estimate.memory, estimate.result + memory_to_write(out, pixels))
        over = memory > estimate.allowed
        if quiet or not (over or estimate.seconds > LONG):
            return
        text = f"this takes about {duration(estimate.seconds)} and {in_words(memory)} of memory"
        if over:
            text += f", more than the {in_words(estimate.allowed)} allowed: it cannot do with less"
        tqdm.write(f"{text}.", file=sys.stderr)  # above the bar

    return announce


def duration(seconds: float) -> str:
    """A time for a reader: "40 seconds", "3 minutes"."""
    if seconds < 90:
        return f"{max(1, round(seconds, -1 if seconds >= 10 else 0)):.0f} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def album_line(album: dict[str, Any]) -> str:
    """How many references were looked at and registered, and those that could not be read."""
    line = f"{album['looked_at']} references looked at, {len(album['registered'])} registered."
    unread = [one["why"] for one in album["not_registered"] if one["why"].endswith(".")]
    return " ".join([line, *unread])


def dump(value: Any, indent: int | None = None) -> str:
    """JSON in plain ASCII: every terminal, pipe and file name survives it."""
    return json.dumps(value, indent=indent)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file or none of it. Raises DataError."""
    from refsr.image.atomic import atomic_write

    atomic_write(path, (text + "\n").encode())
