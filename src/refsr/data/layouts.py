"""The folder layouts of the field's data sets: which files form a pair, and which are missing.

Only names are read here; no photo is opened. docs/DATA.md lists the layouts and their sources.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from refsr.errors import DataError
from refsr.image.photo import is_photo_folder

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".avif"})

SINGLE_IMAGE = {"set5": 5, "set14": 14, "b100": 100, "urban100": 100}  # photos of each
TITLES = {
    "cufed": "pairs by name (CUFED)",
    "cufed5": "CUFED5",
    "wr-sr": "WR-SR",
    "sun80": "Sun80",
    "set5": "Set5",
    "set14": "Set14",
    "b100": "B100",
    "urban100": "Urban100",
    "div2k": "DIV2K",
    "scenes": "scenes of overlapping photos",
    "photos": "photos",
}
NAMES = {  # how the photos of each are called in common packs
    "set5": re.compile(r"(baby|bird|butterfly|head|woman)(_|$)|img_\d+"),
    "set14": re.compile(
        r"(baboon|barbara|bridge|coastguard|comic|face|flowers|foreman|lenna|man|monarch|pepper|ppt3"
        r"|zebra)(_|$)|img_\d+"
    ),
    "b100": re.compile(r"\d{4,6}(_|$)|img_\d+"),
    "urban100": re.compile(r"img_?\d+"),
}
ALIASES = {"bsd100": "b100", "bsds100": "b100", "sunhays80": "sun80"}  # as other packs call them
HR_FOLDERS = ("HR", "original", "GTmod12", "image_SRF_4")  # of the ground truth in common packs

CUFED5_NAME = re.compile(r"(\d{3})_([0-5])\.png")  # 001_0 is the input, 001_1 to 001_5 references
CUFED5_GROUPS = 126
CUFED_PAIRS = 11_871
LEVELS = 5  # L1 is the most similar reference (XH in the paper), L5 the least (XL)
WR_SR_PAIRS = 80
SUN80_TRUTH, SUN80_REFERENCES = "Sun_Hays_SR_groundtruth", "Sun_Hays_SR_scenematches"
SUN80_PHOTOS, SUN80_EACH = 80, 20
DIV2K_NAME = re.compile(r"(\d{4})\.png")
DIV2K_PARTS = (range(1, 801), range(801, 901))  # training, validation
DEPTH = 3  # levels of folders that are searched: CUFED/test/CUFED5


@dataclass(frozen=True)
class Pair:
    """A ground-truth photo with its references; none in a set without references."""

    input: Path
    references: tuple[Path, ...]
    kind: str  # of its row in an evaluation


@dataclass(frozen=True)
class Problem:
    """A fault of a data set, in one sentence."""

    kind: str  # missing (in a set of known size), unpaired, size, small, same, unreadable, list
    file: Path
    sentence: str


@dataclass(frozen=True)
class DataSet:
    """The contents of a folder, read in one layout."""

    layout: str  # a key of TITLES
    folder: Path
    pairs: tuple[Pair, ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()  # remarks that are no faults

    @property
    def photos(self) -> list[Path]:
        """Every photo once, sorted."""
        return sorted({path for pair in self.pairs for path in (pair.input, *pair.references)})

    def require_pairs(self) -> DataSet:
        """Returns itself. Raises DataError where it is empty or photos lack their counterpart."""
        unpaired = [problem for problem in self.problems if problem.kind == "unpaired"]
        if unpaired:
            more = len(unpaired) - 1
            rest = f" ({more} more like this; refsr data check lists them)" if more else ""
            raise DataError(unpaired[0].sentence.removesuffix(".") + rest + ".")
        if not self.pairs:
            raise DataError(f"{self.folder} holds no photos of {TITLES[self.layout]}.")
        return self


def list_images(folder: Path) -> list[Path]:
    """The photos directly in a folder, sorted by name, hidden files left out."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def find_images(folder: Path) -> list[Path]:
    """The photos in a folder, recursively, sorted; no hidden ones, no foreign thumbnails."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and all(is_photo_folder(part) for part in path.relative_to(folder).parts[:-1])
    )


def subfolders(folder: Path) -> list[Path]:
    """The folders directly in a folder, sorted by name, hidden ones left out."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and is_photo_folder(p.name))


def canonical_name(folder: Path) -> str:
    """A folder's name as the layouts spell it: WR_SR, wr-sr and WRSR are the same."""
    plain = re.sub(r"[^a-z0-9]", "", folder.name.lower())
    return {"wrsr": "wr-sr", **ALIASES}.get(plain, plain)


def format_ranges(numbers: Iterable[int], digits: int) -> str:
    """Numbers as ranges: 000, 002-125."""
    out: list[list[int]] = []
    for number in sorted(numbers):
        if out and number == out[-1][-1] + 1:
            out[-1] = [out[-1][0], number]
        else:
            out.append([number])
    return ", ".join("-".join(f"{end:0{digits}}" for end in span) for span in out)


def count_problem(
    folder: Path, found: int, expected: int, what: str, which: str = ""
) -> list[Problem]:
    """The problem that a set of known size has too few or too many files, if it has."""
    if found == expected:
        return []
    if found > expected:
        text = f"{folder} holds {found} {what} where there should be {expected}."
    else:
        text = f"{folder} lacks {expected - found} of {expected} {what}{which and ': ' + which}."
    return [Problem("missing", folder, text)]


def cufed5(folder: Path) -> DataSet:
    """CUFED5: NNN_0.png is an input, NNN_1.png to NNN_5.png its references, most similar first."""
    groups: dict[str, dict[int, Path]] = {}
    for path in list_images(folder):
        if name := CUFED5_NAME.fullmatch(path.name):
            groups.setdefault(name[1], {})[int(name[2])] = path
    pairs: list[Pair] = []
    problems: list[Problem] = []
    for group, files in groups.items():
        for level in sorted(set(range(LEVELS + 1)) - set(files)):
            path = folder / f"{group}_{level}.png"
            what = f"The reference {path} of {group}_0.png" if level else f"The input {path}"
            problems.append(Problem("unpaired", path, f"{what} does not exist."))
        if 0 in files:
            pairs += [Pair(files[0], (files[n],), f"L{n}") for n in sorted(files) if n]
    lacking = set(range(CUFED5_GROUPS)) - {int(group) for group in groups}
    which = format_ranges(lacking, 3)
    problems += count_problem(folder, CUFED5_GROUPS - len(lacking), CUFED5_GROUPS, "groups", which)
    return DataSet("cufed5", folder, tuple(pairs), tuple(problems))


def by_stem(folder: Path) -> tuple[dict[str, Path], list[Problem]]:
    """The photos of a folder by name without extension; a name used twice is a problem."""
    found: dict[str, Path] = {}
    problems: list[Problem] = []
    for path in list_images(folder) if folder.is_dir() else []:
        if path.stem in found:
            text = f"{path} and {found[path.stem].name} have the same name: keep one of them."
            problems.append(Problem("unpaired", path, text))
        found.setdefault(path.stem, path)
    return found, problems


def input_and_ref(folder: Path, layout: str) -> DataSet:
    """CUFED (input/NAME.png, ref/NAME.png) or WR-SR (input/NNN.png, ref/NNN_ref.png).

    Pairs are matched by name, never by order; a photo without its counterpart is a problem.
    """
    ending = "_ref" if layout == "wr-sr" else ""
    inputs, problems = by_stem(folder / "input")
    references, more = by_stem(folder / "ref")
    problems += more
    pairs: list[Pair] = []
    for stem, path in inputs.items():
        reference = references.pop(stem + ending, None)
        if reference is None:
            expected = folder / "ref" / f"{stem}{ending}{path.suffix}"
            text = f"{path} has no reference: {expected} does not exist."
            problems.append(Problem("unpaired", path, text))
        else:
            pairs.append(Pair(path, (reference,), layout))
    problems += [
        Problem("unpaired", path, f"{path} is the reference of no photo in {folder / 'input'}.")
        for path in references.values()
    ]
    notes: list[str] = []
    if layout == "wr-sr":
        problems += count_problem(folder, len(pairs), WR_SR_PAIRS, "pairs")
    elif len(pairs) != CUFED_PAIRS:
        notes.append(f"{len(pairs)} pairs; all of CUFED are {CUFED_PAIRS}")
    return DataSet(layout, folder, tuple(pairs), tuple(problems), tuple(notes))


def sun80(folder: Path) -> DataSet:
    """Sun80: Sun_Hays_SR_groundtruth/NAME.jpg, references in Sun_Hays_SR_scenematches/NAME.jpg/."""
    truth, matches = folder / SUN80_TRUTH, folder / SUN80_REFERENCES
    problems = [
        Problem("unpaired", path, f"{folder} is an incomplete Sun80: it has no folder {path.name}.")
        for path in (truth, matches)
        if not path.is_dir()
    ]
    if problems:
        return DataSet("sun80", folder, (), tuple(problems))
    pairs: list[Pair] = []
    for path in list_images(truth):
        subfolder = matches / path.name
        references = tuple(list_images(subfolder)) if subfolder.is_dir() else ()
        if references:
            pairs.append(Pair(path, references, "sun80"))
            problems += count_problem(subfolder, len(references), SUN80_EACH, "references")
        else:
            text = f"{path} has no references: there are no photos in {subfolder}."
            problems.append(Problem("unpaired", path, text))
    inputs = {pair.input.name for pair in pairs}
    for subfolder in subfolders(matches):
        if subfolder.name not in inputs and not (truth / subfolder.name).exists():
            text = f"The references in {subfolder} belong to no photo in {truth}."
            problems.append(Problem("unpaired", subfolder, text))
    problems += count_problem(folder, len(pairs), SUN80_PHOTOS, "photos")
    return DataSet("sun80", folder, tuple(pairs), tuple(problems))


def hr_photos(folder: Path) -> list[Path]:
    """The HR photos of a benchmark's folder, without LR ones that lie beside them."""
    inner = [folder / name for name in HR_FOLDERS if (folder / name).is_dir()]
    photos = list_images(folder) or (list_images(inner[0]) if inner else [])
    hr = [path for path in photos if path.stem.endswith("_HR")]
    return hr if hr and any(path.stem.endswith("_LR") for path in photos) else photos


def single_image(folder: Path, name: str) -> DataSet:
    """Set5, Set14, B100 or Urban100: photos without references, in the folder or its HR/."""
    photos = hr_photos(folder)
    problems = count_problem(folder, len(photos), SINGLE_IMAGE[name], "photos")
    return DataSet(name, folder, tuple(Pair(path, (), name) for path in photos), tuple(problems))


def div2k(folder: Path) -> DataSet:
    """DIV2K: HR photos 0001.png to 0800.png, or 0801.png to 0900.png, or all of them."""
    photos = [path for path in list_images(folder) if DIV2K_NAME.fullmatch(path.name)]
    numbers = {int(path.stem) for path in photos}
    problems: list[Problem] = []
    for part in DIV2K_PARTS:
        lacking = set(part) - numbers
        if len(lacking) < len(part):
            problems += count_problem(
                folder, len(part) - len(lacking), len(part), "photos", format_ranges(lacking, 4)
            )
    return DataSet("div2k", folder, tuple(Pair(p, (), "div2k") for p in photos), tuple(problems))


def scenes(folder: Path) -> DataSet:
    """Own pairs: folder/SCENE/*.jpg; the photos of a scene are each other's references."""
    pairs: list[Pair] = []
    problems: list[Problem] = []
    empty: list[str] = []
    for scene in subfolders(folder):
        views, more = by_stem(scene)
        problems += more
        photos = list(views.values())
        if not photos:
            empty.append(scene.name)
        elif len(photos) == 1:
            text = f"{photos[0]} is the only photo of its scene and so has no reference."
            problems.append(Problem("unpaired", photos[0], text))
        for path in photos:
            pairs.append(Pair(path, tuple(p for p in photos if p != path), scene.name))
    notes = (f"folders without photos: {', '.join(empty)}",) if empty else ()
    return DataSet("scenes", folder, tuple(pairs), tuple(problems), notes)


def detect_layout(folder: Path) -> DataSet | None:
    """The folder as a known data set, or None where it looks like any folder of photos."""
    folders = {path.name for path in subfolders(folder)}
    if folders & {SUN80_TRUTH, SUN80_REFERENCES}:
        return sun80(folder)
    if {"input", "ref"} <= folders:
        marked = any(path.stem.endswith("_ref") for path in list_images(folder / "ref"))
        return input_and_ref(
            folder, "wr-sr" if marked or canonical_name(folder) == "wr-sr" else "cufed"
        )
    photos = list_images(folder)
    if any(CUFED5_NAME.fullmatch(path.name) for path in photos):
        return cufed5(folder)
    if canonical_name(folder) in SINGLE_IMAGE and hr_photos(folder):
        return single_image(folder, canonical_name(folder))
    if photos and all(DIV2K_NAME.fullmatch(path.name) for path in photos):
        return div2k(folder)
    return None


def contains_data_set(folder: Path, depth: int = DEPTH) -> bool:
    """Whether the folder, or one at most ``depth`` levels below it, is a known data set."""
    if detect_layout(folder) is not None:
        return True
    return depth > 0 and any(contains_data_set(path, depth - 1) for path in subfolders(folder))


def detect_layouts(folder: Path) -> list[DataSet]:
    """The data sets in a folder: itself, the known ones below it, else scenes, else photos.

    Raises DataError where the folder does not exist or holds no photos.
    """
    if not folder.is_dir():
        raise DataError(f"The folder {folder} does not exist.")
    known = detect_layout(folder)
    if known is not None:
        return [known]
    inside = subfolders(folder)
    if any(contains_data_set(path, DEPTH - 1) for path in inside):
        found = [detect_layouts(path) for path in inside if find_images(path)]
        return [part for parts in found for part in parts]
    shrunk = re.search(r"_LR(_|$)", folder.name) is not None
    with_photos = sum(bool(list_images(path)) for path in inside)
    if not list_images(folder) and with_photos > len(inside) / 2 and not shrunk:
        return [scenes(folder)]
    photos = find_images(folder)
    if not photos:
        raise DataError(f"There are no photos in {folder}.")
    notes = ("by the folder's name these are LR photos, not for training",) if shrunk else ()
    return [DataSet("photos", folder, tuple(Pair(p, (), "photos") for p in photos), notes=notes)]


def scene_id(path: Path) -> str:
    """Identifies the scene of a photo by its path: the group of its data set, else its folder."""
    folder = path.parent
    if group := CUFED5_NAME.fullmatch(path.name):
        return f"{folder}/{group[1]}"
    if folder.name in ("input", "ref"):
        return f"{folder.parent}/{path.stem.removesuffix('_ref')}"
    if folder.name == SUN80_TRUTH:
        return f"{folder.parent}/{path.name}"
    if folder.parent.name == SUN80_REFERENCES:
        return f"{folder.parent.parent}/{folder.name}"
    return str(folder)


def benchmark(name: str, root: Path) -> DataSet:
    """The benchmark ``name`` (set5, set14, b100, urban100, cufed5, wr-sr, sun80) in ``root``.

    It is a folder of that name at most DEPTH levels below the root, or the root itself. Raises
    DataError where it is absent or photos lack their counterpart.
    """
    known = detect_layout(root)
    if known is not None and known.layout == name:
        return known.require_pairs()
    for path in folders_below(root, DEPTH):
        if canonical_name(path) == name:
            return read_benchmark(name, path)
    return read_benchmark(name, root)


def folders_below(folder: Path, depth: int) -> Sequence[Path]:
    """The folders below a folder, ``depth`` levels deep, the nearest first."""
    level = subfolders(folder)
    out = list(level)
    for _ in range(depth - 1):
        level = [path for parent in level for path in subfolders(parent)]
        out += level
    return out


def read_benchmark(name: str, folder: Path) -> DataSet:
    """The folder read as the benchmark ``name``. Raises DataError where it is not."""
    absent = DataError(
        f"Neither {folder} nor a folder {name} in it holds the images of {TITLES[name]}: "
        f"{EXPECTED_FILES[name]}"
    )
    if name in SINGLE_IMAGE:
        found = single_image(folder, name)
        if not found.pairs:
            raise absent
        return found
    found = detect_layout(folder)
    if found is None or found.layout != name:
        raise absent
    return found.require_pairs()


EXPECTED_FILES = {
    **{name: f"{count} photos." for name, count in SINGLE_IMAGE.items()},
    "cufed5": "001_0.png (an input) with its references 001_1.png to 001_5.png, and so on.",
    "wr-sr": "input/001.png with ref/001_ref.png, and so on.",
    "sun80": f"{SUN80_TRUTH}/NAME.jpg with {SUN80_REFERENCES}/NAME.jpg/*.jpg.",
}
