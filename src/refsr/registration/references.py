"""The references of a job: listed, loaded, and converted to the photo's color space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

import numpy as np

from refsr.arrays import Pixels
from refsr.errors import PhotoError
from refsr.image.atomic import is_folder
from refsr.image.photo import Photo, Source, is_photo_name, load_photo, to_colors_of
from refsr.registration.feature_cache import CachedFeatures, FeatureCache
from refsr.registration.noise import without_noise
from refsr.registration.pool import (
    MIN_POOL_SIZE,
    ReferencePool,
    Selection,
    build_pool,
    source_name,
)
from refsr.registration.raster import without_raster
from refsr.registration.reference import CACHE_KIND
from refsr.registration.register import Reference, prepare_reference

NOISE_NOTE = "noisy: its noise was removed before anything was taken from it"
LINES_NOTE = "lined (a screen or a scan): its lines were removed before anything was taken from it"
DOTS_NOTE = "printed: its dots were removed, and with them all detail as fine as they are"
RASTER_NOTE = "printed or lined: its raster could not be removed, so it is not used"


class PoolReport(TypedDict):
    """How many references of a pool were compared, and why most of them were not registered."""

    looked_at: int
    registered: list[str]
    not_registered: list[dict[str, str]]  # "reference", "why"


@dataclass(frozen=True)
class LoadedReference:
    """A reference as it was given."""

    name: str
    photo: Photo
    prepared: Reference  # in its own color space


def load_reference(
    source: Source, max_pixels: int, cache: FeatureCache | None = None
) -> LoadedReference:
    """Read one reference and detect its features, unless ``cache`` has them. Raises PhotoError."""
    entry = cache.entry(source, CACHE_KIND) if cache else None
    photo = less_noise(less_raster(load_photo(source, max_pixels=max_pixels)))
    cached = entry.read() if entry else None
    features = cached.features if cached else None
    prepared = prepare_reference(photo.as_uint8(), photo.alpha, features)
    if entry and not cached:
        entry.write(CachedFeatures(prepared.features))
    return LoadedReference(source_name(source), photo, prepared)


def less_raster(photo: Photo) -> Photo:
    """A reference without its raster, of 8 bits, with a note; itself where it has none.

    Fully transparent, hence not used, where the raster cannot be removed.
    """
    pixels = photo.as_uint8()
    clean, raster = without_raster(pixels)
    if raster is None:
        return photo
    alpha, note = opaque_where_used(photo), LINES_NOTE if raster.kind == "lines" else DOTS_NOTE
    if clean is pixels:
        alpha, note = np.zeros(pixels.shape[:2], np.uint8), RASTER_NOTE
    return replace(photo, pixels=clean, alpha=alpha, notes=(*photo.notes, note))


def opaque_where_used(photo: Photo) -> Pixels | None:
    """The alpha (H, W) of a reference in 8 bits: it counts where it is zero, and only there."""
    return None if photo.alpha is None else (photo.alpha > 0).astype(np.uint8) * np.uint8(255)


def less_noise(photo: Photo) -> Photo:
    """A reference without its noise, of 8 bits, with a note; itself where it has little."""
    pixels = photo.as_uint8()
    clean = without_noise(pixels)
    if clean is pixels:
        return photo
    notes = (*photo.notes, NOISE_NOTE)
    return replace(photo, pixels=clean, alpha=opaque_where_used(photo), notes=notes)


def list_sources(references: Source | Sequence[Source] | None) -> list[Source]:
    """A list of one reference, several, or the photos of folders.

    Raises PhotoError where a folder holds no photos.
    """
    if references is None:
        return []
    if isinstance(references, list | tuple):
        return [one for reference in references for one in list_sources(reference)]
    if isinstance(references, str | Path) and str(references) and is_folder(references):
        files = sorted(p for p in Path(references).iterdir() if is_photo_name(p.name))
        if not files:
            raise PhotoError(f"The folder {references} holds no photos.")
        return list(files)
    return [references]  # type: ignore[list-item]


def includes_folder(references: Source | Sequence[Source] | None) -> bool:
    """Whether a folder is among the references."""
    if isinstance(references, list | tuple):
        return any(includes_folder(reference) for reference in references)
    return isinstance(references, str | Path) and is_folder(references)


def in_colors_of(photo: Photo, references: tuple[LoadedReference, ...]) -> tuple[Reference, ...]:
    """The references in the photo's color space (ICC profile), and gray for a gray photo.

    As they are where nothing has to change.
    """
    prepared: list[Reference] = []
    for reference in references:
        to_gray = photo.gray and not reference.photo.gray
        if reference.photo.icc == photo.icc and not to_gray:
            prepared.append(reference.prepared)
            continue
        pixels = to_colors_of(reference.photo, photo)
        same = pixels is reference.photo.pixels  # two profiles of one color space
        alpha = reference.photo.alpha
        # Features are of luma, which is the same in gray.
        features = reference.prepared.features if reference.photo.icc == photo.icc else None
        prepared.append(reference.prepared if same else prepare_reference(pixels, alpha, features))
    return tuple(prepared)


def pool_facts(pool: ReferencePool, selection: Selection) -> PoolReport:
    """For the report: the size of a pool, what was registered, and why the others were not."""
    reasons = [
        {"reference": pool.thumbnails[index].name, "why": why}
        for index, why in sorted(selection.reasons.items())
    ]
    return {
        "looked_at": len(pool.thumbnails),
        "registered": [pool.thumbnails[index].name for index in selection.chosen],
        "not_registered": reasons,
    }


def notes_of(photo: Photo, references: Sequence[LoadedReference]) -> list[str]:
    """What was noted when a photo and its references were read; each reference's with its name."""
    of_references = [f"{one.name}: {note}" for one in references for note in one.photo.notes]
    return [*photo.notes, *of_references]


Load = Callable[[Source], LoadedReference]


@dataclass(frozen=True)
class References:
    """Prepared references, for any number of photos: all of them, or a pool to choose from."""

    loaded: tuple[LoadedReference, ...] = ()
    pool: ReferencePool | None = None  # in place of ``loaded``, where there are many
    left_out: tuple[str, ...] = ()  # files of a folder that cannot be read, in words

    def select(
        self, photo: Photo, load: Load
    ) -> tuple[tuple[LoadedReference, ...], PoolReport | None]:
        """The references to register for a photo: all, or the best few of the pool.

        ``load`` reads those of a pool. Its facts name each other photo and why it was not
        registered. Raises PhotoError where a photo of the pool was there when it was prepared and
        is not now.
        """
        if self.pool is None:
            return self.loaded, None
        selection = self.pool.select(photo.as_uint8())
        sources = [self.pool.thumbnails[index].source for index in selection.chosen]
        loaded = tuple(load(source) for source in sources)
        return loaded, pool_facts(self.pool, selection)


def prepare_references(
    references: Source | Sequence[Source] | None,
    load: Load,
    max_pixels: int,
    cache: FeatureCache | None = None,
) -> References:
    """``load`` references: one, several, the photos of a folder, or None.

    Of more than eight only thumbnails are read here; each photo then chooses among them. Raises
    PhotoError where one cannot be read; of a folder it is left out, unless none can be read.
    """
    sources, optional = list_sources(references), includes_folder(references)
    if len(sources) >= MIN_POOL_SIZE:
        return References(pool=build_pool(sources, max_pixels, optional, cache=cache))
    loaded: list[LoadedReference] = []
    problems: list[PhotoError] = []
    for source in sources:
        try:
            loaded.append(load(source))
        except PhotoError as error:
            if not optional:
                raise
            problems.append(error)
    if problems and not loaded:
        raise problems[0]
    return References(tuple(loaded), None, tuple(f"left out: {one}" for one in problems))
