"""The journal of a build: one JSON line for each registered pair, so that it can be resumed."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path

from refsr.data.grouping import Link
from refsr.image.atomic import without_links


class Journal:
    """Links found by earlier runs, and the file that new ones are appended to, made on demand."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "registered.jsonl"
        self.known: dict[tuple[Path, Path], Link | None] = {}
        self.stamps: dict[Path, str] = {}
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        for line in lines:
            # A line cut short or a missing photo is skipped: the pair is registered again.
            with suppress(ValueError, KeyError, TypeError, OSError):
                self.load(line)

    def stamp(self, path: Path) -> str:
        """Size and modification time of a photo, which change with its content."""
        if path not in self.stamps:
            stat = path.stat()
            self.stamps[path] = f"{stat.st_size} {stat.st_mtime_ns}"
        return self.stamps[path]

    def load(self, line: str) -> None:
        """Take over the link of a line whose photos are unchanged."""
        first, second, *stamps, link = json.loads(line)
        key = Path(first), Path(second)
        if stamps == [self.stamp(path) for path in key]:
            self.known[key] = link and Link(Path(link[0]), Path(link[1]), *link[2:])

    def append(self, first: Path, second: Path, link: Link | None) -> None:
        """Write the link of a pair, None where it does not register."""
        self.folder.mkdir(parents=True, exist_ok=True)
        values = link and [str(link.first), str(link.second), *astuple(link)[2:]]
        line = [str(first), str(second), self.stamp(first), self.stamp(second), values]
        with open(self.path, "a", encoding="utf-8", opener=without_links) as file:
            file.write(json.dumps(line) + "\n")

    def remove(self) -> None:
        """Remove the folder, once the build is done."""
        shutil.rmtree(self.folder, ignore_errors=True)
