"""The references of a job: listed, loaded, and converted to the photo's color space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refsr.errors import PhotoError
from refsr.image.atomic import is_folder
from refsr.image.photo import SUFFIXES, Photo, Source, load_photo, to_colors_of
from refsr.registration.feature_cache import CachedFeatures, FeatureCache
from refsr.registration.pool import ReferencePool, Selection, source_name
from refsr.registration.reference import CACHE_KIND
from refsr.registration.register import Reference, prepare_reference

PoolFacts = dict[str, Any]  # "looked_at", "registered", "not_registered": see pool_facts


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
    photo = load_photo(source, max_pixels=max_pixels)
    cached = entry.read() if entry else None
    features = cached.features if cached else None
    prepared = prepare_reference(photo.as_uint8(), photo.alpha, features)
    if entry and not cached:
        entry.write(CachedFeatures(prepared.features))
    return LoadedReference(source_name(source), photo, prepared)


def list_sources(references: Source | Sequence[Source] | None) -> list[Source]:
    """A list of one reference, several, or the photos of folders.

    Raises PhotoError where a folder holds no photos.
    """
    if references is None:
        return []
    if isinstance(references, list | tuple):
        return [one for reference in references for one in list_sources(reference)]
    if isinstance(references, str | Path) and str(references) and is_folder(references):
        files = sorted(p for p in Path(references).iterdir() if p.suffix.lower() in SUFFIXES)
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
    """The references converted to the photo's color space (ICC profile), where theirs differs."""
    prepared: list[Reference] = []
    for reference in references:
        if reference.photo.icc == photo.icc:
            prepared.append(reference.prepared)
            continue
        pixels = to_colors_of(reference.photo, photo)
        same = pixels is reference.photo.pixels  # two profiles of one color space
        alpha = reference.photo.alpha
        prepared.append(reference.prepared if same else prepare_reference(pixels, alpha))
    return tuple(prepared)


def pool_facts(pool: ReferencePool, selection: Selection) -> PoolFacts:
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
