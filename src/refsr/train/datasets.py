"""Loading what is trained on: photos, in memory or mapped from disk, and pairs of patches by name.

The self-similarity training of the paper (section 4) is ``photos`` without any reference: DIV2K's
large photos, patches of 192. Its reference training is ``patch_pairs``: CUFED's patches of 160,
which are not registered; the network does all the searching.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refsr.arrays import Pixels
from refsr.data import layouts
from refsr.errors import DataError, RefsrError
from refsr.image.atomic import atomic_file
from refsr.image.photo import load_photo
from refsr.resize import SCALE, imresize

SUFFIXES = layouts.SUFFIXES
RATIO = 2.0  # a reference patch whose side differs by more belongs to something else
HELD_SHARE = 50  # one in so many patch pairs is held out for the validation,
HELD_LEAST, HELD_MOST = 2, 64  # within these bounds ...
HELD_FROM = 10  # ... and none where there are fewer


@dataclass(frozen=True)
class Sample:
    """One training example; uint8 throughout, as files hold it."""

    lr: Pixels  # (h, w, 3) RGB
    hr: Pixels  # (4h, 4w, 3) RGB
    ref: Pixels  # (4h, 4w, 3) RGB, registered
    validity: Pixels  # (4h, 4w) 0..255
    soft: Pixels | None = None  # (4h, 4w, 3) RGB, what a teacher makes of it; see teacher.py

    def parts(self) -> dict[str, Pixels]:
        """The images that are there, by name."""
        return {name: image for name, image in vars(self).items() if image is not None}


def image_files(folder: Path) -> list[Path]:
    """The photos under ``folder``, recursively, sorted. Raises DataError where there are none."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise DataError(f"There are no photos in {folder}.")
    return files


def load_hr(path: Path, max_side: int) -> Pixels:
    """A photo as RGB uint8, shrunk to ``max_side`` and cropped to a multiple of the scale."""
    pixels = load_photo(path).as_uint8()
    shrink = max_side / max(pixels.shape[:2])
    if shrink < 1.0:
        pixels = imresize(pixels, scale=shrink)
    height, width = (side // SCALE * SCALE for side in pixels.shape[:2])
    return np.ascontiguousarray(pixels[:height, :width])


def load_photo_pair(path: Path, max_side: int) -> tuple[Pixels, Pixels]:
    """A training photo, LR and HR. Raises DataError."""
    try:
        hr = load_hr(path, max_side)
    except RefsrError as error:
        raise DataError(f"A training photo cannot be used: {error}") from error
    return imresize(hr, scale=1 / SCALE), hr


def mapped_photo_pair(path: Path, max_side: int, cache: Path) -> tuple[Pixels, Pixels]:
    """``load_photo_pair``, kept decoded in ``cache`` and mapped: memory holds what is looked at.

    The files are named by the photo's path, size and time, so a changed photo is decoded anew.
    """
    stat = path.stat()
    facts = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {max_side}"
    name = f"{path.stem}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"
    files = [cache / f"{name}.{part}.npy" for part in ("lr", "hr")]
    if not all(file.exists() for file in files):
        for file, pixels in zip(files, load_photo_pair(path, max_side), strict=True):
            with atomic_file(file) as out:  # other processes may be at it, too
                np.save(out, pixels)
    lr, hr = (np.asarray(np.load(file, mmap_mode="r")) for file in files)
    return lr, hr


def blank(lr: Pixels, hr: Pixels) -> Sample:
    """A sample without reference: black, and validity is zero everywhere (one zero, in memory)."""
    zero = np.zeros((), np.uint8)
    return Sample(lr, hr, np.broadcast_to(zero, hr.shape), np.broadcast_to(zero, hr.shape[:2]))


def patch_pairs(folder: Path) -> tuple[list[layouts.Pair], list[layouts.Pair]]:
    """The pairs input/NAME, ref/NAME of a folder to train on, and those held out, by name.

    The last names are held out: CUFED's neighbours in name are patches of one photo. Raises
    DataError where a patch has no partner.
    """
    if not (folder / "input").is_dir() or not (folder / "ref").is_dir():
        raise DataError(f"{folder} must hold the folders input and ref, with pairs of one name.")
    pairs = list(layouts.input_and_ref(folder, "cufed").require_pairs().pairs)
    held = max(HELD_LEAST, min(len(pairs) // HELD_SHARE, HELD_MOST))
    cut = len(pairs) - (held if len(pairs) >= HELD_FROM else 0)
    return pairs[:cut], pairs[cut:]


def load_patch_pair(pair: layouts.Pair, least: int) -> Sample:
    """A pair as it lies: the reference patch is the aligned one, its validity 255 (the paper's).

    A reference that is smaller is padded with its border, where its validity is zero; of a larger
    one the top left is used. Raises DataError where the input has not ``least`` pixels a side or
    the sizes differ by more than RATIO.
    """
    try:
        hr, ref = (load_photo(path).as_uint8() for path in (pair.input, pair.references[0]))
    except RefsrError as error:
        raise DataError(f"A training pair cannot be used: {error}") from error
    height, width = (side // SCALE * SCALE for side in hr.shape[:2])
    size = f"{hr.shape[1]} x {hr.shape[0]} pixels"
    if min(height, width) < least:
        raise DataError(f"{pair.input} has {size}; a training patch needs {least} a side.")
    for side, other in zip(hr.shape[:2], ref.shape[:2], strict=True):
        if max(side, other) > RATIO * min(side, other):
            raise DataError(
                f"{pair.references[0]} has {ref.shape[1]} x {ref.shape[0]} pixels and its input "
                f"{size}; a pair's patches must be of about one size."
            )
    hr, ref = hr[:height, :width], ref[:height, :width]
    down, right = height - ref.shape[0], width - ref.shape[1]
    validity = np.pad(np.full(ref.shape[:2], 255, np.uint8), ((0, down), (0, right)))
    ref = np.pad(ref, ((0, down), (0, right), (0, 0)), "edge")
    return Sample(imresize(hr, scale=1 / SCALE), np.ascontiguousarray(hr), ref, validity)
