"""The upscaling pipeline: a small photo and its references in, a photo four times larger out.

At scale 1 a large photo is shrunk first, and the result has its size again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from refsr.degradation.blind_estimate import BlindEstimate
from refsr.degradation.own_size import (
    OwnSize,
    is_complete,
    keep_own_detail,
    measure_own_size,
    shrink,
    without_texture,
)
from refsr.degradation.restore import (
    ALIASING_NOTE,
    Registered,
    is_marred,
    register_aliased,
    restore,
)
from refsr.errors import DataError, PhotoError
from refsr.image.photo import Photo, Source, load_photo
from refsr.image.tone import Tone, without_tone
from refsr.inference.blind_network import estimate_blindly
from refsr.inference.corrected_photo import CorrectedPhoto, correct
from refsr.inference.draw_alone import draw_alone
from refsr.inference.ensemble import Mode, TileNetwork
from refsr.inference.faces import faces_of
from refsr.inference.memory import parse_memory, trim_heap
from refsr.inference.network import Device, Runtime
from refsr.inference.network_choice import NetworkChoice, load_networks
from refsr.inference.plan import Estimate, JobSize, compute_budget, make_plan, reference_bytes
from refsr.progress import Progress, partly, rising
from refsr.registration.enlarged_copy import find_copies, leave_out
from refsr.registration.feature_cache import FeatureCache
from refsr.registration.fusion import Composite, with_contradicted
from refsr.registration.large_image import only_confirmed, register_coarse
from refsr.registration.own_results import withheld, without_own
from refsr.registration.pool import source_name
from refsr.registration.reference import Reference, softened
from refsr.registration.references import (
    LoadedReference,
    PoolReport,
    References,
    in_colors_of,
    load_reference,
    notes_of,
    prepare_references,
)
from refsr.registration.spot_check import spot_check
from refsr.render import Renderer
from refsr.report.provenance import taken_unconfirmed, with_own_detail
from refsr.report.report import (
    DOUBTFUL,
    LEFT,
    UNCONFIRMED,
    ReferenceReport,
    build_report,
    describe,
    differences,
    doubts,
    expected_together,
)
from refsr.resize import SCALE
from refsr.result import Canvas, Result, finish_result, match_size
from refsr.weights.models import AUTO, DAMAGED, DETAIL_TRANSFER

DAMAGED_KIND = "compressed, noisy or blurred"
DAMAGED_NOTE = f"the model {DAMAGED} was chosen for this photo"
ONLY_TRUE_NOTE = "the crisp look is for clean photos with a reference: this is the true look"
ONLY_TRUE_AT_OWN_SIZE_NOTE = "scale 1 has no crisp look: this is the true look"
STAYS_NOTE = "it is sharp already, and no reference is used: it stays as it is"
OWN_RESULT_NOTE = (
    "it is a result of refsr already: what was drawn in it is taken for the photo's; better give "
    "the photo that it was made from"
)
OWN_DRAWING = "{name} is a {mark} that refsr drew, not a photo; give the photo itself."
NOTHING_TAKEN_NOTE = "a strength of 0: nothing was taken from the references"

SOFTENING_SIGMA = 4.0  # HR pixels: of the sharpening that a reference's camera did

HOLDS_ALL = "your photo has all the detail that its size can hold"
HOLDS_PART = "your photo has no more detail than one of 1/{held} of its width and height"

Announce = Callable[[Estimate], None]
Scale = Literal[1, 2, 3, 4]


@dataclass(frozen=True)
class Check:
    """Whether references match a photo, and what they are worth to it: ``Upscaler.check``."""

    composite: Composite | None  # the registrations; None where there are no references
    references: list[ReferenceReport]
    album: PoolReport | None  # of many references, which were registered and why the others not
    expected_gain_db: float  # of all of them together, over none
    notes: list[str]
    degradation: str  # how the photo was taken, in words; "" where nothing is to be seen
    scale: Scale | None  # for which the references have detail; None where none is used
    advice: str  # what the photo holds, and that scale, in a sentence


class Upscaler:
    """Makes photos four times larger, with the detail of references that show the same thing.

    One instance may be used by several threads.
    """

    def __init__(
        self,
        networks: NetworkChoice,
        max_memory: int,
        max_pixels: int,
        look: Mode = "true",
        cache: FeatureCache | None = None,
        own_results: bool = False,
    ) -> None:
        """Use ``Upscaler.load``. ``look`` is what ``networks`` give, for the report."""
        self.networks, self.max_memory, self.max_pixels = networks, max_memory, max_pixels
        self.look, self.cache, self.own_results = look, cache, own_results
        self.references = References()

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
        own_results: bool = False,
    ) -> Upscaler:
        """Load a model once, for many photos.

        ``model``: "auto" (for each photo the one for clean or the one for degraded small photos), a
        shipped name, "detail-transfer", or an ONNX file. ``runtime``: what runs it; "auto" is what
        `refsr info` says. ``threads``: of the processor for each call, 0 for all cores.
        ``concurrency``: how many of your threads will call ``upscale`` at once. ``max_memory``:
        what the whole program should keep to, in bytes or in words such as "2GB"; "auto" is half of
        the free memory, at most 1.5 GB. ``max_pixels``: the largest photo that is opened. ``look``:
        "true", or "crisp", sharper where a reference supports it, in twice the time. ``ensemble``:
        average eight flips and rotations of each tile: about 0.1 dB better, eight times slower.
        ``cache``: a folder in which the features of reference files are kept for the next time;
        results are the same, bit for bit. ``own_results``: use results that refsr wrote, known by
        the mark in their files, as references, too.

        Raises ModelError, and DataError where ``max_memory`` is no amount or the model has no such
        look.
        """
        allowed = parse_memory(max_memory)
        networks = load_networks(model, device, threads, runtime, look, ensemble, concurrency)
        kept = None if cache is None else FeatureCache(cache)
        return cls(networks, allowed, max_pixels, look, kept, own_results)

    def prepare(self, references: Source | Sequence[Source] | None) -> References:
        """Read references and find their features, once for any number of photos and threads.

        One, several, a folder of them, or None. Of more than eight only thumbnails are read here;
        each photo then chooses among them. Raises PhotoError where one cannot be read; of a folder
        it is left out, unless none can be read, and the report says so. A result, map or sheet
        that refsr wrote is not used, and the report says so, unless ``own_results`` was asked for.
        """
        found = prepare_references(
            references, partial(load_one_reference, self), self.max_pixels, self.cache
        )
        if found.pool is None or self.own_results:
            return found
        return replace(found, pool=without_own(found.pool))

    def set_reference(self, references: Source | Sequence[Source] | None) -> None:
        """``prepare`` references, and use them for the photos that come without their own."""
        self.references = self.prepare(references)

    def check(self, source: Source, *, references: References | None = None) -> Check:
        """Register references to a photo and say what they are worth; no network is run.

        Where the photo holds less than its pixels, and only at scale 1 has a reference something
        to give, the answer is that of scale 1. ``references``: from ``prepare``; those of
        ``set_reference`` unless given. Raises PhotoError.
        """
        references = self.references if references is None else references
        photo, tone = load_input(source, self.max_pixels)
        held = measure_own_size(photo).held
        loaded, pool = references.select(photo, partial(load_one_reference, self))
        composite, notes = None, self._notes(photo, tone, references, loaded)
        zoom = 1.0  # pixels of the photo per LR pixel
        blind = estimate_blindly(photo)
        degradation = blind.in_words()
        if loaded:
            prepared = in_colors_of(photo, loaded)
            size = job_size(photo, SCALE, loaded, prepared, self.networks.clean)
            flow_pixels = compute_budget(size, self.max_memory, 0.0).flow_pixels
            registered = register(photo, prepared, flow_pixels, blind)
            if registered.restoration:
                degradation = blind.in_words(registered.restoration.kernel)
            if held > 1 and not registered.coarse.composite.matched:
                small = shrink(photo)
                shrunk = register(small, prepared, flow_pixels, estimate_blindly(small))
                if shrunk.coarse.composite.matched:
                    registered, zoom = shrunk, float(SCALE)
            looked = spot_check(registered.coarse)
            composite = looked.composite
            notes += [of_shrunk(note) if zoom > 1 else note for note in registered.notes]
            notes += differences(composite, looked.judged)
            if looked.judged == 1:
                notes += doubts(DOUBTFUL, looked.unconfirmed)
        rows = [
            describe(one.name, composite, i, None if self.own_results else one.photo.mark)
            for i, one in enumerate(loaded)
            if composite
        ]
        gain = round(expected_together(composite), 2)
        scale = best_scale(composite, zoom)
        return Check(composite, rows, pool, gain, notes, degradation, scale, advise(held, scale))

    def upscale(
        self,
        source: Source,
        *,
        references: References | None = None,
        scale: Scale = SCALE,
        strength: float = 1.0,
        strict: bool = False,
        progress: Progress | None = None,
        announce: Announce | None = None,
    ) -> Result:
        """Upscale one photo: a path, file bytes, a PIL image or an array.

        ``references``: from ``prepare``; those of ``set_reference`` unless given. ``scale`` 2 and 3
        are the result of 4, shrunk with antialiasing; 1 is for a photo that is large enough, but
        blurred, noisy or compressed: it is shrunk by four, and its own fine detail remains where it
        has any. ``strength`` fades the references' detail: 1
        takes all of it, 0 gives exactly the result without references. ``strict``: take nothing
        where the photo is too coarse to confirm them. ``announce`` is called once, before the work,
        with what it will take; ``progress`` with the finished share, 0..1. What they raise ends the
        job.

        Raises PhotoError for a photo that cannot be used or that memory cannot hold, DataError for
        another scale or strength.
        """
        check_choices(scale, strength)
        references = self.references if references is None else references
        progress, watch = rising(progress), Stopwatch()

        whole, tone = load_input(source, self.max_pixels)
        own = measure_own_size(whole) if scale == 1 else None
        photo, factor = (shrink(whole), SCALE) if own else (whole, scale)
        watch.lap("load")

        loaded, pool = references.select(photo, partial(load_one_reference, self))
        prepared = in_colors_of(photo, loaded)
        network = self.networks.select(photo, degraded=own is not None)
        size = job_size(photo, factor, loaded, prepared, network, whole if own else None)
        plan = make_plan(size, network, self.max_memory, self.networks.timed)
        if announce:
            announce(plan.estimate)

        blind = estimate_blindly(photo)
        registered = None
        if prepared:
            doubt = blind if strength > 0 else None
            registered = register(photo, prepared, plan.budget.flow_pixels, doubt, strict)
        coarse = registered.coarse if registered else None
        progress(plan.registration_share)
        trim_heap()
        watch.lap("registration")

        # A reference of nothing is exactly none.
        used = registered if coarse and coarse.composite.matched and strength > 0 else None
        taken = estimate_blindly(whole) if own else blind
        stays = own is not None and used is None and is_complete(own, taken)
        corrected = CorrectedPhoto(photo) if stays else correct(photo, used, blind, strength)
        photo, restoration = corrected.photo, corrected.restoration
        network = network_for(self.networks, corrected, blind, degraded=own is not None)
        canvas = Canvas.empty(photo, factor)
        if stays:
            blind = taken
            if tone:  # the photo as it was, not in gray
                whole, tone = load_photo(source, max_pixels=self.max_pixels), None
            canvas = unchanged(whole, canvas)
            progress(1.0)
        else:
            renderer = Renderer(corrected, plan, network)
            renderer.render(canvas, partly(progress, plan.registration_share))
            if own is not None:
                canvas = at_own_size(canvas, whole, without_texture(own, taken))
        watch.lap("network")

        composite = coarse.composite if coarse else None
        if composite and used:
            shares = canvas.contradicted / (photo.width * photo.height)
            composite = with_contradicted(composite, np.asarray(shares, np.float64))
        notes = self._notes(photo, tone, references, loaded)
        notes += [of_shrunk(restoration.note) if own else restoration.note] if restoration else []
        notes += [ALIASING_NOTE] if corrected.aliasing else []
        doubtful = canvas.unconfirmed
        doubtful = doubtful if strict else taken_unconfirmed(canvas.amounts, doubtful)
        unconfirmed = float(doubtful.mean())
        notes += differences(composite) if used else []
        notes += doubts(LEFT if strict else UNCONFIRMED, unconfirmed)
        notes += network.notes if network else []
        notes += [NOTHING_TAKEN_NOTE] if loaded and strength == 0 else []
        degraded = network is not self.networks.clean
        seen = blind.in_words(restoration.kernel if restoration else None)
        seen = of_shrunk(seen) if own and not stays else seen
        notes += [f"{seen or DAMAGED_KIND}: {DAMAGED_NOTE}"] if degraded and own is None else []
        notes += [] if own is None else [held_in_words(own.held)]
        notes += [STAYS_NOTE] if stays else []
        if self.look == "crisp" and (degraded or not used):
            notes.append(ONLY_TRUE_NOTE if own is None else ONLY_TRUE_AT_OWN_SIZE_NOTE)
        report = build_report(
            composite=composite,
            album=pool,
            names=[reference.name for reference in loaded],
            marks=[None if self.own_results else reference.photo.mark for reference in loaded],
            amounts=match_size(
                canvas.amounts, composite.lr.shape if composite else photo.pixels.shape
            ),
            seconds=watch.seconds,
            lr_error=canvas.error / size.pixels,
            facts={
                "input_size": [whole.width, whole.height],
                "output_size": [whole.width * scale, whole.height * scale],
                "model": network.model.name if network else DETAIL_TRANSFER,
                "runtime": network.provider if network else None,
                "scale": scale,
                "held": None if own is None else own.held,
                "degradation": seen,
                "strength": strength,
                "strict": strict,
                "unconfirmed": round(unconfirmed, 4),
                "look": self.look,
                "notes": notes,
            },
        )
        similarity = None if composite is None else composite.similarity()
        finished = whole if own else photo
        if tone:
            finished = tone.give_to(finished, canvas.pixels)
        return finish_result(source, finished, canvas, similarity, report)

    def _notes(
        self,
        photo: Photo,
        tone: Tone | None,
        references: References,
        loaded: Sequence[LoadedReference],
    ) -> list[str]:
        """What a user should know of the files that were read."""
        seen = [tone.note] if tone else []
        seen += [OWN_RESULT_NOTE] if photo.mark == "result" else []
        cached = self.cache.notes if self.cache else ()
        return [*notes_of(photo, loaded), *seen, *references.left_out, *cached]


def load_input(source: Source, max_pixels: int) -> tuple[Photo, Tone | None]:
    """The photo, in gray where it has but one tone; that tone. Raises PhotoError."""
    photo = load_photo(source, max_pixels=max_pixels)
    refuse_drawing(photo, source_name(source))
    return without_tone(photo)


def load_one_reference(upscaler: Upscaler, source: Source) -> LoadedReference:
    """One reference with its features. Raises PhotoError."""
    loaded = load_reference(source, upscaler.max_pixels, upscaler.cache)
    trim_heap()
    return loaded if upscaler.own_results else withheld(loaded)


def network_for(
    networks: NetworkChoice,
    corrected: CorrectedPhoto,
    blind: BlindEstimate,
    degraded: bool = False,  # it is known to be
) -> TileNetwork | None:
    """The network for a corrected photo."""
    marred = degraded or is_marred(blind, corrected.restoration, corrected.aliasing)
    return networks.select(corrected.photo, corrected.coarse is not None, marred, blind.is_clean)


def refuse_drawing(photo: Photo, name: str) -> None:
    """Raises PhotoError where a photo is a map or a sheet that refsr drew."""
    if photo.mark in ("map", "sheet"):
        raise PhotoError(OWN_DRAWING.format(name=name, mark=photo.mark))


class Stopwatch:
    """The seconds of each stage of a job."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """A stage is over."""
        now = time.perf_counter()
        self.seconds[stage], self.last = now - self.last, now


def register(
    photo: Photo,
    prepared: tuple[Reference, ...],
    flow_pixels: int,
    blind: BlindEstimate | None,
    strict: bool = False,
) -> Registered:
    """Register a photo; undo its kernel where the references show one, and register it again.

    A reference that is the photo itself, enlarged, is not used, nor any where the photo contradicts
    it.

    ``blind``: what the photo alone shows; None where nothing is to be undone. ``strict``: nor where
    the photo cannot confirm it.
    """
    coarse = register_coarse(photo.as_uint8(), prepared, flow_pixels)
    copies = find_copies(coarse, draw_alone)
    coarse = leave_out(coarse, copies)
    found = register_aliased(photo, coarse, blind) if blind is not None else None
    if found is not None:
        return replace(found, coarse=only_confirmed(found.coarse, faces_of(found.coarse), strict))
    restoration = restore(photo, coarse, blind) if blind is not None else None
    if restoration is not None:
        if added := restoration.reference_sharpened:
            zooms = [one.zoom for one in coarse.composite.registrations]
            prepared = tuple(
                softened(reference, added, SOFTENING_SIGMA * zoom)
                for reference, zoom in zip(prepared, zooms, strict=True)
            )
        coarse = register_coarse(restoration.photo.as_uint8(), prepared, flow_pixels)
        coarse = leave_out(coarse, copies)
    coarse = only_confirmed(coarse, faces_of(coarse), strict)
    return Registered(coarse, restoration)


def network_inputs(
    upscaler: Upscaler, source: Source, references: References
) -> tuple[CorrectedPhoto, TileNetwork | None]:
    """What ``upscale`` gives to a network of a photo, and the network; for ``report/explain.py``.

    In gray where the photo has but one tone. Raises PhotoError.
    """
    photo, _ = load_input(source, upscaler.max_pixels)
    loaded, _ = references.select(photo, partial(load_one_reference, upscaler))
    prepared = in_colors_of(photo, loaded)
    blind, registered = estimate_blindly(photo), None
    if prepared:
        size = job_size(photo, SCALE, loaded, prepared, upscaler.networks.select(photo))
        flow_pixels = compute_budget(size, upscaler.max_memory, 0.0).flow_pixels
        registered = register(photo, prepared, flow_pixels, blind)
    used = registered if registered and registered.coarse.composite.matched else None
    corrected = correct(photo, used, blind)
    return corrected, network_for(upscaler.networks, corrected, blind)


def at_own_size(canvas: Canvas, photo: Photo, own: OwnSize) -> Canvas:
    """The result from the shrunk photo at the photo's own size, with the photo's own detail."""
    kept = keep_own_detail(canvas.pixels, photo, own)
    amounts = with_own_detail(canvas.amounts, kept.share, kept.amount)
    return replace(canvas, pixels=kept.pixels, alpha=photo.alpha, amounts=amounts, scale=1)


def unchanged(photo: Photo, canvas: Canvas) -> Canvas:
    """The photo as it is, all detail its own."""
    none = np.zeros_like(canvas.amounts)
    return replace(canvas, pixels=photo.pixels, alpha=photo.alpha, amounts=none, scale=1)


def best_scale(composite: Composite | None, zoom: float) -> Scale | None:
    """The largest scale for which a used reference has detail.

    ``zoom``: how many of the photo's pixels lie along a pixel of the one that was registered.
    """
    if composite is None or not composite.matched:
        return None
    used = zip(composite.registrations, composite.useful, strict=True)
    finest = SCALE / zoom * max(one.zoom for one, useful in used if useful)
    scales: tuple[Scale, ...] = (4, 3, 2)
    for scale in scales:
        if finest >= scale - 0.5:
            return scale
    return 1 if zoom > 1 else 2


def advise(held: int, scale: Scale | None) -> str:
    """What a photo holds, and the scale for which its references have detail."""
    words = held_in_words(held)
    words = words[0].upper() + words[1:]
    if scale is None:
        return f"{words}."
    size = "this size (scale 1)" if scale == 1 else f"scale {scale}"
    return f"{words}; the reference has detail for {size}."


def of_shrunk(words: str) -> str:
    """Words about the photo shrunk for scale 1: lengths in its pixels."""
    return f"{words} (at a quarter of its size)" if words else ""


def held_in_words(held: int) -> str:
    """What a photo holds of its pixels."""
    return HOLDS_ALL if held == 1 else HOLDS_PART.format(held=held)


def job_size(
    photo: Photo,
    scale: int,
    loaded: tuple[LoadedReference, ...],
    prepared: tuple[Reference, ...],  # the same in the photo's colors
    network: TileNetwork | None,
    whole: Photo | None = None,  # that was shrunk to ``photo``
) -> JobSize:
    """The sizes that decide what a job takes."""
    channels = 3 if photo.alpha is None else 4
    others = [
        reference_bytes(reference.prepared)
        for reference, used in zip(loaded, prepared, strict=True)
        if used is not reference.prepared
    ]
    others += [one.photo.pixels.nbytes for one in loaded if one.photo.bits == 16]
    others += [network.program_bytes] if network else []
    if whole is not None:  # it is kept, and so is a result of its size beside that of the network
        others.append(2 * whole.pixels.nbytes + (0 if whole.alpha is None else whole.alpha.nbytes))
    pixel_bytes = channels * photo.pixels.itemsize
    return JobSize(photo.height, photo.width, pixel_bytes, scale, prepared, sum(others))


def check_choices(scale: int, strength: float) -> None:
    """Raises DataError where a scale or strength is out of range."""
    if not 0.0 <= strength <= 1.0:
        raise DataError(f"strength must be between 0 and 1, not {strength}.")
    if scale not in (1, 2, 3, 4):
        raise DataError(f"scale must be 1, 2, 3 or 4, not {scale}.")
