"""What is evaluated on: a CSV list of pairs, or one of the field's benchmark folders."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from refsr.csv_rows import file_names, read_csv_rows
from refsr.data import layouts
from refsr.errors import DataError
from refsr.image.atomic import is_file, is_folder

# HR pixels a side that an evaluation needs: the least multiple of the scale in which the filters of
# SSIM and HaarPSI fit inside the border. A test compares it with refsr.evaluate.metrics.
MIN_SIDE = 24
SHOWN = 6  # names of photos that a sentence lists
MAX_QUOTED = 300  # characters of a path that an error quotes
COLUMNS = ("input", "reference", "kind")
# Benchmarks by name: every row; cufed5-l1 a single level; -all all references of an input at once.
BENCHMARKS = (
    *layouts.SINGLE_IMAGE,
    "cufed5",
    *(f"cufed5-l{level}" for level in range(1, layouts.LEVELS + 1)),
    "cufed5-all",
    "wr-sr",
    "sun80",
    "sun80-all",
)
SUFFIXES = ("-all", *(f"-l{level}" for level in range(1, layouts.LEVELS + 1)))


@dataclass(frozen=True)
class EvaluationJob:
    """One row to evaluate: the ground-truth photo, which is shrunk, and its references."""

    input: Path
    references: tuple[Path, ...]
    kind: str
    root: Path | None = None  # paths below it are reported relative to it

    def relative(self, path: Path) -> str:
        """The path as the list of pairs names it: relative to ``root`` where it lies below."""
        if self.root is not None and path.is_relative_to(self.root):
            return path.relative_to(self.root).as_posix()
        return str(path)


def load_jobs(target: str, root: Path) -> list[EvaluationJob]:
    """The jobs of a CSV file or a benchmark.

    ``target`` is a CSV file with the columns input, reference, kind (paths relative to ``root``; an
    empty reference is none; several are separated by semicolons), or one of BENCHMARKS: a folder of
    that name below ``root``, or ``root`` itself.

    Raises DataError where the root, a column or an image is missing, or the name is unknown.
    """
    root = Path(root)
    if not is_folder(root):
        raise DataError(f"The folder {root} does not exist; give the photos' folder with --root.")
    if target.lower() in BENCHMARKS:
        return benchmark_jobs(target.lower(), root)
    if is_file(target):
        return csv_jobs(Path(target), root)
    if Path(target).suffix or "/" in target:
        raise DataError(f"The list of pairs {target} does not exist.")
    near = difflib.get_close_matches(target.lower(), BENCHMARKS, 1, cutoff=0.0)[0]
    raise DataError(
        f"There is no benchmark {target!r}; did you mean {near!r}? A list of pairs is a .csv file."
    )


def describe_jobs(target: str, jobs: Sequence[EvaluationJob]) -> str:
    """What was found, in a sentence: how many photos, where, and whether they are the benchmark.

    Any folder of photos can be read as Set5; its photos' number and names tell whether it is.
    """
    name, inputs = target.lower(), list(dict.fromkeys(job.input for job in jobs))
    folder, count = inputs[0].parent, f"{len(inputs)} photo{'s' * (len(inputs) > 1)}"
    if name not in layouts.SINGLE_IMAGE:
        return f"{target}: {len(jobs)} rows of {count}."
    stems = [path.stem for path in inputs]
    wanted, title = layouts.SINGLE_IMAGE[name], layouts.TITLES[name]
    other = [stem for stem in stems if not layouts.NAMES[name].match(stem.lower())]
    if len(stems) == wanted and not other:
        return f"{title}: {count} in {folder}."
    shown = ", ".join(stems[:SHOWN]) + (", ..." if len(stems) > SHOWN else "")
    why = f"{title} has {wanted}" if len(stems) != wanted else "they have other names"
    return f"This is not {title}: {count} in {folder} ({shown}); {why}."


def csv_jobs(path: Path, root: Path) -> list[EvaluationJob]:
    """The jobs of a CSV file, one per row; every image must exist. Raises DataError."""
    rows = read_csv_rows(path, COLUMNS)
    if not rows:
        raise DataError(f"{path} lists no pairs.")
    jobs: list[EvaluationJob] = []
    for number, row in enumerate(rows, start=2):
        if not row["input"] or not row["kind"]:
            raise DataError(
                f"Line {number} of {path} has no {'kind' if row['input'] else 'input'}."
            )
        references = tuple(root / name for name in file_names(row["reference"]))
        for image in (root / row["input"], *references):
            if not is_file(image):
                name = str(image)[:MAX_QUOTED]
                raise DataError(f"Line {number} of {path} names {name}, which does not exist.")
        jobs.append(EvaluationJob(root / row["input"], references, row["kind"], root))
    return jobs


def benchmark_jobs(name: str, root: Path) -> list[EvaluationJob]:
    """The jobs of one of BENCHMARKS. Raises DataError where photos of it are missing.

    cufed5 gives every input five rows, one a level (L1 the most similar reference), sun80 the
    first reference by name; with -all a row has all references of its input at once.
    """
    base, _, part = name.rpartition("-") if name.endswith(SUFFIXES) else (name, "", "")
    pairs = layouts.benchmark(base, root).pairs
    if part == "all":
        together: dict[Path, list[Path]] = {}
        for pair in pairs:
            together.setdefault(pair.input, []).extend(pair.references)
        return [EvaluationJob(path, tuple(refs), name, root) for path, refs in together.items()]
    if part:
        pairs = [pair for pair in pairs if pair.kind == part.upper()]
    return [EvaluationJob(pair.input, pair.references[:1], pair.kind, root) for pair in pairs]
