"""Training patches: registered real pairs, simulated, foreign, unregistered, blank references.

Every sample is a pure function of (seed, step, index), so a resumed run sees what an uninterrupted
one would have seen, bit for bit, whatever the number of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice, permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from refsr.arrays import Pixels
from refsr.errors import DataError
from refsr.image.atomic import atomic_file
from refsr.image.photo import load_photo
from refsr.registration.register import aligned_reference, prepare_reference, register
from refsr.resize import SCALE, imresize
from refsr.train.config import DataConfig
from refsr.train.datasets import (
    Sample,
    blank,
    image_files,
    load_hr,
    load_patch_pair,
    load_photo_pair,
    mapped_photo_pair,
    patch_pairs,
)
from refsr.train.degrade import degraded_lr
from refsr.train.labels import load_label
from refsr.train.simulate import MARGIN, simulate_reference
from refsr.train.teacher import Teacher

Batch = dict[str, NDArray[np.float32]]  # see ``stack``


def register_pair(hr: Pixels, reference: Pixels) -> Sample | None:
    """Register ``reference`` to ``hr`` shrunk by four; None where they do not match."""
    lr = imresize(hr, scale=1 / SCALE)
    prepared = prepare_reference(reference)
    registration = register(lr, prepared)
    if not registration.matched:
        return None
    rows, columns = slice(0, lr.shape[0]), slice(0, lr.shape[1])
    aligned, validity = aligned_reference(registration, prepared, lr, rows, columns)
    quantised = [
        np.clip(np.rint(part * 255.0), 0, 255).astype(np.uint8) for part in (aligned, validity)
    ]
    return Sample(lr, hr, *quantised)


def scenes(config: DataConfig) -> tuple[list[Path], list[Path]]:
    """The scene folders to train on and the ones held out."""
    root = Path(config.pairs)
    held = set(Path(config.held_out).read_text("utf-8").split()) if config.held_out else set[str]()
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    return [f for f in folders if f.name not in held], [f for f in folders if f.name in held]


def cache_file(config: DataConfig, scene: str, first: Path, second: Path) -> Path:
    """Where the registration of the view ``second`` to ``first`` is kept."""
    return Path(config.cache) / f"{scene}-{first.stem}-{second.stem}-{config.max_side}.npz"


def cached_pairs(folders: list[Path], config: DataConfig) -> list[Sample]:
    """Every ordered pair of views of every scene, registered; done once and kept on disk.

    A pair that does not register leaves an empty file, so that it is not tried again.
    """
    Path(config.cache).mkdir(parents=True, exist_ok=True)
    samples: list[Sample] = []
    for folder in tqdm(folders, desc="registered pairs", disable=None):
        for first, second in permutations(image_files(folder), 2):
            kept = cache_file(config, folder.name, first, second)
            if not kept.exists():
                hr = load_hr(first, config.max_side)
                sample = register_pair(hr, load_photo(second).as_uint8())
                with atomic_file(kept) as file:  # others may be at it, too
                    if sample is not None:
                        named: dict[str, Any] = dict(sample.parts())
                        np.savez(file, **named)
            if kept.stat().st_size:
                with np.load(kept) as arrays:
                    samples.append(Sample(**{key: arrays[key] for key in arrays.files}))
    return samples


def check_shares(config: DataConfig) -> None:
    """Raises DataError where the shares of the kinds do not go together, or with the folders."""
    names = ("real", "simulated", "foreign", "unregistered")
    shares = [float(getattr(config, name)) for name in names]
    if min(shares) < 0.0 or sum(shares) > 1.0 + 1e-9:
        given = ", ".join(f"{name} = {share:g}" for name, share in zip(names, shares, strict=True))
        raise DataError(f"The shares {given} must not be negative, nor above 1 in all.")
    if config.unregistered and not config.patch_pairs:
        raise DataError(f"unregistered = {config.unregistered:g} needs the folder patch_pairs.")
    if not config.photos and not config.pairs and not config.patch_pairs:
        raise DataError("There is nothing to train on: give photos, pairs or patch_pairs.")


def load_training_photo(config: DataConfig, root: Path, path: Path) -> Sample:
    """A photo below ``root``, without reference, with its label if there is one. Raises DataError.

    Kept as the configuration says.
    """
    if config.map_photos:
        Path(config.cache).mkdir(parents=True, exist_ok=True)
        lr, hr = mapped_photo_pair(path, config.max_side, Path(config.cache))
    else:
        lr, hr = load_photo_pair(path, config.max_side)
    label = load_label(Path(config.labels), root, path, hr) if config.labels else None
    return replace(blank(lr, hr), soft=label)


class Patches:
    """Draws training patches. ``config`` names the folders and the shares of each kind."""

    def __init__(self, config: DataConfig, seed: int, workers: int = 1) -> None:
        check_shares(config)
        self.config, self.seed, self.size = config, seed, config.patch
        self.workers = workers  # threads that load photos and make batches
        roots = [Path(folder) for folder in config.photos]
        files = [(root, file) for root in roots for file in image_files(root)]
        train_folders = scenes(config)[0] if config.pairs else []
        files += [(folder.parent, file) for folder in train_folders for file in image_files(folder)]
        patches = patch_pairs(Path(config.patch_pairs))[0] if config.patch_pairs else []
        with ThreadPoolExecutor(workers) as pool:
            loaded = pool.map(lambda file: load_training_photo(config, *file), files)
            photos = list(tqdm(loaded, desc="photos", total=len(files), disable=None))
            loaded_pairs = pool.map(lambda pair: load_patch_pair(pair, self.size), patches)
            self.patch_pairs = list(
                tqdm(loaded_pairs, desc="patch pairs", total=len(patches), disable=None)
            )
        if not files:
            photos = [blank(pair.lr, pair.hr) for pair in self.patch_pairs]
        self.photos = [photo for photo in photos if min(photo.hr.shape[:2]) >= self.size]
        if not self.photos:
            raise DataError(f"No training photo is at least {self.size} pixels a side.")
        self.pairs = [
            pair
            for pair in (cached_pairs(train_folders, config) if config.real > 0 else [])
            if min(pair.hr.shape[:2]) >= self.size
        ]
        if config.teacher:
            teacher = Teacher(config.teacher, Path(config.cache))
            tasks = tqdm([*self.photos, *self.pairs], desc="teacher", disable=None)
            taught = [teacher.taught(sample) for sample in tasks]
            self.photos, self.pairs = taught[: len(self.photos)], taught[len(self.photos) :]
        areas = np.array([sample.hr.shape[0] * sample.hr.shape[1] for sample in self.photos], float)
        self.by_area = np.cumsum(areas) / areas.sum()  # large photos hold more patches

    def photo(self, rng: np.random.Generator) -> Sample:
        """A random photo, without reference."""
        return self.photos[int(np.searchsorted(self.by_area, rng.random()))]

    def corner(self, rng: np.random.Generator, hr: Pixels) -> tuple[int, int]:
        """The top left LR pixel of a random patch."""
        steps = self.size // SCALE
        y = int(rng.integers(0, hr.shape[0] // SCALE - steps + 1))
        return y, int(rng.integers(0, hr.shape[1] // SCALE - steps + 1))

    def crop(self, sample: Sample, y: int, x: int) -> Sample:
        """The patch of every image of a sample whose top left LR pixel is (y, x)."""

        def cut(name: str, image: Pixels) -> Pixels:
            scale = 1 if name == "lr" else SCALE
            side = self.size * scale // SCALE
            return image[y * scale :, x * scale :][:side, :side]

        return Sample(**{name: cut(name, image) for name, image in sample.parts().items()})

    def plain(self, rng: np.random.Generator) -> Sample:
        """A patch of a photo, without reference."""
        photo = self.photo(rng)
        return self.crop(photo, *self.corner(rng, photo.hr))

    def real(self, rng: np.random.Generator) -> Sample:
        """A patch of a registered pair, from where the reference reaches if four draws find it."""
        pair = self.pairs[int(rng.integers(len(self.pairs)))]
        y = x = 0
        for _ in range(4):
            y, x = self.corner(rng, pair.hr)
            window = pair.validity[y * SCALE :, x * SCALE :][: self.size, : self.size]
            if window.mean() > 96:
                break
        return self.crop(pair, y, x)

    def simulated(self, rng: np.random.Generator) -> Sample:
        """A patch whose reference is the photo itself, as another camera would have taken it."""
        photo = self.photo(rng)
        y, x = self.corner(rng, photo.hr)
        patch = self.crop(photo, y, x)
        rows = np.arange(y * SCALE - MARGIN, y * SCALE + self.size + MARGIN)
        columns = np.arange(x * SCALE - MARGIN, x * SCALE + self.size + MARGIN)
        around = photo.hr[np.clip(rows, 0, photo.hr.shape[0] - 1)]
        around = around[:, np.clip(columns, 0, photo.hr.shape[1] - 1)]
        other = self.photo(rng).hr
        oy, ox = self.corner(rng, other)
        other = other[oy * SCALE :, ox * SCALE :]
        return Sample(patch.lr, patch.hr, *simulate_reference(rng, around, other, self.size))

    def foreign(self, rng: np.random.Generator) -> Sample:
        """A reference that shows something else although registration vouches for it."""
        patch, other = self.plain(rng), self.plain(rng)
        return replace(patch, ref=other.hr, validity=np.full(patch.hr.shape[:2], 255, np.uint8))

    def unregistered(self, rng: np.random.Generator) -> Sample:
        """A patch of an unregistered pair; what lies at the same place is its reference."""
        pair = self.patch_pairs[int(rng.integers(len(self.patch_pairs)))]
        return self.crop(pair, *self.corner(rng, pair.hr))

    def sample(self, step: int, index: int) -> Sample:
        """The sample at ``index`` of the batch at ``step``."""
        rng = np.random.default_rng((self.seed, step, index))
        kind, config = rng.random(), self.config
        if kind < config.real and self.pairs:
            sample = self.real(rng)
        elif kind < config.real + config.simulated:
            sample = self.simulated(rng)
        elif kind < config.real + config.simulated + config.foreign:
            sample = self.foreign(rng)
        elif kind < config.real + config.simulated + config.foreign + config.unregistered:
            sample = self.unregistered(rng)
        else:
            sample = self.plain(rng)
        turns, flip = int(rng.integers(4)), bool(rng.integers(2)) and config.flips

        def turn(image: Pixels) -> Pixels:
            image = np.rot90(image, turns)
            return np.ascontiguousarray(image[:, ::-1] if flip else image)

        sample = Sample(**{name: turn(part) for name, part in sample.parts().items()})
        if config.degraded and rng.random() < config.degraded:
            sample = replace(sample, lr=degraded_lr(rng, sample.hr))
        return sample

    def batches(self, first: int, last: int, size: int, start: int = 0) -> Iterator[Batch]:
        """The batches of steps ``first`` to ``last``, made ahead by the workers.

        ``start``: index of the first of ``size`` samples, where processes share a batch.
        """

        def make(step: int) -> Batch:
            return stack([self.sample(step, index) for index in range(start, start + size)])

        pool, steps = ThreadPoolExecutor(self.workers), iter(range(first, last))
        try:
            ahead: deque[Future[Batch]] = deque()
            ahead.extend(pool.submit(make, step) for step in islice(steps, 2 * self.workers))
            while ahead:
                batch = ahead.popleft().result()
                ahead.extend(pool.submit(make, step) for step in islice(steps, 1))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)


def stack(samples: list[Sample]) -> Batch:
    """Batch arrays (B, C, H, W) float32 in 0..1, named as the network's inputs, ``hr`` and, where a
    teacher has seen any of the samples, ``soft``: the truth stands in for what it has not seen."""

    def nchw(images: list[Pixels]) -> NDArray[np.float32]:
        batch = np.stack([image if image.ndim == 3 else image[..., None] for image in images])
        return np.ascontiguousarray(batch.transpose(0, 3, 1, 2), np.float32) / np.float32(255.0)

    batch = {
        "lr": nchw([s.lr for s in samples]),
        "hr": nchw([s.hr for s in samples]),
        "ref": nchw([s.ref for s in samples]),
        "validity": nchw([s.validity for s in samples]),
    }
    if any(s.soft is not None for s in samples):
        batch["soft"] = nchw([s.hr if s.soft is None else s.soft for s in samples])
    return batch
