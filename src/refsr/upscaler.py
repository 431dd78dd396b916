"""THE ROAD: a small photo and its references in, a photo four times larger out."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import cv2
import numpy as np

from refsr.arrays import Image
from refsr.errors import DataError, ModelError, PhotoError
from refsr.image.photo import Photo, Source, load_photo
from refsr.image.tiling import Tile, cut, whole
from refsr.inference.back_projection import back_project, reduced
from refsr.inference.budget import (
    Budget,
    Estimate,
    JobSize,
    budget_of,
    bytes_of,
    registration_seconds,
)
from refsr.inference.degradation import (
    JPEG_ALONE,
    JPEG_WITH_REFERENCE,
    estimate_degradation,
    is_damaged,
)
from refsr.inference.ensemble import Crisp, Ensemble, Mode, TileNetwork
from refsr.inference.estimate import cost, forecast
from refsr.inference.memory import is_out_of_memory, parse_memory, trim_heap
from refsr.inference.network import Device, Network, Runtime
from refsr.progress import Progress, partly, rising
from refsr.registration.feature_cache import FeatureCache
from refsr.registration.fusion import Composite
from refsr.registration.large_image import CoarseRegistration, register_coarse
from refsr.registration.pool import MIN_POOL_SIZE, ReferencePool, build_pool
from refsr.registration.references import (
    LoadedReference,
    PoolFacts,
    in_colors_of,
    includes_folder,
    list_sources,
    load_reference,
    notes_of,
    pool_facts,
)
from refsr.registration.register import Reference
from refsr.report.provenance import amounts_from_detail, detail_amounts
from refsr.report.report import build_report
from refsr.resize import SCALE, imresize
from refsr.result import Canvas, Result, finished, fitted
from refsr.weights.models import AUTO, CLEAN, CRISP, DAMAGED, DETAIL_TRANSFER, find_model

HALO = 16  # LR pixels around a tile: beyond it, what is cut off changes 0.1 gray levels at most
GRID = 32  # where the tiles of the detail transfer begin
DAMAGED_NOTE = f"compressed, noisy or blurred: the model {DAMAGED} was chosen for this photo"
STAGES = "load", "registration", "network"  # whose seconds the report gives
NO_SMALLER = (
    "There is not enough memory for even the smallest tile; close other programs and try again."
)
ONLY_TRUE_NOTE = "the crisp look is for clean photos with a reference: this is the true look"
NOTHING_TAKEN_NOTE = "a strength of 0: nothing was taken from the references"

Announce = Callable[[Estimate], None]
Scale = Literal[2, 3, 4]


class Upscaler:
    """Makes photos four times larger, with the detail of references that show the same thing."""

    def __init__(
        self,
        network: TileNetwork | None,
        max_memory: int,
        max_pixels: int,
        for_damaged: Callable[[], TileNetwork] | None = None,
        look: Mode = "true",
        cache: FeatureCache | None = None,
    ) -> None:
        """Use ``Upscaler.load``. ``network`` None is the training-free detail transfer.

        ``for_damaged`` loads, or has loaded, what takes its place where a photo is damaged;
        ``look`` is what ``network`` gives, for the report. ``cache`` keeps references' features.
        """
        self.network, self.max_memory, self.max_pixels = network, max_memory, max_pixels
        self.for_damaged, self.look, self.cache = for_damaged, look, cache
        self.tile_pixels = max_pixels  # of a tile at most, until memory turns out to be short
        self.references: tuple[LoadedReference, ...] = ()
        self.album: ReferencePool | None = None  # in place of references, where there are many
        self.left_out: tuple[str, ...] = ()  # files of a folder that are no photos, in words

    @classmethod
    def load(
        cls,
        model: str = AUTO,
        *,
        device: Device = "auto",
        runtime: Runtime = "auto",
        threads: int = 0,
        max_memory: int | str = "auto",
        max_pixels: int = 200_000_000,
        look: Mode = "true",
        ensemble: bool = False,
        cache: str | os.PathLike[str] | None = None,
        concurrency: int = 1,
    ) -> Upscaler:
        """Load a model once, for many photos.

        ``model``: "auto" (for each photo the one for clean or the one for damaged small photos), a
        shipped name, "detail-transfer", or an ONNX file. ``runtime``: what runs it; "auto" is what
        `refsr info` says. ``threads``: 0 for all cores. ``concurrency``: how many of your threads
        will upscale at once, each with a copy of its own (`copy.copy`) and ``threads`` cores.
        ``max_memory``: what the whole program should keep to, in bytes or in words such as "2GB";
        "auto" is half of the free memory, at most 1.5 GB. ``max_pixels``: the largest photo that is
        opened. ``look``: "true", or "crisp", sharper where a reference supports it, in twice the
        time. ``ensemble``: each tile is looked at in eight ways, turned and mirrored: about 0.1 dB
        better, eight times slower. ``cache``: a folder in which the features of reference files
        are kept for the next time; results are the same, bit by bit. Raises ModelError, and
        DataError where ``max_memory`` is no amount or the model has no such look.
        """
        allowed = parse_memory(max_memory)
        if look not in get_args(Mode):
            raise DataError(f"There is no look {look!r}; there are: {', '.join(get_args(Mode))}.")
        if look != "true" and model not in (AUTO, CLEAN):
            raise DataError(f"The model {model!r} has no other look; leave one of the two out.")
        kept = None if cache is None else FeatureCache(cache)
        if model == DETAIL_TRANSFER:
            return cls(None, allowed, max_pixels, cache=kept)

        def loaded(name: str) -> TileNetwork:
            network: TileNetwork = Network(find_model(name), device, threads, runtime, concurrency)
            if look == "crisp" and name == CLEAN:
                crisp = Network(find_model(CRISP), device, threads, runtime, concurrency)
                network = Crisp(network, crisp)
            return Ensemble(network) if ensemble else network

        if model != AUTO:
            return cls(loaded(model), allowed, max_pixels, look=look, cache=kept)
        other = functools.cache(lambda: loaded(DAMAGED))
        return cls(loaded(CLEAN), allowed, max_pixels, other, look, kept)

    def set_reference(self, references: Source | Sequence[Source] | None) -> None:
        """Set the references of the photos to come: one, several, a folder of them, or None.

        Their features are found here, once. Of more than eight only thumbnails are read here; each
        photo then chooses among them. Raises PhotoError where one cannot be read; of a folder it is
        left out, unless none can be read, and the report says so.
        """
        sources, optional = list_sources(references), includes_folder(references)
        if len(sources) >= MIN_POOL_SIZE:
            album = build_pool(sources, self.max_pixels, optional, cache=self.cache)
            self.references, self.album, self.left_out = (), album, ()
            return
        loaded: list[LoadedReference] = []
        problems: list[PhotoError] = []
        for source in sources:
            try:
                loaded.append(self.load_reference(source))
            except PhotoError as error:
                problems.append(error)
                if not optional:
                    raise
        if problems and not loaded:
            raise problems[0]
        self.references, self.album = tuple(loaded), None
        self.left_out = tuple(f"left out: {problem}" for problem in problems)

    def load_reference(self, source: Source) -> LoadedReference:
        """Read one reference and find its features. Raises PhotoError."""
        loaded = load_reference(source, self.max_pixels, self.cache)
        trim_heap()
        return loaded

    def choose(self, photo: Photo) -> tuple[tuple[LoadedReference, ...], PoolFacts | None]:
        """The references to register for a photo: all, or the best few of an album.

        Of an album, the facts name each other photo and why it was not registered. Raises
        PhotoError where a photo of the album was there when it was set and is not now.
        """
        album, references = self.album, self.references  # another thread may set others meanwhile
        if album is None:
            return references, None
        selection = album.select(photo.as_uint8())
        loaded = tuple(self.load_reference(album.thumbnails[i].source) for i in selection.chosen)
        return loaded, pool_facts(album, selection)

    def register(
        self, photo: Photo, references: tuple[LoadedReference, ...] | None = None
    ) -> Composite | None:
        """Where each part of the photo lies in the references (those set, unless given).

        A large photo is registered shrunk, and the composite is of its size then. None where there
        are no references.
        """
        references = self.choose(photo)[0] if references is None else references
        if not references:
            return None
        prepared = self.in_colors_of(photo, references)
        budget = self.budget(self.job(photo, SCALE, references, prepared), self.network)
        return register_coarse(photo.as_uint8(), prepared, budget.flow_pixels).composite

    def in_colors_of(
        self, photo: Photo, references: tuple[LoadedReference, ...]
    ) -> tuple[Reference, ...]:
        """The references in the photo's own colors, in which they are compared."""
        return in_colors_of(photo, references)

    def job(
        self,
        photo: Photo,
        scale: int,
        references: tuple[LoadedReference, ...],
        prepared: tuple[Reference, ...],
    ) -> JobSize:
        """The sizes of a job."""
        channels = 3 if photo.alpha is None else 4
        others = [
            bytes_of(reference.prepared)
            for reference, used in zip(references, prepared, strict=True)
            if used is not reference.prepared
        ]
        others += [one.photo.pixels.nbytes for one in references if one.photo.bits == 16]
        others += [self.network.program_bytes] if self.network else []
        pixel_bytes = channels * photo.pixels.itemsize
        return JobSize(photo.height, photo.width, pixel_bytes, scale, prepared, sum(others))

    def network_for(self, photo: Photo, referenced: bool = False) -> TileNetwork | None:
        """What upscales a photo: by its condition, where the choice is automatic.

        ``referenced``: whether a reference is used, with which more photos count as damaged.
        """
        quality = JPEG_WITH_REFERENCE if referenced else JPEG_ALONE
        if self.for_damaged is not None and is_damaged(estimate_degradation(photo), quality):
            return self.for_damaged()
        return self.network

    def budget(self, job: JobSize, network: TileNetwork | None) -> Budget:
        """How a job is cut up."""
        return budget_of(job, self.max_memory, cost(network, job.pixels)[0])

    def estimate(self, job: JobSize, budget: Budget, network: TileNetwork | None) -> Estimate:
        """What a job will take. Raises PhotoError where the system has not so much memory."""
        tile = min(budget.tile_pixels, self.tile_pixels)
        tiles = cut(job.height, job.width, HALO, GRID, tile)
        computed = sum(one.pixels for one in tiles)
        return forecast(job, budget, network, computed, self.max_memory)

    def upscale(
        self,
        source: Source,
        *,
        scale: Scale = SCALE,
        strength: float = 1.0,
        progress: Progress | None = None,
        announce: Announce | None = None,
    ) -> Result:
        """Upscale one photo: a path, file bytes, a PIL image or an array.

        ``scale`` 2 and 3 are the result of 4, shrunk with antialiasing. ``strength`` fades the
        references' detail: 1 takes all of it, 0 gives exactly the result without references.
        ``announce`` is called once, before the work, with what it will take; ``progress`` with the
        finished share, 0..1. What they raise ends the job. Raises PhotoError for a photo that
        cannot be used or that memory cannot hold, DataError for another scale or strength.
        """
        check_choices(scale, strength)
        times = [time.perf_counter()]
        photo = load_photo(source, max_pixels=self.max_pixels)
        times.append(time.perf_counter())
        references, album = self.choose(photo)
        prepared = self.in_colors_of(photo, references)
        job = self.job(photo, scale, references, prepared)
        network = self.network_for(photo)
        budget = self.budget(job, network)
        estimate = self.estimate(job, budget, network)
        if announce:
            announce(estimate)
        before = registration_seconds(job, budget) / max(estimate.seconds, 1e-9)
        progress = rising(progress)
        overview = (
            register_coarse(photo.as_uint8(), prepared, budget.flow_pixels) if prepared else None
        )
        progress(before)
        trim_heap()
        times.append(time.perf_counter())
        canvas = Canvas.of(photo, scale)
        used = None if overview is None or strength == 0 else overview
        if used is not None and used.composite.matched:
            network = self.network_for(photo, referenced=True)
        self.render(photo, used, network, canvas, budget, strength, partly(progress, before))
        times.append(time.perf_counter())
        composite = overview.composite if overview else None
        notes = [*notes_of(photo, references), *self.left_out]
        notes += self.cache.notes if self.cache else ()
        notes += network.notes if network else []
        notes += [NOTHING_TAKEN_NOTE] if references and strength == 0 else []
        report = build_report(
            composite=composite,
            album=album,
            names=[reference.name for reference in references],
            amounts=fitted(canvas.amounts, composite.lr.shape if composite else photo.pixels.shape),
            seconds=dict(zip(STAGES, np.diff(times).tolist(), strict=True)),
            lr_error=canvas.error / job.pixels,
            facts={
                "input_size": [photo.width, photo.height],
                "output_size": [photo.width * scale, photo.height * scale],
                "model": network.model.name if network else DETAIL_TRANSFER,
                "runtime": network.provider if network else None,
                "strength": strength,
                "look": self.look,
                "notes": notes + self.notes(network is not self.network, used),
            },
        )
        similarity = None if composite is None else composite.similarity()
        return finished(source, photo, canvas, similarity, report)

    def notes(self, damaged: bool, overview: CoarseRegistration | None) -> list[str]:
        """What a reader should know of how a photo was done. ``damaged``: by the other model."""
        notes = [DAMAGED_NOTE] if damaged else []
        supported = overview is not None and overview.composite.matched and not damaged
        if self.look == "crisp" and not supported:
            notes.append(ONLY_TRUE_NOTE)
        return notes

    def render(
        self,
        photo: Photo,
        overview: CoarseRegistration | None,
        network: TileNetwork | None,
        canvas: Canvas,
        budget: Budget,
        strength: float,
        progress: Progress,
    ) -> None:
        """Fill the canvas block by block, each tile by tile."""
        if overview is not None and not overview.composite.matched:
            overview = None  # not a reference of nothing: exactly none
        most = min(self.tile_pixels, budget.tile_pixels)
        blocks = overview.blocks() if overview else [whole(photo.height, photo.width)]
        for block in blocks:
            composite = overview.block(block) if overview else None
            trim_heap()
            while True:
                multiple = network.model.multiple if network else GRID
                tiles = cut(photo.height, photo.width, HALO, multiple, most, block)
                done = canvas.done, canvas.error
                try:
                    for tile in tiles:
                        last = tile is tiles[-1]
                        self.render_tile(
                            photo, composite, block, tile, network, canvas, strength, last
                        )
                        progress(canvas.done / (photo.height * photo.width))
                    break
                except (MemoryError, cv2.error) as problem:  # again in smaller tiles; the next, too
                    if not is_out_of_memory(problem):
                        raise
                    canvas.done, canvas.error = done
                    largest = max(tile.pixels for tile in tiles)
                    self.tile_pixels = most = largest // 2
                    smaller = cut(photo.height, photo.width, HALO, multiple, most, block)
                    if max(tile.pixels for tile in smaller) >= largest:
                        raise ModelError(NO_SMALLER) from problem

    def render_tile(
        self,
        photo: Photo,
        composite: Composite | None,  # of the block
        block: Tile,
        tile: Tile,
        network: TileNetwork | None,
        canvas: Canvas,
        strength: float,
        last: bool,  # of the block: the network gives its memory back
    ) -> None:
        """Compute one tile and put it on the canvas. Raises MemoryError or ModelError."""
        levels = np.float32(np.iinfo(photo.pixels.dtype).max)
        lr = photo.pixels[tile.rows, tile.cols].astype(np.float32) / levels
        rows, cols = tile.inside(block)
        if network is None:
            sr, amounts = self.transfer(lr, composite, rows, cols, strength)
            canvas.put(photo, tile, np.clip(reduced(sr, lr, canvas.scale), 0, 1), amounts)
            return
        if composite is not None:
            ref, validity = composite.aligned(rows, cols)
            validity *= np.float32(strength)
        else:
            ref = np.zeros((lr.shape[0] * SCALE, lr.shape[1] * SCALE, 3), np.float32)
            validity = np.zeros(ref.shape[:2], np.float32)
        sr, gate = network.run(lr, ref, validity, release=last)
        if not (np.isfinite(sr).all() and np.isfinite(gate).all()):  # half precision may do it
            raise ModelError(
                f"The model {network.model.name} gave no numbers for a part of the photo; choose "
                "another model, or let another runtime or device run it."
            )
        amounts = detail_amounts(sr, gate, ref, lr)
        sr = reduced(sr, lr, canvas.scale)
        if network.model.faithful:
            sr = back_project(sr, lr)
        canvas.put(photo, tile, np.clip(sr, 0, 1), amounts)

    def transfer(
        self, lr: Image, composite: Composite | None, rows: slice, cols: slice, strength: float
    ) -> tuple[Image, Image]:
        """A tile by the training-free detail transfer of the references: SR, amounts."""
        base = imresize(lr, scale=float(SCALE))
        given = np.zeros_like(base)
        if composite is not None:
            given = composite.detail(rows, cols)
            given *= np.float32(strength)
        return base + given, amounts_from_detail(lr, given, np.zeros_like(given))


def check_choices(scale: int, strength: float) -> None:
    """Raises DataError where there is no such scale or strength."""
    if not 0.0 <= strength <= 1.0:
        raise DataError(f"A strength of {strength} does not exist; give a number from 0 to 1.")
    if scale not in (2, 3, 4):
        raise DataError(f"A scale of {scale} does not exist; give 2, 3 or 4.")
