"""The tasks of a worker, on the photos in a job's folder: check, upscale, render.

The folder contains the uploads under the names ``photo`` and ``reference-1``, ``reference-2``, ...
The user's names for them are in the task's ``names``; no upload names a file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.degradation.own_size import measure_own_size, shrink
from refsr.errors import PhotoError
from refsr.image.exif import Mark
from refsr.image.levels import to_8_bits
from refsr.image.photo import Photo, load_photo, mark_of_file, save_photo
from refsr.image.tone import without_tone
from refsr.inference.blind_network import estimate_blindly
from refsr.inference.ensemble import Mode
from refsr.inference.memory import trim_heap
from refsr.inference.network import Network
from refsr.inference.plan import DEFAULT_COST
from refsr.registration.fusion import Composite, compute_blend_weights
from refsr.registration.matching import NO_FEATURES
from refsr.registration.own_results import withheld
from refsr.registration.reference import Reference
from refsr.registration.references import in_colors_of, load_reference
from refsr.report.provenance import provenance_map
from refsr.report.report import describe, expected_together
from refsr.resize import SCALE
from refsr.upscaler import (
    OWN_RESULT_NOTE,
    Result,
    Scale,
    Upscaler,
    advise,
    best_scale,
    of_shrunk,
    refuse_drawing,
    register,
)
from refsr.web.disk import require_space
from refsr.web.eta import EtaEstimator
from refsr.web.limits import Limits, most_pixels
from refsr.web.match_outlines import match_outlines
from refsr.web.previews import write_overlay, write_preview, write_thumbnail
from refsr.weights.models import AUTO

CHECK_PIXELS = 100_000  # LR pixels that are registered for a check; larger photos are downscaled
# Actual per estimated seconds of a first job, and of its network, over those of a small tile alone:
# 0.64 to 0.93 and 1.4 to 1.7 were measured on photos of 240 to 360 pixels a side.
FIRST_JOB, FIRST_NETWORK = 0.8, 1.5
BAND_ROWS = 256  # rows that are blended at a time
TOO_LARGE = (
    "A photo of {photo.width} x {photo.height} pixels is too large for {scale} times its size "
    "here; choose {largest}, or enlarge it with refsr upscale."
)
Choice = tuple[str, Mode]  # model and look

Answer = dict[str, Any]
Send = Callable[[Answer], None]


class WorkerState:
    """What a worker keeps from task to task: its models, its limits and its measured speed."""

    def __init__(
        self,
        model: str,
        max_memory: int,
        threads: int,
        photo_pixels: int,
        reference_pixels: int,
        own_size_pixels: int = Limits.own_size_pixels,
    ) -> None:
        """``max_memory``: bytes. ``*_pixels``: larger images are refused. Raises ModelError."""
        self.photo_pixels = photo_pixels
        self.own_size_pixels = max(photo_pixels, own_size_pixels)
        if threads > 0:
            cv2.setNumThreads(threads)
        self.options: dict[str, Any] = {
            "threads": threads,
            "max_memory": max_memory,
            "max_pixels": reference_pixels,
        }
        self.choice: Choice = (model, "true")
        self.upscaler = Upscaler.load(model, **self.options)
        self.default = self.choice, self.upscaler
        # Actual per estimated seconds, of a job with references and of the network alone; each job
        # measures them for the next of the same model and look.
        self.ratios: dict[Choice, tuple[float, float]] = {}
        self.first_ratio = self.measure_ratio()

    def use(self, model: str, look: Mode) -> None:
        """Load a model with a look, unless it is the last one; the first is always kept.

        Raises ModelError, and DataError where the model has no such look.
        """
        choice = model, look
        if choice == self.choice:
            return
        if choice == self.default[0]:
            self.choice, self.upscaler = self.default
            return
        self.choice, self.upscaler = self.default  # frees the last one before another is loaded
        trim_heap()
        self.upscaler = Upscaler.load(model, look=look, **self.options)
        self.choice = choice

    def measure_ratio(self) -> float:
        """Actual per estimated seconds of the network at this moment, from a small tile."""
        network = self.upscaler.networks.clean
        return max(1.0, network.pace() / DEFAULT_COST[1]) if isinstance(network, Network) else 1.0

    def load_photo(self, folder: Path) -> Photo:
        """The photo. Raises PhotoError."""
        return load_photo(folder / "photo", max_pixels=self.largest(1))

    def largest(self, scale: int) -> int:
        """Pixels of the largest photo that is taken at a scale."""
        return most_pixels(scale, self.photo_pixels, self.own_size_pixels)

    def is_too_large(self, photo: Photo, scale: int = 2) -> bool:
        """Whether a photo is too large for a scale; at 2, it may only keep its size."""
        return photo.width * photo.height > self.largest(scale)


def check(state: WorkerState, task: Answer, send: Send) -> Answer:
    """Register the references; returns the verdict on each, with outlines of the shared region.

    Writes thumbnails ``photo.jpg``, ``reference-1.jpg``, ... to the folder.
    """
    del send
    folder, names = Path(task["folder"]), task["names"]
    parts = reference_parts(names)
    photo = state.load_photo(folder)
    refuse_drawing(photo, names["photo"])
    write_thumbnail(photo, folder / "photo.jpg")
    photo, tone = without_tone(photo)
    held = measure_own_size(photo).held
    own_size = state.is_too_large(photo)
    registered = shrink(photo) if own_size else photo
    marks: list[Mark | None] = [mark_of_file(folder / part) for part in parts]
    composite, notes, degradation = register_one_by_one(state.upscaler, registered, folder, parts)
    degradation = of_shrunk(degradation) if own_size else degradation
    if composite is not None and not (own_size or composite.matched) and held > 1:
        shrunk = register_one_by_one(state.upscaler, shrink(photo), folder, parts)
        own_size = shrunk[0] is not None and shrunk[0].matched
        if own_size:
            composite, notes, _ = shrunk
    notes = [of_shrunk(note) for note in notes] if own_size else notes
    notes = [tone.note, *notes] if tone else notes
    notes += [OWN_RESULT_NOTE] if photo.mark == "result" else []
    scale = best_scale(composite, float(SCALE) if own_size else 1.0)
    references: list[Answer] = []
    for index, part in enumerate(parts):
        assert composite is not None
        row = describe(names[part], composite, index, marks[index])
        references.append({**row, "part": part, "outlines": match_outlines(composite, index)})
    gain = expected_together(composite)
    trim_heap()
    return {
        "photo": {
            "name": names["photo"],
            "width": photo.width,
            "height": photo.height,
            "degradation": degradation,
            "notes": [*photo.notes, *notes],
        },
        "references": references,
        "expected_gain_db": round(gain, 2),
        "scale": 1 if state.is_too_large(photo) else scale,
        "advice": advise(held, scale),
    }


def reference_parts(names: dict[str, str]) -> list[str]:
    """The references among the uploads: reference-1, reference-2, ..."""
    return [part for part in names if part != "photo"]


def register_one_by_one(
    upscaler: Upscaler, photo: Photo, folder: Path, parts: list[str]
) -> tuple[Composite | None, list[str], str]:
    """Register references one after the other, so that memory holds one at a time.

    Returns the composite of all of them, without their pixels, None where there are none; what was
    corrected in the photo; and how it was taken, in words. Writes thumbnails to the folder.
    """
    notes: list[str] = []
    blind = estimate_blindly(photo)
    degradation = blind.in_words()

    def register_one(part: str) -> Composite:
        """Register one reference; returns its composite without its pixels."""
        reference = load_reference(folder / part, upscaler.max_pixels)
        trim_heap()
        write_thumbnail(reference.photo, folder / f"{part}.jpg")
        reference = withheld(reference)
        prepared = in_colors_of(photo, (reference,))
        registered = register(photo, prepared, CHECK_PIXELS, blind)
        nonlocal degradation
        if registered.restoration is not None:
            notes[:] = registered.notes  # the last one stands for all
            degradation = blind.in_words(registered.restoration.kernel)
        no_pixels = np.broadcast_to(np.uint8(0), reference.photo.pixels.shape)
        shown = reference.prepared.valid_masks[-1:]
        empty = Reference(no_pixels, NO_FEATURES, [], [], valid_masks=shown)
        return replace(registered.coarse.composite, references=(empty,))

    composites: list[Composite] = []
    for part in parts:
        composites.append(register_one(part))
        trim_heap()
    if not composites:
        return None, notes, degradation
    registrations = tuple(one.registrations[0] for one in composites)
    useful = tuple(one.useful[0] for one in composites)
    copies = tuple(index for index, one in enumerate(composites) if one.copies)
    together = Composite(
        composites[-1].lr,
        tuple(one.references[0] for one in composites),
        registrations,
        compute_blend_weights(registrations, useful),
        useful,
        copies,
    )
    return together, notes, degradation


def upscale(state: WorkerState, task: Answer, send: Send) -> Answer:
    """Upscale with the references and, for the strength slider, without; returns the report.

    Writes the pixels of the results (``full.npy``, ``plain.npy``, ``alpha.npy``) and the page's
    images (``result.png``, ``plain.png``, ``before.png``, ``map.png``) to the folder.
    """
    folder, names = Path(task["folder"]), task["names"]
    parts = reference_parts(names)
    photo = state.load_photo(folder)
    refuse_drawing(photo, names["photo"])
    scale: Scale = task["scale"]
    if state.is_too_large(photo, scale):
        largest = max(one for one in (1, 2, 3) if not state.is_too_large(photo, one))
        raise PhotoError(TOO_LARGE.format(photo=photo, scale=scale, largest=largest_words(largest)))
    for part in ["plain", "full", "alpha", "amounts", "unconfirmed"]:
        (folder / f"{part}.npy").unlink(missing_ok=True)  # of a run at another scale
    written = photo.width * photo.height * scale**2 * photo.pixels.itemsize * 4
    require_space(folder, (2 if parts else 1) * written)
    state.use(task.get("model", AUTO), task.get("look", "true"))
    write_preview(photo, folder / "before.png")
    del photo
    known = state.ratios.get(state.choice)
    first = FIRST_JOB * state.first_ratio, FIRST_NETWORK * state.first_ratio
    measure = None if known else lambda: FIRST_NETWORK * state.measure_ratio()
    eta = EtaEstimator(send, 2 if parts else 1, known or first, measure)

    def run(references: list[Path], name: str) -> Result:
        result = state.upscaler.upscale(
            folder / "photo",
            references=state.upscaler.prepare(references),
            scale=scale,
            strict=task.get("strict", False),
            progress=eta.progress,
            announce=eta.announce,
        )
        np.save(folder / f"{name}.npy", result.photo.pixels)
        return result

    result = run([folder / part for part in parts], "full")
    report = result.report
    if result.photo.alpha is not None:
        np.save(folder / "alpha.npy", result.photo.alpha)
    np.save(folder / "amounts.npy", result.amounts)
    np.save(folder / "unconfirmed.npy", result.unconfirmed)
    write_preview(result.photo, folder / "result.png")
    write_overlay(result, folder / "map.png")
    for row, part in zip(report["references"], parts, strict=True):
        row["reference"] = names[part]
    if any(row["used"] for row in report["references"]):
        del result  # free its memory: its pixels are on disk
        eta.next_run()
        write_preview(run([], "plain").photo, folder / "plain.png")
    state.ratios[state.choice] = eta.finish()
    trim_heap()
    return dict(report)


def render(state: WorkerState, task: Answer, send: Send) -> Answer:
    """Write the result at a strength, with the photo's metadata, to the folder's file ``out``.

    Between 0 and 1 it is a blend of the results without and with references, as on the page; 0 and
    1 are exactly these two. ``width``: pixels, shrunk with antialiasing; None keeps its size. With
    ``map`` it is the picture of where each detail came from instead, with its legend.
    """
    del send
    folder = Path(task["folder"])
    out = folder / task["out"]
    if out.exists():  # of another request, which came before this one in the queue
        return {}
    pixels = blended(folder, task["strength"])
    if task.get("map"):
        amounts, unconfirmed = (np.load(folder / f"{n}.npy") for n in ("amounts", "unconfirmed"))
        drawn = provenance_map(to_8_bits(pixels), amounts, unconfirmed)
        save_photo(Photo(drawn).marked("map"), out)
        return {}
    photo = state.load_photo(folder)
    alpha = np.load(folder / "alpha.npy") if photo.alpha is not None else None
    width: int | None = task.get("width")
    if width is not None and width < pixels.shape[1]:
        size = max(1, round(pixels.shape[0] * width / pixels.shape[1])), width
        pixels = area_shrunk(pixels, size)
        alpha = None if alpha is None else area_shrunk(alpha, size)
    result = photo.replaced(pixels, alpha).marked("result")
    options = {"quality": task["quality"]} if task.get("quality") else {}
    save_photo(result, out, strip_metadata=task["bare"], **options)
    trim_heap()
    return {}


TASKS: dict[str, Callable[[WorkerState, Answer, Send], Answer]] = {
    "check": check,
    "upscale": upscale,
    "render": render,
}


def area_shrunk(plane: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """A plane (H, W[, 3]) shrunk to ``size`` (height, width) by the mean of what each pixel covers.

    It takes no floating-point copy, as ``imresize`` does: results have up to 64 megapixels.
    """
    return np.asarray(cv2.resize(plane, size[::-1], interpolation=cv2.INTER_AREA), plane.dtype)


def largest_words(scale: int) -> str:
    """A scale as the page calls it."""
    return "the same size" if scale == 1 else f"{scale}x"


def blended(folder: Path, strength: float) -> NDArray[Any]:
    """The result at a strength 0..1, (H, W, 3) of the photo's dtype."""
    full = np.load(folder / "full.npy", mmap_mode="r")
    if strength >= 1 or not (folder / "plain.npy").exists():
        return full
    plain = np.load(folder / "plain.npy", mmap_mode="r")
    if strength <= 0:
        return plain
    mixed = np.empty(full.shape, full.dtype)
    for top in range(0, len(full), BAND_ROWS):
        rows = slice(top, top + BAND_ROWS)
        with_ref, without = full[rows].astype(np.float32), plain[rows].astype(np.float32)
        mixed[rows] = np.rint(without + np.float32(strength) * (with_ref - without))
    return mixed
