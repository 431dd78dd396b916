"""Training pairs of one's own photos: overlapping ones become a scene, others are named.

OUT/SCENE/PHOTO is what ``pairs`` of a training configuration reads, OUT/pairs.csv what
`refsr evaluate` reads, and OUT/sources.csv says which photo each file is. OUT appears whole or not
at all; what was registered is kept beside it until then, so that an interrupted run goes on.
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
from refsr.data.layouts import SUFFIXES, images_below
from refsr.data.memory import Memory
from refsr.errors import DataError
from refsr.image import photo
from refsr.image.atomic import reason

PAIRS, SOURCES = "pairs.csv", "sources.csv"
LARGE = 32  # photos of a scene from which on its pairs take long to register in training

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Scene:
    """Photos of one place, as they are written."""

    name: str
    files: dict[Path, str]  # source -> OUT/SCENE/file, relative to OUT
    links: tuple[Link, ...]


@dataclass(frozen=True)
class Built:
    """What a build did, for people and JSON."""

    out: Path
    scenes: tuple[Scene, ...]
    alone: tuple[Path, ...]  # photos that no other overlaps
    unusable: tuple[str, ...]  # a sentence for each photo that was left out
    registered: int  # pairs that were tried
    notes: tuple[str, ...]

    @property
    def kinds(self) -> Counter[str]:
        """How many ordered pairs there are of each kind."""
        links = [one for scene in self.scenes for one in scene.links]
        return Counter(kind for one in links for kind in (one.kind, one.kind_back))


def build(
    folder: Path, out: Path, *, link: bool = False, progress: Progress | None = None
) -> Built:
    """Group the photos below ``folder`` and write the scenes to ``out``, a new or empty folder.

    Photos are copied byte for byte or, with ``link``, linked to (symbolic links). ``progress`` gets
    the finished share, 0..1. Raises DataError where there is nothing to build, ``out`` holds
    something already or cannot be written.
    """
    if not folder.is_dir():
        raise DataError(f"The folder {folder} does not exist.")
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise DataError(f"{out} is not empty; give a new folder.")
        place = out.absolute()
        memory = Memory(place.parent / f".{place.name}.partial")
        built = group(folder, out, memory, progress)
        if not built.scenes:
            memory.forget()
            raise DataError(
                f"Of {len(built.alone)} photos in {folder} no two show the same place from "
                "overlapping views: there is nothing to build."
            )
        write(built, memory.folder / "scenes", link)
        if out.exists():
            out.rmdir()
        (memory.folder / "scenes").replace(out)
        memory.forget()
    except OSError as error:
        raise DataError(f"{out} cannot be written: {reason(error)}.") from error
    return built


def group(folder: Path, out: Path, memory: Memory, progress: Progress | None) -> Built:
    """Look through the photos of a folder and find the scenes; nothing of them is written."""

    def move(start: float, end: float) -> Progress:
        return lambda share: progress(start + (end - start) * share) if progress else None

    files, notes = photos_of(folder)
    views: list[View] = []
    unusable: list[str] = []
    for index, path in enumerate(files, start=1):
        view = load_view(path)
        if isinstance(view, View):
            views.append(view)
        else:
            unusable.append(view)
        move(0.0, 0.2)(index / len(files))
    pairs = candidates(views, move(0.2, 0.3))
    links = register_candidates(views, pairs, memory.known, memory.keep, move(0.3, 1.0))
    found = components((view.path for view in views), links)
    scenes = named_scenes(found, links)
    grouped = {path for paths in found for path in paths}
    alone = tuple(view.path for view in views if view.path not in grouped)
    notes += [
        f"{scene.name} holds {len(scene.files)} photos: training will register "
        f"{len(scene.files) * (len(scene.files) - 1)} pairs, about a second each"
        for scene in scenes
        if len(scene.files) >= LARGE
    ]
    return Built(out, scenes, alone, tuple(unusable), len(pairs), tuple(notes))


def photos_of(folder: Path) -> tuple[list[Path], list[str]]:
    """The photos below a folder, each content once, and notes on what was left out.

    Raises DataError where there are none.
    """
    notes: list[str] = []
    files = images_below(folder)
    if not files:
        raise DataError(f"There are no photos in {folder}.")
    others = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in photo.SUFFIXES - SUFFIXES and not path.name.startswith(".")
    ]
    if others:
        endings = ", ".join(sorted({path.suffix.lower() for path in others}))
        notes.append(f"{len(others)} files that training does not read were left out ({endings})")
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


def plain(stem: str) -> str:
    """A file's name without what a CSV file, a shell or another system would stumble over."""
    return re.sub(r"[^\w.-]", "_", stem).lstrip(".-") or "photo"


def unused(name: str, taken: set[str]) -> str:
    """The name, with a number where it is taken, capitals or not; it is taken from now on."""
    number, free = 1, name
    while free.lower() in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(free.lower())
    return free


def named_scenes(groups: list[list[Path]], links: list[Link]) -> tuple[Scene, ...]:
    """Scenes named after their first photo; the names of a scene's files differ in their stems."""
    scenes: list[Scene] = []
    taken: set[str] = set()
    for paths in groups:
        name, stems = unused(plain(paths[0].stem), taken), set[str]()
        files = {
            path: f"{name}/{unused(plain(path.stem), stems)}{path.suffix.lower()}" for path in paths
        }
        own = tuple(one for one in links if one.first in files)
        scenes.append(Scene(name, files, own))
    return tuple(scenes)


def write(built: Built, target: Path, link: bool) -> None:
    """Write the scenes and both lists to ``target``, anew. Raises OSError."""
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
        for one in scene.links:
            first, second = scene.files[one.first], scene.files[one.second]
            rows += [(first, second, one.kind), (second, first, one.kind_back)]
    sources = [(name, str(path)) for scene in built.scenes for path, name in scene.files.items()]
    lists = (
        (PAIRS, ("input", "reference", "kind"), sorted(rows)),
        (SOURCES, ("file", "source"), sources),
    )
    for name, head, lines in lists:
        with (target / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([head, *lines])


def describe(built: Built) -> dict[str, Any]:
    """A build for JSON."""
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
    """A build for people."""
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
