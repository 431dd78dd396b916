"""Loads training data: photos, in memory or memory-mapped, scenes of views, and patch pairs.

The paper's self-similarity training (section 4) is ``photos`` without any reference: DIV2K's
photos, patches of 192. Its reference training is ``patch_pairs``: CUFED's patches of 160, which are
not registered, so that the network itself has to find the correspondences.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from refsr.arrays import Image, Pixels
from refsr.data import layouts
from refsr.errors import DataError, RefsrError
from refsr.image.atomic import atomic_file
from refsr.image.photo import load_photo
from refsr.resize import SCALE, imresize
from refsr.train.config import DataConfig

SUFFIXES = layouts.SUFFIXES
MAX_RATIO = 2.0  # of the sides of a patch pair; a larger one means a wrong pair
HELD_OUT_EVERY = 50  # one in so many patch pairs is held out for validation,
MIN_HELD_OUT, MAX_HELD_OUT = 2, 64  # within these bounds,
MIN_PAIRS = 10  # and none where there are fewer pairs


@dataclass(frozen=True)
class Sample:
    """One training example, uint8 as in the files."""

    lr: Pixels  # (h, w, 3) RGB
    hr: Pixels  # (4h, 4w, 3) RGB
    ref: Pixels  # (4h, 4w, 3) RGB, aligned
    validity: Pixels  # (4h, 4w) 0..255
    target: Pixels | None = None  # (4h, 4w, 3) RGB of a teacher or label, for distillation
    condition: Image | None = None  # (5,) what a network is told of ``lr``; None: it is clean

    def images(self) -> dict[str, Pixels]:
        """The images by name, without a missing target."""
        images = {name: value for name, value in vars(self).items() if name != "condition"}
        return {name: image for name, image in images.items() if image is not None}


def split_scenes(config: DataConfig) -> tuple[list[Path], list[Path]]:
    """The scene folders of ``config.pairs``, split into training and held-out ones."""
    root = Path(config.pairs)
    held = set(Path(config.held_out).read_text().split()) if config.held_out else set[str]()
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    return [f for f in folders if f.name not in held], [f for f in folders if f.name in held]


def image_files(folder: Path) -> list[Path]:
    """The photos below ``folder``, recursively, sorted. Raises DataError where there are none."""
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


def load_lr_hr(path: Path, max_side: int) -> tuple[Pixels, Pixels]:
    """A training photo at LR and HR. Raises DataError."""
    try:
        hr = load_hr(path, max_side)
    except RefsrError as error:
        raise DataError(f"A training photo cannot be used: {error}") from error
    return imresize(hr, scale=1 / SCALE), hr


def map_lr_hr(path: Path, max_side: int, cache: Path) -> tuple[Pixels, Pixels]:
    """``load_lr_hr``, memory-mapped from decoded files in ``cache``.

    These are named by the photo's path, size and time, so a changed photo is decoded again.
    """
    stat = path.stat()
    facts = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {max_side}"
    name = f"{path.stem}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"
    files = [cache / f"{name}.{part}.npy" for part in ("lr", "hr")]
    if not all(file.exists() for file in files):
        for file, pixels in zip(files, load_lr_hr(path, max_side), strict=True):
            with atomic_file(file) as out:  # other processes may write it, too
                np.save(out, pixels)
    lr, hr = (np.asarray(np.load(file, mmap_mode="r")) for file in files)
    return lr, hr


def without_reference(lr: Pixels, hr: Pixels) -> Sample:
    """A sample with a black reference of validity zero (broadcast: one byte of memory)."""
    zero = np.zeros((), np.uint8)
    return Sample(lr, hr, np.broadcast_to(zero, hr.shape), np.broadcast_to(zero, hr.shape[:2]))


def split_patch_pairs(folder: Path) -> tuple[list[layouts.Pair], list[layouts.Pair]]:
    """The pairs input/NAME, ref/NAME of a folder, split into training and held-out ones.

    The last names are held out: patches of one CUFED photo have adjacent names. Raises DataError
    where a patch lacks its counterpart.
    """
    if not (folder / "input").is_dir() or not (folder / "ref").is_dir():
        raise DataError(f"{folder} must hold the folders input and ref, with pairs of one name.")
    pairs = list(layouts.input_and_ref(folder, "cufed").require_pairs().pairs)
    held = max(MIN_HELD_OUT, min(len(pairs) // HELD_OUT_EVERY, MAX_HELD_OUT))
    cut = len(pairs) - (held if len(pairs) >= MIN_PAIRS else 0)
    return pairs[:cut], pairs[cut:]


def load_patch_pair(pair: layouts.Pair, min_side: int) -> Sample:
    """An unregistered pair, as in the paper: the reference as it is, with validity 255.

    A smaller reference is padded with its border, with validity zero there; a larger one is cropped
    at the top left. Raises DataError where the input has fewer than ``min_side`` pixels a side or
    the sizes differ by more than MAX_RATIO.
    """
    try:
        hr, ref = (load_photo(path).as_uint8() for path in (pair.input, pair.references[0]))
    except RefsrError as error:
        raise DataError(f"A training pair cannot be used: {error}") from error
    height, width = (side // SCALE * SCALE for side in hr.shape[:2])
    size = f"{hr.shape[1]} x {hr.shape[0]} pixels"
    if min(height, width) < min_side:
        raise DataError(f"{pair.input} has {size}; a training patch needs {min_side} a side.")
    for side, other in zip(hr.shape[:2], ref.shape[:2], strict=True):
        if max(side, other) > MAX_RATIO * min(side, other):
            raise DataError(
                f"{pair.references[0]} has {ref.shape[1]} x {ref.shape[0]} pixels and its input "
                f"{size}; the patches of a pair must have about the same size."
            )
    hr, ref = hr[:height, :width], ref[:height, :width]
    down, right = height - ref.shape[0], width - ref.shape[1]
    validity = np.pad(np.full(ref.shape[:2], 255, np.uint8), ((0, down), (0, right)))
    ref = np.pad(ref, ((0, down), (0, right), (0, 0)), "edge")
    return Sample(imresize(hr, scale=1 / SCALE), np.ascontiguousarray(hr), ref, validity)
