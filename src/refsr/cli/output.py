"""Output of the commands: messages and progress on stderr, JSON and reports."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

    from refsr.inference.plan import Estimate
    from refsr.registration.references import PoolReport

LINE_SECONDS = 30.0  # between two lines of progress
TICK_SECONDS = 0.5  # between two looks of the bar
LONG_SECONDS = 20.0  # jobs that take longer are announced


def print_message(text: str, quiet: bool = False) -> None:
    """Print a line on stderr: stdout is for results."""
    if not quiet:
        print(text, file=sys.stderr)


class ProgressBar:
    """A progress bar on stderr that moves between reports, too; its calls may come from any thread.

    Between two reports it goes by the time, more slowly the farther it is beyond the last one.
    """

    def __init__(self, bar: tqdm[Any]) -> None:
        self.bar, self.lock = bar, threading.Lock()
        self.started = self.reported = time.monotonic()
        self.share, self.step = 0.0, 1.0  # reported; the largest that a report added
        self.seconds = math.inf  # of the whole job, estimated
        self.shown, self.ticked = 0.0, -math.inf

    def expect(self, seconds: float) -> None:
        """The whole job, from its beginning, will take so long in about."""
        with self.lock:
            self.seconds = time.monotonic() - self.started + seconds

    def __call__(self, done: float) -> None:
        """The share ``done``, 0..1, is finished."""
        with self.lock:
            self.step = done - self.share if self.share == 0 else max(self.step, done - self.share)
            self.share, self.reported = done, time.monotonic()
            recent = self.reported - self.ticked < TICK_SECONDS / 5
        if not recent:  # of many small steps not each is drawn
            self.tick()

    def tick(self) -> None:
        """Show what is finished by now, and the time."""
        with self.lock:
            self.shown = max(self.shown, self.share_at(time.monotonic()))
            self.bar.n = self.shown
            self.ticked = time.monotonic()
        self.bar.refresh()

    def share_at(self, now: float) -> float:
        """The share that is probably finished, from the last report and the pace until then."""
        seconds = self.seconds
        if self.share > 0:
            seconds = (self.reported - self.started) / self.share
        step = min(self.step, 1.0 - self.share)
        if not (0 < seconds < math.inf and step > 0):
            return self.share
        return self.share + step * (1 - math.exp((self.reported - now) / (seconds * step)))


@contextlib.contextmanager
def progress_bar(name: str, quiet: bool) -> Generator[ProgressBar]:
    """A progress bar on stderr with the remaining time; off where stderr is not a terminal.

    Yields a function that takes the finished share, 0..1.
    """
    from tqdm import tqdm

    style = "{desc} {percentage:3.0f}%|{bar}| {elapsed} elapsed, {remaining} left"
    disable = True if quiet else None
    with tqdm(total=1.0, desc=name, disable=disable, bar_format=style, leave=False) as bar:
        progress, stop = ProgressBar(bar), threading.Event()

        def tick() -> None:
            while not stop.wait(TICK_SECONDS):
                progress.tick()

        ticker = threading.Thread(target=tick, daemon=True)
        if not bar.disable:
            ticker.start()
        try:
            yield progress
        finally:
            stop.set()
            if ticker.is_alive():
                ticker.join()


@contextlib.contextmanager
def progress_report(name: str, quiet: bool) -> Generator[Callable[[float], None]]:
    """``progress_bar``; where stderr is no terminal a line at once, and one every half minute."""
    if quiet or sys.stderr.isatty():
        with progress_bar(name, quiet) as bar:
            yield bar
    else:
        yield progress_lines(name)


def progress_lines(name: str) -> Callable[[float], None]:
    """A function that takes the finished share, 0..1, and prints it and the time that is left."""
    started = time.monotonic()
    next_line = started + LINE_SECONDS
    print_message(f"{name}: started")

    def update(done: float) -> None:
        nonlocal next_line
        now = time.monotonic()
        if done > 0 and now >= next_line:
            left = (now - started) * (1 - done) / done
            print_message(f"{name}: {100 * done:.0f} %, about {duration(left)} left")
            next_line = now + LINE_SECONDS

    return update


def estimate_printer(out: Path, quiet: bool) -> Callable[[Estimate], None]:
    """A function that announces a job if it is long or needs more memory than allowed."""

    def announce(estimate: Estimate) -> None:
        """Print a line above the progress bar, if there is something to say."""
        from tqdm import tqdm

        from refsr.image.encode import memory_to_write
        from refsr.inference.memory import in_words

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
        number = max(1, round(seconds, -1 if seconds >= 10 else 0))
        return f"{number:.0f} second{'s' * (number > 1)}"
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
