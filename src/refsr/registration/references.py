"""The references of a job: what the caller named, loaded, or chosen from an album."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refsr.errors import PhotoError
from refsr.image.atomic import is_folder
from refsr.image.photo import SUFFIXES, Photo, Source, load_photo, to_colors_of
from refsr.registration.feature_cache import FeatureCache, Kept
from refsr.registration.pool import ReferencePool, Selection, name_of
from refsr.registration.reference import KIND
from refsr.registration.register import Reference, prepare_reference

AlbumFacts = dict[str, Any]  # for the report: looked_at, registered, not_registered


@dataclass(frozen=True)
class LoadedReference:
    """A reference as set: its name, photo and, in its own colors, its features."""

    name: str
    photo: Photo
    prepared: Reference


def load_reference(
    source: Source, max_pixels: int, cache: FeatureCache | None = None
) -> LoadedReference:
    """Read one reference and find its features, or those that are kept. Raises PhotoError."""
    entry = cache.entry(source, KIND) if cache else None
    photo = load_photo(source, max_pixels=max_pixels)
    kept = entry.read() if entry else None
    prepared = prepare_reference(photo.as_uint8(), photo.alpha, kept.features if kept else None)
    if entry and not kept:
        entry.write(Kept(prepared.features))
    return LoadedReference(name_of(source), photo, prepared)


def expand(references: Source | Sequence[Source] | None) -> list[Source]:
    """One reference, several, or the photos of a folder, as a list. Raises PhotoError if empty."""
    if references is None:
        return []
    if isinstance(references, list | tuple):
        return [one for reference in references for one in expand(reference)]
    if isinstance(references, str | Path) and str(references) and is_folder(references):
        files = sorted(p for p in Path(references).iterdir() if p.suffix.lower() in SUFFIXES)
        if not files:
            raise PhotoError(f"The folder {references} holds no photos.")
        return list(files)
    return [references]  # type: ignore[list-item]


def from_folder(references: Source | Sequence[Source] | None) -> bool:
    """Whether some references were found in a folder rather than named one by one."""
    if isinstance(references, list | tuple):
        return any(from_folder(reference) for reference in references)
    return isinstance(references, str | Path) and is_folder(references)


def in_colors_of(photo: Photo, references: tuple[LoadedReference, ...]) -> tuple[Reference, ...]:
    """The references in the photo's own colors, in which they are compared."""
    prepared: list[Reference] = []
    for reference in references:
        if reference.photo.icc == photo.icc:
            prepared.append(reference.prepared)
            continue
        pixels = to_colors_of(reference.photo, photo)
        same = pixels is reference.photo.pixels  # two makers' profiles of one space
        alpha = reference.photo.alpha
        prepared.append(reference.prepared if same else prepare_reference(pixels, alpha))
    return tuple(prepared)


def album_facts(album: ReferencePool, selection: Selection) -> AlbumFacts:
    """How many photos of an album were looked at, and why most of them were not registered."""
    reasons = [
        {"reference": album.thumbnails[index].name, "why": why}
        for index, why in sorted(selection.reasons.items())
    ]
    return {
        "looked_at": len(album.thumbnails),
        "registered": [album.thumbnails[index].name for index in selection.chosen],
        "not_registered": reasons,
    }


def notes_of(photo: Photo, references: Sequence[LoadedReference]) -> list[str]:
    """What happened when a photo and its references were read; of references with their names."""
    of_references = [f"{one.name}: {note}" for one in references for note in one.photo.notes]
    return [*photo.notes, *of_references]
