"""The sampler of training patches: registered, simulated, mismatched, unregistered or no reference.

Every sample is a pure function of (seed, step, index), so a resumed run sees what an uninterrupted
one would have seen, bit for bit, whatever the number of threads.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from refsr.arrays import Pixels
from refsr.degradation.blind_estimate import SLIGHT_ALIASING
from refsr.errors import DataError
from refsr.resize import SCALE
from refsr.train.config import DataConfig
from refsr.train.counterfeit import counterfeited
from refsr.train.datasets import (
    Sample,
    image_files,
    load_lr_hr,
    load_patch_pair,
    map_lr_hr,
    split_patch_pairs,
    split_scenes,
    without_reference,
)
from refsr.train.degrade import corrected_lr, degraded_lr, told_condition, unaliased_lr
from refsr.train.labels import load_label
from refsr.train.pair_cache import cached_pairs
from refsr.train.simulate import MARGIN, simulate_reference
from refsr.train.teacher import Teacher

MIN_VALIDITY = 96  # mean over a patch, of 255, that the reference should cover at least
TRIES = 4  # random patches drawn to find such coverage


def check_shares(config: DataConfig) -> None:
    """Raises DataError where the shares are invalid, or lack the folders they need."""
    names = ("real", "simulated", "mismatched", "unregistered")
    shares = [float(getattr(config, name)) for name in names]
    if min(shares) < 0.0 or sum(shares) > 1.0 + 1e-9:
        given = ", ".join(f"{name} = {share:g}" for name, share in zip(names, shares, strict=True))
        raise DataError(f"The shares {given} must not be negative or exceed 1 in total.")
    if config.unregistered and not config.patch_pairs:
        raise DataError(f"unregistered = {config.unregistered:g} needs the folder patch_pairs.")
    if not config.photos and not config.pairs and not config.patch_pairs:
        raise DataError("There is nothing to train on: give photos, pairs or patch_pairs.")


def load_training_photo(config: DataConfig, root: Path, path: Path) -> Sample:
    """A photo below ``root`` without reference, with its label if it has one. Raises DataError."""
    if config.map_photos:
        Path(config.cache).mkdir(parents=True, exist_ok=True)
        lr, hr = map_lr_hr(path, config.max_side, Path(config.cache))
    else:
        lr, hr = load_lr_hr(path, config.max_side)
    label = load_label(Path(config.labels), root, path, hr) if config.labels else None
    return replace(without_reference(lr, hr), target=label)


class PatchSampler:
    """Draws training patches from the folders of ``config``, by its shares of each kind."""

    def __init__(self, config: DataConfig, seed: int, workers: int = 1) -> None:
        check_shares(config)
        self.config, self.seed, self.patch = config, seed, config.patch
        self.workers = workers  # threads that load photos and make batches
        roots = [Path(folder) for folder in config.photos]
        files = [(root, file) for root in roots for file in image_files(root)]
        train_folders = split_scenes(config)[0] if config.pairs else []
        files += [(folder.parent, file) for folder in train_folders for file in image_files(folder)]
        pairs = split_patch_pairs(Path(config.patch_pairs))[0] if config.patch_pairs else []
        with ThreadPoolExecutor(workers) as pool:
            loaded = pool.map(lambda file: load_training_photo(config, *file), files)
            photos = list(tqdm(loaded, desc="photos", total=len(files), disable=None))
            loaded_pairs = pool.map(lambda pair: load_patch_pair(pair, self.patch), pairs)
            self.patch_pairs = list(
                tqdm(loaded_pairs, desc="patch pairs", total=len(pairs), disable=None)
            )
        if not files:
            photos = [without_reference(pair.lr, pair.hr) for pair in self.patch_pairs]
        self.photos = [photo for photo in photos if min(photo.hr.shape[:2]) >= self.patch]
        if not self.photos:
            raise DataError(f"No training photo is at least {self.patch} pixels a side.")
        self.pairs = [
            pair
            for pair in (cached_pairs(train_folders, config) if config.real > 0 else [])
            if min(pair.hr.shape[:2]) >= self.patch
        ]
        if config.teacher:
            teacher = Teacher(config.teacher, Path(config.cache))
            samples = tqdm([*self.photos, *self.pairs], desc="teacher", disable=None)
            done = [teacher.add_target(sample) for sample in samples]
            self.photos, self.pairs = done[: len(self.photos)], done[len(self.photos) :]
        areas = np.array([sample.hr.shape[0] * sample.hr.shape[1] for sample in self.photos], float)
        self.cumulative_area = np.cumsum(areas) / areas.sum()  # photos are drawn by area

    def random_photo(self, rng: np.random.Generator) -> Sample:
        """A random photo without reference, drawn by area."""
        return self.photos[int(np.searchsorted(self.cumulative_area, rng.random()))]

    def random_corner(self, rng: np.random.Generator, hr: Pixels) -> tuple[int, int]:
        """The top left corner (y, x) of a random patch of ``hr``, in LR pixels."""
        steps = self.patch // SCALE
        y = int(rng.integers(0, hr.shape[0] // SCALE - steps + 1))
        return y, int(rng.integers(0, hr.shape[1] // SCALE - steps + 1))

    def crop(self, sample: Sample, y: int, x: int) -> Sample:
        """A patch of every image of a sample; (y, x) is its top left corner in LR pixels."""

        def cut(name: str, image: Pixels) -> Pixels:
            scale = 1 if name == "lr" else SCALE
            side = self.patch * scale // SCALE
            return image[y * scale :, x * scale :][:side, :side]

        return replace(
            sample, **{name: cut(name, image) for name, image in sample.images().items()}
        )

    def blank(self, rng: np.random.Generator) -> Sample:
        """A patch of a photo without reference."""
        photo = self.random_photo(rng)
        return self.crop(photo, *self.random_corner(rng, photo.hr))

    def real(self, rng: np.random.Generator) -> Sample:
        """A patch of a registered pair, if possible where the reference is valid."""
        pair = self.pairs[int(rng.integers(len(self.pairs)))]
        y = x = 0
        for _ in range(TRIES):
            y, x = self.random_corner(rng, pair.hr)
            window = pair.validity[y * SCALE :, x * SCALE :][: self.patch, : self.patch]
            if window.mean() > MIN_VALIDITY:
                break
        return self.crop(pair, y, x)

    def simulated(self, rng: np.random.Generator) -> Sample:
        """A patch whose reference is simulated from the photo itself."""
        photo = self.random_photo(rng)
        y, x = self.random_corner(rng, photo.hr)
        patch = self.crop(photo, y, x)
        rows = np.arange(y * SCALE - MARGIN, y * SCALE + self.patch + MARGIN)
        columns = np.arange(x * SCALE - MARGIN, x * SCALE + self.patch + MARGIN)
        around = photo.hr[np.clip(rows, 0, photo.hr.shape[0] - 1)]
        around = around[:, np.clip(columns, 0, photo.hr.shape[1] - 1)]
        other = self.random_photo(rng).hr
        oy, ox = self.random_corner(rng, other)
        other = other[oy * SCALE :, ox * SCALE :]
        return Sample(patch.lr, patch.hr, *simulate_reference(rng, around, other, self.patch))

    def mismatched(self, rng: np.random.Generator) -> Sample:
        """A patch whose reference shows something else and yet is fully valid."""
        patch, other = self.blank(rng), self.blank(rng)
        return replace(patch, ref=other.hr, validity=np.full(patch.hr.shape[:2], 255, np.uint8))

    def unregistered(self, rng: np.random.Generator) -> Sample:
        """A patch of an unregistered pair; the reference is cut at the same position."""
        pair = self.patch_pairs[int(rng.integers(len(self.patch_pairs)))]
        return self.crop(pair, *self.random_corner(rng, pair.hr))

    def sample(self, step: int, index: int) -> Sample:
        """The sample at ``index`` of the batch at ``step``."""
        rng = np.random.default_rng((self.seed, step, index))
        kind, config = rng.random(), self.config
        if kind < config.real and self.pairs:
            sample = self.real(rng)
        elif kind < config.real + config.simulated:
            sample = self.simulated(rng)
        elif kind < config.real + config.simulated + config.mismatched:
            sample = self.mismatched(rng)
        elif kind < config.real + config.simulated + config.mismatched + config.unregistered:
            sample = self.unregistered(rng)
        else:
            sample = self.blank(rng)
        if config.counterfeit and sample.validity.any() and rng.random() < config.counterfeit:
            sample = counterfeited(rng, sample, self.blank(rng).hr)
        turns, flip = int(rng.integers(4)), bool(rng.integers(2)) and config.flips

        def turn(image: Pixels) -> Pixels:
            image = np.rot90(image, turns)
            return np.ascontiguousarray(image[:, ::-1] if flip else image)

        turned = {name: turn(image) for name, image in sample.images().items()}
        sample = replace(sample, **turned)
        if config.degraded and rng.random() < config.degraded:
            return self.degraded(rng, sample)
        return sample

    def degraded(self, rng: np.random.Generator, sample: Sample) -> Sample:
        """The sample with a degraded LR photo, corrected or not as by the pipeline."""
        photo = degraded_lr(rng, sample.hr, self.config.aliased)
        referenced = bool(sample.validity.any())
        lr, undone = photo.pixels, None
        if rng.random() < (self.config.corrected if referenced else self.config.corrected_blank):
            lr, undone = corrected_lr(rng, lr, sample.lr)
        if referenced and self.config.corrected and photo.aliasing > SLIGHT_ALIASING:
            lr = unaliased_lr(lr, sample.hr, sample.ref, sample.validity)
        return replace(sample, lr=lr, condition=told_condition(rng, photo, undone))
