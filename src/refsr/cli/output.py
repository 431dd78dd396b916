"""Output of the commands: messages and progress on stderr, JSON and reports."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refsr.inference.plan import Estimate
    from refsr.registration.references import PoolReport

LONG_SECONDS = 20.0  # jobs that take longer are announced


def print_message(text: str, quiet: bool = False) -> None:
    """Print a line on stderr: stdout is for results."""
    if not quiet:
        print(text, file=sys.stderr)


@contextlib.contextmanager
def progress_bar(name: str, quiet: bool) -> Generator[Callable[[float], None]]:
    """A progress bar on stderr with the remaining time; off where stderr is not a terminal.

    Yields a function that takes the finished share, 0..1.
    """
    from tqdm import tqdm

    style = "{desc} {percentage:3.0f}%|{bar}| {elapsed} elapsed, {remaining} left"
    disable = True if quiet else None
    least = 0  # updates are shares, not counts: every one may be shown
    with tqdm(
        total=1.0, desc=name, disable=disable, bar_format=style, miniters=least, leave=False
    ) as bar:

        def update(done: float) -> None:
            bar.update(done - bar.n)

        yield update


def estimate_printer(out: Path, quiet: bool) -> Callable[[Estimate], None]:
    """A function that announces a job if it is long or needs more memory than allowed.

    It raises PhotoError where the format of ``out`` cannot hold the result.
    """

    def announce(estimate: Estimate) -> None:
        from tqdm import tqdm

        from refsr.image.encode import memory_to_write
        from refsr.image.photo import check_side_limit
        from refsr.inference.memory import in_words

        check_side_limit(out, estimate.width, estimate.height)
        pixels = estimate.width * estimate.height
        memory = max(estimate.memory, estimate.result + memory_to_write(out, pixels))
        over = memory > estimate.allowed
        if quiet or not (over or estimate.seconds > LONG_SECONDS):
            return
        text = f"This takes about {duration(estimate.seconds)} and {in_words(memory)} of memory"
        if over:
            text += f", more than the {in_words(estimate.allowed)} allowed; less is not possible"
        tqdm.write(f"{text}.", file=sys.stderr)  # above the bar

    return announce


def duration(seconds: float) -> str:
    """A rounded time in words: "40 seconds", "3 minutes"."""
    if seconds < 90:
        return f"{max(1, round(seconds, -1 if seconds >= 10 else 0)):.0f} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def album_line(album: PoolReport) -> str:
    """How many references were looked at and registered, and those that could not be read."""
    line = f"{album['looked_at']} references looked at, {len(album['registered'])} registered."
    unread = [one["why"] for one in album["not_registered"] if one["why"].endswith(".")]
    return " ".join([line, *unread])


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON in ASCII, which every terminal and pipe can carry."""
    return json.dumps(value, indent=indent)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all. Raises PhotoError."""
    from refsr.image.atomic import atomic_write

    atomic_write(path, (text + "\n").encode())
