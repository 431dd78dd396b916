"""THE ROAD: a small photo and its references in, a photo four times larger out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from refsr.composite import Composite, compose_references
from refsr.detail_transfer import detail_transfer
from refsr.errors import DataError, ModelError, PhotoError
from refsr.photo import SUFFIXES, Photo, Source, load_photo, save_photo, to_8_bits, to_colours_of
from refsr.provenance import amounts_of, borrowed_share, detail_amounts, provenance_map
from refsr.registration import Reference, prepare_reference
from refsr.report import build_report
from refsr.resize import imresize
from refsr.runtime import Device, Network
from refsr.tiling import Tile, cut
from refsr.warp import SCALE
from refsr.weights import DEFAULT, DETAIL_TRANSFER, find_model

HALO = 32  # LR pixels around a tile; a multiple of every shipped model's grid
BYTES_PER_PIXEL = 8_000  # memory of the network per LR pixel of a tile, measured
FIXED_BYTES = 250_000_000  # the program itself
DEFAULT_MEMORY = 1_100_000_000
BACK_PROJECTIONS = 1  # more gains nothing measurable

Image = NDArray[np.float32]
Progress = Callable[[float], None]


@dataclass(frozen=True)
class Result:
    """A finished job."""

    photo: Photo  # the result with the input's metadata
    image: NDArray[Any] | PIL.Image.Image  # the same: an array (HWC RGB), PIL if the input was
    similarity: Image  # (h, w) 0..1: how well the references explain each LR pixel
    amounts: Image  # (h, w, 3) 0..1: own, borrowed and guessed detail; see refsr.provenance
    report: dict[str, Any]

    @property
    def provenance(self) -> Image:
        """Of the detail that the photo cannot hold, the share that was borrowed: (h, w) 0..1."""
        return borrowed_share(self.amounts)

    def save(self, path: str | Path, **options: Any) -> None:
        """Write the result with its metadata; options as in ``save_photo``. Raises PhotoError."""
        save_photo(self.photo, path, **options)

    def map(self) -> NDArray[np.uint8]:
        """A picture of where each detail came from: (4h, 4w, 3) uint8; see refsr.provenance."""
        return provenance_map(self.photo.as_uint8(), self.amounts)


@dataclass(frozen=True)
class LoadedReference:
    """A reference as set: its name, photo and, in its own colours, its features."""

    name: str
    photo: Photo
    prepared: Reference


class Upscaler:
    """Makes photos four times larger, with the detail of references that show the same thing."""

    def __init__(self, network: Network | None, tile_pixels: int, max_pixels: int) -> None:
        """Use ``Upscaler.load``. ``network`` None is the training-free detail transfer."""
        self.network, self.tile_pixels, self.max_pixels = network, tile_pixels, max_pixels
        self.references: tuple[LoadedReference, ...] = ()

    @classmethod
    def load(
        cls,
        model: str = DEFAULT,
        *,
        device: Device = "auto",
        threads: int = 0,
        max_memory: int = DEFAULT_MEMORY,
        max_pixels: int = 200_000_000,
    ) -> Upscaler:
        """Load a model once, for many photos.

        ``model``: a shipped name, "detail-transfer", or an ONNX file. ``threads``: 0 for all cores.
        ``max_memory``: bytes the whole program should keep to. ``max_pixels``: the largest photo
        that is opened. Raises ModelError.
        """
        network = None if model == DETAIL_TRANSFER else Network(find_model(model), device, threads)
        budget = max(0, max_memory - FIXED_BYTES) // BYTES_PER_PIXEL
        return cls(network, budget, max_pixels)

    def set_reference(self, references: Source | Sequence[Source] | None) -> None:
        """Set the references of the photos to come: one, several, a folder of them, or None.

        Their features are found here, once. Raises PhotoError where one cannot be read.
        """
        self.references = tuple(self.load_reference(s) for s in expand(references))

    def load_reference(self, source: Source) -> LoadedReference:
        """Read one reference and find its features. Raises PhotoError."""
        photo = load_photo(source, max_pixels=self.max_pixels)
        name = Path(source).name if isinstance(source, str | Path) else "reference"
        return LoadedReference(name, photo, prepare_reference(photo.as_uint8()))

    def register(
        self, photo: Photo, references: tuple[LoadedReference, ...] | None = None
    ) -> Composite | None:
        """Where each part of the photo lies in the references (those set, unless given).

        None where there are none.
        """
        references = self.references if references is None else references
        if not references:
            return None
        prepared: list[Reference] = []
        for reference in references:
            if reference.photo.icc == photo.icc:
                prepared.append(reference.prepared)
            else:  # other colours: converted to the photo's own before they are compared
                prepared.append(prepare_reference(to_colours_of(reference.photo, photo)))
        return compose_references(photo.as_uint8(), tuple(prepared))

    def upscale(
        self, source: Source, *, strength: float = 1.0, progress: Progress | None = None
    ) -> Result:
        """Upscale one photo: a path, file bytes, a PIL image or an array.

        ``strength`` fades the references' detail: 1 takes all of it, 0 gives exactly the result
        without references. ``progress`` is called with the finished share, 0..1; what it raises
        ends the job. Raises PhotoError for a photo that cannot be used, DataError for a strength
        outside 0..1.
        """
        if not 0.0 <= strength <= 1.0:
            raise DataError(f"A strength of {strength} does not exist; give a number from 0 to 1.")
        started = time.perf_counter()
        photo = load_photo(source, max_pixels=self.max_pixels)
        loaded = time.perf_counter()
        references = self.references  # another thread may set others meanwhile
        composite = self.register(photo, references)
        registered = time.perf_counter()
        pixels, amounts, lr_error = self.render(photo, composite, progress, strength)
        result = photo.replaced(pixels, upscale_alpha(photo.alpha))
        finished = time.perf_counter()
        report = build_report(
            composite=composite,
            names=[reference.name for reference in references],
            amounts=amounts,
            seconds={
                "load": loaded - started,
                "registration": registered - loaded,
                "network": finished - registered,
            },
            lr_error=lr_error,
            facts={
                "input_size": [photo.width, photo.height],
                "output_size": [result.width, result.height],
                "model": self.network.model.name if self.network else DETAIL_TRANSFER,
                "runtime": self.network.provider if self.network else None,
                "strength": strength,
                "notes": list(photo.notes),
            },
        )
        similarity = composite.similarity() if composite else np.zeros_like(amounts[..., 0])
        image = as_pil(result) if isinstance(source, PIL.Image.Image) else result.pixels
        return Result(result, image, similarity, amounts, report)

    def render(
        self,
        photo: Photo,
        composite: Composite | None,
        progress: Progress | None,
        strength: float = 1.0,
    ) -> tuple[NDArray[Any], Image, float]:
        """The result's pixels (4h, 4w, 3), amounts (h, w, 3) and the error when shrunk again."""
        if composite is not None and (strength == 0 or not composite.matched):
            composite = None  # not a reference of nothing: exactly none
        if self.network is None:
            transferred = self.transfer(photo, composite, strength)
            rising(progress)(1.0)
            return transferred
        height, width = photo.height, photo.width
        out = np.empty((height * SCALE, width * SCALE, 3), photo.pixels.dtype)
        amounts = np.empty((height, width, 3), np.float32)
        progress = rising(progress)
        while True:
            tiles = cut(height, width, HALO, self.network.model.multiple, self.tile_pixels)
            try:
                error = self.render_tiles(tiles, photo, composite, out, amounts, progress, strength)
                return out, amounts, error / (height * width)
            except MemoryError as problem:  # again, in smaller tiles; the next photos begin there
                self.tile_pixels = most_pixels(tiles) // 2
                smaller = cut(height, width, HALO, self.network.model.multiple, self.tile_pixels)
                if most_pixels(smaller) >= most_pixels(tiles):
                    raise ModelError(
                        "There is not enough memory for even the smallest tile; close other "
                        "programs and try again."
                    ) from problem

    def render_tiles(
        self,
        tiles: list[Tile],
        photo: Photo,
        composite: Composite | None,
        out: NDArray[Any],  # (4h, 4w, 3), filled here
        amounts: Image,  # (h, w, 3), filled here
        progress: Progress,
        strength: float,
    ) -> float:
        """Run every tile; returns the summed error when shrunk again. Raises MemoryError."""
        assert self.network is not None
        levels = float(np.iinfo(photo.pixels.dtype).max)
        error = 0.0
        for index, tile in enumerate(tiles):
            lr = photo.pixels[tile.rows, tile.cols].astype(np.float32) / np.float32(levels)
            if composite is not None:
                ref, validity = composite.aligned(tile.rows, tile.cols)
                validity *= np.float32(strength)
            else:
                ref = np.zeros((lr.shape[0] * SCALE, lr.shape[1] * SCALE, 3), np.float32)
                validity = np.zeros(ref.shape[:2], np.float32)
            sr, gate = self.network.run(lr, ref, validity)
            details = detail_amounts(sr, gate, ref, lr)
            sr = np.clip(back_project(sr, lr), 0, 1)
            inner, inner_lr = tile.core(SCALE), tile.core(1)
            core = tile.core_rows, tile.core_cols
            area = tuple(slice(s.start * SCALE, s.stop * SCALE) for s in core)
            out[area] = np.rint(sr[inner] * levels)
            amounts[core] = details[inner_lr]
            again = imresize(sr, scale=1 / SCALE)[inner_lr]
            error += float(np.abs(again - lr[inner_lr]).sum()) * 255 / 3
            progress((index + 1) / len(tiles))
        return error

    def transfer(
        self, photo: Photo, composite: Composite | None, strength: float
    ) -> tuple[NDArray[Any], Image, float]:
        """What ``render`` gives, by the training-free detail transfer of the best reference."""
        lr = photo.as_uint8()
        bicubic = out = imresize(lr, scale=float(SCALE))
        if composite is not None:
            best = composite.widest
            registration, reference = composite.registrations[best], composite.references[best]
            out = detail_transfer(lr, registration, reference, strength)
        given = (out.astype(np.float32) - bicubic) / np.float32(255)
        amounts = amounts_of(lr.astype(np.float32) / np.float32(255), given, np.zeros_like(given))
        again = imresize(out, scale=1 / SCALE).astype(np.float32)
        if photo.bits == 16:  # the photo's own 16 bits, and the reference's detail of 8
            detail = out.astype(np.int32) - bicubic
            full = imresize(photo.pixels, scale=float(SCALE)) + 257 * detail
            out = np.clip(full, 0, 65535).astype(np.uint16)
        return out, amounts, float(np.abs(again - lr).mean())


def back_project(sr: Image, lr: Image) -> Image:
    """Correct ``sr`` (4h, 4w, 3) so that, shrunk again, it is ``lr`` (h, w, 3): colours stay."""
    for _ in range(BACK_PROJECTIONS):
        sr = sr + imresize(lr - imresize(sr, scale=1 / SCALE), scale=float(SCALE))
    return sr


def most_pixels(tiles: list[Tile]) -> int:
    """LR pixels of the largest tile."""
    return max((t.rows.stop - t.rows.start) * (t.cols.stop - t.cols.start) for t in tiles)


def rising(progress: Progress | None) -> Progress:
    """``progress`` that never goes back, when tiles are begun again."""
    highest = 0.0

    def report(done: float) -> None:
        nonlocal highest
        if progress and done > highest:
            highest = done
            progress(done)

    return report


def upscale_alpha(alpha: NDArray[Any] | None) -> NDArray[Any] | None:
    """The alpha plane (h, w), four times larger, of the same type; None where there is none."""
    return None if alpha is None else imresize(alpha, scale=float(SCALE))


def as_pil(photo: Photo) -> PIL.Image.Image:
    """8-bit PIL image of a result, with its alpha."""
    image = PIL.Image.fromarray(photo.as_uint8())
    if photo.alpha is not None:
        image.putalpha(PIL.Image.fromarray(to_8_bits(photo.alpha)))
    return image.convert("L") if photo.grey and photo.alpha is None else image


def expand(references: Source | Sequence[Source] | None) -> list[Source]:
    """One reference, several, or the photos of a folder, as a list. Raises PhotoError if empty."""
    if references is None:
        return []
    if isinstance(references, list | tuple):
        return [one for reference in references for one in expand(reference)]
    if isinstance(references, str | Path) and Path(references).is_dir():
        files = sorted(p for p in Path(references).iterdir() if p.suffix.lower() in SUFFIXES)
        if not files:
            raise PhotoError(f"The folder {references} holds no photos.")
        return list(files)
    return [references]  # type: ignore[list-item]
