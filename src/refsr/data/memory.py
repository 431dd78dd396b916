"""What a build has registered so far, one line a pair, so that an interrupted one goes on."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path

from refsr.data.grouping import Link


class Memory:
    """Answers of earlier runs, and a file that takes new ones; its folder is made when needed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "registered.jsonl"
        self.known: dict[tuple[Path, Path], Link | None] = {}
        self.marks: dict[Path, str] = {}
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        for line in lines:
            with suppress(ValueError, KeyError, TypeError, OSError):
                self.recall(line)  # else it was cut short, or a photo is gone: register again

    def mark(self, path: Path) -> str:
        """Size and time of a photo: with another mark it is another photo."""
        if path not in self.marks:
            stat = path.stat()
            self.marks[path] = f"{stat.st_size} {stat.st_mtime_ns}"
        return self.marks[path]

    def recall(self, line: str) -> None:
        """Take over a line's answer where its photos are still the same."""
        first, second, *marks, answer = json.loads(line)
        key = Path(first), Path(second)
        if marks == [self.mark(path) for path in key]:
            self.known[key] = answer and Link(Path(answer[0]), Path(answer[1]), *answer[2:])

    def keep(self, first: Path, second: Path, answer: Link | None) -> None:
        """Write one answer down."""
        self.folder.mkdir(parents=True, exist_ok=True)
        facts = answer and [str(answer.first), str(answer.second), *astuple(answer)[2:]]
        line = [str(first), str(second), self.mark(first), self.mark(second), facts]
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def forget(self) -> None:
        """Remove the folder: the build is done."""
        shutil.rmtree(self.folder, ignore_errors=True)
