"""What to evaluate on: a CSV of pairs, or one of the field's benchmark folders."""

from __future__ import annotations

import csv
import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from refsr.errors import DataError

COLUMNS = ("input", "reference", "kind")
SINGLE_IMAGE = ("set5", "set14", "b100", "urban100")  # benchmarks without references
BENCHMARKS = (*SINGLE_IMAGE, "cufed5")
IMAGE_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".bmp")
CUFED_NAME = re.compile(
    r"(\d{3})_([0-5])\.png"
)  # 001_0 is the input, 001_1 to 001_5 its references
CUFED_LEVELS = 5  # L1 is the most similar reference, L5 the least


@dataclass(frozen=True)
class Job:
    """One row to evaluate: the true photo, which is shrunk for the test, and its references."""

    input: Path
    references: tuple[Path, ...]
    kind: str
    root: Path | None = None  # paths below it are shown relative to it

    def shown(self, path: Path) -> str:
        """The path as the list of pairs names it: relative to ``root`` where it lies below."""
        if self.root is not None and path.is_relative_to(self.root):
            return path.relative_to(self.root).as_posix()
        return str(path)


def scene_of(path: Path) -> str:
    """What a photo shows, as far as its path tells: its folder, or its group of CUFED5."""
    group = CUFED_NAME.fullmatch(path.name)
    return f"{path.parent}/{group[1]}" if group else str(path.parent)


def load_jobs(target: str, root: Path) -> list[Job]:
    """The jobs of a CSV file or a benchmark.

    ``target`` is a CSV with the columns input, reference, kind (paths relative to ``root``; an
    empty reference is none; several are parted by semicolons), or set5, set14, b100, urban100 or
    cufed5: a folder of that name below ``root``, or ``root`` itself.

    Raises DataError where the root, a column or an image is missing, or the name is unknown.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"The folder {root} does not exist; give the photos' folder with --root.")
    if target.lower() in BENCHMARKS:
        return benchmark_jobs(target.lower(), root)
    if Path(target).is_file():
        return csv_jobs(Path(target), root)
    if Path(target).suffix or "/" in target:
        raise DataError(f"The list of pairs {target} does not exist.")
    near = difflib.get_close_matches(target.lower(), BENCHMARKS, 1, cutoff=0.0)[0]
    raise DataError(
        f"There is no benchmark {target!r}; did you mean {near!r}? A list of pairs is a .csv file."
    )


def csv_jobs(path: Path, root: Path) -> list[Job]:
    """The jobs of a CSV file, one a row, every image checked to exist. Raises DataError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path} has no column {missing[0]!r}; its first line must name the columns "
                    f"{', '.join(COLUMNS)}."
                )
            rows = [{name: (row[name] or "").strip() for name in COLUMNS} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a CSV file ({error}).") from error
    if not rows:
        raise DataError(f"{path} lists no pairs.")
    jobs: list[Job] = []
    for number, row in enumerate(rows, start=2):
        if not row["input"] or not row["kind"]:
            raise DataError(
                f"Line {number} of {path} has no {'kind' if row['input'] else 'input'}."
            )
        names = [name.strip() for name in row["reference"].split(";")]
        references = tuple(root / name for name in names if name)
        for image in (root / row["input"], *references):
            if not image.is_file():
                raise DataError(f"Line {number} of {path} names {image}, which does not exist.")
        jobs.append(Job(root / row["input"], references, row["kind"], root))
    return jobs


def images_in(folder: Path) -> list[Path]:
    """The images of a folder, sorted by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)


def benchmark_jobs(name: str, root: Path) -> list[Job]:
    """The jobs of a benchmark folder. Raises DataError where it holds no images."""
    named = [d for d in sorted(root.iterdir()) if d.is_dir() and d.name.lower() == name]
    folder = named[0] if named else root
    images = images_in(folder)
    if name in SINGLE_IMAGE:
        if not images:
            raise DataError(f"Neither {root} nor a folder {name} in it holds images.")
        return [Job(path, (), name, root) for path in images]
    jobs: list[Job] = []
    for path in images:
        group = CUFED_NAME.fullmatch(path.name)
        if not group or group[2] != "0":
            continue
        for level in range(1, CUFED_LEVELS + 1):
            reference = folder / f"{group[1]}_{level}.png"
            if not reference.is_file():
                raise DataError(f"The reference {reference} of {path.name} does not exist.")
            jobs.append(Job(path, (reference,), f"L{level}", root))
    if not jobs:
        raise DataError(
            f"Neither {root} nor a folder {name} in it holds CUFED5 groups (001_0.png)."
        )
    return jobs
