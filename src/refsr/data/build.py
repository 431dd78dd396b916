"""Builds training pairs from own photos: overlapping ones become a scene, the rest are listed.

OUT/SCENE/PHOTO is what ``pairs`` of a training configuration reads, OUT/pairs.csv what
`refsr evaluate` reads, and OUT/sources.csv maps each file to its original. OUT is written whole or
not at all; until then a journal beside it lets an interrupted build continue.
"""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refsr.data.grouping import Link, View, candidates, components, load_view, register_candidates
from refsr.data.journal import Journal
from refsr.data.layouts import SUFFIXES, find_images
from refsr.errors import DataError
from refsr.image import photo
from refsr.image.atomic import reason

PAIRS, SOURCES = "pairs.csv", "sources.csv"
LARGE_SCENE = 32  # photos; the pairs of such a scene take long to register in training

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Scene:
    """The photos of one place and the files they are written to."""

    name: str
    files: dict[Path, str]  # source -> OUT/SCENE/file, relative to OUT
    links: tuple[Link, ...]


@dataclass(frozen=True)
class Built:
    """The result of a build."""

    out: Path
    scenes: tuple[Scene, ...]
    alone: tuple[Path, ...]  # photos that overlap no other
    unusable: tuple[str, ...]  # one sentence for each photo that cannot be used
    registered: int  # candidate pairs, matched or not
    notes: tuple[str, ...]

    @property
    def kinds(self) -> Counter[str]:
        """The number of ordered pairs of each kind."""
        links = [link for scene in self.scenes for link in scene.links]
        return Counter(kind for link in links for kind in (link.kind, link.kind_back))


def build(
    folder: Path, out: Path, *, link: bool = False, progress: Progress | None = None
) -> Built:
    """Group the photos below ``folder`` and write the scenes to ``out``, a new or empty folder.

    Photos are copied byte for byte or, with ``link``, linked to (symbolic links). ``progress`` is
    called with the finished share, 0..1. Raises DataError where there is nothing to build, or
    ``out`` is not empty or cannot be written.
    """
    if not folder.is_dir():
        raise DataError(f"The folder {folder} does not exist.")
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise DataError(f"{out} is not empty; give a new folder.")
        target = out.absolute()
        journal = Journal(target.parent / f".{target.name}.partial")
        built = group_photos(folder, out, journal, progress)
        if not built.scenes:
            journal.remove()
            raise DataError(
                f"Of {len(built.alone)} photos in {folder} no two overlap: there is "
                "nothing to build."
            )
        write_scenes(built, journal.folder / "scenes", link)
        if out.exists():
            out.rmdir()
        (journal.folder / "scenes").replace(out)
        journal.remove()
    except OSError as error:
        raise DataError(f"{out} cannot be written: {reason(error)}.") from error
    return built


def group_photos(folder: Path, out: Path, journal: Journal, progress: Progress | None) -> Built:
    """Find the scenes among the photos of a folder, without writing them."""

    def stage(start: float, end: float) -> Progress:
        return lambda share: progress(start + (end - start) * share) if progress else None

    files, notes = unique_photos(folder)
    views: list[View] = []
    unusable: list[str] = []
    for index, path in enumerate(files, start=1):
        view = load_view(path)
        if isinstance(view, View):
            views.append(view)
        else:
            unusable.append(view)
        stage(0.0, 0.2)(index / len(files))
    pairs = candidates(views, stage(0.2, 0.3))
    links = register_candidates(views, pairs, journal.known, journal.append, stage(0.3, 1.0))
    groups = components((view.path for view in views), links)
    scenes = name_scenes(groups, links)
    grouped = {path for paths in groups for path in paths}
    alone = tuple(view.path for view in views if view.path not in grouped)
    notes += [
        f"{scene.name} holds {len(scene.files)} photos: training will register "
        f"{len(scene.files) * (len(scene.files) - 1)} pairs, about a second each"
        for scene in scenes
        if len(scene.files) >= LARGE_SCENE
    ]
    return Built(out, scenes, alone, tuple(unusable), len(pairs), tuple(notes))


def unique_photos(folder: Path) -> tuple[list[Path], list[str]]:
    """The photos below a folder without duplicates, and notes on what was left out.

    Raises DataError where there are none.
    """
    notes: list[str] = []
    files = find_images(folder)
    if not files:
        raise DataError(f"There are no photos in {folder}.")
    others = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in photo.SUFFIXES - SUFFIXES and not path.name.startswith(".")
    ]
    if others:
        suffixes = ", ".join(sorted({path.suffix.lower() for path in others}))
        notes.append(f"{len(others)} files that training cannot read were left out ({suffixes})")
    sizes = Counter(path.stat().st_size for path in files)
    first: dict[str, Path] = {}
    kept: list[Path] = []
    for path in files:
        if sizes[path.stat().st_size] > 1:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            if content in first:
                notes.append(f"{path} is a copy of {first[content]} and was left out")
                continue
            first[content] = path
        kept.append(path)
    return kept, notes


def safe_name(stem: str) -> str:
    """A file's name without characters that are special in CSV, shells or file systems."""
    return re.sub(r"[^\w.-]", "_", stem).lstrip(".-") or "photo"


def unique_name(name: str, taken: set[str]) -> str:
    """The name, numbered if it is ``taken`` (ignoring case), and added to ``taken``."""
    number, free = 1, name
    while free.lower() in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(free.lower())
    return free


def name_scenes(groups: list[list[Path]], links: list[Link]) -> tuple[Scene, ...]:
    """Scenes named after their first photo; the stems of a scene's files are unique."""
    scenes: list[Scene] = []
    taken: set[str] = set()
    for paths in groups:
        name, stems = unique_name(safe_name(paths[0].stem), taken), set[str]()
        files = {
            path: f"{name}/{unique_name(safe_name(path.stem), stems)}{path.suffix.lower()}"
            for path in paths
        }
        own = tuple(link for link in links if link.first in files)
        scenes.append(Scene(name, files, own))
    return tuple(scenes)


def write_scenes(built: Built, target: Path, link: bool) -> None:
    """Write the scenes and both lists to ``target``, replacing it. Raises OSError."""
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    rows: list[tuple[str, str, str]] = []
    for scene in built.scenes:
        (target / scene.name).mkdir()
        for path, name in scene.files.items():
            if link:
                (target / name).symlink_to(path.resolve())
            else:
                shutil.copy2(path, target / name)
        for pair in scene.links:
            first, second = scene.files[pair.first], scene.files[pair.second]
            rows += [(first, second, pair.kind), (second, first, pair.kind_back)]
    sources = [(name, str(path)) for scene in built.scenes for path, name in scene.files.items()]
    lists = (
        (PAIRS, ("input", "reference", "kind"), sorted(rows)),
        (SOURCES, ("file", "source"), sources),
    )
    for name, head, lines in lists:
        with (target / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([head, *lines])


def describe(built: Built) -> dict[str, Any]:
    """A build as JSON-ready values."""
    return {
        "out": str(built.out),
        "scenes": [
            {
                "name": scene.name,
                "photos": {name: str(path) for path, name in scene.files.items()},
                "pairs": 2 * len(scene.links),
            }
            for scene in built.scenes
        ],
        "kinds": dict(built.kinds),
        "alone": [str(path) for path in built.alone],
        "unusable": list(built.unusable),
        "registered": built.registered,
        "notes": list(built.notes),
    }


def render(built: Built) -> str:
    """A build as text."""
    photos = sum(len(scene.files) for scene in built.scenes)
    kinds = ", ".join(f"{count} {kind}" for kind, count in built.kinds.most_common())
    lines = [
        f"{built.out}: {len(built.scenes)} scenes of {photos} photos, "
        f"{built.kinds.total()} pairs ({kinds})"
    ]
    lines += [f"note: {note}" for note in built.notes]
    lines += [f"left out: {sentence}" for sentence in built.unusable]
    if built.alone:
        lines.append(f"{len(built.alone)} photos overlap no other and were left out:")
        lines += [f"  {path}" for path in built.alone]
    lines.append(f'train: pairs = "{built.out}" in [data]')
    lines.append(f"measure: refsr evaluate {built.out / PAIRS} --root {built.out}")
    return "\n".join(lines)
