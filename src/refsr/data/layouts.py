"""The field's data sets as they lie on disk: which files belong together, and what does not fit.

Names alone are read here; no photo is opened. The layouts, and where each is described, are listed
in docs/DATA.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from refsr.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".avif"})

SINGLE_IMAGE = {"set5": 5, "set14": 14, "b100": 100, "urban100": 100}  # and their photos
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
OTHER_NAMES = {"bsd100": "b100", "bsds100": "b100", "sunhays80": "sun80"}  # of the same folders
HR_FOLDERS = (
    "HR",
    "original",
    "GTmod12",
    "image_SRF_4",
)  # where packs of benchmarks keep the truth

CUFED5_NAME = re.compile(r"(\d{3})_([0-5])\.png")  # 001_0 is the input, 001_1 to 001_5 references
CUFED5_GROUPS = 126
CUFED_PAIRS = 11_871
LEVELS = 5  # L1 is the most similar reference (XH in the paper), L5 the least (XL)
WR_SR_PAIRS = 80
SUN80_TRUTH, SUN80_REFERENCES = "Sun_Hays_SR_groundtruth", "Sun_Hays_SR_scenematches"
SUN80_PHOTOS, SUN80_EACH = 80, 20
DIV2K_NAME = re.compile(r"(\d{4})\.png")
DIV2K_PARTS = (range(1, 801), range(801, 901))  # training, validation
DEPTH = 3  # folders below the given one that are looked through: CUFED/test/CUFED5


@dataclass(frozen=True)
class Pair:
    """A true photo with its references; a photo of a set without references has none."""

    input: Path
    references: tuple[Path, ...]
    kind: str  # what its row is called in an evaluation


@dataclass(frozen=True)
class Problem:
    """Something that does not fit, in a sentence."""

    kind: str  # missing (of a set of known size), unpaired, size, small, same, unreadable, list
    file: Path
    sentence: str


@dataclass(frozen=True)
class DataSet:
    """What a folder holds, read as one layout."""

    layout: str  # a key of TITLES
    folder: Path
    pairs: tuple[Pair, ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()  # worth saying, and no fault

    @property
    def photos(self) -> list[Path]:
        """Every photo once, sorted."""
        return sorted({path for pair in self.pairs for path in (pair.input, *pair.references)})

    def paired(self) -> DataSet:
        """Itself. Raises DataError where photos of it have no partner, or it is empty."""
        faults = [problem for problem in self.problems if problem.kind == "unpaired"]
        if faults:
            rest = f" ({len(faults) - 1} more like this: see refsr data check)" * (len(faults) > 1)
            raise DataError(faults[0].sentence.removesuffix(".") + rest + ".")
        if not self.pairs:
            raise DataError(f"{self.folder} holds no photos of {TITLES[self.layout]}.")
        return self


def images_in(folder: Path) -> list[Path]:
    """The photos directly in a folder, sorted by name; hidden files are none."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def images_below(folder: Path) -> list[Path]:
    """The photos in a folder and its folders, sorted by path; hidden ones are none."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def subfolders(folder: Path) -> list[Path]:
    """The folders directly in a folder, sorted by name; hidden ones are left out."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def named(folder: Path) -> str:
    """A folder's name as the layouts write it: WR_SR, wr-sr and WRSR are one."""
    plain = re.sub(r"[^a-z0-9]", "", folder.name.lower())
    return {"wrsr": "wr-sr", **OTHER_NAMES}.get(plain, plain)


def spans(numbers: Iterable[int], digits: int) -> str:
    """Numbers as ranges: 000, 002-125."""
    out: list[list[int]] = []
    for number in sorted(numbers):
        if out and number == out[-1][-1] + 1:
            out[-1] = [out[-1][0], number]
        else:
            out.append([number])
    return ", ".join("-".join(f"{end:0{digits}}" for end in span) for span in out)


def missing(folder: Path, found: int, wanted: int, what: str, which: str = "") -> list[Problem]:
    """The problem that a set of known size is not whole, or is more than whole."""
    if found == wanted:
        return []
    if found > wanted:
        text = f"{folder} holds {found} {what} where there should be {wanted}."
    else:
        text = f"{folder} lacks {wanted - found} of {wanted} {what}{which and ': ' + which}."
    return [Problem("missing", folder, text)]


def cufed5(folder: Path) -> DataSet:
    """CUFED5: NNN_0.png is an input, NNN_1.png to NNN_5.png its references, most similar first."""
    groups: dict[str, dict[int, Path]] = {}
    for path in images_in(folder):
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
    which = spans(lacking, 3)
    problems += missing(folder, CUFED5_GROUPS - len(lacking), CUFED5_GROUPS, "groups", which)
    return DataSet("cufed5", folder, tuple(pairs), tuple(problems))


def by_stem(folder: Path) -> tuple[dict[str, Path], list[Problem]]:
    """The photos of a folder by their names without ending; two of one name are a problem."""
    found: dict[str, Path] = {}
    problems: list[Problem] = []
    for path in images_in(folder) if folder.is_dir() else []:
        if path.stem in found:
            text = f"{path} and {found[path.stem].name} have the same name: which is meant?"
            problems.append(Problem("unpaired", path, text))
        found.setdefault(path.stem, path)
    return found, problems


def input_and_ref(folder: Path, layout: str) -> DataSet:
    """CUFED (input/NAME.png, ref/NAME.png) or WR-SR (input/NNN.png, ref/NNN_ref.png).

    Pairs are found by name, never by order, and a photo without its partner is a problem.
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
        problems += missing(folder, len(pairs), WR_SR_PAIRS, "pairs")
    elif len(pairs) != CUFED_PAIRS:
        notes.append(f"{len(pairs)} pairs; all of CUFED are {CUFED_PAIRS}")
    return DataSet(layout, folder, tuple(pairs), tuple(problems), tuple(notes))


def sun80(folder: Path) -> DataSet:
    """Sun80: Sun_Hays_SR_groundtruth/NAME.jpg, references in Sun_Hays_SR_scenematches/NAME.jpg/."""
    truth, matches = folder / SUN80_TRUTH, folder / SUN80_REFERENCES
    problems = [
        Problem("unpaired", path, f"{folder} is no whole Sun80: it has no folder {path.name}.")
        for path in (truth, matches)
        if not path.is_dir()
    ]
    if problems:
        return DataSet("sun80", folder, (), tuple(problems))
    pairs: list[Pair] = []
    for path in images_in(truth):
        place = matches / path.name
        references = tuple(images_in(place)) if place.is_dir() else ()
        if references:
            pairs.append(Pair(path, references, "sun80"))
            problems += missing(place, len(references), SUN80_EACH, "references")
        else:
            text = f"{path} has no references: there are no photos in {place}."
            problems.append(Problem("unpaired", path, text))
    inputs = {pair.input.name for pair in pairs}
    for place in subfolders(matches):
        if place.name not in inputs and not (truth / place.name).exists():
            text = f"The references in {place} belong to no photo in {truth}."
            problems.append(Problem("unpaired", place, text))
    problems += missing(folder, len(pairs), SUN80_PHOTOS, "photos")
    return DataSet("sun80", folder, tuple(pairs), tuple(problems))


def truths_in(folder: Path) -> list[Path]:
    """The large photos of a benchmark's folder; where LR ones lie beside them, without those."""
    inner = [folder / name for name in HR_FOLDERS if (folder / name).is_dir()]
    photos = images_in(folder) or (images_in(inner[0]) if inner else [])
    large = [path for path in photos if path.stem.endswith("_HR")]
    return large if large and any(path.stem.endswith("_LR") for path in photos) else photos


def single_image(folder: Path, name: str) -> DataSet:
    """Set5, Set14, B100 or Urban100: photos without references, in the folder or its HR/."""
    photos = truths_in(folder)
    problems = missing(folder, len(photos), SINGLE_IMAGE[name], "photos")
    return DataSet(name, folder, tuple(Pair(path, (), name) for path in photos), tuple(problems))


def div2k(folder: Path) -> DataSet:
    """DIV2K: large photos 0001.png to 0800.png, or 0801.png to 0900.png, or all of them."""
    photos = [path for path in images_in(folder) if DIV2K_NAME.fullmatch(path.name)]
    numbers = {int(path.stem) for path in photos}
    problems: list[Problem] = []
    for part in DIV2K_PARTS:
        lacking = set(part) - numbers
        if len(lacking) < len(part):
            problems += missing(
                folder, len(part) - len(lacking), len(part), "photos", spans(lacking, 4)
            )
    return DataSet("div2k", folder, tuple(Pair(p, (), "div2k") for p in photos), tuple(problems))


def scenes(folder: Path) -> DataSet:
    """Own pairs: folder/SCENE/*.jpg, each scene's photos being references of each other."""
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
            text = f"{photos[0]} is the only photo of its scene: nothing can be its reference."
            problems.append(Problem("unpaired", photos[0], text))
        for path in photos:
            pairs.append(Pair(path, tuple(p for p in photos if p != path), scene.name))
    notes = (f"folders without photos: {', '.join(empty)}",) if empty else ()
    return DataSet("scenes", folder, tuple(pairs), tuple(problems), notes)


def own_layout(folder: Path) -> DataSet | None:
    """The folder as a known data set, or None where nothing tells it apart from any photos."""
    folders = {path.name for path in subfolders(folder)}
    if folders & {SUN80_TRUTH, SUN80_REFERENCES}:
        return sun80(folder)
    if {"input", "ref"} <= folders:
        marked = any(path.stem.endswith("_ref") for path in images_in(folder / "ref"))
        return input_and_ref(folder, "wr-sr" if marked or named(folder) == "wr-sr" else "cufed")
    photos = images_in(folder)
    if any(CUFED5_NAME.fullmatch(path.name) for path in photos):
        return cufed5(folder)
    if named(folder) in SINGLE_IMAGE and truths_in(folder):
        return single_image(folder, named(folder))
    if photos and all(DIV2K_NAME.fullmatch(path.name) for path in photos):
        return div2k(folder)
    return None


def holds_known(folder: Path, depth: int = DEPTH) -> bool:
    """Whether the folder, or one at most ``depth`` folders below it, is a known data set."""
    if own_layout(folder) is not None:
        return True
    return depth > 0 and any(holds_known(path, depth - 1) for path in subfolders(folder))


def recognise(folder: Path) -> list[DataSet]:
    """The data sets in a folder: itself, the known ones below it, else scenes, else photos.

    Raises DataError where the folder does not exist or holds no photos.
    """
    if not folder.is_dir():
        raise DataError(f"The folder {folder} does not exist.")
    known = own_layout(folder)
    if known is not None:
        return [known]
    inside = subfolders(folder)
    if any(holds_known(path, DEPTH - 1) for path in inside):
        found = [recognise(path) for path in inside if images_below(path)]
        return [part for parts in found for part in parts]
    shrunk = re.search(r"_LR(_|$)", folder.name) is not None
    with_photos = sum(bool(images_in(path)) for path in inside)
    if not images_in(folder) and with_photos > len(inside) / 2 and not shrunk:
        return [scenes(folder)]
    photos = images_below(folder)
    if not photos:
        raise DataError(f"There are no photos in {folder}.")
    notes = ("by the folder's name these are shrunk photos: not for training",) if shrunk else ()
    return [DataSet("photos", folder, tuple(Pair(p, (), "photos") for p in photos), notes=notes)]


def scene_of(path: Path) -> str:
    """What a photo shows, as far as its path tells: its group, else its folder."""
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

    It is a folder of that name below the root, as deep as test/CUFED5, or the root itself. Raises
    DataError where it is not there, or photos of it have no partner.
    """
    known = own_layout(root)
    if known is not None and known.layout == name:
        return known.paired()
    for path in below(root, DEPTH):
        if named(path) == name:
            return read_as(name, path)
    return read_as(name, root)


def below(folder: Path, depth: int) -> Sequence[Path]:
    """The folders below one, the nearest first, ``depth`` levels of them."""
    level = subfolders(folder)
    out = list(level)
    for _ in range(depth - 1):
        level = [path for parent in level for path in subfolders(parent)]
        out += level
    return out


def read_as(name: str, folder: Path) -> DataSet:
    """The folder read as the benchmark ``name``. Raises DataError where it is not."""
    absent = DataError(
        f"Neither {folder} nor a folder {name} in it holds images as {TITLES[name]} has them: "
        f"{NEEDS[name]}"
    )
    if name in SINGLE_IMAGE:
        found = single_image(folder, name)
        if not found.pairs:
            raise absent
        return found
    found = own_layout(folder)
    if found is None or found.layout != name:
        raise absent
    return found.paired()


NEEDS = {
    **{name: f"{count} photos." for name, count in SINGLE_IMAGE.items()},
    "cufed5": "001_0.png (an input) with its references 001_1.png to 001_5.png, and so on.",
    "wr-sr": "input/001.png with ref/001_ref.png, and so on.",
    "sun80": f"{SUN80_TRUTH}/NAME.jpg with {SUN80_REFERENCES}/NAME.jpg/*.jpg.",
}
